"""The Index contract: the k best rows of a table for each query, by the metric of its Space.

Scores are larger for better rows, whatever the metric:

=======  ============================  ===================================================
metric   score                         range
=======  ============================  ===================================================
cosine   q·v / (|q| |v|)               -1 to 1; 0 for a row of zeros, which has no direction
dot      q·v                           any
l2       -|q - v|, the distance negated  0 (the same vector) downwards
=======  ============================  ===================================================

Equal scores (as float32) are ranked by row number. `placevec.testing.check_index` says all of it in asserts; a
new index subclasses `Index` and is held against that suite.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from placevec.errors import SpaceMismatch, StaleIndex, UsageError
from placevec.provenance import Space

Rows: TypeAlias = NDArray[np.int64]
Vectors: TypeAlias = NDArray[np.float32]
Found: TypeAlias = tuple[Rows, Vectors]
"""Rows (q, k) int64 padded with -1, and their scores (q, k) float32 padded with NaN, the best first."""


class Fingerprinted(Protocol):
    """What an index is made from: a table in memory or in a file."""

    @property
    def space(self) -> Space:
        """The Space of its vectors."""

    @property
    def num_rows(self) -> int:
        """The number of its rows."""

    def fingerprint(self) -> str:
        """The fingerprint of its content."""


class Index(ABC):
    """A search structure made from one table. It is disposable: the table is what counts.

    A subclass gives the attributes below and `_search`; checking of queries, k and rows is done here.

    Attributes:
        name: what kind of index it is, as the registry spells it.
        exact: whether `search` always finds the true best.
        reranks: whether an index that is not exact scores its finds by the vectors; if not, the planner does.
        narrows: whether `narrow` ever says anything.
        keeps: "vectors" that it can score by without its table, "rounded" ones, or nothing ("").
        space: the Space of its vectors.
        tower: the tower that made them.
        num_rows: the number of rows of its table.
    """

    name: str
    exact: bool
    reranks: bool = False
    narrows: bool = False
    keeps: str = ""
    space: Space
    tower: str
    num_rows: int

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """The fingerprint of the table that it was made from."""

    @abstractmethod
    def _search(self, queries: Vectors, k: int, rows: Rows | None) -> Found:
        """As `search`, with everything checked: q > 0 queries, 1 <= k <= number of allowed rows.

        `rows` are sorted, unique and fewer than all, or None.
        """

    def search(self, queries: NDArray[Any], k: int, rows: NDArray[np.integer[Any]] | None = None) -> Found:
        """The k best rows for each query.

        Args:
            queries: (q, d) vectors of `space`.
            k: how many rows to find for each.
            rows: the row numbers that may be found, in any order; all if absent.

        Returns:
            Rows (q, k) int64 and scores (q, k) float32, the best first, ties by row number. Where there are fewer
            rows than k the rest is -1 and NaN.

        Raises:
            SpaceMismatch: the queries have another number of components.
            UsageError: k < 1, a row that does not exist, a query that is not finite or, with cosine, all zero.
        """
        wanted = check_queries(queries, self.space)
        k = check_k(k)
        return self.find(wanted, k, None if rows is None else check_rows(rows, self.num_rows))

    def find(self, queries: Vectors, k: int, rows: Rows | None) -> Found:
        """As `search`, for a caller who has checked everything: `check_queries`, `check_k`, and sorted unique rows."""
        if rows is not None and len(rows) == self.num_rows:
            rows = None
        reach = min(k, self.num_rows if rows is None else len(rows))
        if reach == k and len(queries):
            return self._search(queries, k, rows)
        found = np.full((len(queries), k), -1, dtype=np.int64)
        scores = np.full((len(queries), k), np.nan, dtype=np.float32)
        if len(queries) and reach:
            found[:, :reach], scores[:, :reach] = self._search(queries, reach, rows)
        return found, scores

    def narrow(self, queries: Vectors, k: int, rows: Sequence[Rows]) -> list[Rows | None]:
        """Of the `rows` of each query those among which its k best probably are: sorted, maybe fewer than k.

        None where the index has no cheap way to say so, or knows none for so few rows. Arguments are checked.
        """
        return [None] * len(rows)

    def scan_each(self, queries: Vectors, k: int, rows: Sequence[Rows]) -> list[Found]:
        """All `rows` of each query scored by the vectors that the index `keeps`, in shapes (1, k)."""
        raise NotImplementedError(f"an index of the kind {self.name!r} keeps no vectors")

    def check(self, table: Fingerprinted) -> None:
        """Raise StaleIndex unless the index was made from `table` as it is now; SpaceMismatch for another Space."""
        self.space.require(table.space, f"searching with the index {self.name!r}")
        if table.num_rows != self.num_rows:
            raise StaleIndex(
                f"the index {self.name!r} knows {self.num_rows} rows, the table has {table.num_rows}: build it again"
            )
        now = table.fingerprint()
        if now != self.fingerprint:
            raise StaleIndex(
                f"the index {self.name!r} was made from another state of the table ({self.fingerprint}, now {now}): "
                "build it again"
            )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.num_rows:,} rows, {self.space.label})"


def check_k(k: int) -> int:
    """`k`, or UsageError where it is no number of rows that can be found."""
    if isinstance(k, bool) or int(k) != k or k < 1:
        raise UsageError(f"{k} best rows cannot be found; ask for a whole number from 1")
    return int(k)


def check_queries(queries: NDArray[Any], space: Space) -> Vectors:
    """The queries as contiguous float32 (q, d); for what is refused see `Index.search`."""
    wanted = np.asarray(queries)
    if wanted.ndim != 2 or wanted.dtype.kind not in "fiu":
        raise UsageError(f"queries are numbers of the shape (q, d), not {wanted.dtype} {wanted.shape}")
    if wanted.shape[1] != space.dims:
        raise SpaceMismatch(f"queries of {wanted.shape[1]} components do not belong to the Space {space.label}")
    out = np.ascontiguousarray(wanted, dtype=np.float32)
    bad = ~np.isfinite(out).all(axis=1)
    if bad.any():
        raise UsageError(f"query {int(np.argmax(bad))} holds a value that is not finite; mend or leave it out")
    if space.metric == "cosine":
        zero = ~out.any(axis=1)
        if zero.any():
            raise UsageError(f"query {int(np.argmax(zero))} is all zero and has no direction to compare by")
    return out


def check_rows(rows: NDArray[Any], count: int) -> Rows:
    """The row numbers sorted and unique; UsageError if one is not a row of a table of `count` rows."""
    given = np.asarray(rows)
    if given.ndim != 1 or (len(given) and given.dtype.kind not in "iu"):
        raise UsageError(f"rows are a 1-D array of whole numbers, not {given.dtype} {given.shape}")
    allowed = given.astype(np.int64, copy=False)
    if len(allowed) > 1 and not (np.diff(allowed) > 0).all():
        allowed = np.unique(allowed)
    if len(allowed) and (allowed[0] < 0 or allowed[-1] >= count):
        bad = allowed[0] if allowed[0] < 0 else allowed[-1]
        raise UsageError(f"row {int(bad)} does not exist: the table has {count} rows")
    return allowed


def exact_scores(queries: Vectors, vectors: Vectors, space: Space) -> Vectors:
    """The score (...) of each pair of `queries` and `vectors` (..., d), which broadcast, as float32.

    Sums are made in float64 in an order that only d decides: one pair has one score, in whatever company it comes.
    """
    q, v = queries.astype(np.float64), vectors.astype(np.float64)
    if space.metric == "l2":
        apart = q - v
        scores = 0.0 - np.sqrt(_products(apart, apart))  # 0.0 - 0.0 is 0.0, while -(0.0) is -0.0
    else:
        scores = _products(q, v)
    if space.metric == "cosine":
        lengths = np.sqrt(_products(q, q)) * np.sqrt(_products(v, v))
        scores = np.divide(scores, lengths, out=np.zeros_like(scores), where=lengths != 0)
        scores = np.clip(scores, -1.0, 1.0)
    return np.asarray(scores, dtype=np.float32)


def _products(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """The products (...) of the vectors (..., d), which broadcast."""
    # A row times a column is the one product of matrices that is summed pair by pair, in an order that only d decides.
    a, b = np.ascontiguousarray(a), np.ascontiguousarray(b)
    out: NDArray[np.float64] = np.matmul(a[..., None, :], b[..., :, None])[..., 0, 0]
    return out


def best_of(query: Rows, rows: Rows, scores: Vectors, queries: int, k: int) -> Found:
    """The k best of a list of (query, row, score), each query with at least k; ties by row number."""
    order = np.lexsort((rows, -scores, query))
    query = query[order]
    starts = np.searchsorted(query, np.arange(queries))
    at = order[starts[:, None] + np.arange(k)]
    return rows[at], scores[at]
