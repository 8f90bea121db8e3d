"""Tiles of a region: boxes that are split until a service answers with all that there is in each."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil, cos, inf, radians

import numpy as np
from shapely.geometry.base import BaseGeometry

from placevec.geo.boxes import Box, box_polygon, split_box
from placevec.geo.sphere import EARTH_RADIUS_M, LonLat, distance_m

LEAST_SIDE_M = 20.0
"""A tile whose sides are not longer is not split in space: cameras do not know better where they are."""

LEAST_SECONDS = 3600
"""Nor is one of a shorter time split in time."""

_METRES_A_DEGREE = radians(1.0) * EARTH_RADIUS_M


@dataclass(frozen=True)
class Tile:
    """A box, and for services that can be asked for it a span of time."""

    path: str  # unique: number of the root, a point, and for each split which part it is
    box: Box  # west <= east, degrees
    start: int = 0  # first second of upload, Unix time; 0 where time is not asked for
    stop: int = 0  # last second of upload

    @property
    def root(self) -> str:
        """The number of the tile of the first grid in which this one lies."""
        return self.path.partition(".")[0]

    @property
    def sides_m(self) -> tuple[float, float]:
        """Width, where it is greatest, and height in metres."""
        west, south, east, north = self.box
        widest = 0.0 if south <= 0.0 <= north else min(abs(south), abs(north))
        return (east - west) * cos(radians(widest)) * _METRES_A_DEGREE, (north - south) * _METRES_A_DEGREE

    @property
    def circle(self) -> tuple[float, float, float]:
        """Longitude and latitude of the middle in degrees, and the radius in metres that reaches all of the box."""
        west, south, east, north = self.box
        lon, lat = (west + east) / 2.0, (south + north) / 2.0
        rim = np.array([(x, y) for x in (west, lon, east) for y in (south, lat, north)])
        reach = float(distance_m(LonLat(rim[:, 0], rim[:, 1]), LonLat.of(lon, lat)).max())
        return lon, lat, reach

    def split(self) -> tuple[Tile, ...]:
        """Its parts: halves along the longer side or quarters, else halves of its time; none where it is least."""
        width, height = self.sides_m
        if max(width, height) > LEAST_SIDE_M:
            columns = 2 if width > height / 2.0 else 1
            rows = 2 if height > width / 2.0 else 1
            boxes = _grid(self.box, columns, rows)
            return tuple(replace(self, path=f"{self.path}{i}", box=box) for i, box in enumerate(boxes))
        if self.stop - self.start > LEAST_SECONDS:
            middle = (self.start + self.stop) // 2
            return (
                replace(self, path=f"{self.path}a", stop=middle),
                replace(self, path=f"{self.path}b", start=middle + 1),
            )
        return ()

    def touches(self, area: BaseGeometry) -> bool:
        """Whether it shares a point with a polygon in longitude and latitude."""
        return bool(area.intersects(box_polygon(self.box)))


def root_tiles(box: Box, *, side_m: float | None = None, start: int = 0, stop: int = 0) -> tuple[Tile, ...]:
    """The first grid: one tile for each ordinary box of which `box` consists, or tiles of at most a side.

    Args:
        box: west, south, east, north in degrees; west > east crosses the antimeridian.
        side_m: greatest width and height of a tile in metres; None for no limit.
        start: see `Tile`.
        stop: see `Tile`.
    """
    side = inf if side_m is None else side_m
    boxes: list[Box] = []
    for part in split_box(box):
        _, height = Tile("", part).sides_m
        for row in _grid(part, 1, max(1, ceil(height / side))):
            width, _ = Tile("", row).sides_m
            boxes += _grid(row, max(1, ceil(width / side)), 1)
    return tuple(Tile(f"{i}.", each, start, stop) for i, each in enumerate(boxes))


def _grid(box: Box, columns: int, rows: int) -> list[Box]:
    west, south, east, north = box
    x = np.linspace(west, east, columns + 1).tolist()
    y = np.linspace(south, north, rows + 1).tolist()
    return [(x[i], y[j], x[i + 1], y[j + 1]) for j in range(rows) for i in range(columns)]
