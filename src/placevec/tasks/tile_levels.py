"""What a web map shows at each zoom: the cells themselves, and further out their H3 parents with what sums them up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import h3
import numpy as np
import pyarrow as pa
import shapely
from numpy.typing import NDArray

from placevec.atlas.frames import arc
from placevec.errors import SchemaError, UsageError
from placevec.geo.cells import H3Cells
from placevec.geo.sphere import EARTH_RADIUS_M, LonLat
from placevec.sources.mvt import Features, mercator
from placevec.table import Places
from placevec.tasks.export_cog import are_codes

FEATURES = 10_000  # cells that a tile shows at most, about: each is then 41 of its 4096 units wide, 5 pixels of 512
DEEPEST = 20  # zoom at which single points are shown however close they lie


@dataclass(frozen=True, eq=False)
class _Column:
    """An attribute: numbers, or codes (-1: none) of `names`, which may be texts, truth values or whole numbers."""

    values: NDArray[Any]
    names: NDArray[Any] | None

    def take(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        """Values of some rows, as they are written."""
        return self._spelt(self.values[rows])

    def over(self, group: NDArray[np.int64], groups: int) -> NDArray[Any]:
        """One value for each group: the mean of numbers, the most frequent of names (of equals the first)."""
        if self.names is None:
            known = np.isfinite(self.values)
            total = np.bincount(group[known], weights=self.values[known], minlength=groups)
            count = np.bincount(group[known], minlength=groups)
            means: NDArray[Any] = np.divide(total, count, out=np.full(groups, np.nan), where=count > 0)
            return means
        known = self.values >= 0
        pair, count = np.unique(group[known] * len(self.names) + self.values[known], return_counts=True)
        owner = pair // max(len(self.names), 1)
        order = np.lexsort((pair, -count, owner))
        first = order[np.unique(owner[order], return_index=True)[1]]
        best = np.full(groups, -1, dtype=np.int64)
        best[owner[first]] = pair[first] % max(len(self.names), 1)
        return self._spelt(best)

    def _spelt(self, values: NDArray[Any]) -> NDArray[Any]:
        if self.names is None:
            return values
        names: NDArray[Any] = self.names
        if len(names) and names.dtype.kind in "ib" and (values >= 0).all():
            plain: NDArray[Any] = names[values]
            return plain
        out = np.full(len(values), None, dtype=object)
        out[values >= 0] = names.astype(object)[values[values >= 0]]
        return out


class Levels:
    """The places as tiles show them.

    Args:
        places: rows; those with `h3` are cells (of one resolution, each once), others points.
        columns: attributes to keep; all by default.

    Attributes:
        rows: how many rows have a place.
        resolution: of the cells; None for points.
        hidden: rows beyond 85.05 degrees, where web maps end.
        kinds: which attributes become means and which the most frequent value.

    Raises:
        SchemaError: no row has a geometry, cells of several resolutions, or one cell twice.
        UsageError: a column that is no attribute.
    """

    def __init__(self, places: Places, columns: Sequence[str] | None = None) -> None:
        located = np.flatnonzero(places.located)
        if not len(located):
            raise SchemaError("none of the rows has a geometry: there is nothing to show on a map")
        self.rows = len(located)
        self.ids = places.ids[located]
        self.points = places.lonlat(located)
        self.cells: NDArray[np.uint64] | None = None
        self.resolution: int | None = None
        if places.has("h3") and places.data["h3"].null_count == 0:
            self.cells = places.column("h3")[located].astype(np.uint64)
            levels = np.unique(self.cells >> np.uint64(52) & np.uint64(0xF))
            if len(levels) > 1:
                known = ", ".join(str(one) for one in levels)
                raise SchemaError(f"cells of several resolutions ({known}) overlap: filter to one before export")
            if len(np.unique(self.cells)) < len(self.cells):
                raise SchemaError("a cell stands in two rows: filter to one row a cell before export")
            self.resolution = int(levels[0])
        self.columns = {name: _column(places, name, located) for name in _chosen(places, columns)}
        self.kinds = {name: "mean" if one.names is None else "mode" for name, one in self.columns.items()}
        self.hidden = int((np.abs(self.points.lat) > 85.0511).sum())

    @property
    def shallowest(self) -> int:
        """The zoom at which the whole region fills about half a tile; further out nothing is shown."""
        west, east = arc(self.points.lon)
        y = mercator(np.column_stack([np.zeros(self.rows), self.points.lat]))[:, 1]
        span = max((east - west) / 360.0, float(np.ptp(y)), 2.0**-14)
        return max(0, int(np.floor(np.log2(0.5 / span))))

    def finest(self, zoom: int) -> int:
        """The finest resolution of which a tile of this zoom holds at most about `FEATURES` cells."""
        lat = np.radians(np.abs(self.points.lat).min())
        side = 2 * np.pi * EARTH_RADIUS_M * np.cos(lat) / 2**zoom
        most = 15 if self.resolution is None else self.resolution
        # The smallest cells of a resolution have about 0.6 of the mean area.
        fits = [r for r in range(most + 1) if side**2 / (0.6 * h3.average_hexagon_area(r, "m^2")) <= FEATURES]
        return max(fits, default=0)

    def alone(self, zoom: int) -> bool:
        """Whether points are so few in every tile of this zoom that each is shown."""
        xy = np.floor(mercator(np.column_stack([self.points.lon, self.points.lat])) * 2**zoom).astype(np.int64)
        return zoom >= DEEPEST or int(np.unique(xy[:, 0] << 32 | xy[:, 1], return_counts=True)[1].max()) <= FEATURES

    def own(self) -> Features:
        """The rows themselves, with their ids."""
        every = np.arange(self.rows)
        columns: dict[str, NDArray[Any]] = {"id": self.ids}
        if self.cells is not None:
            spelt = np.array([f"{cell:x}" for cell in self.cells], dtype=object)
            if not np.array_equal(spelt, self.ids):
                columns["h3"] = spelt
        columns |= {name: one.take(every) for name, one in self.columns.items()}
        if self.cells is None:
            return Features(_drawn(_dots(self.points)), columns)
        assert self.resolution is not None
        return Features(_drawn(H3Cells(self.resolution).polygons(self.cells)), columns)

    def coarse(self, resolution: int) -> Features:
        """Parents of the cells, or points brought together by cell, with `rows`: how many rows each stands for."""
        if self.cells is not None:
            assert self.resolution is not None
            parents = H3Cells(self.resolution).parent(self.cells, resolution)
        else:
            parents = H3Cells(resolution).assign(self.points)
        each, group = np.unique(parents, return_inverse=True)
        columns: dict[str, NDArray[Any]] = {
            "h3": np.array([f"{cell:x}" for cell in each], dtype=object),
            "rows": np.bincount(group, minlength=len(each)).astype(np.int64),
        }
        for name, one in self.columns.items():
            columns[name if name not in columns else f"{name}_"] = one.over(group, len(each))
        if self.cells is not None:
            return Features(_drawn(H3Cells(resolution).polygons(each)), columns)
        unit = self.points.unit()
        middle = np.column_stack([np.bincount(group, weights=unit[:, axis], minlength=len(each)) for axis in range(3)])
        where = LonLat.from_unit(middle)
        return Features(_drawn(_dots(where)), columns)


def _dots(where: LonLat) -> NDArray[Any]:
    dots: NDArray[Any] = np.asarray(shapely.points(where.lon, where.lat), dtype=object)
    return dots


def _drawn(shapes: NDArray[Any]) -> NDArray[Any]:
    moved: NDArray[Any] = shapely.transform(shapes, mercator)
    return moved


def _chosen(places: Places, columns: Sequence[str] | None) -> list[str]:
    if columns is None:
        return [name for name in places.attributes if _plain(places.data.schema.field(name).type)]
    for name in columns:
        if name not in places.attributes or not _plain(places.data.schema.field(name).type):
            known = ", ".join(places.attributes) or "none"
            raise UsageError(f"there is no attribute {name!r} that a map tile can hold; there are: {known}")
    return list(dict.fromkeys(columns))


def _plain(kind: pa.DataType) -> bool:
    return not (pa.types.is_nested(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _column(places: Places, name: str, rows: NDArray[np.int64]) -> _Column:
    column = places.data[name].combine_chunks().take(pa.array(rows))
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    numeric = pa.types.is_integer(column.type) or pa.types.is_floating(column.type)
    if numeric and not are_codes(column):
        values = column.cast(pa.float64()).to_numpy(zero_copy_only=False)
        return _Column(np.array(values, dtype=np.float64), None)
    if not (numeric or pa.types.is_boolean(column.type)):
        column = column.cast(pa.string())
    coded = column.dictionary_encode()
    names = np.asarray(coded.dictionary.to_numpy(zero_copy_only=False))
    order = np.argsort(names.astype(object) if names.dtype.kind == "O" else names, kind="stable")
    place = np.empty(len(names), dtype=np.int64)
    place[order] = np.arange(len(names))
    at = np.asarray(coded.indices.fill_null(-1).to_numpy(zero_copy_only=False), dtype=np.int64)
    codes = np.where(at >= 0, place[np.maximum(at, 0)] if len(names) else -1, -1)
    return _Column(codes, names[order])
