"""The shape of the ground by cell: height, slope, aspect, ruggedness, and where a cell lies above its neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from placevec.errors import UsageError
from placevec.features.modality import Told
from placevec.features.rasters.moments import Moments
from placevec.features.rasters.percentiles import Percentiles, check_percentiles
from placevec.features.rasters.zonal import MIN_VALID, Cover, each_window
from placevec.features.rasters.zones import Window, Zones, centres
from placevec.geo.sphere import EARTH_RADIUS_M
from placevec.sources.rasters import Raster

Floats = NDArray[np.float64]

TERRAIN = (
    "elevation_mean_m",
    "elevation_sd_m",
    "elevation_min_m",
    "elevation_max_m",
    "relief_m",
    "slope_mean_deg",
    "slope_sd_deg",
    "ruggedness_m",
    "eastness",
    "northness",
    "topographic_position_m",
)
"""The columns of `terrain_statistics`."""

LOWEST_M = -500.0
"""Heights below this are no ground: the shore of the Dead Sea lies at -430 m."""

RINGS = 2
"""How far around a cell its topographic position looks."""


@dataclass(frozen=True, eq=False)
class Terrain:
    """The ground of n cells.

    Attributes:
        values: (n, 11) the columns `TERRAIN`; rows of cells that are not `present` mean nothing.
        present: (n,) cells of which enough is known.
        sampled: (n,) cells that hold no pixel centre: their values are those at their centre.
        reach_m: how far beyond a cell its topographic position has looked.
        percentiles: (n, p) of the heights, in metres, as asked for.
    """

    values: Floats
    present: NDArray[np.bool_]
    sampled: NDArray[np.bool_]
    reach_m: float
    percentiles: Floats


def terrain_statistics(
    rasters: Sequence[Raster],
    zones: Zones,
    *,
    band: int = 0,
    lowest: float = LOWEST_M,
    rings: int = RINGS,
    min_valid: float = MIN_VALID,
    percentiles: Sequence[float] = (),
    told: Told | None = None,
) -> Terrain:
    """Statistics of heights and of their derivatives, over the pixels whose centres lie in cells.

    Slope and aspect are those of the plane that B. K. P. Horn ("Hill shading and the reflectance map", 1981) lays
    through a pixel and its eight neighbours, with lengths on the ground whatever the projection. Ruggedness is the
    terrain ruggedness index of S. J. Riley and others (1999): the root of the summed squares of the differences from
    the eight neighbours. Eastness and northness are the means of the components of the unit normal: where the ground
    falls to the east, and how much; 0 on flat ground, which has no aspect. Topographic position (A. Weiss, 2001) is
    the mean height of the cell less that of the cells within `rings` around it.

    Args:
        rasters: heights in metres; one raster, or its tiles.
        zones: the cells.
        band: index of the band.
        lowest: heights below it are taken for nodata.
        rings: steps to the neighbours of the topographic position; 0 makes it 0.
        min_valid: cells of which a smaller share is known are absent.
        percentiles: of the heights, from 0 to 100; see `percentiles.Percentiles`.
        told: progress.

    Raises:
        UsageError: `rings` is negative, or a percentile is none.
    """
    if rings < 0:
        raise UsageError(f"rings is {rings}; give 0 or more steps to the neighbours of a cell")
    n = len(zones)
    around = zones.system.rings(zones.cells, rings) if rings else zones.cells[:, None]
    every = np.unique(around[around != 0])
    extra = np.setdiff1d(every, zones.cells)  # cells beyond the area, of which the height alone is wanted
    wide = Zones(np.concatenate([zones.cells, extra]))
    asked = check_percentiles(percentiles)
    ranks = Percentiles(n, 1)
    heights, shape = Moments(len(wide), 1), Moments(len(wide), 4)
    single = np.full((len(wide), 5), np.nan)
    cover = Cover(len(wide))
    for raster, window in each_window(rasters, wide, cover, told):
        z, layers = _layers(raster, window, band, lowest)
        hit = np.flatnonzero((window.cell >= 0) & np.isfinite(z))
        heights.add(window.cell[hit], z[hit, None].astype(np.float32))
        if asked:
            own = hit[window.cell[hit] < n]
            ranks.add(window.cell[own], z[own, None].astype(np.float32))
        whole = np.isfinite(layers).all(axis=1)
        hit = np.flatnonzero((window.cell >= 0) & (window.cell < n) & whole)
        shape.add(window.cell[hit], layers[hit].astype(np.float32))
        single[window.centred, 1:] = layers[window.centre_at]
    sampled = cover.seen == 0
    share = cover.share(heights.count)
    at = np.flatnonzero(sampled)
    between = np.stack([ranks.at(each)[:, 0] for each in asked], axis=1) if asked else np.zeros((n, 0))
    mean, low, high = heights.mean[:, 0], heights.low[:, 0], heights.high[:, 0]
    if len(at):
        single[at, 0] = _heights_at(rasters, wide, at, band, lowest)
        for out in (mean, low, high):
            out[at] = single[at, 0]
        between[at[at < n]] = single[at[at < n], :1]
        share[at] = np.isfinite(single[at]).all(axis=1)
        shape.mean[at] = np.nan_to_num(single[at, 1:])
        shape.count[at] = share[at].astype(np.int64)
    known = share >= max(min_valid, 1e-9)
    position = _position(wide.cells, mean, known, around)
    columns = [mean[:n], heights.sd[:n, 0], low[:n], high[:n], high[:n] - low[:n]]
    columns += [shape.mean[:n, 0], shape.sd[:n, 0], shape.mean[:n, 1], shape.mean[:n, 2], shape.mean[:n, 3], position]
    present = known[:n] & (shape.count[:n] > 0)
    # Centres of neighbours are the square root of 3 edges apart, and the neighbour reaches one edge farther.
    reach = (np.sqrt(3.0) * rings + 1.0) * zones.system.edge_m if rings else 0.0
    with np.errstate(invalid="ignore"):
        values = np.where(present[:, None], np.stack(columns, axis=1), 0.0)
    return Terrain(values, present, sampled[:n], float(reach), np.where(present[:, None], between, 0.0))


def _layers(raster: Raster, window: Window, band: int, lowest: float) -> tuple[Floats, Floats]:
    """Heights (pixels,) of a window, and slope, ruggedness, eastness and northness (pixels, 4); NaN where unknown."""
    level = raster.level(1.0, 1.0, "nearest")
    height, width = window.height, window.width
    values, valid = raster.window(level, window.row - 1, window.col - 1, height + 2, width + 2, band)
    z = values.astype(np.float64)
    z[~(z >= lowest) | (False if valid is None else ~valid)] = np.nan
    cols = np.arange(window.col - 1, window.col + width + 1) + 0.5
    rows = np.arange(window.row - 1, window.row + height + 1) + 0.5
    lon, lat = (part.reshape(z.shape) for part in centres(raster, cols, rows))
    middle = z[1:-1, 1:-1]
    along, down = _horn(z)
    # Metres on the ground of one step along the columns and down the rows: (east, north) of each.
    cosine = np.cos(np.radians(lat[1:-1, 1:-1]))
    metre = np.radians(1.0) * EARTH_RADIUS_M
    east_c = _turned(lon[1:-1, 2:] - lon[1:-1, :-2]) / 2.0 * metre * cosine
    north_c = (lat[1:-1, 2:] - lat[1:-1, :-2]) / 2.0 * metre
    east_r = _turned(lon[2:, 1:-1] - lon[:-2, 1:-1]) / 2.0 * metre * cosine
    north_r = (lat[2:, 1:-1] - lat[:-2, 1:-1]) / 2.0 * metre
    with np.errstate(invalid="ignore", divide="ignore"):
        det = east_c * north_r - north_c * east_r
        east = (along * north_r - down * north_c) / det
        north = (down * east_c - along * east_r) / det
        steep = np.hypot(east, north)
        length = np.sqrt(1.0 + steep**2)
        squares = sum((part - middle) ** 2 for part in _neighbours(z))
        layers = [np.degrees(np.arctan(steep)), np.sqrt(squares), -east / length, -north / length]
    return middle.ravel(), np.stack([layer.ravel() for layer in layers], axis=1)


def _horn(z: Floats) -> tuple[Floats, Floats]:
    """The change of height from one column and one row to the next, by Horn's weights, within the rim of `z`."""
    a, b, c, d, f, g, h, i = _neighbours(z)
    return (c + 2 * f + i - a - 2 * d - g) / 8.0, (g + 2 * h + i - a - 2 * b - c) / 8.0


def _neighbours(z: Floats) -> list[Floats]:
    """The eight neighbours of the pixels within the rim of `z`, row by row."""
    rows, cols = z.shape
    steps = [(y, x) for y in range(3) for x in range(3) if (y, x) != (1, 1)]
    return [z[y : y + rows - 2, x : x + cols - 2] for y, x in steps]


def _turned(degrees: Floats) -> Floats:
    """Differences of longitude on -180 ... 180."""
    return (degrees + 180.0) % 360.0 - 180.0


def _heights_at(rasters: Sequence[Raster], zones: Zones, at: NDArray[np.int64], band: int, lowest: float) -> Floats:
    """Heights (k,) between the pixels at the centres of the cells `at` (k,); NaN where there are none."""
    centre = zones.centre()[at]
    found = np.full(len(at), np.nan)
    for raster in rasters:
        here = raster.sample(centre)[:, band].astype(np.float64)
        found = np.where(np.isfinite(found) | ~(here >= lowest), found, here)
    return found


def _position(cells: NDArray[np.uint64], mean: Floats, known: NDArray[np.bool_], around: NDArray[np.uint64]) -> Floats:
    """The mean height of each cell less the mean of its neighbours `around` (n, m) that are known, itself left out."""
    order = np.argsort(cells, kind="stable")
    at = order[np.minimum(np.searchsorted(cells[order], around), len(cells) - 1)]
    there = (around != 0) & known[at]
    there[:, 0] = False
    count = there.sum(axis=1)
    total = np.where(there, mean[at], 0.0).sum(axis=1)
    return np.where(count > 0, mean[: len(around)] - total / np.maximum(count, 1), 0.0)
