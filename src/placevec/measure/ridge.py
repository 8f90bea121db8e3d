"""Nested ridge: all alphas, both scalings and all inner folds from a handful of small factorisations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Protocol, get_args

import numpy as np
from numpy.typing import ArrayLike

from placevec.errors import UsageError
from placevec.measure.nested import Fit, Fitted, Floats, Folds, Mask, as_features, as_folds, as_targets, fitted_features
from placevec.measure.shrink import Shrunk
from placevec.measure.splits import Split

Scaling = Literal["columns", "common"]

ALPHAS: Floats = 10.0 ** np.arange(-4.0, 6.5, 0.5)
"""The penalties tried: 1e-4 to 1e6 in half decades, on features of unit variance and sums (not means) of squares."""

# Gram matrices are kept as long as they take less than this.
_KEPT_BYTES = 400_000_000
# A feature whose variance in training is this small part of its variance overall is constant there.
_CONSTANT = 1e-12
# No column is scaled by less than this share of its standard deviation over all rows, which no label knows. A class of
# road that lies in one district moves there alone: by what little of it trains, it would be blown up a thousandfold
# wherever that district is tested, and throw all rows there. Columns that vary everywhere stay far above it.
LEAST_SPREAD = 0.3
# Columns whose standard deviations differ by less have one scale already, and the two scalings are one.
_EQUAL = 0.01


def nested_ridge(
    x: ArrayLike | Fitted,
    y: ArrayLike,
    split: Split | Folds,
    *,
    alphas: ArrayLike = ALPHAS,
    scalings: Sequence[Scaling] = get_args(Scaling),
    shared: bool = False,
) -> Fit:
    """Out-of-fold predictions of ridge regression; alpha and scaling are chosen within the training rows of each fold.

    Minimises Σ(y − b − x'w)² + α|w|² on features scaled by the training rows; b is not penalised (Hoerl and
    Kennard, 1970). The scaling "columns" gives each column unit variance; "common" divides all columns by one
    number (their mean variance becomes 1), so that blocks of a vector keep their relative weights. Columns that all but
    stand still in training are scaled by `LEAST_SPREAD` of their spread over all rows.

    Per set of training rows and scaling one factorisation of the covariance (p, p), or of the kernel (n, n) where
    p exceeds the training rows, serves all alphas and targets. Covariances are sums over classes of rows that
    train for the same folds, so that the rows are read once per split, for both scalings.

    Args:
        x: (n, p) features; or features that are fitted on training rows (`Fitted`), which are made anew for each of
            the k (k + 1) / 2 sets of training rows of k folds, and cost as much more.
        y: (n,) or (n, t) targets; classes as one-hot columns.
        split: the folds; inner folds are the other folds (see `Folds`).
        alphas: (a,) penalties, all > 0.
        scalings: those to choose from; where all columns have one scale, "common" is not tried beside "columns".
        shared: one alpha and scaling for all targets (one-hot classes), else one for each.

    Raises:
        DataError: something is not finite, lengths differ, or a buffer leaves nothing to train on.
        UsageError: fewer than 3 folds, or an unknown scaling.
    """
    known = [one for one in get_args(Scaling) if one in scalings]
    if not known or set(scalings) - set(known):
        raise UsageError(f"scalings {tuple(scalings)!r} cannot be; choose of {get_args(Scaling)}")
    maker: _Maker
    if callable(x):
        folds = as_folds(split, len(split))
        targets = as_targets(y, len(folds))
        maker = _Refitted(x, targets)
    else:
        features = as_features(x).astype(np.float64)
        folds, targets = as_folds(split, len(features)), as_targets(y, len(features))
        maker = _Moments(features, targets, folds)
        if len(known) > 1 and maker.one_scale:
            known = ["columns"]
    # Of equal losses the last counts: columns before common, and then the strongest penalty that does as well.
    grid = np.sort(np.asarray(alphas, dtype=np.float64))
    names = [name for name in reversed(known) for _ in grid]
    penalties = np.tile(grid, len(known))
    loss = np.zeros((folds.k, len(names), targets.shape[1]))
    for train, tested in folds.inner_pairs():
        x_of, weights, intercept = maker.fit(train, grid, known[::-1])
        for f, held in tested:
            guess = (x_of[held] @ weights.reshape(len(weights), -1)).reshape(len(held), *intercept.shape) + intercept
            guess -= targets[held][:, None, :]
            loss[f] += np.einsum("mat,mat->at", guess, guess)
    if shared:
        loss = np.broadcast_to(loss.sum(axis=2, keepdims=True), loss.shape)
    best = len(names) - 1 - np.argmin(loss[:, ::-1], axis=1)
    prediction = np.full(targets.shape, np.nan)
    columns = np.arange(targets.shape[1])
    chosen = []
    for f, test in enumerate(folds.tests):
        x_of, weights, intercept = maker.fit(folds.allowed[f], grid, known[::-1])
        prediction[test] = x_of[test] @ weights[:, best[f], columns] + intercept[best[f], columns]
        picked = best[f][:1] if shared else best[f]
        chosen.append(
            {
                "fold": f,
                "n_train": int(folds.allowed[f].sum()),
                "n_test": len(test),
                "alpha": _one(penalties[picked].tolist()),
                "scaling": _one([names[i] for i in picked]),
            }
        )
    return Fit(prediction, tuple(chosen))


class _Maker(Protocol):
    """Makes the models of all alphas and scalings from the rows of a mask, and the features (n, p) they take."""

    def fit(self, train: Mask, alphas: Floats, scalings: Sequence[Scaling]) -> tuple[Floats, Floats, Floats]:
        """The features (n, p), weights (p, s·a, t) and intercepts (s·a, t)."""


class _Moments:
    """Sums of squares and products over any set of training rows, put together from classes of rows."""

    def __init__(self, features: Floats, targets: Floats, folds: Folds) -> None:
        # A shift and a scale of all rows change no prediction (the training rows scale anew) but keep the digits.
        self.x, self.size = _standardised(features)
        self.y = targets
        self.p = features.shape[1]
        moving = self.size[self.size > 0.0]
        self.one_scale = len(moving) < 2 or bool(moving.max() <= (1.0 + _EQUAL) * moving.min())
        atoms = folds.atoms
        self.table: Floats | None = None
        names, first = np.unique(atoms, return_index=True)
        self.first = first[names >= 0]
        width = 1 + self.p + targets.shape[1]
        if len(self.first) * (1 + self.p) * width * 8 <= _KEPT_BYTES:
            order = np.argsort(atoms, kind="stable")
            ends = np.searchsorted(atoms[order], names[names >= 0], side="right")
            starts = np.searchsorted(atoms[order], names[names >= 0], side="left")
            z = np.concatenate([np.ones((len(features), 1)), self.x, targets], axis=1)[order]
            self.table = np.stack([z[a:b, : 1 + self.p].T @ z[a:b] for a, b in zip(starts, ends, strict=True)])

    def fit(self, train: Mask, alphas: Floats, scalings: Sequence[Scaling]) -> tuple[Floats, Floats, Floats]:
        if train.sum() < self.p:
            return self.x, *_dual(self.x[train], self.y[train], self.size, alphas, scalings)
        if self.table is not None:
            sums = np.tensordot(train[self.first].astype(np.float64), self.table, axes=1)
        else:
            sums = _sums(self.x[train], self.y[train])
        return self.x, *_primal(sums, self.size, alphas, scalings)


class _Refitted:
    """The same for features that are made anew from each set of training rows."""

    def __init__(self, make: Fitted, targets: Floats) -> None:
        self.make = make
        self.y = targets

    def fit(self, train: Mask, alphas: Floats, scalings: Sequence[Scaling]) -> tuple[Floats, Floats, Floats]:
        x, size = _standardised(fitted_features(self.make, np.flatnonzero(train), len(self.y)).astype(np.float64))
        if train.sum() < x.shape[1]:
            return x, *_dual(x[train], self.y[train], size, alphas, scalings)
        return x, *_primal(_sums(x[train], self.y[train]), size, alphas, scalings)


def _standardised(features: Floats) -> tuple[Floats, Floats]:
    """Features (n, p) of mean 0 and variance 1 over all rows, and the standard deviations (p,) they had."""
    centred = features - features.mean(axis=0)
    size = centred.std(axis=0)
    centred /= np.where(size > 0.0, size, 1.0)
    return centred, size


def _sums(x: Floats, y: Floats) -> Floats:
    z = np.concatenate([np.ones((len(x), 1)), x, y], axis=1)
    return np.asarray(z[:, : 1 + x.shape[1]].T @ z)


def _primal(sums: Floats, size: Floats, alphas: Floats, scalings: Sequence[Scaling]) -> tuple[Floats, Floats]:
    n, p = sums[0, 0], len(size)
    mean, y_mean = sums[0, 1 : 1 + p] / n, sums[0, 1 + p :] / n
    variance = np.diagonal(sums[1:, 1 : 1 + p]) / n - mean**2
    covariance = sums[1:, 1 : 1 + p] - n * np.outer(mean, mean)
    products = sums[1:, 1 + p :] - n * np.outer(mean, y_mean)
    parts = []
    for scaling in scalings:
        inverse = _inverse(variance, size, scaling)
        shrunk = Shrunk(np.asfortranarray(covariance * np.outer(inverse, inverse)))
        parts.append(inverse[:, None, None] * shrunk.solve(products * inverse[:, None], alphas))
    weights = np.concatenate(parts, axis=1)
    return weights, y_mean - np.tensordot(mean, weights, axes=1)


def _dual(x: Floats, y: Floats, size: Floats, alphas: Floats, scalings: Sequence[Scaling]) -> tuple[Floats, Floats]:
    mean, y_mean = x.mean(axis=0), y.mean(axis=0)
    parts = []
    for scaling in scalings:
        inverse = _inverse(x.var(axis=0), size, scaling)
        z = (x - mean) * inverse
        dual = Shrunk(np.asfortranarray(z @ z.T)).solve(y - y_mean, alphas)
        parts.append(inverse[:, None, None] * np.tensordot(z.T, dual, axes=1))
    weights = np.concatenate(parts, axis=1)
    return weights, y_mean - np.tensordot(mean, weights, axes=1)


def _inverse(variance: Floats, size: Floats, scaling: Scaling) -> Floats:
    """By what standardised columns (p,) are multiplied, from their variances in training and their sizes overall."""
    moving = variance > _CONSTANT
    spread = np.maximum(variance, LEAST_SPREAD**2)
    if scaling == "columns":
        return np.where(moving, 1.0 / np.sqrt(spread), 0.0)
    common = np.sqrt(np.mean(np.where(moving, size**2 * spread, 0.0))) if len(size) else 0.0
    return np.where(moving, size / common, 0.0) if common > 0.0 else np.zeros(len(size))


def _one(values: list[Any]) -> Any:
    return values[0] if len(values) == 1 else values
