"""Coefficients of a linear probe: which columns speak for a target, and how sure that is.

Columns and target are divided by their standard deviations, so that a coefficient says by how many of its own standard
deviations the target changes with one of the column, and coefficients of several targets compare.

Each fold of a split leaves one group of blocks out, which makes the coefficients of the k folds a delete-a-group
jackknife: their variance is (k − 1) / k · Σ(β_f − β̄)² (Shao and Tu, 1995, "The jackknife and bootstrap", section
2.3), far more than the spread of the folds, which share most of their rows. The interval is β̄ ± t(k − 1) of that
standard error. For ridge it is an interval of the shrunken coefficient.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import t as student

from placevec.errors import DataError, UsageError
from placevec.measure.intervals import LEVEL, mean_sd
from placevec.measure.linear import fit_linear
from placevec.measure.metrics import r2
from placevec.measure.nested import Floats, Folds, as_features, as_folds, as_targets
from placevec.measure.parallel import in_parallel
from placevec.measure.ridge import nested_ridge
from placevec.measure.splits import Split

LinearEstimator = Literal["ridge", "ols"]


@dataclass(frozen=True, eq=False)
class Coefficients:
    """The coefficients of one target on the columns of one table.

    Attributes:
        target: what is predicted.
        features: the table.
        estimator: "ridge" (its penalty chosen within the training rows of each fold) or "ols".
        names: (p) of the columns.
        groups: (p) the modality of each column.
        mean: (p,) standard deviations of the target for one of the column; mean over folds and shuffles.
        low: (p,) lower end of the interval, by the jackknife over folds.
        high: (p,) upper end.
        error: (p,) the standard error.
        agree: (p,) the share of fits whose coefficient has the sign of the mean.
        target_sd: the standard deviation of the target: a coefficient times it is in units of the target.
        r2: out-of-fold R², mean over shuffles.
        r2_sd: its standard deviation over shuffles; NaN with one.
        alphas: the penalties of all fits; empty for OLS.
        n: rows.
    """

    target: str
    features: str
    estimator: str
    names: tuple[str, ...]
    groups: tuple[str, ...]
    mean: Floats
    low: Floats
    high: Floats
    error: Floats
    agree: Floats
    target_sd: float
    r2: float
    r2_sd: float
    alphas: tuple[float, ...]
    n: int

    def __len__(self) -> int:
        return len(self.names)

    def largest(self, count: int) -> NDArray[np.int64]:
        """The columns with the largest |coefficient|, the largest first; of equal ones the first."""
        return np.argsort(-np.abs(self.mean), kind="stable")[:count].astype(np.int64)

    def to_records(self) -> list[dict[str, Any]]:
        """One JSON object per column, the largest |coefficient| first."""
        return [
            {
                "target": self.target,
                "features": self.features,
                "estimator": self.estimator,
                "column": self.names[i],
                "modality": self.groups[i],
                "coefficient": float(self.mean[i]),
                "low": _number(self.low[i]),
                "high": _number(self.high[i]),
                "error": _number(self.error[i]),
                "agree": float(self.agree[i]),
                "in_target_units": float(self.mean[i] * self.target_sd),
            }
            for i in self.largest(len(self)).tolist()
        ]

    def to_json(self) -> dict[str, Any]:
        """Everything as a JSON object."""
        return {
            "target": self.target,
            "features": self.features,
            "estimator": self.estimator,
            "n": self.n,
            "target_sd": self.target_sd,
            "r2": _number(self.r2),
            "r2_sd": _number(self.r2_sd),
            "alphas": list(self.alphas),
            "columns": [
                {key: value for key, value in record.items() if key not in ("target", "features", "estimator")}
                for record in self.to_records()
            ],
        }


def coefficients(
    x: ArrayLike,
    y: ArrayLike,
    splits: Sequence[Split | Folds],
    *,
    names: Sequence[str],
    groups: Sequence[str] | None = None,
    target: str = "",
    features: str = "",
    estimator: LinearEstimator = "ridge",
) -> Coefficients:
    """Fit a linear probe on the training rows of every fold of every shuffle, and gather its coefficients.

    Args:
        x: (n, p) columns.
        y: (n,) numbers.
        splits: one per shuffle, of one number of folds; blocks with a buffer for coefficients that hold elsewhere.
        names: (p) of the columns.
        groups: (p) the modality of each; by default `features`.
        target: the name of y.
        features: the name of the table.
        estimator: "ridge" or "ols".

    Raises:
        DataError: something is not finite, lengths differ, or the target does not vary.
        UsageError: the estimator is unknown, or names are missing.
    """
    if estimator not in get_args(LinearEstimator):
        raise UsageError(f"the estimator {estimator!r} has no coefficients; choose ridge or ols")
    if not splits:
        raise UsageError("coefficients need one split or more")
    values = as_features(x)
    told = tuple(names)
    if len(told) != values.shape[1] or (groups is not None and len(groups) != len(told)):
        raise UsageError(f"{len(told)} names for {values.shape[1]} columns; give one name (and modality) for each")
    goal = as_targets(y, len(values))[:, 0]
    spread = float(goal.std())
    if spread == 0.0:
        raise DataError(f"the target {target} is {goal[0]:g} in all {len(goal)} rows; there is nothing to explain")
    standard = (goal - goal.mean()) / spread
    folded = [as_folds(split, len(values)) for split in splits]
    if len({one.k for one in folded}) > 1:
        raise UsageError("the shuffles differ in their number of folds; give the same number to each")
    scores, found, alphas = [], [], []
    for score, weights, used in in_parallel([_Shuffle(values, standard, folds, estimator) for folds in folded]):
        scores.append(score)
        found.append(weights)
        alphas += used
    per = np.stack(found)
    mean, error = jackknife(per)
    reach = float(student.ppf(0.5 + LEVEL / 2, per.shape[1] - 1)) * error
    score, score_sd = mean_sd(scores)
    return Coefficients(
        target=target,
        features=features,
        estimator=estimator,
        names=told,
        groups=tuple(groups) if groups is not None else (features,) * len(told),
        mean=mean,
        low=mean - reach,
        high=mean + reach,
        error=error,
        agree=np.asarray((np.sign(per) == np.sign(mean)).mean(axis=(0, 1))),
        target_sd=spread,
        r2=score,
        r2_sd=score_sd,
        alphas=tuple(alphas),
        n=len(values),
    )


def jackknife(per_fold: ArrayLike) -> tuple[Floats, Floats]:
    """The mean (p,) and the delete-a-group standard error (p,) of estimates (shuffles, k, p), one per left-out fold.

    The variances of the shuffles, each a jackknife of its own, are averaged.
    """
    b = np.asarray(per_fold, dtype=np.float64)
    k = b.shape[1]
    middle = b.mean(axis=1, keepdims=True)
    variance = (k - 1) / k * ((b - middle) ** 2).sum(axis=1)
    return b.mean(axis=(0, 1)), np.sqrt(variance.mean(axis=0))


@dataclass(frozen=True, eq=False)
class _Shuffle:
    """The fits of one shuffle: their out-of-fold R², coefficients (k, p), and the penalties chosen."""

    x: NDArray[Any]
    y: Floats
    folds: Folds
    estimator: LinearEstimator

    def __call__(self) -> tuple[float, Floats, list[float]]:
        alphas: list[float] = []
        if self.estimator == "ridge":
            # One scale for each column: else coefficients of columns in metres and in shares would not compare.
            fit = nested_ridge(self.x, self.y, self.folds, scalings=("columns",))
            alphas = [float(one["alpha"]) for one in fit.chosen]
        guess, weights = np.full(len(self.y), np.nan), []
        for f, test in enumerate(self.folds.tests):
            train = self.folds.train(f)
            model = fit_linear(self.x[train], self.y[train], alphas[f] if alphas else 0.0)
            guess[test] = model(self.x[test])[:, 0]
            weights.append(model.weights[:, 0])
        tested = np.flatnonzero(~np.isnan(guess))
        return r2(self.y[tested], guess[tested]), np.stack(weights), alphas


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
