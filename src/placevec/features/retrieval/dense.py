"""The rows of a small bank most like a query, all of them scored at once.

An index is asked for more rows than are wanted, since some do not count; a buffer in a region may forbid most of those
most alike. Where the bank is small it takes less time to score all rows and strike out those that do not count.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from placevec.features.retrieval.bank import Rows, Vectors
from placevec.features.retrieval.masks import Queries
from placevec.index.base import Index

MOST = 16_384
"""Banks of more rows are searched by their index."""

_SCORES_AT_ONCE = 4 << 20


def is_small(index: Index, queries: Queries) -> bool:
    """Whether all rows are scored: the search is exact, and its score is a product (of l2 it would lose digits)."""
    return index.exact and len(queries.bank) <= MOST and index.space.metric in ("cosine", "dot")


def best_rows(queries: Queries, k: int, asked: Rows, rows: Rows, scores: Vectors) -> None:
    """Fill in the best rows and scores (b, k) of the queries `asked`; ties by row number."""
    bank = queries.bank
    assert bank.keys is not None
    assert bank.key_space is not None
    cosine = bank.key_space.metric == "cosine"
    keys = bank.keys.astype(np.float64)
    if cosine:
        keys = _directions(keys)
    some = min(k, len(bank))
    for start in range(0, len(asked), max(1, _SCORES_AT_ONCE // len(bank))):
        part = asked[start : start + max(1, _SCORES_AT_ONCE // len(bank))]
        wanted = queries.vectors[part].astype(np.float64)
        if cosine:
            wanted = _directions(wanted)
        # In float64 rounding is lost below the last digit of float32, so that batches do not show.
        score = (wanted @ keys.T).astype(np.float32)
        score[~queries.take(part).usable_rows()] = -np.inf
        found = _largest(score, some)
        best = np.take_along_axis(score, found, axis=1)
        held = best > -np.inf
        rows[part, :some] = np.where(held, found, -1)
        scores[part, :some] = np.where(held, best, np.nan)


def _directions(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    turned: NDArray[np.float64] = np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0.0)
    return turned


def _largest(scores: Vectors, k: int) -> Rows:
    """The columns (b, k) of the k largest scores of each line, the largest first, ties by column."""
    last = np.partition(scores, scores.shape[1] - k, axis=1)[:, [-k]]
    good = scores >= last
    for line in np.flatnonzero(good.sum(axis=1) > k).tolist():
        even = np.flatnonzero(scores[line] == last[line])
        good[line, even[k - np.count_nonzero(scores[line] > last[line]) :]] = False
    column = np.nonzero(good)[1].reshape(len(scores), k)
    order = np.argsort(-np.take_along_axis(scores, column, axis=1), axis=1, kind="stable")
    found: Rows = np.take_along_axis(column, order, axis=1)
    return found
