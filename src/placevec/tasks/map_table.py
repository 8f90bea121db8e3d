"""A table on a map: cells as cells, points by nearest neighbour within their reach."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from placevec.atlas import palettes
from placevec.atlas.colour import Anchors, ColourBasis
from placevec.atlas.frames import Frame, Projection, frame_around
from placevec.atlas.legends import Legend, RampLegend, class_colours, residual_colours
from placevec.atlas.rasterise import RowMap, frame_of_cells, rows_of_cells, rows_of_points, write_geotiff
from placevec.errors import SchemaError, UsageError
from placevec.geo.cells import H3Cells
from placevec.geo.sphere import LonLat, distance_m
from placevec.table import EmbeddingTable, Places
from placevec.tasks.coverage import best_share, percent, row_areas
from placevec.tasks.map_similarity import SCORED, score_rows
from placevec.tasks.map_subjects import (
    ANCHORS,
    Picture,
    Query,
    Scored,
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

    def __init__(self, name: str, table: Table, region: NDArray[np.int64] | None = None) -> None:
        """`region`: the rows (sorted) that are drawn; all by default. Examples and anchors may be any row."""
        super().__init__(name, table.meta)
        self.table = table
        self.region = region

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
        """The rows drawn: located, of the region, and one each for a place that several observe."""
        rows = np.flatnonzero(self._ids.located)
        if len(rows) == 0:
            raise SchemaError(f"{self.name}: none of the rows has a geometry: there is nothing to map")
        if self.region is not None:
            rows = np.intersect1d(rows, self.region, assume_unique=True)
            if len(rows) == 0:
                raise UsageError(f"{self.name}: no row with a geometry lies in the region: widen it")
        if not self._ids.has("place"):
            return rows
        _, first = np.unique(self._ids.keys[rows].astype(str), return_index=True)
        return rows[np.sort(first)]

    def sample(self) -> Iterable[NDArray[np.float32]]:
        """All vectors of the region, in batches."""
        if self.region is not None:
            return iter([self.vectors[self._rows]])
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
            close = distance_m(points[nearest], wanted) <= reach_of(points) / 4
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
        covered: NDArray[np.bool_] | None = None
        if view.by == "pca":
            colours, legend = self.colours(view, query, self.vectors[kept])
            what = "principal components"
        elif view.by == "similarity":
            assert query is not None
            self.space.require(query.space, f"likeness to {query.name} on the map of {self.name}")
            scores = score_rows(self.table, query.vector, kept)
            values, title = scores.astype(np.float64), SCORED[self.space.metric]
            part = None
            if view.coverage is not None:
                part = best_share(scores, *row_areas(self.table, kept), view.coverage)
                covered, title = part.inside, f"{title}, best {percent(part.share)}"
            shown = np.ones(len(kept), dtype=bool) if part is None else part.inside
            # The ramp is that of what is shown: of a small share all values lie near its upper end.
            some, legend, said = value_colours(
                values[shown], title=title, units="", scale=view.scale, mark=query.words, cross=query.unlike_words
            )
            colours = np.tile(palettes.LEFT_OUT, (len(kept), 1))
            colours[shown] = some
            if part is not None and isinstance(legend, RampLegend):
                rest = f"the other {percent(1 - part.share)} of the {'area' if part.weighted else 'rows'}"
                legend = replace(legend, left_out=rest)
                said = (*said, str(part))
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
                bands, names, units = values, [view.by], [units_of(view.by, view.units)]
                if covered is not None:
                    bands = np.column_stack([values, covered])
                    names, units = [*names, "covered"], [*units, ""]
                write_geotiff(tiff, self._pixels(plain).values(bands), plain, names=names, units=units)
        unlocated = self.table.num_rows - int(self._ids.located.sum())
        scored = Scored(kept, values, covered) if view.by == "similarity" and values is not None else None
        hidden = pixels.unseen(len(kept))
        return Picture(pixels.paint(colours), frame, legend, what, len(kept), unlocated, hidden, said, scored)

    def _column(self, view: View) -> tuple[NDArray[np.uint8], Legend, NDArray[np.float64] | None, tuple[str, ...]]:
        """Colours of a column, their legend, its values (None for names), remarks."""
        by = view.by
        if not self.table.has(by):
            others = ", ".join(self.table.attributes) or "none"
            raise UsageError(f"{by!r} is no column of {self.name}; colour by pca, similarity or one of: {others}")
        places = self.table if isinstance(self.table, EmbeddingTable) else self.table.places([by])
        column = places.column(by)[self._rows]
        if column.dtype.kind in "OUSb":
            texts = np.where(column, "yes", "no") if column.dtype.kind == "b" else column.astype(str)
            names, codes = np.unique(texts, return_inverse=True)
            known = dict(enumerate(names.tolist()))
            colours, classes = class_colours(codes, names=known, title=heading_of(by), noun="rows")
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
        # One row of a stored table is fetched: a map of likeness never holds all vectors.
        at = np.array([row])
        table = self.table
        found = table.vectors(at) if isinstance(table, EmbeddingTable) else table.take(at, columns=["id"]).vectors()
        return Query(found[0], self.space, where, name, words)

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
        return rows_of_points(points, frame, reach_of(points))


def _nearest(points: LonLat, wanted: LonLat) -> NDArray[np.int64]:
    from scipy.spatial import cKDTree

    return np.asarray(cKDTree(points.unit()).query(wanted.unit())[1], dtype=np.int64)


def reach_of(points: LonLat) -> float:
    """How far a point may stand for the ground around it: twice the typical distance to its neighbour, in metres."""
    from scipy.spatial import cKDTree

    if len(points) < 2:
        return 1000.0
    unit: NDArray[Any] = points.unit()
    nearest = np.asarray(cKDTree(unit).query(unit, k=2)[1], dtype=np.int64)
    distances = distance_m(points, points[nearest[:, 1]])
    positive = distances[distances > 0]
    return float(2.0 * np.median(positive)) if len(positive) else 1000.0
