"""The bank rows most like a query, and the one nearest to it, among those that count."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from placevec.features.retrieval.bank import Rows, Vectors
from placevec.features.retrieval.dense import best_rows, is_small
from placevec.features.retrieval.levels import Level, joined
from placevec.features.retrieval.masks import Queries
from placevec.index.base import Index

# More rows than wanted are fetched, since some will not count; then ever more for those queries that lack some.
_SPARE = 8
_GROWTH = 4
_FAR = 16
_CELLS_PER_BUFFER = 6.0


def most_alike(index: Index, queries: Queries, k: int) -> tuple[Rows, Vectors]:
    """The k rows (b, k) most like each query that count, the best first, and their scores; padded with -1 and NaN.

    Queries that have no direction to compare by (all zero, in a Space of cosines) find nothing.
    """
    n = len(queries.bank)
    rows = np.full((len(queries), k), -1, dtype=np.int64)
    scores = np.full((len(queries), k), np.nan, dtype=np.float32)
    open_ = np.flatnonzero(queries.vectors.any(axis=1)) if index.space.metric == "cosine" else np.arange(len(queries))
    if is_small(index, queries):
        best_rows(queries, k, open_, rows, scores)
        return rows, scores
    if queries.masks.max_m is not None:
        _each(index, queries, open_, k, rows, scores)
        return rows, scores
    fetch = min(n, k + _SPARE)
    while len(open_):
        found, score = index.search(queries.vectors[open_], fetch)
        query, at = np.nonzero(found >= 0)
        good = np.zeros(found.shape, dtype=bool)
        good[query, at] = queries.usable(open_[query], found[query, at])
        rank = np.cumsum(good, axis=1)
        query, at = np.nonzero(good & (rank <= k))
        to = rank[query, at] - 1
        rows[open_] = -1
        rows[open_[query], to], scores[open_[query], to] = found[query, at], score[query, at]
        # An approximate index may have no more to give: then what it gave has to do, if it is anything.
        gave_all = (found[:, -1] < 0) & (rank[:, -1] > 0)
        short = (rank[:, -1] < min(k, n)) & ~gave_all
        if fetch == n:
            break
        open_ = open_[short]
        if len(open_) and (fetch * _GROWTH > n or fetch >= _FAR * (k + _SPARE)):
            _each(index, queries, open_, k, rows, scores)
            break
        fetch = min(n, fetch * _GROWTH)
    return rows, scores


def _each(index: Index, queries: Queries, asked: Rows, k: int, rows: Rows, scores: Vectors) -> None:
    """Fill in the answers of the queries `asked`, each searched for among the rows that count for it."""
    bank, high = queries.bank, queries.masks.high
    for query in asked.tolist():
        if queries.masks.max_m is None:
            some = np.arange(len(bank))
        elif queries.located[query]:
            some = bank.tree_rows[np.asarray(bank.tree.query_ball_point(queries.unit[query], high), dtype=np.int64)]
        else:
            continue
        allowed = np.sort(some[queries.usable(np.full(len(some), query), some)])
        if not len(allowed):
            rows[query] = -1
            continue
        found, score = index.search(queries.vectors[[query]], k, allowed)
        rows[query], scores[query] = found[0], score[0]


def nearest(queries: Queries) -> tuple[Rows, NDArray[np.float64]]:
    """The nearest row (b,) that counts and the chord to it; -1 and NaN where no row counts."""
    bank = queries.bank
    row = np.full(len(queries), -1, dtype=np.int64)
    chord = np.full(len(queries), np.nan)
    asked = np.flatnonzero(queries.located)
    count = len(bank.tree_rows)
    k = 2
    while len(asked) and count:
        k = min(k, count)
        away, at = bank.tree.query(queries.unit[asked], k=np.arange(1, k + 1))
        candidates = bank.tree_rows[np.asarray(at)]
        flat = np.repeat(np.arange(len(asked)), k)
        good = queries.usable(asked[flat], candidates.reshape(-1)).reshape(candidates.shape)
        first, found = good.argmax(axis=1), good.any(axis=1)
        lines = np.flatnonzero(found)
        row[asked[lines]] = candidates[lines, first[lines]]
        chord[asked[lines]] = np.asarray(away)[lines, first[lines]]
        # Whose farthest candidate is out of reach finds none that is nearer.
        beyond = np.asarray(away)[:, -1] > queries.masks.high
        asked = asked[~found & ~beyond]
        if k == count:
            break
        if queries.masks.buffer_m > 0.0 and k > _SPARE:
            _outside(queries, asked, row, chord)
            break
        k *= _GROWTH
    return row, chord


def _outside(queries: Queries, asked: Rows, row: Rows, chord: NDArray[np.float64]) -> None:
    """Fill in the nearest rows outside the buffer, which may hold thousands: by cells, of which few are opened."""
    level = Level.of(queries.bank, queries.masks.low / _CELLS_PER_BUFFER)
    radius = 1.5 * queries.masks.low + 2.0 * level.widest
    while len(asked):
        for some, pairs in level.near(queries.take(asked), np.full(len(asked), min(radius, 2.1))):
            part = queries.take(asked[some])
            whole, opened = level.judge(part, pairs)
            # No row farther than the far side of a cell that counts as a whole can be the nearest.
            bound = np.full(len(some), np.inf)
            np.minimum.at(bound, whole.query, whole.chord + level.reach[whole.at])
            both = [cells.where(cells.chord - level.reach[cells.at] <= bound[cells.query]) for cells in (whole, opened)]
            rows = joined(level.open(part, joined(both)))
            order = np.lexsort((rows.at, rows.chord, rows.query))
            query, first = np.unique(rows.query[order], return_index=True)
            best = order[first]
            # A cell whose mean place lies beyond the radius may still hold a nearer row, unless this one is nearer yet.
            sure = (rows.chord[best] <= radius - level.widest) | (radius > 2.1)
            row[asked[some[query[sure]]]] = rows.at[best[sure]]
            chord[asked[some[query[sure]]]] = rows.chord[best[sure]]
        if radius > 2.1:
            return
        asked = asked[row[asked] < 0]
        radius *= 2.0
