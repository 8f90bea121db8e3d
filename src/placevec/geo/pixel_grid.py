"""PixelGrid: the pixels of a raster in longitude and latitude, from a box and a resolution."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from placevec.errors import UsageError
from placevec.geo.boxes import Box, check_box
from placevec.geo.sphere import EARTH_RADIUS_M

METRES_PER_DEGREE = math.radians(1.0) * EARTH_RADIUS_M

_LENGTH = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*(km|m|deg|°)")
_PIXELS = re.compile(r"(\d+)\s*[x×]\s*(\d+)")


@dataclass(frozen=True)
class PixelGrid:
    """The pixels of a raster in longitude and latitude.

    Attributes:
        bbox: (west, south, east, north) in degrees, the outer edges of the pixels; west > east crosses the
            antimeridian.
        width: columns.
        height: rows.
    """

    bbox: Box
    width: int
    height: int

    @classmethod
    def of(cls, bbox: Box, resolution: str) -> PixelGrid:
        """The pixels of a box at a resolution, so many that they fill it exactly and come nearest to what was asked.

        Args:
            bbox: (west, south, east, north) in degrees.
            resolution: a length on the ground ("1km", "500m"), which holds at the middle latitude of the box; degrees
                ("0.01deg"); or columns and rows ("800x600").

        Raises:
            UsageError: the resolution is none of these, or the box has no width or height.
        """
        west, south, east, north = box = check_box(bbox)
        across, up = (east - west) % 360.0 or (360.0 if east > west else 0.0), north - south
        if across <= 0.0 or up <= 0.0:
            raise UsageError(f"the box {box} has no width or no height: give west, south, east, north in degrees")
        text = resolution.strip().lower()
        if match := _PIXELS.fullmatch(text):
            width, height = int(match[1]), int(match[2])
        elif match := _LENGTH.fullmatch(text):
            size = float(match[1])
            if match[2] in ("km", "m"):
                tall = size * (1000.0 if match[2] == "km" else 1.0) / METRES_PER_DEGREE
                wide = tall / math.cos(math.radians((south + north) / 2.0))
            else:
                wide = tall = size
            width, height = (max(1, round(span / step)) if step else 0 for span, step in ((across, wide), (up, tall)))
        else:
            hint = "; a whole number is a resolution of H3 cells" if text.isdigit() else ""
            raise UsageError(
                f"{resolution!r} is no resolution of a grid: give a length such as 1km or 500m, degrees such as "
                f"0.01deg, or pixels such as 800x600{hint}"
            )
        if width < 1 or height < 1:
            raise UsageError(f"{resolution!r} gives a grid of {width} x {height} pixels: give a size above 0")
        return cls(box, width, height)

    @property
    def bounds(self) -> Box:
        """The edges (left, bottom, right, top) of the raster, right > left: 170 ... 190 across the antimeridian."""
        west, south, east, north = self.bbox
        return (west, south, east if east > west else east + 360.0, north)

    @property
    def step(self) -> tuple[float, float]:
        """The size of a pixel in degrees: of longitude, of latitude."""
        left, bottom, right, top = self.bounds
        return (right - left) / self.width, (top - bottom) / self.height

    @property
    def lons(self) -> NDArray[np.float64]:
        """The longitudes (W,) of the columns' centres, in [-180, 180)."""
        lon = self.bounds[0] + (np.arange(self.width, dtype=np.float64) + 0.5) * self.step[0]
        lon[lon >= 180.0] -= 360.0
        return lon

    @property
    def lats(self) -> NDArray[np.float64]:
        """The latitudes (H,) of the rows' centres, from north to south."""
        return self.bounds[3] - (np.arange(self.height, dtype=np.float64) + 0.5) * self.step[1]

    @property
    def metres(self) -> tuple[float, float]:
        """The size of a pixel in metres in the middle of the box: east-west, north-south."""
        wide, tall = self.step
        middle = math.cos(math.radians((self.bbox[1] + self.bbox[3]) / 2.0))
        return wide * METRES_PER_DEGREE * middle, tall * METRES_PER_DEGREE
