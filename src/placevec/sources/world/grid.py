"""The grid on which the generated country is drawn."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from placevec.geo.sphere import EARTH_RADIUS_M, LonLat


@dataclass(frozen=True)
class Grid:
    """A plate carrée grid whose pixels are about squares of `metres` at its middle.

    Attributes:
        width: columns.
        height: rows.
        metres: side of a pixel.
        lon0: longitude of the middle; the grid may reach beyond 180 degrees.
        lat0: latitude of the middle.
    """

    width: int
    height: int
    metres: float
    lon0: float
    lat0: float

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns)."""
        return self.height, self.width

    @property
    def step(self) -> tuple[float, float]:
        """Degrees of longitude and of latitude that a pixel spans."""
        degree = np.pi * EARTH_RADIUS_M / 180.0
        return self.metres / degree / float(np.cos(np.radians(self.lat0))), self.metres / degree

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """(west, south, east, north) in degrees; east is beyond 180 where the grid crosses the antimeridian."""
        dx, dy = self.step
        return (
            self.lon0 - dx * self.width / 2,
            self.lat0 - dy * self.height / 2,
            self.lon0 + dx * self.width / 2,
            self.lat0 + dy * self.height / 2,
        )

    def finer(self, factor: int) -> Grid:
        """The same ground in pixels `factor` times smaller."""
        return Grid(self.width * factor, self.height * factor, self.metres / factor, self.lon0, self.lat0)

    def lons(self, col: ArrayLike) -> NDArray[np.float64]:
        """Longitudes of positions in columns (0.5 is the centre of the first), not brought back below 180."""
        return self.bounds[0] + np.asarray(col, dtype=np.float64) * self.step[0]

    def lats(self, row: ArrayLike) -> NDArray[np.float64]:
        """Latitudes of positions in rows (0.5 is the centre of the first)."""
        return self.bounds[3] - np.asarray(row, dtype=np.float64) * self.step[1]

    def lonlat(self, col: ArrayLike, row: ArrayLike) -> LonLat:
        """Points at positions (column, row), each (n,)."""
        return LonLat((self.lons(col) + 180.0) % 360.0 - 180.0, self.lats(row))

    def position(self, p: LonLat) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Positions (column, row) of points."""
        west, _, _, north = self.bounds
        lon = p.lon + 360.0 * np.round((self.lon0 - p.lon) / 360.0)
        return (lon - west) / self.step[0], (north - p.lat) / self.step[1]
