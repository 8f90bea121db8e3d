"""A table on a map: cells as cells, points by nearest neighbour within their reach."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from placevec.atlas.colour import Anchors, ColourBasis
from placevec.atlas.frames import Frame, Projection, frame_around
from placevec.atlas.legends import Legend, class_colours, residual_colours
from placevec.atlas.rasterise import RowMap, frame_of_cells, rows_of_cells, rows_of_points, write_geotiff
from placevec.errors import SchemaError, UsageError
from placevec.geo.cells import H3Cells
from placevec.geo.sphere import LonLat, distance_m
from placevec.table import EmbeddingTable, Places
from placevec.tasks.map_subjects import (
    ANCHORS,
    Picture,
    Query,
    Subject,
    Table,
    View,
    across,
    heading_of,
    nearby,
    units_of,
    value_colours,
    words_of,
)


class TableSubject(Subject):
    """A table that is to be drawn."""

    noun = "places"

    def __init__(self, name: str, table: Table) -> None:
        super().__init__(name, table.meta)
        self.table = table

    def source(self) -> Path | None:
        """The file of the table, or None."""
        return None if isinstance(self.table, EmbeddingTable) else Path(str(self.table.path))

    @cached_property
    def vectors(self) -> NDArray[np.float32]:
        """(n, d) of all rows."""
        if isinstance(self.table, EmbeddingTable):
            return self.table.vectors()
        return self.table.read(columns=["id"]).vectors()

    @cached_property
    def _ids(self) -> Places:
        if isinstance(self.table, EmbeddingTable):
            return self.table.places()
        return self.table.places([name for name in ("h3", "place") if self.table.has(name)])

    @cached_property
    def _rows(self) -> NDArray[np.int64]:
        """The rows drawn: located, and one each for a place that several observe."""
        rows = np.flatnonzero(self._ids.located)
        if len(rows) == 0:
            raise SchemaError(f"{self.name}: none of the rows has a geometry: there is nothing to map")
        if not self._ids.has("place"):
            return rows
        _, first = np.unique(self._ids.keys[rows].astype(str), return_index=True)
        return rows[np.sort(first)]

    def sample(self) -> Iterable[NDArray[np.float32]]:
        """All vectors, in batches."""
        return (batch.vectors() for batch in self.table.batches(["id"]))

    def anchors(self, basis: ColourBasis) -> Anchors:
        """Up to 1,000 rows, evenly spread over the order of the table."""
        rows = np.unique(np.linspace(0, len(self._ids) - 1, min(ANCHORS, len(self._ids))).astype(np.int64))
        return Anchors(
            tuple(str(one) for one in self._ids.ids[rows]),
            self._ids.lon[rows],
            self._ids.lat[rows],
            basis.scores(self.vectors[rows]),
        )

    def shared(self, anchors: Anchors) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The anchors found by their id; the others by a row nearer than half way to its neighbour."""
        named = np.array([bool(one) for one in anchors.ids])
        found = np.full(len(anchors), -1, dtype=np.int64)
        if named.any():
            found[named] = self.table.rows_of([one for one in anchors.ids if one])
        free = np.flatnonzero((found < 0) & np.isfinite(anchors.lon) & np.isfinite(anchors.lat))
        if len(free):
            points = self._ids.lonlat(self._rows)
            wanted = LonLat(anchors.lon[free], anchors.lat[free])
            nearest = _nearest(points, wanted)
            close = distance_m(points[nearest], wanted) <= _reach(points) / 4
            found[free[close]] = self._rows[nearest[close]]
        hit = np.flatnonzero(found >= 0)
        return hit, self.vectors[found[hit]]

    def named(self, name: str) -> Query | None:
        """The row of that id, or None."""
        row = int(self.table.rows_of([name])[0])
        return None if row < 0 else self._query(row, f"query: {name}", name)

    def at(self, lon: float, lat: float) -> Query:
        """The row nearest to a point; UsageError if the point lies far off the map."""
        points = self._ids.lonlat(self._rows)
        point = LonLat.of(lon, lat)
        at = int(_nearest(points, point)[0])
        away = float(distance_m(points[at : at + 1], point)[0])
        words = nearby((lon, lat), points[at : at + 1], away, across(points), self.name)
        row = int(self._rows[at])
        return self._query(row, f"query: {self._ids.ids[row]}, {words}", f"{lon:g},{lat:g}")

    def subtitle(self, shown: int) -> str:
        """How many places, and what made the vectors."""
        made = f", by {self.meta.encoder}" if self.meta.encoder else ""
        return f"{shown:,} places, vectors of {self.space.dims} components{made}"

    def draw(self, view: View, query: Query | None, tiff: Path | None) -> Picture:
        """Draw the rows; the GeoTIFF is on a lon/lat grid, which other programs open."""
        kept = self._rows
        said: tuple[str, ...] = ()
        values: NDArray[np.float64] | None = None
        if view.by == "pca":
            colours, legend = self.colours(view, query, self.vectors[kept])
            what = "principal components"
        elif view.by == "similarity":
            assert query is not None
            values = self.colours(view, query, self.vectors[kept])[0].astype(np.float64)
            colours, legend, said = value_colours(
                values, title="Cosine similarity", units="", scale=view.scale, mark=query.words
            )
            what = f"like {query.name}"
        else:
            colours, legend, values, said = self._column(view)
            what = words_of(view.by)
        assert legend is not None
        frame = self._frame(view.projection, view.width)
        pixels = self._pixels(frame)
        if tiff is not None:
            plain = self._frame("lonlat", view.width)
            if values is None:
                write_geotiff(tiff, self._pixels(plain).paint(colours), plain)
            else:
                units = (units_of(view.by, view.units),)
                write_geotiff(tiff, self._pixels(plain).values(values), plain, names=(view.by,), units=units)
        unlocated = self.table.num_rows - int(self._ids.located.sum())
        return Picture(pixels.paint(colours), frame, legend, what, len(kept), unlocated, pixels.unseen(len(kept)), said)

    def _column(self, view: View) -> tuple[NDArray[np.uint8], Legend, NDArray[np.float64] | None, tuple[str, ...]]:
        """Colours of a column, their legend, its values (None for names), remarks."""
        by = view.by
        if not self.table.has(by):
            known = ", ".join(self.table.attributes) or "none"
            raise UsageError(f"{by!r} is no column of {self.name}; colour by pca, similarity or one of: {known}")
        places = self.table if isinstance(self.table, EmbeddingTable) else self.table.places([by])
        column = places.column(by)[self._rows]
        if column.dtype.kind in "OUSb":
            names, codes = np.unique(column.astype(str), return_inverse=True)
            colours, classes = class_colours(codes, names=dict(enumerate(names.tolist())), title=by, noun="rows")
            return colours, classes, None, ()
        values = column.astype(np.float64)
        if column.dtype.kind in "iu" and len(np.unique(column)) <= 20 and view.scale == "linear":
            colours, classes = class_colours(column, title=by.capitalize(), noun="rows")
            return colours, classes, values, ()
        units = units_of(by, view.units)
        if by.startswith("residual"):
            colours, bins = residual_colours(values, units=units)
            return colours, bins, values, ()
        colours, legend, said = value_colours(values, title=heading_of(by), units=units, scale=view.scale)
        return colours, legend, values, said

    def _query(self, row: int, words: str, name: str) -> Query:
        where = self._ids.lonlat(np.array([row])) if self._ids.located[row] else None
        return Query(self.vectors[row], self.space, where, name, words)

    @cached_property
    def _cells(self) -> tuple[H3Cells, NDArray[np.uint64]] | None:
        if not self._ids.has("h3"):
            return None
        cells = self._ids.column("h3")[self._rows].astype(np.uint64)
        levels = np.unique(cells >> np.uint64(52) & np.uint64(0xF))
        if len(levels) != 1 or len(np.unique(cells)) != len(cells):
            return None
        return H3Cells(int(levels[0])), cells

    def _frame(self, projection: Projection, width: int) -> Frame:
        if self._cells is not None:
            return frame_of_cells(*self._cells, projection=projection, width=width)
        lon, lat = self._ids.lon[self._rows], self._ids.lat[self._rows]
        return frame_around(lon, lat, projection=projection, width=width)

    def _pixels(self, frame: Frame) -> RowMap:
        if self._cells is not None:
            return rows_of_cells(*self._cells, frame)
        points = self._ids.lonlat(self._rows)
        return rows_of_points(points, frame, _reach(points))


def _nearest(points: LonLat, wanted: LonLat) -> NDArray[np.int64]:
    from scipy.spatial import cKDTree

    return np.asarray(cKDTree(points.unit()).query(wanted.unit())[1], dtype=np.int64)


def _reach(points: LonLat) -> float:
    """How far a point may stand for the ground around it: twice the typical distance to its neighbour, in metres."""
    from scipy.spatial import cKDTree

    if len(points) < 2:
        return 1000.0
    unit: NDArray[Any] = points.unit()
    nearest = np.asarray(cKDTree(unit).query(unit, k=2)[1], dtype=np.int64)
    distances = distance_m(points, points[nearest[:, 1]])
    positive = distances[distances > 0]
    return float(2.0 * np.median(positive)) if len(positive) else 1000.0
