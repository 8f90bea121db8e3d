"""Geographic filters as conditions of Qdrant: regions a little too large, so that no row on their border is lost.

Qdrant's boxes, circles and polygons leave out what lies on their border, and placevec's do not; hits are looked at
again by `Filter.mask`. A box whose west is beyond its east crosses the antimeridian for both.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry import Polygon
from shapely.geometry.base import BaseGeometry

from placevec.geo.boxes import Box, check_box, circle_box, unwrap_polygon
from placevec.geo.cells import H3Cells
from placevec.index.stores.qdrant.api import models
from placevec.index.stores.qdrant.layout import LOCATION, POLE

# Degrees by which a region is widened: 0.1 m.
_WIDER = 1e-6
# The highest latitude of a region: Qdrant loses what is in boxes that reach 90, and rows stand no higher than `POLE`.
_TOP = (90.0 + POLE) / 2
# A radius is widened by so much of itself, more than the radii of the Earth in use differ, and a metre.
_RADII = 1e-3
# All descendants of a cell lie within this many of its mean edges of its centre, see `geo.cells`.
_REACH = 1.5
# Circles that one filter may hold; more cells are covered by coarser ones.
_CIRCLES = 64


def in_box(box: Box) -> Any:
    """A condition that every row in the box meets."""
    west, south, east, north = check_box(box)
    south, north = _lat(south - _WIDER), _lat(north + _WIDER)
    span = east - west if west <= east else east - west + 360.0
    if span + 2 * _WIDER >= 360.0:
        # All longitudes, both names of the antimeridian included: two halves that overlap.
        sides = [_box(-180.0, south, _WIDER, north), _box(0.0, south, 180.0, north), _antimeridian(south, north)]
        return _one_of(sides)
    return _box(_turned(west - _WIDER), south, _turned(east + _WIDER), north)


def in_circle(lon: float, lat: float, metres: float) -> Any:
    """A condition that every row within `metres` of the point meets."""
    wide = float(metres * (1 + _RADII) + 1.0)
    box = circle_box(lon, lat, wide)
    if box[2] - box[0] >= 360.0:
        # Qdrant loses points of a circle that reaches a pole.
        return in_box(box)
    return models.FieldCondition(
        key=LOCATION, geo_radius=models.GeoRadius(center=models.GeoPoint(lon=_turned(lon), lat=lat), radius=wide)
    )


def in_polygon(region: BaseGeometry) -> Any:
    """A condition that every row in the polygon meets; holes are kept."""
    area = unwrap_polygon(region)
    world = shapely.box(-180.0, -_TOP, 180.0, _TOP)
    wide = shapely.intersection(shapely.buffer(area, _WIDER, join_style="mitre"), world)
    conditions = [_polygon(part) for part in shapely.get_parts(wide) if isinstance(part, Polygon)]
    west, south, east, north = wide.bounds
    if west <= -180.0 or east >= 180.0:
        conditions.append(_antimeridian(south, north))
    return _one_of(conditions)


def in_cells(cells: NDArray[np.uint64]) -> Any:
    """A condition that every row in the H3 cells, or in descendants of them, meets."""
    wanted = np.unique(np.asarray(cells, dtype=np.uint64))
    while len(wanted) > _CIRCLES:
        levels = wanted >> np.uint64(52) & np.uint64(0xF)  # where H3 keeps the resolution of a cell
        finest = int(levels.max())
        if finest == 0:
            return None
        own = levels == finest
        coarser = H3Cells(finest).parent(wanted[own], finest - 1)
        wanted = np.unique(np.concatenate([wanted[~own], np.asarray(coarser, dtype=np.uint64)]))
    circles = []
    for cell in wanted:
        grid = H3Cells(int(cell >> np.uint64(52) & np.uint64(0xF)))
        centre = grid.centre(np.array([cell]))
        circles.append(in_circle(float(centre.lon[0]), float(centre.lat[0]), _REACH * grid.edge_m))
    return _one_of(circles)


def _box(west: float, south: float, east: float, north: float) -> Any:
    return models.FieldCondition(
        key=LOCATION,
        geo_bounding_box=models.GeoBoundingBox(
            top_left=models.GeoPoint(lon=west, lat=north), bottom_right=models.GeoPoint(lon=east, lat=south)
        ),
    )


def _antimeridian(south: float, north: float) -> Any:
    """The antimeridian, which a box that ends there leaves out."""
    return _box(180.0 - _WIDER, south, _WIDER - 180.0, north)


def _polygon(part: Polygon) -> Any:
    holes = [_ring(hole) for hole in part.interiors]
    return models.FieldCondition(
        key=LOCATION, geo_polygon=models.GeoPolygon(exterior=_ring(part.exterior), interiors=holes or None)
    )


def _ring(ring: Any) -> Any:
    return models.GeoLineString(points=[models.GeoPoint(lon=float(x), lat=float(y)) for x, y in ring.coords])


def _lat(lat: float) -> float:
    return min(max(lat, -_TOP), _TOP)


def _turned(lon: float) -> float:
    return lon if -180.0 <= lon <= 180.0 else (lon + 180.0) % 360.0 - 180.0


def _one_of(conditions: list[Any]) -> Any:
    return conditions[0] if len(conditions) == 1 else models.Filter(should=conditions)
