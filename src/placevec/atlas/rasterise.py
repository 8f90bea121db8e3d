"""Cells and points to pixels, exactly: every pixel shows the place that it lies in, or nothing.

A pixel of a map of cells takes the cell that holds its centre, found by the cell system itself, so that a boundary on
the map is the boundary of the cells and not the work of an interpolation. Points that are no cells are drawn by
nearest neighbour within a stated reach. Both give a `RowMap`, the row number of the table for each pixel; colours and
values are looked up in it, so that one rasterisation serves many maps.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from placevec.atlas.frames import Frame, Projection, frame_around
from placevec.errors import SchemaError, UsageError
from placevec.files import whole
from placevec.geo.sphere import EARTH_RADIUS_M, LonLat
from placevec.registry import need

if TYPE_CHECKING:
    from placevec.geo.cells import Cells

BLOCK_PIXELS = 1_000_000


@dataclass(frozen=True)
class RowMap:
    """Which row of a table each pixel shows.

    Attributes:
        rows: (height, width) int64, -1 where there is no place.
        frame: the pixel grid.
    """

    rows: NDArray[np.int64]
    frame: Frame

    def paint(self, colours: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """RGBA (height, width, 4) uint8 from `colours` (n, 3) or (n, 4) of the rows; clear where no place is."""
        self._check(len(colours))
        raster = np.zeros((*self.rows.shape, 4), dtype=np.uint8)
        seen = self.rows >= 0
        raster[seen, : colours.shape[1]] = colours[self.rows[seen]]
        if colours.shape[1] == 3:
            raster[seen, 3] = 255
        return raster

    def values(self, values: NDArray[Any]) -> NDArray[np.float32]:
        """Float32 (height, width), or (bands, height, width) for `values` (n, bands); NaN where no place is."""
        self._check(len(values))
        number = np.asarray(values, dtype=np.float32)
        raster = np.full((*self.rows.shape, *number.shape[1:]), np.nan, dtype=np.float32)
        seen = self.rows >= 0
        raster[seen] = number[self.rows[seen]]
        return raster if raster.ndim == 2 else np.moveaxis(raster, -1, 0)

    def unseen(self, count: int) -> int:
        """How many of the table's `count` rows no pixel shows: too small for the grid, or outside it."""
        return count - len(np.unique(self.rows[self.rows >= 0]))

    def _check(self, count: int) -> None:
        if self.rows.size and self.rows.max() >= count:
            raise SchemaError(
                f"{count} values for a map of at least {int(self.rows.max()) + 1} rows; pass one for each row"
            )


def frame_of_cells(
    cells: Cells,
    ids: NDArray[np.uint64],
    *,
    projection: Projection = "equal-area",
    width: int = 1600,
    margin: float = 0.03,
) -> Frame:
    """The pixel grid that holds the whole outlines of the cells `ids`; see `frame_around` for the options."""
    corners = shapely.get_coordinates(cells.polygons(np.asarray(ids, dtype=np.uint64)))
    return frame_around(corners[:, 0], corners[:, 1], projection=projection, width=width, margin=margin)


def rows_of_cells(cells: Cells, ids: NDArray[np.uint64], frame: Frame) -> RowMap:
    """For each pixel of `frame` the row in `ids` of the cell that holds its centre.

    Raises SchemaError if a cell is named twice: one pixel cannot show two rows.
    """
    wanted = np.asarray(ids, dtype=np.uint64)
    order = np.argsort(wanted, kind="stable")
    ranked = wanted[order]
    twice = np.flatnonzero(ranked[1:] == ranked[:-1])
    if len(twice):
        raise SchemaError(
            f"cell {int(ranked[twice[0]]):x} stands in two rows (row {order[twice[0]]} and row {order[twice[0] + 1]}); "
            "filter or aggregate to one row a cell before drawing"
        )
    out = np.full((frame.height, frame.width), -1, dtype=np.int64)
    if not len(wanted):
        return RowMap(out, frame)
    for block, here, where in pixel_blocks(frame):
        found = np.asarray(cells.assign(where), dtype=np.uint64)
        at = np.minimum(np.searchsorted(ranked, found), len(ranked) - 1)
        out[block][here] = np.where(ranked[at] == found, order[at], -1)
    return RowMap(out, frame)


def rows_of_points(points: LonLat, frame: Frame, reach_m: float) -> RowMap:
    """For each pixel of `frame` the nearest of `points`, on the sphere, that is at most `reach_m` metres away.

    Raises UsageError if `reach_m` is not positive: without a limit a map would fill the sea with invented values.
    """
    if not reach_m > 0:
        raise UsageError(f"reach {reach_m} m: give the distance in metres that a point may stand for")
    out = np.full((frame.height, frame.width), -1, dtype=np.int64)
    if not len(points):
        return RowMap(out, frame)
    tree = cKDTree(points.unit())
    chord = 2 * np.sin(min(reach_m / EARTH_RADIUS_M, np.pi) / 2)
    for block, here, where in pixel_blocks(frame):
        distance, nearest = tree.query(where.unit())
        out[block][here] = np.where(distance <= chord, nearest, -1)
    return RowMap(out, frame)


def write_geotiff(
    path: str | Path,
    raster: NDArray[np.uint8] | NDArray[np.float32],
    frame: Frame,
    *,
    names: Sequence[str] = (),
    units: Sequence[str] = (),
    tags: Mapping[str, str] | None = None,
) -> None:
    """Write a raster as a cloud-optimised GeoTIFF: tiled, deflate, with overviews, whole or not at all.

    Args:
        path: the file; replaced if it exists.
        raster: RGBA (height, width, 4) uint8, written as colours with alpha; or values (height, width) or
            (bands, height, width) float32, written with NaN as nodata.
        frame: its pixel grid.
        names: descriptions of the bands.
        units: units of the bands.
        tags: metadata of the file, for example the Space and the explained variance.

    Raises:
        SchemaError: the raster does not fit the frame, or the names the raster.
    """
    rasterio = need("rasterio", extra="raster", purpose="writing GeoTIFF")
    interpretation = need("rasterio.enums", extra="raster", purpose="writing GeoTIFF").ColorInterp
    shutil = need("rasterio.shutil", extra="raster", purpose="writing GeoTIFF")
    memory = need("rasterio.io", extra="raster", purpose="writing GeoTIFF").MemoryFile
    colours = raster.dtype == np.uint8
    bands = np.moveaxis(raster, -1, 0) if colours else raster.reshape(-1, *raster.shape[-2:])
    if bands.shape[1:] != (frame.height, frame.width) or (colours and len(bands) != 4):
        raise SchemaError(
            f"a raster of shape {raster.shape} does not fit a map of {frame.height} rows, {frame.width} columns"
        )
    names = tuple(names) or (("red", "green", "blue", "alpha") if colours else ())
    if names and len(names) != len(bands):
        raise SchemaError(f"{len(names)} band names for {len(bands)} bands; give one for each")
    profile: dict[str, Any] = {
        "driver": "GTiff",
        "width": frame.width,
        "height": frame.height,
        "count": len(bands),
        "dtype": bands.dtype.name,
        "crs": frame.crs,
        "transform": rasterio.transform.Affine(frame.pixel, 0, frame.left, 0, -frame.pixel, frame.top),
    }
    if not colours:
        profile["nodata"] = float("nan")
    with memory() as scratch:
        with scratch.open(**profile) as file:
            file.write(bands)
            if colours:
                file.colorinterp = [interpretation.red, interpretation.green, interpretation.blue, interpretation.alpha]
            if names:
                file.descriptions = names
            if units:
                file.units = tuple(units)
            file.update_tags(**dict(tags or {}))
        with whole(path) as part, scratch.open() as file:
            shutil.copy(
                file,
                part,
                driver="COG",
                COMPRESS="DEFLATE",
                PREDICTOR="YES",
                BLOCKSIZE=256,
                # Averaging would invent cells that are between two; an overview shows every fourth pixel as it is.
                OVERVIEW_RESAMPLING="NEAREST",
            )


def pixel_blocks(frame: Frame) -> Iterator[tuple[slice, NDArray[np.bool_], LonLat]]:
    """Pixel centres in blocks of rows: (slice of rows, mask of pixels on the Earth, their coordinates)."""
    step = max(1, BLOCK_PIXELS // frame.width)
    for start in range(0, frame.height, step):
        block = slice(start, min(start + step, frame.height))
        lon, lat = frame.centres(block)
        here = np.isfinite(lon)
        if here.any():
            yield block, here, LonLat(lon[here], lat[here])
