"""Attributes of a table as a raster for maps: its cells (or points) as pixels of a Cloud Optimized GeoTIFF."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from placevec.atlas.cog import Band, Draw, write_cog
from placevec.atlas.frames import Frame, frame_around
from placevec.atlas.rasterise import frame_of_cells, rows_of_cells, rows_of_points
from placevec.errors import SchemaError, UsageError
from placevec.geo.areas import cell_areas
from placevec.geo.cells import H3Cells
from placevec.geo.sphere import LonLat
from placevec.table import Places
from placevec.tasks.map_subjects import units_of
from placevec.tasks.map_table import reach_of

Projection = Literal["lonlat", "mercator", "equal-area"]
_DEGREE_M = 111_195.0  # of latitude, on the mean sphere
_CODES = 20  # different whole numbers at most that are taken for classes, as `map` takes them
_PER_CELL = 9.0  # pixels that a cell of average size gets by default


@dataclass(frozen=True, eq=False)
class _Ground:
    """What pixels are drawn from: the rows that have a place, and their cells or points."""

    rows: NDArray[np.int64]
    points: LonLat
    cells: tuple[H3Cells, NDArray[np.uint64]] | None


def export_cog(
    places: Places,
    out: str | Path,
    *,
    columns: Sequence[str] | None = None,
    pixel_m: float | None = None,
    projection: Projection = "lonlat",
    tags: Mapping[str, str] | None = None,
    progress: Callable[[int, int, Mapping[str, Any]], None] | None = None,
) -> dict[str, Any]:
    """Write attributes of places as bands; returns path, rows, unlocated, hidden, width, height and bands.

    Args:
        places: rows; those with `h3` (of one resolution, each cell once) are drawn as cells, others as the ground
            nearest to each point.
        out: ends in .tif.
        columns: attributes; by default all numbers and truth values. Names become classes 1, 2, ..., which the tag
            CLASSES of the band spells out.
        pixel_m: side of a pixel in metres; by default a cell has about nine pixels.
        projection: "lonlat" (EPSG:4326), "mercator" (EPSG:3857) or an "equal-area" one around the places.
        tags: metadata of the file.
        progress: called with the strips done and all strips.

    Raises:
        UsageError: no attribute to write, a column that is none, a size that is no size.
        SchemaError: no row has a geometry, or two rows are one cell.
    """
    ground = _ground(places)
    bands = [_band(places, name, ground.rows) for name in _chosen(places, columns)]
    side = _default_side(ground) if pixel_m is None else float(pixel_m)
    if not (math.isfinite(side) and side > 0):
        raise UsageError(f"pixels of {pixel_m} m: give their side as a length above 0")
    frame, draw = _frame(ground, projection, side)
    written = write_cog(out, frame, draw, bands, rows=len(ground.rows), tags=tags, progress=progress)
    return {
        "path": str(out),
        "rows": len(ground.rows),
        "unlocated": len(places) - int(places.located.sum()),
        "hidden": written.hidden,
        "width": written.width,
        "height": written.height,
        "bands": [band.name for band in bands],
    }


def _ground(places: Places) -> _Ground:
    rows = np.flatnonzero(places.located)
    if not len(rows):
        raise SchemaError("none of the rows has a geometry: there is nothing to draw")
    points = places.lonlat(rows)
    if not places.has("h3") or places.data["h3"].null_count:
        return _Ground(rows, points, None)
    cells = places.column("h3")[rows].astype(np.uint64)
    levels = np.unique(cells >> np.uint64(52) & np.uint64(0xF))
    if len(levels) > 1:
        known = ", ".join(str(level) for level in levels)
        raise SchemaError(f"cells of several resolutions ({known}) overlap: filter to one before drawing them")
    return _Ground(rows, points, (H3Cells(int(levels[0])), cells))


def _chosen(places: Places, columns: Sequence[str] | None) -> list[str]:
    if columns is not None:
        for name in columns:
            if not places.has(name) or name in ("id", "geometry", "embedding", "bbox", "h3"):
                known = ", ".join(places.attributes) or "none"
                raise UsageError(f"there is no attribute {name!r} to draw; there are: {known}")
        chosen = list(dict.fromkeys(columns))
    else:
        chosen = [name for name in places.attributes if _numeric(places.data.schema.field(name).type)]
    if not chosen:
        known = ", ".join(places.attributes) or "none"
        raise UsageError(f"a raster shows numbers: name attributes by --column; there are: {known}")
    return chosen


def _numeric(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind))


def _band(places: Places, name: str, rows: NDArray[np.int64]) -> Band:
    column = places.data[name].combine_chunks().take(pa.array(rows))
    if _numeric(column.type):
        values = np.array(column.cast(pa.float64()).to_numpy(zero_copy_only=False), dtype=np.float64)
        return Band(name, values, units_of(name, ""), coded=are_codes(column))
    texts = column.cast(pa.string())
    coded = texts.dictionary_encode()
    names = sorted(str(one) for one in coded.dictionary.to_pylist())
    place = {one: number for number, one in enumerate(names, 1)}
    order = np.array([place[str(one)] for one in coded.dictionary.to_pylist()] or [0], dtype=np.float64)
    at = coded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    return Band(name, np.where(at >= 0, order[np.maximum(at, 0)], np.nan), classes=tuple(names), coded=True)


def are_codes(column: pa.Array) -> bool:
    """Whether values are classes, of which there is no mean: texts, truth values, up to 20 different whole numbers."""
    if pa.types.is_floating(column.type):
        return False
    return not pa.types.is_integer(column.type) or len(pc.unique(column)) <= _CODES


def _default_side(ground: _Ground) -> float:
    if ground.cells is None:
        return reach_of(ground.points) / 4
    return math.sqrt(float(np.median(cell_areas(ground.cells[1]))) / _PER_CELL)


def _frame(ground: _Ground, projection: Projection, side: float) -> tuple[Frame, Draw]:
    """The grid whose pixels have the side wanted, and what draws a part of it."""
    if ground.cells is None:
        reach = reach_of(ground.points)

        def around(width: int) -> Frame:
            # A point stands for the ground around it: half the usual distance to its neighbours.
            return frame_around(ground.points.lon, ground.points.lat, projection=projection, width=width, margin=0.01)

        def draw(part: Frame) -> Any:
            return rows_of_points(ground.points, part, reach / 2)
    else:
        cells, ids = ground.cells

        def around(width: int) -> Frame:
            return frame_of_cells(cells, ids, projection=projection, width=width, margin=0.0)

        def draw(part: Frame) -> Any:
            return rows_of_cells(cells, ids, part)

    coarse = around(100)
    metres = {"lonlat": _DEGREE_M, "mercator": coarse.metres_per_unit(), "equal-area": 1.0}[projection]
    pixel = side / metres
    width, height = (max(1, math.ceil(sides * coarse.pixel / pixel - 1e-9)) for sides in (coarse.width, coarse.height))
    if coarse.crs == "EPSG:4326":
        height = min(height, math.ceil((coarse.top + 90) / pixel - 1e-9))
    return Frame(coarse.crs, coarse.left, coarse.top, pixel, width, height, coarse.middle), draw
