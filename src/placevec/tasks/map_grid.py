"""A grid on a map: its own pixels, tile by tile, never interpolated."""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from placevec.atlas.colour import Anchors, ColourBasis
from placevec.atlas.geotiff import tile_sink
from placevec.atlas.grids import (
    SAMPLE,
    GridCanvas,
    ground_m,
    nearest_pixel,
    outline,
    pixel_vector,
    sample_pixels,
    vectors_at,
)
from placevec.errors import SchemaError, UsageError
from placevec.geo.sphere import LonLat
from placevec.grid import EmbeddingGrid
from placevec.tasks.map_similarity import SCORED
from placevec.tasks.map_subjects import (
    ANCHORS,
    Picture,
    Query,
    Subject,
    View,
    across,
    distance,
    heading_of,
    nearby,
    units_of,
    value_colours,
    words_of,
)


class GridSubject(Subject):
    """A grid that is to be drawn."""

    noun = "pixels"

    def __init__(self, name: str, grid: EmbeddingGrid) -> None:
        super().__init__(name, grid.meta)
        self.grid = grid
        self._some: list[tuple[LonLat, NDArray[np.float32]]] = []

    def source(self) -> Path | None:
        """The file of the grid."""
        return Path(str(self.grid.path))

    def sample(self) -> Iterable[NDArray[np.float32]]:
        """About 200,000 vectors, evenly spread."""
        step = max(1, min(SAMPLE, self.grid.shape[0] * self.grid.shape[1]) // ANCHORS)
        some: list[tuple[LonLat, NDArray[np.float32]]] = []
        for where, vectors in sample_pixels(self.grid):
            some.append((where[::step], vectors[::step].copy()))
            yield vectors
        self._some = some

    def anchors(self, basis: ColourBasis) -> Anchors:
        """About 1,000 pixels of the sample, evenly spread; they have no ids."""
        if not self._some:
            # Another pass over the grid, unless colours were fitted on it.
            for _ in self.sample():
                pass
        if not self._some:
            raise SchemaError(f"{self.grid.path}: no pixel holds a value: there is nothing to map")
        lon, lat = (np.concatenate([getattr(where, name) for where, _ in self._some]) for name in ("lon", "lat"))
        vectors = np.concatenate([vectors for _, vectors in self._some])
        return Anchors(("",) * len(lon), lon, lat, basis.scores(vectors))

    def shared(self, anchors: Anchors) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The anchors that lie in a pixel with a value."""
        known = np.flatnonzero(np.isfinite(anchors.lon) & np.isfinite(anchors.lat))
        hit, vectors = vectors_at(self.grid, LonLat(anchors.lon[known], anchors.lat[known]))
        return known[hit], vectors

    def named(self, name: str) -> Query | None:
        """The pixel ROW,COLUMN, counted from 0 at the upper left, or None."""
        spelt = re.fullmatch(r"(\d+),(\d+)", name.replace(" ", ""))
        found = None if spelt is None else pixel_vector(self.grid, int(spelt[1]), int(spelt[2]))
        return None if found is None else Query(found[0], self.space, found[1], name, f"query: pixel {name}")

    def at(self, lon: float, lat: float) -> Query:
        """The pixel with a value nearest to a point; UsageError if the point lies far off the map."""
        vector, where, away = nearest_pixel(self.grid, lon, lat)
        words = nearby((lon, lat), where, away, across(outline(self.grid)), self.name)
        return Query(vector, self.space, where, f"{lon:g},{lat:g}", f"query: pixel {words}")

    def subtitle(self, shown: int) -> str:
        """How many pixels, of what size, and what made the vectors."""
        made = f", by {self.meta.encoder}" if self.meta.encoder else ""
        side = distance(ground_m(self.grid))
        return f"{shown:,} pixels of about {side}, vectors of {self.space.dims} components{made}"

    def draw(self, view: View, query: Query | None, tiff: Path | None) -> Picture:
        """Draw the grid in one pass; the GeoTIFF has the grid's own pixels and CRS."""
        canvas = GridCanvas(self.grid, projection=view.projection, width=view.width)
        component = None if view.by in ("pca", "similarity") else self._component(view.by)
        units = "" if component is None else units_of(view.by, view.units)

        def paint(vectors: NDArray[np.float32]) -> NDArray[Any]:
            return vectors[:, component] if component is not None else self.colours(view, query, vectors)[0]

        name = "" if view.by == "pca" else view.by
        with nullcontext() if tiff is None else tile_sink(tiff, self.grid, name=name, units=units) as sink:
            made, seen, count = canvas.paint(paint, sink)
        said: tuple[str, ...] = ()
        if view.by == "pca":
            _, legend = self.colours(view, query, np.empty((0, self.space.dims), np.float32))
            colours, what = made[seen], "principal components"
        else:
            similar = view.by == "similarity"
            colours, legend, said = value_colours(
                made[seen].astype(np.float64),
                title=SCORED[self.space.metric] if similar else heading_of(view.by),
                units=units,
                scale=view.scale,
                mark=query.words if query is not None and similar else "",
                cross=query.unlike_words if query is not None and similar else "",
            )
            what = f"like {query.name}" if query is not None and similar else words_of(view.by)
        assert legend is not None
        raster = np.zeros((*seen.shape, 4), dtype=np.uint8)
        raster[seen, :3], raster[seen, 3] = colours, 255
        return Picture(raster, canvas.frame, legend, what, count, said=said)

    def _component(self, name: str) -> int:
        known = list(self.meta.dims) or [f"dim_{i}" for i in range(self.space.dims)]
        if name not in known:
            ends = f"{known[0]} … {known[-1]}" if len(known) > 8 else ", ".join(known)
            raise UsageError(f"{name!r} is no component of {self.name}; colour by pca, similarity or one of: {ends}")
        return known.index(name)
