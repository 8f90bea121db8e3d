"""Linear models with an intercept on standardised columns: one fit, its coefficients, and the choice of its penalty."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from placevec.measure.nested import Fit, Fitted, Floats, Folds, as_features, as_folds, as_targets, fitted_features
from placevec.measure.ridge import ALPHAS, LEAST_SPREAD
from placevec.measure.shrink import Shrunk
from placevec.measure.splits import Split

# A column whose standard deviation is this small part of its largest value is constant but for rounding.
_CONSTANT = 1e-9


@dataclass(frozen=True, eq=False)
class Scaler:
    """What turns columns into columns of mean 0 and variance 1 over the rows that it was fitted on.

    Attributes:
        mean: (p,).
        inverse: (p,) one over the standard deviation; 0 for columns that are constant, which then say nothing.
    """

    mean: Floats
    inverse: Floats

    @classmethod
    def of(cls, x: ArrayLike, spread: ArrayLike | float = 0.0) -> Scaler:
        """The scaler of the rows of `x` (n, p).

        Args:
            x: the rows.
            spread: (p,) the columns' standard deviations over more rows than these, such as all rows where these train
                a fold: a column that all but stands still in `x` is scaled by `ridge.LEAST_SPREAD` of it.
        """
        features = as_features(x).astype(np.float64)
        sd = features.std(axis=0)
        moving = sd > _CONSTANT * np.maximum(np.abs(features).max(axis=0, initial=0.0), 1e-300)
        sd = np.maximum(sd, LEAST_SPREAD * np.asarray(spread, dtype=np.float64))
        return cls(features.mean(axis=0), np.where(moving, 1.0 / np.where(moving, sd, 1.0), 0.0))

    def __call__(self, x: ArrayLike) -> Floats:
        """The columns (n, p), standardised."""
        return np.asarray((np.asarray(x, dtype=np.float64) - self.mean) * self.inverse)


@dataclass(frozen=True, eq=False)
class Linear:
    """A fitted model ŷ = b + z·w of standardised columns z.

    Attributes:
        scaler: of the columns.
        weights: (p, t) by how much the targets change with one standard deviation of each column.
        intercept: (t,).
        rank: of the standardised columns, where they were factorised (OLS); else their number.
    """

    scaler: Scaler
    weights: Floats
    intercept: Floats
    rank: int

    def __call__(self, x: ArrayLike) -> Floats:
        """The predictions (n, t)."""
        return np.asarray(self.scaler(x) @ self.weights + self.intercept)


def fit_linear(x: ArrayLike, y: ArrayLike, alpha: float = 0.0, scaler: Scaler | None = None) -> Linear:
    """Fit all rows: OLS for alpha = 0 (the shortest solution where columns repeat each other), else ridge.

    Minimises Σ(y − b − z·w)² + α|w|²; b is not penalised.

    Args:
        x: (n, p) features.
        y: (n,) or (n, t) targets.
        alpha: the penalty, 0 or more.
        scaler: of the columns; absent, that of these rows.
    """
    features = as_features(x)
    targets = as_targets(y, len(features))
    scaler = Scaler.of(features) if scaler is None else scaler
    z = scaler(features)
    middle, level = z.mean(axis=0), targets.mean(axis=0)
    if alpha > 0.0:
        z = z - middle
        weights = Shrunk(np.asfortranarray(z.T @ z)).solve(z.T @ (targets - level), np.array([alpha]))[:, 0]
        rank = z.shape[1]
    else:
        weights, _, rank, _ = np.linalg.lstsq(z - middle, targets - level)
    return Linear(scaler, weights, level - middle @ weights, int(rank))


def nested_ols(x: ArrayLike | Fitted, y: ArrayLike, split: Split | Folds) -> Fit:
    """Out-of-fold predictions of ordinary least squares; there is nothing to choose.

    Args:
        x: (n, p) features, or features that are fitted on the training rows of each fold (`Fitted`).
        y: (n,) or (n, t) targets; classes as one-hot columns.
        split: the folds.

    Raises:
        DataError: something is not finite, lengths differ, or a buffer leaves nothing to train on.
    """
    features = None if callable(x) else as_features(x)
    folds = as_folds(split, len(split) if features is None else len(features))
    targets = as_targets(y, len(folds))
    prediction = np.full(targets.shape, np.nan)
    chosen = []
    for f, test in enumerate(folds.tests):
        train = folds.train(f)
        values = fitted_features(x, train, len(folds)) if features is None and callable(x) else features
        assert values is not None
        model = fit_linear(values[train], targets[train])
        prediction[test] = model(values[test])
        chosen.append({"fold": f, "n_train": len(train), "n_test": len(test), "rank": model.rank})
    return Fit(prediction, tuple(chosen))


def best_alpha(x: ArrayLike, y: ArrayLike, split: Split | Folds, alphas: ArrayLike = ALPHAS) -> float:
    """The ridge penalty with the smallest squared error over the folds: what a model of all rows is fitted with.

    Of equal losses the strongest penalty counts. For predictions of the same rows use `nested_ridge`, which chooses
    within the training rows of each fold.

    Args:
        x: (n, p) features.
        y: (n,) or (n, t) targets; they share the penalty.
        split: the folds.
        alphas: (a,) those to choose from, all > 0.
    """
    features = as_features(x)
    folds, targets = as_folds(split, len(features)), as_targets(y, len(features))
    grid = np.sort(np.asarray(alphas, dtype=np.float64))
    loss = np.zeros(len(grid))
    spread = features.astype(np.float64).std(axis=0)
    for f, test in enumerate(folds.tests):
        train = folds.train(f)
        scaler, level = Scaler.of(features[train], spread), targets[train].mean(axis=0)
        z = scaler(features[train])
        weights = Shrunk(np.asfortranarray(z.T @ z)).solve(z.T @ (targets[train] - level), grid)
        errors = np.tensordot(scaler(features[test]), weights, axes=1) + level - targets[test][:, None, :]
        loss += np.einsum("mat,mat->a", errors, errors)
    return float(grid[len(grid) - 1 - int(np.argmin(loss[::-1]))])
