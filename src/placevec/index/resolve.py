"""From a filter to the numbers of the rows that pass, many times over: as `Filter.mask` says, without its scan.

A scan of the coordinates of 500,000 rows takes 2 ms, ten times what scoring a few hundred of them does. So what a
filter has to look at is kept ready from the moment when there are filters enough to pay for it: the points in blocks
(`resolve_blocks`), the rows sorted by H3 cell, and the rows that pass an attribute filter.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from placevec.geo.boxes import in_box, in_circle, in_polygon
from placevec.geo.cells import H3Cells
from placevec.geo.sphere import LonLat
from placevec.index.base import Rows
from placevec.index.resolve_blocks import BYTES_A_ROW, Blocks, plain_boxes
from placevec.table import EmbeddingTable, Filter, Places, StoredTable
from placevec.table.geometry import centres

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

# Blocks of points cost as much as scanning the coordinates some hundred times; few queries do not pay for them.
_BUILD_AFTER = 24
# Of a table that is larger the coordinates stay in its file: the answer comes from there, slower.
CACHE_BYTES = 512 << 20
# Up to this share of the rows an attribute filter is evaluated on the rows in the region only.
_FEW = 1 / 8
# So many attribute filters, and resolutions of H3, are kept.
_MASKS = 8
_RESOLUTIONS = 3


class _Cells(NamedTuple):
    """The rows of a table sorted by their H3 cell at one resolution."""

    cells: NDArray[np.uint64]  # (n,) sorted
    rows: Rows  # (n,)


class Resolver:
    """Resolves filters on one table; what it keeps it drops when the file of the table has changed.

    Args:
        table: in memory or stored.
    """

    def __init__(self, table: EmbeddingTable | StoredTable) -> None:
        self.table = table
        self._state = self._now()
        self._asked = 0
        self._blocks: Blocks | None = None
        self._lonlat: tuple[Floats, Floats] | None = None
        self._masks: OrderedDict[str, Mask] = OrderedDict()
        self._by_cell: OrderedDict[int, _Cells | None] = OrderedDict()

    def resolve(self, filter: Filter | None) -> tuple[Rows, int]:
        """The rows that pass, sorted, and how many a geographic condition left out for want of a place.

        Raises:
            UsageError, CoordinateError, DataError: see `Filter.mask`.
        """
        if filter is None or filter.empty:
            return np.arange(self.table.num_rows, dtype=np.int64), 0
        self.expect(1)
        return self._resolved(filter)

    def _resolved(self, filter: Filter) -> tuple[Rows, int]:
        if self._blocks is None and not self._cheap(filter):
            rows, unlocated = self.table.resolve(filter)
            return rows.astype(np.int64, copy=False), unlocated
        return self._fast(filter)

    def resolve_many(self, filters: Sequence[Filter]) -> list[tuple[Rows, int]]:
        """As `resolve` for each of the filters; those that are small boxes alone are looked at together."""
        self.expect(len(filters))
        alone = [at for at, one in enumerate(filters) if _box_alone(one)]
        found: dict[int, tuple[Rows, int]] = {}
        if self._blocks is not None and len(alone) > 1:
            boxes = np.array([filters[at].bbox for at in alone], dtype=np.float64)
            plain = plain_boxes(boxes).nonzero()[0]
            rows = self._blocks.in_boxes(boxes[plain])
            found = {alone[at]: (own, self._blocks.unlocated) for at, own in zip(plain.tolist(), rows, strict=True)}
        return [found[at] if at in found else self._resolved(one) for at, one in enumerate(filters)]

    def circle(self, centre: LonLat, metres: float) -> Rows:
        """The rows within `metres` of `centre` (length 1)."""
        near = Filter(near=(float(centre.lon[0]), float(centre.lat[0]), metres))
        return self.resolve(near)[0]

    def expect(self, filters: int) -> None:
        """Get ready if, with so many filters more, that pays."""
        now = self._now()
        if now != self._state:
            self._state = now
            self._forget()
        self._asked += filters
        if self._blocks is None and self._asked > _BUILD_AFTER:
            self.prepare()

    def prepare(self) -> None:
        """Get ready now; a table too large for `CACHE_BYTES` stays in its file."""
        if self._blocks is None and self.table.num_rows * BYTES_A_ROW <= CACHE_BYTES:
            self._lonlat = self._points()
            self._blocks = Blocks(*self._lonlat)

    def _forget(self) -> None:
        self._blocks = self._lonlat = None
        self._masks.clear()
        self._by_cell.clear()

    def _now(self) -> str:
        return self.table.state if isinstance(self.table, StoredTable) else ""

    def _points(self) -> tuple[Floats, Floats]:
        """Longitude and latitude of every row."""
        if isinstance(self.table, EmbeddingTable):
            return self.table.lon, self.table.lat
        parts = [centres(piece["geometry"]) for _, piece in self.table.scan(["geometry"], batch_rows=131_072)]
        none = np.empty(0)
        return np.concatenate([none, *(p[0] for p in parts)]), np.concatenate([none, *(p[1] for p in parts)])

    def _cheap(self, filter: Filter) -> bool:
        """Whether an attribute filter alone was asked, and is known."""
        return not filter.geographic and filter.ids is None and filter.where in self._masks

    def _fast(self, filter: Filter) -> tuple[Rows, int]:
        rows: Rows | None = None
        unlocated = 0
        if filter.geographic:
            assert self._blocks is not None
            found = self._located(filter)
            if found is None:
                return self.table.resolve(filter)
            rows, unlocated = found, self._blocks.unlocated
        if filter.where is not None:
            rows = self._meeting(filter, rows)
        if filter.ids is not None:
            own = self.table.rows_of(list(filter.ids))
            own = np.unique(own[own >= 0])
            rows = own if rows is None else rows[np.isin(rows, own, assume_unique=True)]
        assert rows is not None
        return rows, unlocated

    def _located(self, filter: Filter) -> Rows | None:
        """The rows that pass the geographic conditions; None: only the table itself can say."""
        assert self._blocks is not None
        assert self._lonlat is not None
        rows: Rows | None = None
        for condition in _conditions(filter):
            if rows is None:
                rows = self._first(filter, condition)
                if rows is None:
                    return None
            elif condition == "h3":
                others = self._first(filter, condition)
                if others is None:
                    return None
                rows = rows[np.isin(rows, others, assume_unique=True)]
            else:
                lon, lat = self._lonlat[0][rows], self._lonlat[1][rows]
                rows = rows[_passing(filter, condition, lon, lat)]
        return rows

    def _first(self, filter: Filter, condition: str) -> Rows | None:
        assert self._blocks is not None
        if filter.bbox is not None and condition == "bbox":
            return self._blocks.in_box(filter.bbox)
        if filter.near is not None and condition == "near":
            return self._blocks.in_circle(LonLat.of(*filter.near[:2]), filter.near[2])
        if filter.area is not None and condition == "within":
            return self._blocks.in_area(filter.area)
        assert filter.h3 is not None
        return self._in_cells(filter.h3)

    def _in_cells(self, wanted: NDArray[np.uint64]) -> Rows | None:
        """The rows in any of the H3 cells; None where the table names cells of several resolutions, or not for all."""
        wanted = np.unique(np.asarray(wanted, dtype=np.uint64))
        resolutions = wanted >> np.uint64(52) & np.uint64(0xF)  # where H3 keeps the resolution of a cell
        found = [np.empty(0, dtype=np.int64)]
        for resolution in np.unique(resolutions).tolist():
            if resolution not in self._by_cell:
                self._by_cell[resolution] = self._sorted_by_cell(resolution)
                while len(self._by_cell) > _RESOLUTIONS:
                    self._by_cell.popitem(last=False)
            known = self._by_cell[resolution]
            if known is None:
                return None
            own = wanted[resolutions == resolution]
            low = np.searchsorted(known.cells, own)
            high = np.searchsorted(known.cells, own, side="right")
            found.append(known.rows[_ranges(low, high)])
        return np.unique(np.concatenate(found))

    def _sorted_by_cell(self, resolution: int) -> _Cells | None:
        assert self._lonlat is not None
        lon, lat = self._lonlat
        rows = np.flatnonzero(np.isfinite(lon))
        if self.table.has("h3"):
            named = pa.chunked_array([piece["h3"] for piece in self._columns(["h3"])], pa.uint64())
            if named.null_count:
                return None
            own = named.to_numpy()
            levels = np.unique(own >> np.uint64(52) & np.uint64(0xF))
            if len(levels) > 1:
                return None
            if len(levels) and levels[0] >= resolution:
                return _sorted(H3Cells(int(levels[0])).parent(own[rows], resolution), rows)
        return _sorted(H3Cells(resolution).assign(LonLat(lon[rows], lat[rows])), rows)

    def _meeting(self, filter: Filter, rows: Rows | None) -> Rows:
        """Those of `rows` (None: all) whose attributes pass."""
        assert filter.where is not None
        known = self._masks.get(filter.where)
        few = rows is not None and len(rows) <= _FEW * self.table.num_rows
        if known is None and few and isinstance(self.table, EmbeddingTable):
            assert rows is not None
            columns = [name for name in filter.columns if self.table.has(name)]
            part = Places(self.table.data.select([*columns, *({"id"} - {*columns})]).take(pa.array(rows)))
            return rows[filter.attributes(part)]
        if known is None:
            known = self._attributes(filter)
            self._masks[filter.where] = known
            while len(self._masks) > _MASKS:
                self._masks.popitem(last=False)
        else:
            self._masks.move_to_end(filter.where)
        return np.flatnonzero(known) if rows is None else rows[known[rows]]

    def _attributes(self, filter: Filter) -> Mask:
        """Which rows pass the attribute filter."""
        if isinstance(self.table, EmbeddingTable):
            return filter.attributes(self.table)
        passing, _ = self.table.resolve(Filter(where=filter.where))
        mask = np.zeros(self.table.num_rows, dtype=bool)
        mask[passing] = True
        return mask

    def _columns(self, names: list[str]) -> Iterator[pa.Table]:
        if isinstance(self.table, EmbeddingTable):
            yield self.table.data.select(names).combine_chunks()
        else:
            for _, piece in self.table.scan(names, batch_rows=131_072):
                yield piece.combine_chunks()


def _conditions(filter: Filter) -> list[str]:
    """The geographic conditions that are given, those by which the blocks are asked the soonest first."""
    return [name for name in ("near", "bbox", "within", "h3") if getattr(filter, name) is not None]


def _passing(filter: Filter, condition: str, lon: Floats, lat: Floats) -> Mask:
    if filter.bbox is not None and condition == "bbox":
        return in_box(lon, lat, filter.bbox)
    if filter.near is not None and condition == "near":
        return in_circle(lon, lat, LonLat.of(*filter.near[:2]), filter.near[2])
    assert filter.within is not None
    return in_polygon(lon, lat, filter.within)


def _sorted(cells: NDArray[np.uint64], rows: Rows) -> _Cells:
    order = np.argsort(cells, kind="stable")
    return _Cells(cells[order], rows[order])


def _ranges(low: Rows, high: Rows) -> Rows:
    """The numbers low[i], ..., high[i] - 1 of every i, one after the other."""
    lengths = high - low
    ends = np.cumsum(lengths)
    return np.arange(ends[-1] if len(ends) else 0) + np.repeat(high - ends, lengths)


def _box_alone(filter: Filter) -> bool:
    """Whether a box is the only condition, and is four numbers."""
    others = filter.near is None and filter.within is None and filter.h3 is None
    box = filter.bbox
    return box is not None and len(box) == 4 and others and filter.where is None and filter.ids is None
