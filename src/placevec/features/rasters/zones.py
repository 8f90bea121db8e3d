"""The pixels of a raster that belong to cells, window by window: a pixel belongs to the cell that holds its centre."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from placevec.errors import DataError
from placevec.geo.cells import H3Cells
from placevec.geo.sphere import EARTH_RADIUS_M, LonLat
from placevec.sources.georeference import is_lonlat, transformer
from placevec.sources.rasters import Raster

SIDE = 1024  # pixels of a window: its positions and cells take some 60 MB
_BEYOND = -(1 << 40)  # a column or row of no raster
_MARGIN = 1.0  # pixels by which the outline of a cell may bulge between its corners, besides a part of its size


class Zones:
    """Cells whose pixels are looked for.

    Args:
        cells: (n,) H3 cells of one resolution, distinct, in any order.

    Raises:
        DataError: there are none, one stands there twice, or they are of several resolutions.
    """

    def __init__(self, cells: NDArray[np.uint64]) -> None:
        self.cells = np.ascontiguousarray(cells, dtype=np.uint64)
        if not len(self.cells):
            raise DataError("there are no cells whose pixels could be read; give at least one")
        self.system = H3Cells(int(self.cells[0] >> np.uint64(52)) & 15)
        self._order = np.argsort(self.cells, kind="stable").astype(np.int64)
        self._sorted = self.cells[self._order]
        same = np.flatnonzero(self._sorted[1:] == self._sorted[:-1])
        if len(same):
            raise DataError(f"the cell {int(self._sorted[same[0]]):x} stands there twice; give each cell once")

    def __len__(self) -> int:
        return len(self.cells)

    def centre(self) -> LonLat:
        """The centres (n,)."""
        return self.system.centre(self.cells)

    def rows(self, lonlat: LonLat) -> NDArray[np.int64]:
        """The row (m,) of the cell that holds each point, -1 where it is none of these cells."""
        own = self.system.assign(lonlat)
        at = np.minimum(np.searchsorted(self._sorted, own), len(self._sorted) - 1)
        return np.where(self._sorted[at] == own, self._order[at], np.int64(-1))


@dataclass(frozen=True, eq=False)
class OnRaster:
    """Where cells lie on a raster.

    Attributes:
        pixels: (n,) the area of each cell in pixels; 0 where the raster's projection has no place for it.
        inside: (n,) whether the whole cell lies on the raster.
        col: (n,) column of its centre, NaN where it lies beyond the raster.
        row: (n,) row of its centre, likewise.
        low: (n, 2) first column and row that the cell may touch; beyond the raster where it does not touch it.
        high: (n, 2) one past the last.
    """

    pixels: NDArray[np.float64]
    inside: NDArray[np.bool_]
    col: NDArray[np.float64]
    row: NDArray[np.float64]
    low: NDArray[np.int64]
    high: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Window:
    """A rectangle of a raster and the cells of its pixels.

    Attributes:
        row: the first row of the raster.
        col: the first column.
        height: rows.
        width: columns.
        cell: (height · width,) row of the cell of each pixel, -1 for none.
        centred: (k,) cells whose centre lies in a pixel of the window.
        centre_at: (k,) that pixel, as an index into `cell`.
    """

    row: int
    col: int
    height: int
    width: int
    cell: NDArray[np.int64]
    centred: NDArray[np.int64]
    centre_at: NDArray[np.int64]


def on_raster(zones: Zones, raster: Raster) -> OnRaster:
    """Where the cells lie on a raster, by their outlines, whichever way up it is and whatever its projection."""
    n = len(zones)
    near = _near(zones, raster)
    pixels, inside = np.zeros(n), np.zeros(n, dtype=bool)
    col, row = np.full(n, np.nan), np.full(n, np.nan)
    low, high = np.full((n, 2), _BEYOND), np.full((n, 2), _BEYOND)
    if len(near):
        found = _outlines(zones.system, zones.cells[near], raster)
        for out, part in zip((pixels, inside, col, row, low, high), found, strict=True):
            out[near] = part
    return OnRaster(pixels, inside, col, row, low, high)


def _near(zones: Zones, raster: Raster) -> NDArray[np.int64]:
    """The cells that may touch a raster: of a thousand tiles each is near to few cells."""
    lon, lat = centres(raster, np.linspace(0.0, 1.0, 17) * raster.width, np.linspace(0.0, 1.0, 17) * raster.height)
    if not np.isfinite(lon).all():  # the rim of a projection of the whole Earth
        return np.arange(len(zones))
    grid = LonLat(lon, lat).unit().reshape(17, 17, 3)
    middle = grid[8, 8]
    step = max(_angle(grid[1:], grid[:-1]), _angle(grid[:, 1:], grid[:, :-1]))
    reach = _angle(grid, middle) + step + 2.0 * zones.system.edge_m / EARTH_RADIUS_M
    if reach >= np.pi:
        return np.arange(len(zones))
    return np.flatnonzero(zones.centre().unit() @ middle >= np.cos(reach))


def _angle(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """The largest angle in radians between unit vectors."""
    return float(2.0 * np.arcsin(np.clip(np.linalg.norm(a - b, axis=-1) / 2.0, 0.0, 1.0)).max())


def _outlines(system: H3Cells, cells: NDArray[np.uint64], raster: Raster) -> tuple[NDArray[Any], ...]:
    """The fields of `OnRaster` of some cells."""
    centre = system.centre(cells)
    col, row = positions(raster, centre.lon, centre.lat)
    # Outlines across the antimeridian are in two parts: their areas add up, and their boxes are joined.
    parts, of_cell = shapely.get_parts(system.polygons(cells), return_index=True)
    corners, of_part = shapely.get_coordinates(parts, return_index=True)
    x, y = positions(raster, corners[:, 0], corners[:, 1])
    if raster.wraps:  # a cell across the seam of the raster lies at its two ends: its corners stay together
        own = col[of_cell[of_part]]
        x = x + raster.width * np.round((own - x) / raster.width)
    n = len(cells)
    area = np.zeros(n)
    with np.errstate(invalid="ignore", over="ignore"):
        cross = np.append(x[:-1] * y[1:] - x[1:] * y[:-1], 0.0)
    last = np.append(of_part[1:] != of_part[:-1], True)  # the line from one outline to the next counts for nothing
    np.add.at(area, of_cell, np.abs(np.bincount(of_part, np.where(last, 0.0, cross), minlength=len(parts))) / 2.0)
    low, high = np.full((n, 2), np.inf), np.full((n, 2), -np.inf)
    at = np.stack([x, y], axis=1)
    np.minimum.at(low, of_cell[of_part], at)
    np.maximum.at(high, of_cell[of_part], at)
    good = np.isfinite(area) & np.isfinite(low).all(axis=1) & np.isfinite(high).all(axis=1)
    whole = [np.inf if raster.wraps else raster.width, raster.height]
    least = [-np.inf if raster.wraps else 0.0, 0.0]
    inside = good & (low >= least).all(axis=1) & (high <= whole).all(axis=1)
    margin = _MARGIN + 0.05 * (high - low)
    with np.errstate(invalid="ignore"):
        first = np.where(good[:, None], np.clip(np.floor(low - margin), _BEYOND, -_BEYOND), _BEYOND)
        past = np.where(good[:, None], np.clip(np.ceil(high + margin), _BEYOND, -_BEYOND), _BEYOND)
    on = good & raster.contains(col, row)
    ends = first.astype(np.int64), past.astype(np.int64)
    return np.where(good, area, 0.0), inside, np.where(on, col, np.nan), np.where(on, row, np.nan), *ends


def positions(
    raster: Raster, lon: NDArray[np.float64], lat: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Columns and rows (n,) of points; neither is finite where the projection has no place for one."""
    with np.errstate(invalid="ignore"):  # infinity times a step of zero
        return raster.pixel(lon, lat)


def windows(zones: Zones, raster: Raster, where: OnRaster) -> Iterator[tuple[Window, int, int]]:
    """The windows of a raster that the cells touch, each with how many there were before it, and of how many.

    Memory follows the window, not the raster.
    """
    touched = sorted(_touched(raster, where))
    known = np.flatnonzero(np.isfinite(where.col))
    centre_col = np.mod(where.col[known], raster.width) if raster.wraps else where.col[known]
    cols = np.clip(centre_col.astype(np.int64), 0, raster.width - 1)
    rows = np.clip(where.row[known].astype(np.int64), 0, raster.height - 1)
    across = -(-raster.width // SIDE)
    tile = rows // SIDE * across + cols // SIDE
    order = np.argsort(tile, kind="stable")
    numbers = np.array([r * across + c for r, c in touched], dtype=np.int64)
    bounds, ends = (np.searchsorted(tile[order], numbers, side=side) for side in ("left", "right"))
    for done, ((tile_row, tile_col), start, stop) in enumerate(zip(touched, bounds, ends, strict=True)):
        top, left = tile_row * SIDE, tile_col * SIDE
        height, width = min(SIDE, raster.height - top), min(SIDE, raster.width - left)
        mine = order[start:stop]
        cell = _cells(zones, raster, top, left, height, width)
        yield (
            Window(top, left, height, width, cell, known[mine], (rows[mine] - top) * width + cols[mine] - left),
            done,
            len(touched),
        )


def _touched(raster: Raster, where: OnRaster) -> set[tuple[int, int]]:
    """The (row, column) of all windows that a cell may touch."""
    across, down = -(-raster.width // SIDE), -(-raster.height // SIDE)
    first_row, last_row = where.low[:, 1] // SIDE, (where.high[:, 1] - 1) // SIDE
    first_col, last_col = where.low[:, 0] // SIDE, (where.high[:, 0] - 1) // SIDE
    if raster.wraps:  # columns go on at the other side, where windows begin anew
        west, east = where.low[:, 0], where.high[:, 0] - 1
        turned = (west < 0) | (east >= raster.width)
        first_col, last_col = np.where(turned, 0, first_col), np.where(turned, across - 1, last_col)
    boxes = np.stack([first_row, last_row, first_col, last_col], axis=1)
    boxes = np.unique(np.clip(boxes, [0, -1, 0, -1], [down, down - 1, across, across - 1]), axis=0)
    return {
        (row, col)
        for top, low, left, right in boxes.tolist()
        for row in range(top, low + 1)
        for col in range(left, right + 1)
    }


def _cells(zones: Zones, raster: Raster, top: int, left: int, height: int, width: int) -> NDArray[np.int64]:
    """The row of the cell (height · width,) of each pixel, -1 for none."""
    lon, lat = centres(raster, np.arange(left, left + width) + 0.5, np.arange(top, top + height) + 0.5)
    good = np.isfinite(lon)
    if good.all():
        return zones.rows(LonLat(lon, lat))
    found = np.full(len(lon), -1, dtype=np.int64)
    found[good] = zones.rows(LonLat(lon[good], lat[good]))
    return found


def centres(
    raster: Raster, cols: NDArray[np.floating[Any]], rows: NDArray[np.floating[Any]]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Longitudes and latitudes (len(rows) · len(cols),) of positions on a grid; NaN beyond the projection."""
    i, j = (part.ravel() for part in np.meshgrid(cols, rows))
    a, b, c, d, e, f = raster.transform
    x, y = a * i + b * j + c, d * i + e * j + f
    if not is_lonlat(raster.crs):
        x, y = transformer(raster.crs, inverse=True).transform(x, y)
    good = np.isfinite(x) & np.isfinite(y)
    x, y = np.where(good, x, 0.0), np.where(good, y, 0.0)
    lon = np.where(good, (x + 180.0) % 360.0 - 180.0, np.nan)
    return lon, np.where(good, np.clip(y, -90.0, 90.0), np.nan)
