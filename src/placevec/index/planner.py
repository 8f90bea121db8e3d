"""From a filter to hits: which rows may be found, which way of searching fits, and what was done in words.

Filters are resolved to row numbers before anything is scored. Asking an approximate index first and filtering its
finds returns short lists: at 1 % selectivity a graph index keeps a fifth of the true neighbours.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from placevec.errors import UsageError
from placevec.geo.boxes import in_circle
from placevec.geo.sphere import LonLat
from placevec.index.base import Index, Rows, Vectors, check_k, check_rows
from placevec.index.exact import ExactIndex
from placevec.results import Hits, Plan
from placevec.table import EmbeddingTable, Filter, Places, StoredTable

# Up to this many candidates an exact scan is as fast as asking an approximate index, and right.
EXACT_ROWS = 250_000
_OVERSAMPLE = 4
# So many excluded rows are asked for on top and dropped; more of them are taken out before the search.
_DROP_ROWS = 64
_WORLD = (-180.0, -90.0, 180.0, 90.0)


@dataclass(frozen=True)
class Around:
    """A circle whose rows are not to be found, because they are too near to the query's own place."""

    centre: LonLat
    metres: float


@dataclass(frozen=True)
class _Candidates:
    """Rows that may be found (None: all), those of them that may not after all, and the counts for the plan."""

    rows: Rows | None
    excluded: Rows
    count: int
    unlocated: int
    filtered: bool


class Planner:
    """Searches one table, by whatever way fits the number of rows that may be found.

    Args:
        table: in memory or stored.
        index: an index of it, asked where there are more than `EXACT_ROWS` candidates; exact search without one.

    Raises:
        StaleIndex: the index was made from another table, or another state of it.
    """

    def __init__(self, table: EmbeddingTable | StoredTable, index: Index | None = None) -> None:
        if index is not None:
            index.check(table)
        self.table = table
        self.exact = index if isinstance(index, ExactIndex) else ExactIndex(table)
        self.index = None if isinstance(index, ExactIndex) else index

    def search(
        self,
        query: NDArray[np.float32],
        k: int = 10,
        *,
        filter: Filter | None = None,
        exclude: Sequence[int] | Rows = (),
        around: Around | None = None,
        columns: Sequence[str] | None = None,
    ) -> Hits:
        """The k best rows for one query (d,); see `search_many`."""
        if np.ndim(query) != 1:
            raise UsageError(f"one query is a vector (d,), not {np.shape(query)}: many go through `search_many`")
        asked = np.asarray(query)[None, :]
        return self.search_many(asked, k, filter=filter, exclude=exclude, around=around, columns=columns)[0]

    def search_many(
        self,
        queries: NDArray[np.float32],
        k: int = 10,
        *,
        filter: Filter | None = None,
        exclude: Sequence[int] | Rows = (),
        around: Around | None = None,
        columns: Sequence[str] | None = None,
    ) -> list[Hits]:
        """The k best rows for each of the queries (q, d), each with the plan that all of them shared.

        Args:
            queries: vectors of the table's Space.
            k: hits wanted for each; fewer come back, and the plan's note says so, if fewer rows may be found.
            filter: which rows may be found.
            exclude: row numbers that may not, such as that of the query itself.
            around: circles whose rows may not; rows without a geometry may not then either.
            columns: attributes of the hits; all by default.

        Raises:
            SpaceMismatch, UsageError: see `Index.search`.
        """
        began = time.perf_counter()
        k = check_k(k)
        allowed = self._candidates(filter, exclude, around)
        index = self.index if self.index is not None and allowed.count > EXACT_ROWS else self.exact
        rows, scores = self._ask(index, np.asarray(queries), k, allowed)
        name = "filter-then-exact" if allowed.filtered else "scan"
        plan = Plan(
            name=name if index is self.exact else "ann-then-exact",
            exact=index.exact,
            candidates=allowed.count,
            total=self.table.num_rows,
            unlocated=allowed.unlocated,
            note=_note(k, allowed, self.table.num_rows),
        )
        hits = []
        for found, score in zip(rows, scores, strict=True):
            real = found >= 0
            hits.append(Hits(found[real], score[real], self.places(found[real], columns), plan))
        seconds = time.perf_counter() - began
        return [replace(hit, plan=replace(plan, seconds=seconds)) for hit in hits]

    def places(self, rows: Rows, columns: Sequence[str] | None = None) -> Places:
        """The rows with the numbers given, without vectors."""
        if isinstance(self.table, StoredTable):
            return self.table.places(columns, rows)
        names = [n for n in self.table.data.schema.names if n not in ("embedding", "bbox")]
        names = [n for n in names if columns is None or n in {*columns, "id", "geometry"}]
        return Places(self.table.data.select(names)).take(rows)

    def _candidates(self, filter: Filter | None, exclude: Sequence[int] | Rows, around: Around | None) -> _Candidates:
        total = self.table.num_rows
        excluded = check_rows(np.asarray(exclude, dtype=np.int64), total)
        filtered = filter is not None and not filter.empty
        conditions = filter or Filter()
        if around is not None:
            conditions = conditions if conditions.geographic else replace(conditions, bbox=_WORLD)
            filtered = True
        if not filtered:
            if len(excluded) <= _DROP_ROWS:
                return _Candidates(None, excluded, total - len(excluded), 0, False)
            rows: Rows = np.arange(total, dtype=np.int64)
            unlocated = 0
        else:
            rows, unlocated = self.table.resolve(conditions)
        if around is not None:
            excluded = np.union1d(excluded, self._within(around))
        if len(excluded):
            rows = rows[~np.isin(rows, excluded, assume_unique=True)]
        return _Candidates(rows, np.empty(0, dtype=np.int64), len(rows), unlocated, filtered)

    def _within(self, around: Around) -> Rows:
        """The rows in any of the circles."""
        found = [np.empty(0, dtype=np.int64)]
        for centre in around.centre:
            near = Filter(near=(float(centre.lon[0]), float(centre.lat[0]), around.metres))
            if isinstance(self.table, EmbeddingTable):
                found.append(np.flatnonzero(in_circle(self.table.lon, self.table.lat, centre, around.metres)))
            else:
                found.append(self.table.resolve(near)[0])
        return np.unique(np.concatenate(found))

    def _ask(self, index: Index, queries: Vectors, k: int, allowed: _Candidates) -> tuple[Rows, Vectors]:
        if allowed.rows is not None and not len(allowed.rows):
            # The queries are looked at even so: a mistake must not depend on what the filter lets through.
            return index.search(queries, k, allowed.rows)
        wanted = k + len(allowed.excluded)
        if index.exact or index.reranks:
            rows, scores = index.search(queries, wanted, allowed.rows)
        else:
            rows, scores = self._rerank(index, queries, wanted, allowed.rows)
        if not len(allowed.excluded):
            return rows, scores
        keep = ~np.isin(rows, allowed.excluded)
        order = np.argsort(~keep, axis=1, kind="stable")[:, :k]
        rows = np.where(keep, rows, -1)
        scores = np.where(keep, scores, np.float32(np.nan))
        return np.take_along_axis(rows, order, axis=1), np.take_along_axis(scores, order, axis=1)

    def _rerank(self, index: Index, queries: Vectors, k: int, rows: Rows | None) -> tuple[Rows, Vectors]:
        """More finds of an approximate index than asked for, each scored exactly."""
        found, _ = index.search(queries, _OVERSAMPLE * k, rows)
        pairs = [
            self.exact.search(query[None, :], k, near[near >= 0]) for query, near in zip(queries, found, strict=True)
        ]
        return np.concatenate([pair[0] for pair in pairs]), np.concatenate([pair[1] for pair in pairs])


def _note(k: int, allowed: _Candidates, total: int) -> str:
    if total == 0:
        return "the table is empty"
    if allowed.count == 0:
        left_out = f"; {allowed.unlocated:,} rows have no geometry" if allowed.unlocated else ""
        return f"no row passes the filter{left_out}: widen it" if allowed.filtered else "no row is left to be found"
    if allowed.count < k:
        return f"{k} hits were asked for, only {allowed.count} rows may be found"
    return ""
