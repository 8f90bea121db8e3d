"""Intervals: bootstrap over places, spread over repetitions, and whether one result really beats another."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from scipy.stats import rankdata

from placevec.errors import DataError
from placevec.measure.metrics import CLASSIFICATION, LOWER_IS_BETTER, REGRESSION

Floats = NDArray[np.float64]
Counts = NDArray[np.uint8]

LEVEL = 0.95
DRAWS = 1000
# Counts are kept as bytes; beyond this many of them, draws are saved (but 200 remain).
_MOST_COUNTS = 200_000_000
_DRAWS_AT_ONCE = 250


class Interval(NamedTuple):
    """A value with its interval, and its standard deviation over repetitions (NaN with one only)."""

    mean: float
    low: float
    high: float
    sd: float


class Comparison(NamedTuple):
    """A against B by the paired differences: positive means that A is better, whatever the metric's direction."""

    difference: float
    low: float
    high: float
    sd: float
    outcome: Literal["beats", "ties", "loses"]


def mean_sd(values: ArrayLike) -> tuple[float, float]:
    """Mean and sample standard deviation of (r,) repetitions; the latter is NaN for one repetition."""
    v = np.asarray(values, dtype=np.float64)
    return float(v.mean()), float(v.std(ddof=1)) if len(v) > 1 else float("nan")


def percentile_interval(draws: ArrayLike, level: float = LEVEL) -> tuple[float, float]:
    """The percentile interval (Efron, 1979) of (b,) bootstrap draws; NaN where no draw is defined."""
    d = np.asarray(draws, dtype=np.float64)
    d = d[np.isfinite(d)]
    if len(d) == 0:
        return float("nan"), float("nan")
    low, high = np.quantile(d, [0.5 - level / 2, 0.5 + level / 2])
    return float(low), float(high)


def group_codes(groups: ArrayLike | None, n: int) -> NDArray[np.int64]:
    """The groups (n,) numbered from 0; each row its own group if there are none."""
    if groups is None:
        return np.arange(n, dtype=np.int64)
    column = np.asarray(groups)
    if column.shape != (n,):
        raise DataError(f"groups of the shape {column.shape} for {n} rows; give one per row")
    codes: dict[Any, int] = {}
    return np.array([codes.setdefault(key, len(codes)) for key in column.tolist()], dtype=np.int64)


def resample_counts(groups: int, draws: int = DRAWS, seed: int = 0) -> Counts:
    """How often each of `groups` groups is drawn in each resample: (draws, groups), rows adding up to `groups`.

    The counts are drawn once and used for all results that are compared, so that their differences are paired.
    Above 200 million counts there are fewer draws, at least 200.
    """
    if groups < 1 or draws < 1:
        raise DataError(f"{draws} resamples of {groups} groups cannot be; give at least one of each")
    rng = np.random.default_rng(seed)
    draws = min(draws, max(200, _MOST_COUNTS // groups))
    out = np.empty((draws, groups), dtype=np.uint8)
    for row in out:
        drawn = np.bincount(rng.integers(0, groups, groups), minlength=groups)
        row[:] = np.minimum(drawn, 255)
    return out


def regression_draws(
    y: ArrayLike, predictions: ArrayLike, counts: Counts, codes: NDArray[np.int64] | None = None
) -> dict[str, Floats]:
    """R², MAE, RMSE and Spearman of each resample of the places: {metric: (r, draws)}.

    Every metric is a function of sums over rows, so that all resamples are one product of matrices. The ranks
    of Spearman's are those of the whole sample.

    Args:
        y: (n,) the truth.
        predictions: (r, n) of r repetitions; NaN where a row was not tested.
        counts: (draws, groups) from `resample_counts`.
        codes: (n,) the group of each row, from `group_codes`; absent, each row is one.
    """
    t, p = np.asarray(y, dtype=np.float64), np.atleast_2d(np.asarray(predictions, dtype=np.float64))
    tested = np.isfinite(p)
    error = np.where(tested, p - t, 0.0)
    centred = t - t.mean()
    columns = []
    for e, there in zip(error, tested, strict=True):
        ranks = np.zeros((2, len(t)))
        ranks[0, there], ranks[1, there] = rankdata(t[there]), rankdata((t + e)[there])
        ranks[:, there] -= ranks[:, there].mean(axis=1, keepdims=True)
        a, b = ranks
        w = there.astype(np.float64)
        columns += [w, w * centred, w * centred**2, e * e, np.abs(e), a, b, a * a, b * b, a * b]
    sums = _resampled(np.stack(columns, axis=1), counts, codes).reshape(len(counts), len(p), 10)
    n, s, ss, ee, ae, a, b, aa, bb, ab = np.moveaxis(sums, 2, 0).transpose(0, 2, 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return {
            "r2": 1.0 - ee / (ss - s * s / n),
            "mae": ae / n,
            "rmse": np.sqrt(ee / n),
            "spearman": (ab - a * b / n) / np.sqrt((aa - a * a / n) * (bb - b * b / n)),
        }


def classification_draws(
    y: ArrayLike, predictions: ArrayLike, counts: Counts, codes: NDArray[np.int64] | None = None
) -> dict[str, Floats]:
    """Accuracy, balanced accuracy and macro-F1 of each resample of the places: {metric: (r, draws)}.

    Args:
        y: (n,) class numbers 0 … c − 1.
        predictions: (r, n) class numbers of r repetitions; -1 where a row was not tested.
        counts: (draws, groups) from `resample_counts`.
        codes: (n,) the group of each row, from `group_codes`; absent, each row is one.
    """
    t, all_p = np.asarray(y, dtype=np.int64), np.atleast_2d(np.asarray(predictions, dtype=np.int64))
    classes = int(max(t.max(), all_p.max())) + 1
    group = np.arange(len(t)) if codes is None else codes
    weights = np.ascontiguousarray(counts.T, dtype=np.float32)
    out: dict[str, list[Floats]] = {name: [] for name in CLASSIFICATION}
    for p in all_p:
        rows = np.flatnonzero(p >= 0)
        right = rows[p[rows] == t[rows]]
        # One row of sums per class for right, true and said: three entries per place, whatever the classes.
        index = np.concatenate([t[right], classes + t[rows], 2 * classes + p[rows]])
        column = np.concatenate([group[right], group[rows], group[rows]])
        chosen = sparse.csr_array(
            (np.ones(len(index), dtype=np.float32), (index, column)), shape=(3 * classes, counts.shape[1])
        )
        tp, true, said = (chosen @ weights).astype(np.float64).reshape(3, classes, len(counts))
        with np.errstate(divide="ignore", invalid="ignore"):
            out["accuracy"].append(tp.sum(axis=0) / true.sum(axis=0))
            out["balanced_accuracy"].append(np.nanmean(np.where(true > 0, tp / true, np.nan), axis=0))
            f1 = np.where(true + said > 0, 2.0 * tp / (true + said), np.nan)
            out["macro_f1"].append(np.nanmean(f1, axis=0))
    return {name: np.stack(rows) for name, rows in out.items()}


def bootstrap(
    y: ArrayLike,
    prediction: ArrayLike,
    metric: str,
    *,
    groups: ArrayLike | None = None,
    draws: int = DRAWS,
    level: float = LEVEL,
    seed: int = 0,
) -> Interval:
    """A metric of (n,) predictions with its bootstrap interval over places (rows of one group are drawn together).

    Raises:
        DataError: the metric is unknown, or lengths differ.
    """
    known = REGRESSION | CLASSIFICATION
    if metric not in known:
        raise DataError(f"there is no interval for the metric {metric!r}; known: {', '.join(known)}")
    t, p = np.asarray(y), np.asarray(prediction)
    value = known[metric](t, p)
    codes = group_codes(groups, len(t))
    counts = resample_counts(int(codes.max()) + 1, draws, seed)
    if metric in REGRESSION:
        found = regression_draws(t, p, counts, codes)[metric]
    else:
        _, both = np.unique(np.concatenate([t, p]), return_inverse=True)
        found = classification_draws(both[: len(t)], both[len(t) :], counts, codes)[metric]
    low, high = percentile_interval(found[0], level)
    return Interval(value, low, high, float("nan"))


def compare(
    a: ArrayLike,
    b: ArrayLike,
    a_draws: ArrayLike,
    b_draws: ArrayLike,
    metric: str,
    level: float = LEVEL,
) -> Comparison:
    """Whether A beats B, by the differences over the same repetitions and the same resamples.

    A beats B only if the mean difference is more than one standard deviation over the repetitions and the
    bootstrap interval of the difference lies above 0; A loses if it is worse in one of the two senses. A win has
    to be earned twice, a loss is admitted at once; what is neither is a tie.

    Args:
        a: (r,) the metric of A in each repetition.
        b: (r,) the metric of B in the same repetitions.
        a_draws: (r, draws) or (draws,) bootstrap draws of A.
        b_draws: those of B, of the same resamples.
        metric: its name; for "mae", "rmse" and "moran" less is better.
        level: of the interval.
    """
    sign = -1.0 if metric in LOWER_IS_BETTER else 1.0
    difference, sd = mean_sd(sign * (np.asarray(a, dtype=np.float64) - np.asarray(b, dtype=np.float64)))
    gap = sign * (np.atleast_2d(np.asarray(a_draws)).mean(axis=0) - np.atleast_2d(np.asarray(b_draws)).mean(axis=0))
    low, high = percentile_interval(gap, level)
    beyond = abs(difference) > sd
    outcome: Literal["beats", "ties", "loses"] = "ties"
    if difference > 0.0 and low > 0.0 and (beyond or np.isnan(sd)):
        outcome = "beats"
    elif difference < 0.0 and (high < 0.0 or beyond):
        outcome = "loses"
    return Comparison(difference, low, high, sd, outcome)


def _resampled(columns: Floats, counts: Counts, codes: NDArray[np.int64] | None) -> Floats:
    """The sums (draws, c) of the columns (n, c) over the rows of each resample."""
    if codes is not None:
        n = len(codes)
        held = sparse.csr_array((np.ones(n), (codes, np.arange(n))), shape=(counts.shape[1], n))
        columns = np.asarray(held @ columns)
    out = np.empty((len(counts), columns.shape[1]))
    for start in range(0, len(counts), _DRAWS_AT_ONCE):
        part = counts[start : start + _DRAWS_AT_ONCE]
        out[start : start + len(part)] = part.astype(np.float64) @ columns
    return out
