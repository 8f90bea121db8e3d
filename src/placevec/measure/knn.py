"""Nested k nearest neighbours: by cosine or distance of vectors, or on the sphere."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from scipy.spatial import cKDTree

from placevec.errors import UsageError
from placevec.geo.sphere import LonLat
from placevec.measure.nested import (
    Fit,
    Fitted,
    Floats,
    Folds,
    Mask,
    Rows,
    as_features,
    as_folds,
    as_targets,
    fitted_features,
)
from placevec.measure.splits import Split

NEIGHBOURS = (1, 3, 5, 10, 20, 40)
"""The numbers of neighbours tried."""

Metric = Literal["cosine", "euclidean"]
Finder = Callable[[Rows, Rows, int], Rows]

# The lists of the outer folds serve the inner ones, less the rows that may not be used there, and one list of all rows
# serves all splits in the same way. So that few have to be made anew, lists are longer than the largest k by these.
_SPARE = 3
_WIDE = 4
_SCORES_AT_ONCE = 16_000_000
_SAMPLE = 1024


class Neighbourhood:
    """Rows among which neighbours are sought; what they share between splits is found once.

    Args:
        x: (n, d) vectors, or n points on the sphere.
        metric: of vectors: "cosine", or "euclidean" of features standardised by the training rows.
        longest: the largest number of neighbours that will be asked for.

    Raises:
        DataError: something is not finite.
        UsageError: an unknown metric.
    """

    def __init__(self, x: ArrayLike | LonLat, metric: Metric = "cosine", longest: int = NEIGHBOURS[-1]) -> None:
        if metric not in ("cosine", "euclidean"):
            raise UsageError(f"neighbours by {metric!r} are unknown; choose cosine or euclidean")
        vectors = x if isinstance(x, LonLat) else as_features(x)
        self.find = _finder(vectors, metric)
        # Standardised features change with the training rows, and have no list for all splits.
        self._fixed = isinstance(vectors, LonLat) or metric == "cosine"
        self._count = min(_WIDE * longest, len(vectors))
        self._n = len(vectors)

    def __len__(self) -> int:
        return self._n

    @cached_property
    def wide(self) -> Rows | None:
        """The nearest rows (n, m) of all, each row itself among them; None where the metric is not fixed."""
        rows = np.arange(self._n)
        return self.find(rows, rows, self._count) if self._fixed else None


def nested_knn(
    x: ArrayLike | LonLat | Neighbourhood | Fitted,
    y: ArrayLike,
    split: Split | Folds,
    *,
    metric: Metric = "cosine",
    neighbours: tuple[int, ...] = NEIGHBOURS,
    shared: bool = False,
) -> Fit:
    """Out-of-fold means of the k nearest training rows, k chosen within the training rows of each fold.

    Neighbours are exact. Where there are fewer than k training rows, all of them count.

    Args:
        x: (n, d) vectors, or n points on the sphere (chord, the same order as great circles); or their
            Neighbourhood, which is quicker where several splits follow each other; or vectors that are fitted on
            training rows (`Fitted`), which are made anew, and searched, for each set of training rows.
        y: (n,) or (n, t) targets; classes as one-hot columns, whose means are class shares.
        split: the folds; inner folds are the other folds.
        metric: of vectors: "cosine", or "euclidean" of features standardised by the training rows.
        neighbours: the k to choose from.
        shared: one k for all targets (one-hot classes), else one for each.

    Raises:
        DataError: something is not finite, lengths differ, or a buffer leaves nothing to train on.
        UsageError: fewer than 3 folds, or an unknown metric.
    """
    ks = np.array(sorted(set(neighbours)), dtype=np.int64)
    lists: _Lists | _Refitted
    if callable(x):
        folds = as_folds(split, len(split))
        targets = as_targets(y, len(folds))
        lists = _Refitted(x, metric, int(ks[-1]), len(folds))
    else:
        around = x if isinstance(x, Neighbourhood) else Neighbourhood(x, metric)
        folds, targets = as_folds(split, len(around)), as_targets(y, len(around))
        lists = _Lists(around, folds, int(ks[-1]))
    losses = np.zeros((folds.k, len(ks), targets.shape[1]))
    for train, tested in folds.inner_pairs():
        for f, held in tested:
            guess = _means(lists.of(train, held), targets, ks)
            guess -= targets[held]
            losses[f] += np.einsum("kmt,kmt->kt", guess, guess)
    prediction = np.full(targets.shape, np.nan)
    columns = np.arange(targets.shape[1])
    chosen = []
    for f, test in enumerate(folds.tests):
        loss = losses[f]
        if shared:
            loss = np.broadcast_to(loss.sum(axis=1, keepdims=True), loss.shape)
        # The last of equal losses: the smoothest that does as well.
        best = len(ks) - 1 - np.argmin(loss[::-1], axis=0)
        guess = _means(lists.of(folds.allowed[f], test), targets, ks)
        prediction[test] = guess[best, :, columns].T
        k = np.unique(ks[best]) if shared else ks[best]
        chosen.append(
            {
                "fold": f,
                "n_train": int(folds.allowed[f].sum()),
                "n_test": len(test),
                "neighbours": int(k[0]) if len(k) == 1 else k.tolist(),
            }
        )
    return Fit(prediction, tuple(chosen))


def nearest(
    queries: NDArray[Any], gallery: NDArray[Any], count: int, bias: NDArray[Any] | None = None
) -> NDArray[np.int64]:
    """The rows (q, count) of the gallery with the largest dot product (plus bias), the best first; exact.

    A sample of each row of scores gives a threshold that a little more than `count` of them pass, so that only
    these are sorted: a tenth of the time of a partition of all.

    Args:
        queries: (q, d).
        gallery: (g, d).
        count: how many, at most g.
        bias: (g,) added to the scores.
    """
    count = min(count, len(gallery))
    out = np.empty((len(queries), count), dtype=np.int64)
    step = max(1, _SCORES_AT_ONCE // max(len(gallery), 1))
    for start in range(0, len(queries), step):
        scores = queries[start : start + step] @ gallery.T
        if bias is not None:
            scores += bias
        out[start : start + step] = _largest(scores, count)
    return out


def _largest(scores: NDArray[Any], count: int) -> NDArray[np.int64]:
    width = scores.shape[1]
    if width <= max(4 * count, _SAMPLE):
        return _sorted_top(scores, count)
    sample = scores[:, :: width // _SAMPLE]
    expected = count * sample.shape[1] / width
    take = min(int(np.ceil(expected + 4.0 * np.sqrt(expected) + 2.0)), sample.shape[1])
    threshold = np.partition(sample, -take, axis=1)[:, -take]
    # Of the flat array: six times as fast as of the rows.
    row, column = np.divmod(np.flatnonzero(scores >= threshold[:, None]), width)
    passed = np.bincount(row, minlength=len(scores))
    few = np.flatnonzero(passed < count)
    starts = np.cumsum(passed) - passed
    place = np.arange(len(row)) - starts[row]
    kept = np.full((len(scores), int(passed.max())), -np.inf, dtype=scores.dtype)
    names = np.zeros(kept.shape, dtype=np.int64)
    kept[row, place] = scores[row, column]
    names[row, place] = column
    out = np.take_along_axis(names, _sorted_top(kept, count), axis=1) if kept.shape[1] >= count else None
    if out is None:
        return _sorted_top(scores, count)
    if len(few):
        out[few] = _sorted_top(scores[few], count)
    return out


def _sorted_top(scores: NDArray[Any], count: int) -> NDArray[np.int64]:
    if count < scores.shape[1]:
        top = np.argpartition(scores, -count, axis=1)[:, -count:]
        top.sort(axis=1)
    else:
        top = np.broadcast_to(np.arange(count), scores.shape)
    order = np.argsort(-np.take_along_axis(scores, top, axis=1), axis=1, kind="stable")
    return np.take_along_axis(top, order, axis=1).astype(np.int64)


def _finder(vectors: NDArray[Any] | LonLat, metric: Metric) -> Finder:
    """The search for (train rows, query rows, count): the positions (queries, count) of the nearest training rows."""
    if isinstance(vectors, LonLat):
        points = vectors.unit()

        def on_sphere(train: Rows, rows: Rows, count: int) -> Rows:
            found = cKDTree(points[train]).query(points[rows], k=np.arange(1, min(count, len(train)) + 1))[1]
            return np.asarray(found, dtype=np.int64)

        return on_sphere
    space = vectors.astype(np.float64)
    if metric == "cosine":
        size = np.linalg.norm(space, axis=1, keepdims=True)
        unit = (space / np.where(size > 0.0, size, 1.0)).astype(np.float32)
        return lambda train, rows, count: nearest(unit[rows], unit[train], count)

    def standardised(train: Rows, rows: Rows, count: int) -> Rows:
        mean, sd = space[train].mean(axis=0), space[train].std(axis=0)
        scale = np.where(sd > 1e-12 * np.abs(mean), sd, np.inf)
        gallery = ((space[train] - mean) / scale).astype(np.float32)
        # |q − g|² orders as −(q·g − |g|²/2).
        bias = -0.5 * np.square(gallery).sum(axis=1)
        return nearest(((space[rows] - mean) / scale).astype(np.float32), gallery, count, bias)

    return standardised


class _Lists:
    """The nearest training rows of each row: made once for the outer folds, and thinned out for the inner ones."""

    def __init__(self, around: Neighbourhood, folds: Folds, longest: int) -> None:
        self.find = around.find
        self.longest = longest
        self.lists = np.full((len(folds), _SPARE * longest), -1, dtype=np.int64)
        for f, test in enumerate(folds.tests):
            train = folds.train(f)
            short = np.arange(len(test))
            if around.wide is not None:
                self.lists[test], count = _thin(around.wide[test], folds.allowed[f], _SPARE * longest)
                short = np.flatnonzero(count < min(3 * longest // 2, len(train)))
            if len(short):
                found = train[self.find(train, test[short], _SPARE * longest)]
                self.lists[test[short], : found.shape[1]] = found

    def of(self, train: NDArray[np.bool_], rows: Rows) -> Rows:
        """The `longest` rows nearest to each of `rows` in the mask `train`, -1 where there are fewer.

        The mask may hold no row but those that may train for the fold of `rows`.
        """
        out, count = _thin(self.lists[rows], train, self.longest)
        among = np.flatnonzero(train)
        short = np.flatnonzero(count < min(self.longest, len(among)))
        if len(short):
            found = among[self.find(among, rows[short], self.longest)]
            out[short, : found.shape[1]] = found
        return out


class _Refitted:
    """The same for vectors that are made anew from each set of training rows."""

    def __init__(self, make: Fitted, metric: Metric, longest: int, n: int) -> None:
        self.make, self.metric, self.longest, self.n = make, metric, longest, n
        self._train: Mask = np.zeros(0, dtype=bool)
        self._find: Finder | None = None

    def of(self, train: Mask, rows: Rows) -> Rows:
        """The `longest` rows nearest to each of `rows` in the mask `train`, -1 where there are fewer."""
        among = np.flatnonzero(train)
        # The two folds that share training rows are asked for one after the other.
        if self._find is None or not np.array_equal(train, self._train):
            self._train = train.copy()
            if self.metric not in ("cosine", "euclidean"):
                raise UsageError(f"neighbours by {self.metric!r} are unknown; choose cosine or euclidean")
            self._find = _finder(fitted_features(self.make, among, self.n), self.metric)
        out = np.full((len(rows), self.longest), -1, dtype=np.int64)
        found = among[self._find(among, rows, self.longest)]
        out[:, : found.shape[1]] = found
        return out


def _thin(lists: Rows, usable: NDArray[np.bool_], length: int) -> tuple[Rows, Rows]:
    """The first `length` usable rows of each list, -1 beyond them, and how many they are."""
    out = np.full((len(lists), length), -1, dtype=np.int64)
    allowed = (lists >= 0) & usable[lists]
    rank = np.cumsum(allowed, axis=1)
    row, column = np.nonzero(allowed & (rank <= length))
    out[row, rank[row, column] - 1] = lists[row, column]
    return out, np.minimum(rank[:, -1], length)


def _means(lists: Rows, targets: Floats, ks: NDArray[np.int64]) -> Floats:
    """The means (k, m, t) over the first rows of each list (m, longest), as many as each k says."""
    count = (lists >= 0).sum(axis=1)
    used = np.maximum(np.minimum(count, ks[:, None]), 1)
    out = np.zeros((len(ks), len(lists), targets.shape[1]))
    total = np.zeros(out.shape[1:])
    low = 0
    for i, high in enumerate(ks.tolist()):
        part = lists[:, low:high]
        row, column = np.nonzero(part >= 0)
        # Entries stand row by row already, so that nothing has to be sorted.
        ends = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=len(lists)))])
        picks = sparse.csr_array((np.ones(len(row)), part[row, column], ends), shape=(len(lists), len(targets)))
        total += picks @ targets
        np.divide(total, used[i][:, None], out=out[i])
        low = high
    return out
