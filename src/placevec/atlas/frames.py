"""The regular grid of pixels that a map is drawn on: projection, extent and pixel size.

An area may lie across the antimeridian or hold a pole: its longitudes are unrolled around their own middle, so that a
map of Fiji is one piece, 8 degrees wide, and never the whole Earth.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import pyproj
from numpy.typing import NDArray

from placevec.errors import UsageError

Projection = Literal["equal-area", "mercator", "lonlat"]

MERCATOR_RADIUS_M = 6378137.0  # EPSG:3857 treats WGS84 degrees as those of a sphere of the equatorial radius
MERCATOR_LIMIT = 85.051128779806604
WIDE_DEGREES = 70.0  # beyond this reach from its middle an azimuthal map distorts shapes too much
MAX_PIXELS = 100_000_000


@dataclass(frozen=True)
class Frame:
    """A north-up pixel grid.

    Attributes:
        crs: anything pyproj understands: "EPSG:4326", "EPSG:3857" or a PROJ string.
        left: x of the left edge, in degrees or metres. In the lonlat and mercator grids it may run past the
            antimeridian on either side: 175 to 183 degrees is one piece.
        top: y of the upper edge.
        pixel: width and height of a pixel, in degrees or metres.
        width: columns.
        height: rows; row 0 is the northernmost.
        middle: longitude around which the others are unrolled, degrees.
    """

    crs: str
    left: float
    top: float
    pixel: float
    width: int
    height: int
    middle: float

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """Left, bottom, right, top of the grid in its own units."""
        return (
            self.left,
            self.top - self.height * self.pixel,
            self.left + self.width * self.pixel,
            self.top,
        )

    def project(
        self, lon: NDArray[np.float64], lat: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """X and y of points given in degrees; infinite where the projection has no such point."""
        return _forward(self.crs, self.middle, lon, lat)

    def centres(self, rows: slice) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Longitude and latitude in degrees of the pixel centres of `rows`, each (rows, width); NaN off the Earth."""
        ys = self.top - (np.arange(*rows.indices(self.height)) + 0.5) * self.pixel
        xs = self.left + (np.arange(self.width) + 0.5) * self.pixel
        if self.crs == "EPSG:4326":
            lon, lat = np.meshgrid(xs, ys)
        elif self.crs == "EPSG:3857":
            lon, lat = np.meshgrid(
                np.degrees(xs / MERCATOR_RADIUS_M), np.degrees(np.arctan(np.sinh(ys / MERCATOR_RADIUS_M)))
            )
        else:
            x, y = np.meshgrid(xs, ys)
            lon, lat = self._local(x, y, inverse=True)
            # Some projections answer for points outside their outline; those do not come back to where they began.
            with np.errstate(invalid="ignore"):
                again = self._local(lon, lat, inverse=False)
                away = ~((abs(again[0] - x) < self.pixel) & (abs(again[1] - y) < self.pixel))
            lon, lat = np.where(away, np.nan, lon), np.where(away, np.nan, lat)
        off = ~(np.isfinite(lon) & np.isfinite(lat) & (np.abs(lat) <= 90))
        lon, lat = np.where(off, np.nan, lon), np.where(off, np.nan, lat)
        return (lon + 180) % 360 - 180, lat

    def metres_per_unit(self) -> float:
        """Metres on the ground of one unit of x along the middle of the map."""
        y = self.top - self.height * self.pixel / 2
        if self.crs == "EPSG:4326":
            return math.radians(1) * 6371008.8 * math.cos(math.radians(y))
        if self.crs == "EPSG:3857":
            return 1 / math.cosh(y / MERCATOR_RADIUS_M)
        x = self.left + self.width * self.pixel / 2
        step = self.pixel * max(1, self.width // 50)
        lon, lat = self._local(np.array([x - step, x + step]), np.array([y, y]), inverse=True)
        _, _, metres = pyproj.Geod(ellps="WGS84").inv(lon[0], lat[0], lon[1], lat[1])
        return float(metres) / (2 * step)

    def _local(
        self, a: NDArray[np.float64], b: NDArray[np.float64], *, inverse: bool
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        x, y = self._proj(a, b, inverse=inverse)
        return np.asarray(x), np.asarray(y)

    @cached_property
    def _proj(self) -> Any:
        return pyproj.Proj(self.crs)


def frame_around(
    lon: NDArray[np.float64],
    lat: NDArray[np.float64],
    *,
    projection: Projection = "equal-area",
    width: int = 1600,
    margin: float = 0.03,
) -> Frame:
    """The grid that holds all the points (corners of cells, for maps of cells), with square pixels.

    Args:
        lon: degrees, n.
        lat: degrees, n.
        projection: "equal-area" is Lambert's azimuthal one centred on the area (for regions wider than about 70
            degrees from their middle: Equal Earth, Savric, Patterson & Jenny 2018), for pictures; "lonlat" is
            EPSG:4326, for files that others will open; "mercator" is EPSG:3857, for web maps.
        width: pixels of the longer side.
        margin: free border, as a share of the longer side.

    Raises:
        UsageError: no points, or a size that is not positive or beyond 100 million pixels.
    """
    if not len(lon):
        raise UsageError("no places to draw a map of; check the filter")
    if width < 1:
        raise UsageError(f"a map {width} pixels wide cannot be drawn; use 1 or more")
    west, east = arc(lon)
    middle, south, north = (west + east) / 2, float(lat.min()), float(lat.max())
    if projection == "lonlat":
        crs = "EPSG:4326"
    elif projection == "mercator":
        crs = "EPSG:3857"
        middle_lat = np.clip(lat, -MERCATOR_LIMIT, MERCATOR_LIMIT)
        lat = middle_lat
    elif projection == "equal-area":
        reach = max((north - south) / 2, (east - west) / 2 * math.cos(math.radians((north + south) / 2)))
        if reach > WIDE_DEGREES:
            crs = f"+proj=eqearth +lon_0={_wrap(middle):.6f} +datum=WGS84 +units=m +no_defs"
        else:
            pole = _pole(lat, east - west)
            crs = (
                f"+proj=laea +lat_0={pole if pole is not None else (north + south) / 2:.6f} +lon_0={_wrap(middle):.6f} "
                "+datum=WGS84 +units=m +no_defs"
            )
    else:
        raise UsageError(f"projection {projection!r} is not known; use equal-area, mercator or lonlat")
    x, y = _forward(crs, middle, lon, lat)
    seen = np.isfinite(x) & np.isfinite(y)
    x, y = x[seen], y[seen]
    # A single point has no extent of its own; a hundredth of a degree lets it be seen.
    least = 0.01 if crs == "EPSG:4326" else 1000.0
    across, up = max(float(np.ptp(x)), least), max(float(np.ptp(y)), least)
    border = margin * max(across, up)
    pixel = (max(across, up) + 2 * border) / width
    columns, rows = (max(1, math.ceil((side + 2 * border) / pixel - 1e-9)) for side in (across, up))
    if columns * rows > MAX_PIXELS:
        raise UsageError(f"a map of {columns} x {rows} pixels is too large; ask for fewer than {width} across")
    x_middle, y_middle = (x.min() + x.max()) / 2, (y.min() + y.max()) / 2
    top = float(y_middle + rows * pixel / 2)
    if crs == "EPSG:4326":
        top = min(top, 90.0)
        rows = min(rows, math.ceil((top + 90) / pixel - 1e-9))
    return Frame(crs, float(x_middle - columns * pixel / 2), top, float(pixel), columns, rows, middle)


def arc(lon: NDArray[np.float64]) -> tuple[float, float]:
    """West and east end, in degrees, of the shortest arc of longitude that holds all; east may pass 180."""
    around = np.unique((np.asarray(lon, dtype=np.float64) + 180) % 360 - 180)
    gaps = np.diff(np.append(around, around[0] + 360))
    widest = int(gaps.argmax())
    if widest == len(around) - 1:
        return float(around[0]), float(around[-1])
    return float(around[widest + 1]), float(around[widest] + 360)


def _forward(
    crs: str, middle: float, lon: NDArray[np.float64], lat: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    unrolled = (np.asarray(lon, dtype=np.float64) - middle + 180) % 360 - 180 + middle
    lat = np.asarray(lat, dtype=np.float64)
    if crs == "EPSG:4326":
        return unrolled, lat
    if crs == "EPSG:3857":
        flat = np.clip(lat, -MERCATOR_LIMIT, MERCATOR_LIMIT)
        return np.radians(unrolled) * MERCATOR_RADIUS_M, np.arcsinh(np.tan(np.radians(flat))) * MERCATOR_RADIUS_M
    x, y = pyproj.Proj(crs)(lon, lat)
    return np.asarray(x), np.asarray(y)


def _pole(lat: NDArray[np.float64], span: float) -> float | None:
    # Longitudes all the way round near a pole: the map is centred on the pole itself.
    if span < 300 or np.abs(lat).min() < 45:
        return None
    return 90.0 if lat.mean() > 0 else -90.0


def _wrap(lon: float) -> float:
    return (lon + 180) % 360 - 180
