"""Metrics of predictions, of residuals in space, and of retrieval: one function each, on whole arrays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from scipy.spatial import cKDTree
from scipy.stats import norm, rankdata

from placevec.errors import DataError
from placevec.geo.cells import Cells, ring_index
from placevec.geo.sphere import LonLat

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]

METRIC_NAMES = {
    "r2": "R²",
    "mae": "MAE",
    "rmse": "RMSE",
    "spearman": "Spearman",
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "macro_f1": "macro-F1",
    "moran": "Moran's I of residuals",
}
"""Each metric that a probe reports, and its name in tables."""


def r2(y: ArrayLike, prediction: ArrayLike) -> float:
    """The coefficient of determination 1 − Σ(y − ŷ)² / Σ(y − ȳ)² of (n,) values; NaN if y is constant."""
    t, p = _numbers(y, prediction)
    total = float(((t - t.mean()) ** 2).sum())
    return float(1.0 - ((t - p) ** 2).sum() / total) if total > 0.0 else float("nan")


def mae(y: ArrayLike, prediction: ArrayLike) -> float:
    """The mean absolute error of (n,) predictions, in the unit of y."""
    t, p = _numbers(y, prediction)
    return float(np.abs(t - p).mean())


def rmse(y: ArrayLike, prediction: ArrayLike) -> float:
    """The root of the mean squared error of (n,) predictions, in the unit of y."""
    t, p = _numbers(y, prediction)
    return float(np.sqrt(((t - p) ** 2).mean()))


def spearman(y: ArrayLike, prediction: ArrayLike) -> float:
    """Spearman's rank correlation of (n,) values, ties at their mean rank; NaN if either is constant."""
    t, p = (rankdata(column) for column in _numbers(y, prediction))
    t, p = t - t.mean(), p - p.mean()
    scale = float(np.sqrt((t @ t) * (p @ p)))
    return float(t @ p) / scale if scale > 0.0 else float("nan")


def accuracy(y: ArrayLike, prediction: ArrayLike) -> float:
    """The share of (n,) classes that are right."""
    t, p = _classes(y, prediction)
    return float((t == p).mean())


def balanced_accuracy(y: ArrayLike, prediction: ArrayLike) -> float:
    """The mean recall over the classes that occur in y."""
    right, true, _ = _class_counts(y, prediction)
    there = true > 0
    return float((right[there] / true[there]).mean())


def macro_f1(y: ArrayLike, prediction: ArrayLike) -> float:
    """The mean F1 = 2 TP / (2 TP + FP + FN) over the classes that occur in y or in the prediction."""
    right, true, said = _class_counts(y, prediction)
    return float((2.0 * right / (true + said)).mean())


def log_loss(y: ArrayLike, probabilities: ArrayLike) -> float:
    """The mean −ln p of the true classes, in nats.

    Args:
        y: (n,) class numbers 0 … c − 1.
        probabilities: (n, c), each row adding up to 1; kept at 1e-15 or more.
    """
    codes, p = np.asarray(y), np.asarray(probabilities, dtype=np.float64)
    if codes.ndim != 1 or p.ndim != 2 or len(codes) != len(p) or len(codes) == 0:
        raise DataError(f"{codes.shape} classes and {p.shape} probabilities; give (n,) and (n, classes), n > 0")
    if codes.min() < 0 or codes.max() >= p.shape[1]:
        raise DataError(f"class {codes.max()} has no column among {p.shape[1]}; number the classes from 0")
    sums = p.sum(axis=1)
    if not np.allclose(sums, 1.0, atol=1e-6) or (p < 0.0).any():
        raise DataError(f"row {int(np.argmax(np.abs(sums - 1.0)))} of the probabilities does not add up to 1")
    return float(-np.log(np.maximum(p[np.arange(len(codes)), codes], 1e-15)).mean())


REGRESSION: dict[str, Callable[[ArrayLike, ArrayLike], float]] = {
    "r2": r2,
    "mae": mae,
    "rmse": rmse,
    "spearman": spearman,
}
CLASSIFICATION: dict[str, Callable[[ArrayLike, ArrayLike], float]] = {
    "accuracy": accuracy,
    "balanced_accuracy": balanced_accuracy,
    "macro_f1": macro_f1,
}
LOWER_IS_BETTER = frozenset({"mae", "rmse", "moran"})


class Moran(NamedTuple):
    """Moran's I with what it would be by chance: `i`, its expectation, standard deviation, z and two-sided p."""

    i: float
    expected: float
    sd: float
    z: float
    p: float


def near_weights(lonlat: LonLat, k: int = 8) -> sparse.csr_array:
    """The (n, n) weights of the k nearest other places, rows adding up to 1; fewer than k + 1 places: all others."""
    n = len(lonlat)
    k = min(k, n - 1)
    if k < 1:
        raise DataError(f"{n} places have no neighbours; give 2 or more")
    xyz = lonlat.unit()
    found = np.asarray(cKDTree(xyz).query(xyz, k=k + 1)[1], dtype=np.int64)
    # A place need not be its own first neighbour where several coincide.
    own = found == np.arange(n)[:, None]
    own[~own.any(axis=1), -1] = True
    columns = found[~own]
    return sparse.csr_array((np.full(n * k, 1.0 / k), columns, np.arange(0, n * k + 1, k)), shape=(n, n))


def ring_weights(cells: ArrayLike, k: int = 1, system: Cells | None = None) -> sparse.csr_array:
    """The (n, n) weights of the cells within k steps that are present, rows adding up to 1 (0 for a lone cell)."""
    rings = ring_index(cells, k, system)[:, 1:]
    row, column = np.nonzero(rings >= 0)
    count: Rows = np.bincount(row, minlength=len(rings)).astype(np.int64)
    share = 1.0 / count[row]
    return sparse.csr_array((share, (row, rings[row, column])), shape=(len(rings), len(rings)))


def morans_i(values: ArrayLike, weights: sparse.csr_array) -> Moran:
    """Moran's I of (n,) values: n / S0 · z'Wz / z'z, with its moments under normality (Cliff and Ord, 1981, p. 21).

    Args:
        values: (n,) residuals or others; NaN if they are all equal.
        weights: (n, n), from `near_weights` or `ring_weights`; zero on the diagonal.

    Raises:
        DataError: the lengths differ, or nobody has a neighbour.
    """
    x = np.asarray(values, dtype=np.float64)
    n = len(x)
    if weights.shape != (n, n):
        raise DataError(f"weights of the shape {weights.shape} for {n} values; give one row per value")
    s0 = float(weights.sum())
    if s0 <= 0.0:
        raise DataError("no value has a neighbour; use more neighbours or larger rings")
    z = x - x.mean()
    norm2 = float(z @ z)
    expected = -1.0 / (n - 1)
    # Rounding alone leaves something of a constant.
    if norm2 <= 1e-24 * float(x @ x) or norm2 == 0.0:
        return Moran(float("nan"), expected, float("nan"), float("nan"), float("nan"))
    i = n / s0 * float(z @ (weights @ z)) / norm2
    both = weights + weights.T
    s1 = 0.5 * float((both.multiply(both)).sum())
    s2 = float(((weights.sum(axis=1) + weights.sum(axis=0)) ** 2).sum())
    variance = (n * n * s1 - n * s2 + 3.0 * s0 * s0) / ((n * n - 1.0) * s0 * s0) - expected**2
    sd = float(np.sqrt(max(variance, 0.0)))
    score = (i - expected) / sd if sd > 0.0 else float("nan")
    return Moran(i, expected, sd, score, float(2.0 * norm.sf(abs(score))))


def retrieval_ranks(
    queries: ArrayLike,
    gallery: ArrayLike,
    query_groups: ArrayLike,
    gallery_groups: ArrayLike,
    *,
    exclude: ArrayLike | None = None,
    chunk: int = 1024,
) -> Rows:
    """The rank (q,), from 1, of the best right answer to each query among all of the gallery.

    An answer is right if its group is that of the query: with the group of each row its own pair this is the
    official rank, with the group the caption's text it is the duplicate-aware one. Wrong answers that score as
    much as the best right one count as before it, so that vectors that are all alike earn nothing.

    Args:
        queries: (q, d) vectors, compared by their dot product: normalise them for cosine.
        gallery: (g, d) vectors.
        query_groups: (q,) the group of each query.
        gallery_groups: (g,) the group of each item.
        exclude: (q,) the gallery row that is the query itself and may not answer, -1 for none.
        chunk: queries that are compared at once: chunk x g scores are held.

    Raises:
        DataError: lengths differ, or a query has no right answer in the gallery.
    """
    q, g = np.asarray(queries), np.asarray(gallery)
    asked, answers = np.asarray(query_groups), np.asarray(gallery_groups)
    if q.ndim != 2 or g.ndim != 2 or q.shape[1] != g.shape[1] or len(asked) != len(q) or len(answers) != len(g):
        raise DataError(
            f"queries {q.shape} with {len(asked)} groups, gallery {g.shape} with {len(answers)} groups do not fit"
        )
    _, codes = np.unique(np.concatenate([asked, answers]), return_inverse=True)
    asked, answers = codes[: len(q)], codes[len(q) :]
    own = None if exclude is None else np.asarray(exclude, dtype=np.int64)
    ranks = np.empty(len(q), dtype=np.int64)
    for start in range(0, len(q), chunk):
        rows = slice(start, start + chunk)
        scores = q[rows] @ g.T
        scores = scores if scores.dtype.kind == "f" else scores.astype(np.float64)
        if own is not None:
            held = np.flatnonzero(own[rows] >= 0)
            scores[held, own[rows][held]] = -np.inf
        right = asked[rows, None] == answers[None, :]
        best = np.where(right, scores, -np.inf).max(axis=1, initial=-np.inf)
        if np.isneginf(best).any():
            row = start + int(np.argmax(np.isneginf(best)))
            raise DataError(f"query {row}: no item of the gallery is of its group; leave such queries out")
        ranks[rows] = 1 + ((scores >= best[:, None]) & ~right).sum(axis=1)
    return ranks


def recall_at(ranks: ArrayLike, k: int) -> float:
    """The share of queries with a right answer among the first k, from `retrieval_ranks`."""
    return float((np.asarray(ranks) <= k).mean())


def mean_reciprocal_rank(ranks: ArrayLike) -> float:
    """The mean of 1 / rank."""
    return float((1.0 / np.asarray(ranks, dtype=np.float64)).mean())


def median_rank(ranks: ArrayLike) -> float:
    """The median of the ranks."""
    return float(np.median(np.asarray(ranks)))


def _numbers(y: ArrayLike, prediction: ArrayLike) -> tuple[Floats, Floats]:
    t, p = np.asarray(y, dtype=np.float64), np.asarray(prediction, dtype=np.float64)
    if t.shape != p.shape or t.ndim != 1 or len(t) == 0:
        raise DataError(f"{t.shape} values and {p.shape} predictions; give as many of each, and at least one")
    return t, p


def _classes(y: ArrayLike, prediction: ArrayLike) -> tuple[NDArray[Any], NDArray[Any]]:
    t, p = np.asarray(y), np.asarray(prediction)
    if t.shape != p.shape or t.ndim != 1 or len(t) == 0:
        raise DataError(f"{t.shape} classes and {p.shape} predictions; give as many of each, and at least one")
    return t, p


def _class_counts(y: ArrayLike, prediction: ArrayLike) -> tuple[Floats, Floats, Floats]:
    """Per class that occurs: how often it is right, true, and said."""
    t, p = _classes(y, prediction)
    names, codes = np.unique(np.concatenate([t, p]), return_inverse=True)
    t, p = codes[: len(t)], codes[len(t) :]
    count = len(names)
    right, true, said = (np.bincount(c, minlength=count).astype(np.float64) for c in (t[t == p], t, p))
    return right, true, said
