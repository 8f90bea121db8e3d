"""From a filter to hits: which rows may be found, which way of searching fits, and what was done in words.

Filters are resolved to row numbers before anything is scored. Asking an approximate index first and filtering its
finds returns short lists: at 1 % selectivity a graph index keeps a fifth of the true neighbours.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple, TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from placevec.errors import UsageError
from placevec.geo.sphere import LonLat
from placevec.index.base import Found, Index, Rows, Vectors, check_k, check_queries, check_rows
from placevec.index.exact import ExactIndex
from placevec.index.exact_each import find_each
from placevec.index.hit_places import PlacesOfRows
from placevec.index.resolve import Resolver
from placevec.results import Hits, Plan
from placevec.table import EmbeddingTable, Filter, Places, StoredTable

# Up to so many candidates, and so many components of their vectors, an exact scan is as fast as asking an approximate
# index for those that may be found, and right: 125,000 rows of 64 dims, 15,600 of 512, some 2 ms of one core.
EXACT_ROWS = 250_000
EXACT_WORK = 8_000_000
# An index that knows the cells of its rows says in a few nanoseconds for each which are worth scoring. That pays from
# some 150,000 components on (0.05 ms, with 64 dims and with 512); up to here scoring all costs at most half as much
# again and misses nothing.
NARROW_WORK = 1 << 18
_OVERSAMPLE = 4
# Where finds are too few, so many times as many are asked for.
_GROW = 4
# So many excluded rows are asked for on top and dropped; more of them are taken out before the search.
_DROP_ROWS = 64
# Row numbers of so many candidates wait to be scanned together.
_HELD_ROWS = 4_000_000
# So many filters are resolved together.
_TOGETHER = 64
_WORLD = (-180.0, -90.0, 180.0, 90.0)
_NONE: Rows = np.empty(0, dtype=np.int64)


class _Way(NamedTuple):
    """How hits were found: what a `Plan` says but for the time, which is known when all are there."""

    name: str
    exact: bool
    candidates: int
    unlocated: int
    note: str
    grown: int = 0


_Found: TypeAlias = tuple[Rows, Vectors, _Way]
"""Rows and scores of one query, padded, and how they were found."""


def exact_rows(dims: int) -> int:
    """Up to how many candidates of `dims` components are scanned exactly though there is an index."""
    return min(EXACT_ROWS, EXACT_WORK // max(1, dims))


_Group: TypeAlias = tuple[Filter | None, list[int]]
"""A filter, and the queries that it is for."""


@dataclass(frozen=True)
class Around:
    """A circle whose rows are not to be found, because they are too near to the query's own place."""

    centre: LonLat
    metres: float


class _Candidates(NamedTuple):
    """Rows that may be found (None: all), those of them that may not after all, and the counts for the plan."""

    rows: Rows | None
    excluded: Rows
    number: int
    unlocated: int
    filtered: bool


class Planner:
    """Searches one table, by whatever way fits the number of rows that may be found.

    What many filters need is kept ready from the moment when that pays, see `index.resolve`; keep a planner as long
    as there are queries.

    Args:
        table: in memory or stored.
        index: an index of it, asked where there are more candidates than `exact_rows`, and which of them are worth
            scoring where they have more than `NARROW_WORK` components; exact search without one.

    Raises:
        StaleIndex: the index was made from another table, or another state of it.
    """

    def __init__(self, table: EmbeddingTable | StoredTable, index: Index | None = None) -> None:
        if index is not None:
            index.check(table)
        self.table = table
        self.exact = index if isinstance(index, ExactIndex) else ExactIndex(table)
        self.index = None if isinstance(index, ExactIndex) else index
        self.resolver = Resolver(table)
        # To fetch a row from a file costs as much as to score a thousand that are mapped.
        self._keeper = self.index if isinstance(table, StoredTable) and self.index and self.index.keeps else None

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
        filter: Filter | Sequence[Filter | None] | None = None,
        exclude: Sequence[int] | Rows = (),
        around: Around | None = None,
        columns: Sequence[str] | None = None,
    ) -> list[Hits]:
        """The k best rows for each of the queries (q, d), each with the plan of its filter.

        Args:
            queries: vectors of the table's Space.
            k: hits wanted for each; fewer come back, and the plan's note says so, if fewer rows may be found.
            filter: which rows may be found: one filter for all, or one for each query. Queries whose filter is the
                same object are searched together.
            exclude: row numbers that may not, such as that of the query itself.
            around: circles whose rows may not; rows without a geometry may not then either.
            columns: attributes of the hits; all by default.

        Raises:
            SpaceMismatch, UsageError: see `Index.search`; or there is another number of filters than of queries.
        """
        began = time.perf_counter()
        k = check_k(k)
        asked = check_queries(np.asarray(queries), self.table.space)
        found: list[_Found] = [(_NONE, np.empty(0, np.float32), _NO_WAY)] * len(asked)
        groups = _groups(filter, len(asked))
        self.resolver.expect(sum(chosen is not None for chosen, _ in groups))
        away = self._away(exclude, around)
        single: list[tuple[int, _Candidates]] = []
        held = 0
        narrows = self.index is not None and self.index.narrows
        for (_, members), allowed in self._resolved(groups, away, around is not None):
            index: Index = self.exact
            if self.index is not None and allowed.number > exact_rows(self.table.space.dims):
                index = self.index
            alone = len(members) == 1 and allowed.rows is not None
            if alone and (narrows or (index is self.exact and (len(groups) > 1 or self._keeper is not None))):
                single.append((members[0], allowed))
                held += allowed.number
                if held > _HELD_ROWS:
                    self._scan(single, asked, k, found)
                    held = 0
                continue
            whole = len(members) == len(asked)
            rows, scores, grown = self._ask(index, asked if whole else asked[members], k, allowed)
            plan = self._way(index, k, allowed)
            for at, member in enumerate(members):
                own = plan if not grown[at] else plan._replace(grown=int(grown[at]))
                found[member] = (rows[at], scores[at], own)
        self._scan(single, asked, k, found)
        return self._hits(found, columns, began)

    def prepare(self) -> None:
        """Get everything ready that filters need, which else happens when it pays: for a server, before it serves."""
        self.resolver.prepare()

    def places(self, rows: Rows, columns: Sequence[str] | None = None) -> Places:
        """The rows with the numbers given, without vectors."""
        if isinstance(self.table, StoredTable):
            return self.table.places(columns, rows)
        return PlacesOfRows(self._shown(columns), rows)

    def _shown(self, columns: Sequence[str] | None) -> pa.Table:
        """The columns of a table in memory that hits have."""
        assert isinstance(self.table, EmbeddingTable)
        wanted = None if columns is None else (*columns, "id", "geometry")
        if wanted not in self._selected:
            names = [n for n in self.table.data.schema.names if n not in ("embedding", "bbox")]
            self._selected[wanted] = self.table.data.select([n for n in names if wanted is None or n in wanted])
        return self._selected[wanted]

    @cached_property
    def _selected(self) -> dict[tuple[str, ...] | None, pa.Table]:
        return {}

    def _hits(self, found: Sequence[_Found], columns: Sequence[str] | None, began: float) -> list[Hits]:
        """Rows, scores and plan of each query as hits; rows that are -1 are none."""
        real = [rows if not len(rows) or rows[-1] >= 0 else rows[rows >= 0] for rows, _, _ in found]
        if isinstance(self.table, StoredTable) and len(real) > 1:
            # Read once for all of them: a row of a file costs as much as a thousand.
            wanted = np.unique(np.concatenate(real))
            together = self.places(wanted, columns).data
            places: list[Places] = [PlacesOfRows(together, np.searchsorted(wanted, rows)) for rows in real]
        else:
            places = [self.places(rows, columns) for rows in real]
        seconds = time.perf_counter() - began
        plans: dict[_Way, Plan] = {}
        hits = []
        for (_, scores, way), rows, own in zip(found, real, places, strict=True):
            plan = plans.get(way)
            if plan is None:
                plan = Plan(way[0], way[1], way[2], self.table.num_rows, way[3], seconds, way[4], way[5])
                plans[way] = plan
            hits.append(Hits(rows, scores[: len(rows)], own, plan))
        return hits

    def _scan(self, single: list[tuple[int, _Candidates]], asked: Vectors, k: int, found: list[_Found]) -> None:
        """Scan for queries with rows of their own, all together; they go from `single` to `found`."""
        if not single:
            return
        own = [allowed.rows for _, allowed in single if allowed.rows is not None]
        members = [member for member, _ in single]
        queries = asked if members == list(range(len(asked))) else asked[members]
        near, grown = self._narrowed(queries, k, own)
        keeper = self._keeper
        pairs = find_each(self.exact, queries, k, near) if keeper is None else keeper.scan_each(queries, k, near)
        rounded = keeper is not None and keeper.keeps == "rounded"
        for at, ((member, allowed), (rows, scores)) in enumerate(zip(single, pairs, strict=True)):
            whole = near[at] is own[at]
            way = self._way(self.exact if whole or self.index is None else self.index, k, allowed)
            if rounded and way.exact:
                way = way._replace(exact=False)
            found[member] = (rows[0], scores[0], way._replace(grown=1) if at in grown else way)
        single.clear()

    def _narrowed(self, queries: Vectors, k: int, rows: list[Rows]) -> tuple[list[Rows], set[int]]:
        """The rows of each query that are worth scoring, and which queries are left with all after fewer were tried."""
        if self.index is None or not self.index.narrows:
            return rows, set()
        least = NARROW_WORK // max(1, self.table.space.dims)
        many = [at for at, own in enumerate(rows) if len(own) > least]
        near, grown = list(rows), set()
        if many:
            some = self.index.narrow(queries if len(many) == len(rows) else queries[many], k, [rows[at] for at in many])
            for at, own in zip(many, some, strict=True):
                if own is not None and len(own) >= k:
                    near[at] = own
                elif own is not None:
                    grown.add(at)
        return near, grown

    def _way(self, index: Index, k: int, allowed: _Candidates) -> _Way:
        name = "filter-then-exact" if allowed.filtered else "scan"
        if index is not self.exact:
            name = "ann-then-exact"
        note = "" if allowed.number >= k else _note(k, allowed, self.table.num_rows)
        return _Way(name, index.exact, allowed.number, allowed.unlocated, note)

    def _away(self, exclude: Sequence[int] | Rows, around: Around | None) -> Rows:
        """The rows that may not be found: those named, and those in any of the circles."""
        excluded = check_rows(np.asarray(exclude, dtype=np.int64), self.table.num_rows)
        if around is None:
            return excluded
        circles = [self.resolver.circle(centre, around.metres) for centre in around.centre]
        return np.unique(np.concatenate([excluded, *circles]))

    def _resolved(self, groups: list[_Group], away: Rows, around: bool) -> Iterator[tuple[_Group, _Candidates]]:
        """Each group with the rows that it may find; many filters are resolved together."""
        for start in range(0, len(groups), _TOGETHER):
            part = groups[start : start + _TOGETHER]
            filters = [chosen for chosen, _ in part if chosen is not None and not chosen.empty]
            if around or len(away) or len(filters) < len(part):
                for group in part:
                    yield group, self._candidates(group[0], away, around)
                continue
            for group, (rows, unlocated) in zip(part, self.resolver.resolve_many(filters), strict=True):
                yield group, _Candidates(rows, _NONE, len(rows), unlocated, True)

    def _candidates(self, filter: Filter | None, excluded: Rows, around: bool) -> _Candidates:
        total = self.table.num_rows
        filtered = filter is not None and not filter.empty
        conditions = filter or Filter()
        if around:
            conditions = conditions if conditions.geographic else replace(conditions, bbox=_WORLD)
            filtered = True
        if not filtered:
            if len(excluded) <= _DROP_ROWS:
                return _Candidates(None, excluded, total - len(excluded), 0, False)
            rows: Rows = np.arange(total, dtype=np.int64)
            unlocated = 0
        else:
            rows, unlocated = self.resolver.resolve(conditions)
        if len(excluded):
            rows = rows[~np.isin(rows, excluded, assume_unique=True)]
        return _Candidates(rows, _NONE, len(rows), unlocated, filtered)

    def _ask(
        self, index: Index, queries: Vectors, k: int, allowed: _Candidates
    ) -> tuple[Rows, Vectors, NDArray[np.int64]]:
        """Rows and scores (q, k), and how often each query (q,) was asked again.

        An approximate index may name too few rows that are allowed. It is asked for more of them then, and when it
        has been asked for all, they are scanned: k hits come back wherever k rows may be found.
        """
        grown = np.zeros(len(queries), dtype=np.int64)
        reach = min(k, allowed.number)
        if index.exact:
            rows, scores = self._found(index, queries, k, k + len(allowed.excluded), allowed)
            return rows, scores, grown
        wanted = k + len(allowed.excluded)
        rows, scores = self._found(index, queries, k, wanted, allowed)
        short = np.flatnonzero(rows[:, reach - 1] < 0) if reach else _NONE
        while len(short):
            grown[short] += 1
            wanted *= _GROW
            last = wanted >= allowed.number
            asked = self.exact if last else index
            count = k + len(allowed.excluded) if last else wanted
            rows[short], scores[short] = self._found(asked, queries[short], k, count, allowed)
            short = short[rows[short, reach - 1] < 0]
        return rows, scores, grown

    def _found(self, index: Index, queries: Vectors, k: int, wanted: int, allowed: _Candidates) -> Found:
        """The k best of `wanted` finds of an index, without those that are excluded."""
        if index.exact or index.reranks:
            rows, scores = index.find(queries, wanted, allowed.rows)
        else:
            rows, scores = self._rerank(index, queries, wanted, allowed.rows)
        if len(allowed.excluded):
            keep = ~np.isin(rows, allowed.excluded) & (rows >= 0)
            order = np.argsort(~keep, axis=1, kind="stable")[:, :k]
            rows = np.take_along_axis(np.where(keep, rows, -1), order, axis=1)
            scores = np.take_along_axis(np.where(keep, scores, np.float32(np.nan)), order, axis=1)
        return rows[:, :k], scores[:, :k]

    def _rerank(self, index: Index, queries: Vectors, k: int, rows: Rows | None) -> Found:
        """More finds of an approximate index than asked for, each scored exactly."""
        found, _ = index.find(queries, _OVERSAMPLE * k, rows)
        pairs = []
        for query, near in zip(queries, found, strict=True):
            own = np.unique(near[near >= 0])
            if rows is not None:
                own = own[np.isin(own, rows, assume_unique=True)]
            pairs.append(self.exact.find(query[None, :], k, own))
        return np.concatenate([pair[0] for pair in pairs]), np.concatenate([pair[1] for pair in pairs])


_NO_WAY = _Way("scan", True, 0, 0, "")


def _groups(filter: Filter | Sequence[Filter | None] | None, queries: int) -> list[_Group]:
    """The filters, each with the queries that it is for."""
    if filter is None or isinstance(filter, Filter):
        return [(filter, list(range(queries)))] if queries else []
    if len(filter) != queries:
        raise UsageError(f"{len(filter)} filters for {queries} queries: give one for all, or one for each")
    groups: dict[int, _Group] = {}
    for at, chosen in enumerate(filter):
        groups.setdefault(id(chosen), (chosen, []))[1].append(at)
    return list(groups.values())


def _note(k: int, allowed: _Candidates, total: int) -> str:
    if total == 0:
        return "the table is empty"
    if allowed.number == 0:
        left_out = f"; {allowed.unlocated:,} rows have no geometry" if allowed.unlocated else ""
        return f"no row passes the filter{left_out}: widen it" if allowed.filtered else "no row is left to be found"
    if allowed.number < k:
        return f"{k} hits were asked for, only {allowed.number} rows may be found"
    return ""
