"""Nested ridge: all alphas and all inner folds from a handful of small eigendecompositions."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import eigh

from placevec.measure.nested import Fit, Floats, Folds, Mask, as_features, as_folds, as_targets
from placevec.measure.splits import Split

ALPHAS: Floats = 10.0 ** np.arange(-4.0, 6.5, 0.5)
"""The penalties tried: 1e-4 to 1e6 in half decades, on features of unit variance and sums (not means) of squares."""

# Gram matrices are kept as long as they take less than this.
_KEPT_BYTES = 400_000_000
# A feature whose variance in training is this small part of its variance overall is constant there.
_CONSTANT = 1e-12


def nested_ridge(
    x: ArrayLike,
    y: ArrayLike,
    split: Split | Folds,
    *,
    alphas: ArrayLike = ALPHAS,
    shared: bool = False,
) -> Fit:
    """Out-of-fold predictions of ridge regression, alpha chosen within the training rows of each fold.

    Minimises Σ(y − b − x'w)² + α|w|² on features standardised by the training rows; b is not penalised (Hoerl
    and Kennard, 1970). Per set of training rows one eigendecomposition of the covariance (p, p), or of the
    kernel (n, n) where p exceeds the training rows, serves all alphas and targets. Covariances are sums over
    classes of rows that train for the same folds, so that the rows are read once per split.

    Args:
        x: (n, p) features.
        y: (n,) or (n, t) targets; classes as one-hot columns.
        split: the folds; inner folds are the other folds (see `Folds`).
        alphas: (a,) penalties, all > 0.
        shared: one alpha for all targets (one-hot classes), else one for each.

    Raises:
        DataError: something is not finite, lengths differ, or a buffer leaves nothing to train on.
        UsageError: fewer than 3 folds.
    """
    features = as_features(x).astype(np.float64)
    folds, targets = as_folds(split, len(features)), as_targets(y, len(features))
    grid = np.sort(np.asarray(alphas, dtype=np.float64))
    # A shift and a scale of all rows change no prediction (the training rows standardise anew) but keep the digits.
    features -= features.mean(axis=0)
    scale = features.std(axis=0)
    features /= np.where(scale > 0.0, scale, 1.0)
    moments = _Moments(features, targets, folds)
    models: dict[tuple[int, int], tuple[Floats, Floats]] = {}
    prediction = np.full(targets.shape, np.nan)
    chosen = []
    for f, test in enumerate(folds.tests):
        loss = np.zeros((len(grid), targets.shape[1]))
        for g, train, held in folds.inner(f):
            pair = (min(f, g), max(f, g))
            # The training rows for (f, g) and (g, f) are the same: one model tests both.
            if pair not in models:
                models[pair] = moments.fit(train, grid)
            guess = _predict(features[held], *models[pair])
            loss += ((guess - targets[held][:, None, :]) ** 2).sum(axis=0)
        if shared:
            loss = np.broadcast_to(loss.sum(axis=1, keepdims=True), loss.shape)
        # The last of equal losses: the strongest penalty that does as well.
        best = len(grid) - 1 - np.argmin(loss[::-1], axis=0)
        weights, intercept = moments.fit(folds.allowed[f], grid)
        columns = np.arange(targets.shape[1])
        prediction[test] = features[test] @ weights[:, best, columns] + intercept[best, columns]
        alpha = np.unique(grid[best]) if shared else grid[best]
        chosen.append(
            {
                "fold": f,
                "n_train": int(folds.allowed[f].sum()),
                "n_test": len(test),
                "alpha": float(alpha[0]) if len(alpha) == 1 else alpha.tolist(),
            }
        )
    return Fit(prediction, tuple(chosen))


class _Moments:
    """Sums of squares and products over any set of training rows, put together from classes of rows."""

    def __init__(self, features: Floats, targets: Floats, folds: Folds) -> None:
        self.x = features
        self.y = targets
        self.p = features.shape[1]
        self.atoms = folds.atoms
        ones = np.ones((len(features), 1))
        self.table: Floats | None = None
        names, first = np.unique(self.atoms, return_index=True)
        self.first = first[names >= 0]
        width = 1 + self.p + targets.shape[1]
        if len(self.first) * (1 + self.p) * width * 8 <= _KEPT_BYTES:
            order = np.argsort(self.atoms, kind="stable")
            ends = np.searchsorted(self.atoms[order], names[names >= 0], side="right")
            starts = np.searchsorted(self.atoms[order], names[names >= 0], side="left")
            z = np.concatenate([ones, features, targets], axis=1)[order]
            self.table = np.stack([z[a:b, : 1 + self.p].T @ z[a:b] for a, b in zip(starts, ends, strict=True)])

    def fit(self, train: Mask, alphas: Floats) -> tuple[Floats, Floats]:
        """The weights (p, a, t) and intercepts (a, t) of all alphas, from the rows of the mask `train`."""
        if train.sum() < self.p:
            return _dual(self.x[train], self.y[train], alphas)
        if self.table is not None:
            sums = np.tensordot(train[self.first].astype(np.float64), self.table, axes=1)
        else:
            z = np.concatenate([np.ones((int(train.sum()), 1)), self.x[train], self.y[train]], axis=1)
            sums = z[:, : 1 + self.p].T @ z
        return _primal(sums, self.p, alphas)


def _primal(sums: Floats, p: int, alphas: Floats) -> tuple[Floats, Floats]:
    n = sums[0, 0]
    mean, y_mean = sums[0, 1 : 1 + p] / n, sums[0, 1 + p :] / n
    inverse = _inverse_sd(np.diagonal(sums[1:, 1 : 1 + p]) / n - mean**2)
    covariance = (sums[1:, 1 : 1 + p] - n * np.outer(mean, mean)) * np.outer(inverse, inverse)
    products = (sums[1:, 1 + p :] - n * np.outer(mean, y_mean)) * inverse[:, None]
    values, vectors = eigh(covariance, driver="evd", overwrite_a=True, check_finite=False)
    shrunk = (vectors.T @ products)[:, None, :] / (np.maximum(values, 0.0)[:, None, None] + alphas[None, :, None])
    weights = inverse[:, None, None] * (vectors @ shrunk.reshape(p, -1)).reshape(shrunk.shape)
    return weights, y_mean - np.tensordot(mean, weights, axes=1)


def _dual(x: Floats, y: Floats, alphas: Floats) -> tuple[Floats, Floats]:
    mean, y_mean = x.mean(axis=0), y.mean(axis=0)
    inverse = _inverse_sd(x.var(axis=0))
    z = (x - mean) * inverse
    values, vectors = eigh(z @ z.T, driver="evd", overwrite_a=True, check_finite=False)
    shrunk = (vectors.T @ (y - y_mean))[:, None, :] / (np.maximum(values, 0.0)[:, None, None] + alphas[None, :, None])
    dual = (vectors @ shrunk.reshape(len(x), -1)).reshape(shrunk.shape)
    weights = inverse[:, None, None] * np.tensordot(z.T, dual, axes=1)
    return weights, y_mean - np.tensordot(mean, weights, axes=1)


def _inverse_sd(variance: NDArray[np.float64]) -> Floats:
    moving = variance > _CONSTANT
    return np.where(moving, 1.0 / np.sqrt(np.where(moving, variance, 1.0)), 0.0)


def _predict(x: Floats, weights: Floats, intercept: Floats) -> Floats:
    return (x @ weights.reshape(len(weights), -1)).reshape(len(x), *intercept.shape) + intercept
