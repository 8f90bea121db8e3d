"""The tiles of a service: levels of one frame, each a grid of square pictures with an address each."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pyproj import CRS

from placevec.errors import UsageError
from placevec.sources.georeference import Affine

WORLD_M = 20037508.342789244
"""Half the side of the world in EPSG:3857, in its metres: pi times the semi-major axis of WGS84."""


@dataclass(frozen=True)
class ServiceLevel:
    """One level of detail.

    Attributes:
        step: side of a pixel in units of the coordinate system.
        rows: tiles from north to south.
        cols: tiles from west to east.
        address: of the tile in (row, column), counted from the upper left corner.
    """

    step: float
    rows: int
    cols: int
    address: Callable[[int, int], str]


@dataclass(frozen=True)
class Frame:
    """Where the tiles of a service lie.

    Attributes:
        crs: the coordinate system, with x to the right and y upwards.
        west: x of the left edge.
        north: y of the upper edge.
        side: pixels along a side of a tile.
        levels: the finest first; each covers the same ground as the first.
    """

    crs: CRS
    west: float
    north: float
    side: int
    levels: tuple[ServiceLevel, ...]

    @property
    def transform(self) -> Affine:
        """From (column, row) of the finest level to coordinates."""
        step = self.levels[0].step
        return step, 0.0, self.west, 0.0, -step, self.north

    def shape(self, level: int) -> tuple[int, int]:
        """Pixels (rows, columns) of a level."""
        return self.levels[level].rows * self.side, self.levels[level].cols * self.side


def same_ground(levels: Sequence[ServiceLevel], side: int) -> tuple[ServiceLevel, ...]:
    """The finest level and those coarser ones whose pixels are whole groups of its pixels and cover the same."""
    first, *rest = sorted(levels, key=lambda level: level.step)
    kept = [first]
    for level in rest:
        factor = round(level.step / first.step)
        fits = abs(level.step / first.step - factor) < 1e-6 * factor and factor > 1
        whole = (first.rows * side) % factor == 0 and (first.cols * side) % factor == 0
        if fits and whole and (level.rows * factor, level.cols * factor) == (first.rows, first.cols):
            kept.append(level)
    return tuple(kept)


def xyz_frame(template: str, zoom: int, side: int) -> Frame:
    """The square world of EPSG:3857 in 2^z x 2^z tiles, as most tile services have it.

    Args:
        template: an address with {z}, {x} and {y} ({-y}: counted from the south, as TMS does), or with {q}, the
            quadkey. {s} is a subdomain, of which "a" is taken.
        zoom: the finest level.
        side: pixels along a side of a tile.

    Raises:
        UsageError: a part is missing from the template, or there is no such zoom.
    """
    by_numbers = all(part in template for part in ("{z}", "{x}")) and ("{y}" in template or "{-y}" in template)
    if not by_numbers and "{q}" not in template:
        raise UsageError(f"{template}: an address of tiles has {{z}}, {{x}} and {{y}} (or {{-y}}, or {{q}} alone)")
    if not 0 <= zoom <= 24:
        raise UsageError(f"there is no zoom {zoom}; give 0 to 24")

    def level(z: int) -> ServiceLevel:
        def address(row: int, col: int) -> str:
            parts = {"z": z, "x": col, "y": row, "-y": 2**z - 1 - row, "q": quadkey(z, col, row), "s": "a"}
            found = template
            for name, value in parts.items():
                found = found.replace(f"{{{name}}}", str(value))
            return found

        return ServiceLevel(2.0 * WORLD_M / (side * 2**z), 2**z, 2**z, address)

    # A quadkey has no digits at zoom 0.
    levels = tuple(level(z) for z in range(zoom, max(zoom - 12, 0 if "{q}" not in template else 1) - 1, -1))
    return Frame(CRS.from_epsg(3857), -WORLD_M, WORLD_M, side, levels or (level(zoom),))


def quadkey(zoom: int, col: int, row: int) -> str:
    """The digits that name a tile, one a level. Source: Bing Maps Tile System."""
    return "".join(str((col >> z & 1) + 2 * (row >> z & 1)) for z in range(zoom - 1, -1, -1))


def world_of(crs: CRS) -> tuple[float, float, float, float]:
    """(west, south, east, north) in the units of a coordinate system, of where it is meant to be used.

    Raises:
        UsageError: it does not say where.
    """
    if crs.to_epsg() == 3857:
        return -WORLD_M, -WORLD_M, WORLD_M, WORLD_M
    if crs.is_geographic:
        return -180.0, -90.0, 180.0, 90.0
    area = crs.area_of_use
    if area is None:
        raise UsageError(f"{crs.name} does not say where it is used; ask the service for another, such as EPSG:3857")
    from pyproj import Transformer

    bounds = Transformer.from_crs("OGC:CRS84", crs, always_xy=True).transform_bounds(*area.bounds, densify_pts=21)
    if not all(map(math.isfinite, bounds)):
        raise UsageError(f"{crs.name} cannot be laid out in tiles; ask the service for another, such as EPSG:3857")
    west, south, east, north = bounds
    return float(west), float(south), float(east), float(north)
