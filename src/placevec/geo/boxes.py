"""Regions of longitude and latitude: boxes, circles and polygons, right across the antimeridian and at the poles.

A box is ``(west, south, east, north)`` in degrees; west > east means that it crosses the antimeridian.
Borders belong to their region. Between two vertices a polygon's edge is straight in longitude and latitude,
as in GeoJSON.
"""

from __future__ import annotations

import re
from typing import Any, TypeAlias, cast

import numpy as np
import shapely
from numpy.typing import ArrayLike, NDArray
from shapely.geometry import MultiPolygon, Polygon
from shapely.geometry.base import BaseGeometry

from placevec.errors import CoordinateError, DataError, UsageError
from placevec.geo.sphere import EARTH_RADIUS_M, LonLat, distance_m

Box: TypeAlias = tuple[float, float, float, float]
"""(west, south, east, north), degrees; west > east crosses the antimeridian."""

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

_WORLD = shapely.box(-180.0, -90.0, 180.0, 90.0)
# A circle's box is widened by a millionth of a degree (0.1 m), more than the rounding of asin near the poles.
_SLACK_DEG = 1e-6


def check_box(box: Box) -> Box:
    """The box with west and east in [-180, 180]; 170..190 becomes 170..-170, a span of 360 or more the whole round.

    Raises:
        CoordinateError: a value is not finite, a latitude is out of range, or south > north.
    """
    if len(box) != 4 or not all(np.isfinite(v) for v in box):
        raise CoordinateError(f"the box {tuple(box)} is not four finite numbers west, south, east, north")
    west, south, east, north = (float(v) for v in box)
    if not -90.0 <= south <= north <= 90.0:
        hint = ""
        if max(abs(west), abs(east)) <= 90.0 and west <= east:
            hint = "; it looks like south, west, north, east: give west, south, east, north"
        raise CoordinateError(f"the box {tuple(box)} needs -90 <= south <= north <= 90{hint}")
    if not (-360.0 <= west <= 360.0 and -360.0 <= east <= 540.0):
        raise CoordinateError(f"the box {tuple(box)} has a longitude out of range; longitudes are -180 to 180")
    if east - west >= 360.0:
        return (-180.0, south, 180.0, north)
    if (east - west) % 360.0 == 0.0:
        # One meridian: at the antimeridian its two names must not become the whole round.
        return (_lon(west, upper=-180.0), south, _lon(west, upper=-180.0), north)
    return (_lon(west, upper=-180.0), south, _lon(east, upper=180.0), north)


def _lon(value: float, upper: float) -> float:
    """A longitude in [-180, 180], with both of its ends written as `upper`; values inside keep every bit."""
    if -180.0 < value < 180.0:
        return value
    wrapped = (value + 180.0) % 360.0 - 180.0
    return upper if abs(wrapped) == 180.0 else wrapped


def in_box(lon: ArrayLike, lat: ArrayLike, box: Box) -> Mask:
    """Which of the points (n,) lie in the box, borders included; NaN lies in none."""
    west, south, east, north = check_box(box)
    x, y = _wrapped(lon), np.asarray(lat, dtype=np.float64)
    on_edge = (x == -180.0) & (east == 180.0)
    inside = ((x >= west) & (x <= east)) if west <= east else ((x >= west) | (x <= east))
    return cast(Mask, (inside | on_edge) & (y >= south) & (y <= north))


def split_box(box: Box) -> list[Box]:
    """The one or two ordinary boxes (west <= east) of which the box consists."""
    west, south, east, north = check_box(box)
    if west <= east:
        return [(west, south, east, north)]
    parts = [(west, south, 180.0, north), (-180.0, south, east, north)]
    return [part for part in parts if part[0] < part[2]] or [(west, south, 180.0, north)]


def box_polygon(box: Box) -> Polygon | MultiPolygon:
    """The box as a polygon, cut at the antimeridian; a vertex at least every 90 degrees makes it unambiguous."""
    parts = []
    for west, south, east, north in split_box(box):
        steps = np.linspace(west, east, 2 + int((east - west) // 90.0))
        ring = [(x, south) for x in steps] + [(x, north) for x in steps[::-1]]
        parts.append(Polygon(ring))
    return parts[0] if len(parts) == 1 else MultiPolygon(parts)


def circle_box(lon: float, lat: float, metres: float) -> Box:
    """The smallest box around all points within `metres` of a point (Bronstein, tangent meridians of a circle).

    A circle that reaches a pole has all longitudes. The box is 0.1 m wider than exact, so that it never loses
    a point.

    Raises:
        UsageError: the radius is negative or not finite.
    """
    centre = LonLat.of(lon, lat)
    _check_radius(metres)
    x, y = float(centre.lon[0]), float(centre.lat[0])
    angle = metres / EARTH_RADIUS_M
    reach = np.degrees(angle) + _SLACK_DEG
    south, north = max(y - reach, -90.0), min(y + reach, 90.0)
    if y - reach <= -90.0 or y + reach >= 90.0:
        return (-180.0, south, 180.0, north)
    half = np.degrees(np.arcsin(min(1.0, np.sin(np.radians(reach)) / np.cos(np.radians(y))))) + _SLACK_DEG
    if half >= 180.0:
        return (-180.0, south, 180.0, north)
    return check_box((x - half, south, x + half, north))


def in_circle(lon: ArrayLike, lat: ArrayLike, centre: LonLat, metres: float) -> Mask:
    """Which of the points (n,) lie within `metres` of `centre` (length 1), along the sphere; NaN lies in none."""
    _check_radius(metres)
    x, y = _wrapped(lon), np.asarray(lat, dtype=np.float64)
    found = in_box(x, y, circle_box(float(centre.lon[0]), float(centre.lat[0]), metres))
    rows = np.flatnonzero(found)
    found[rows] = distance_m(LonLat(x[rows], y[rows]), centre) <= metres
    return found


def in_polygon(lon: ArrayLike, lat: ArrayLike, geom: BaseGeometry) -> Mask:
    """Which of the points (n,) lie in the polygon, its border included; NaN lies in none.

    `geom` is a Polygon or MultiPolygon in longitude and latitude; see `unwrap_polygon` for how it may cross
    the antimeridian.
    """
    area = unwrap_polygon(geom)
    shapely.prepare(area)
    x, y = _wrapped(lon), np.asarray(lat, dtype=np.float64)
    known = np.flatnonzero(np.isfinite(x) & np.isfinite(y))
    found = np.zeros(x.shape, dtype=bool)
    found[known] = shapely.intersects_xy(area, x[known], y[known])
    # A point on the antimeridian is at 180 as much as at -180.
    edge = known[(x[known] == -180.0) & ~found[known]]
    found[edge] = shapely.intersects_xy(area, np.full(len(edge), 180.0), y[edge])
    return found


def unwrap_polygon(geom: BaseGeometry) -> Polygon | MultiPolygon:
    """A valid polygon within [-180, 180] that covers the same part of the Earth.

    Understood are longitudes beyond 180 (170 … 190), edges that jump by more than 180 degrees (they go the
    short way, across the antimeridian), and rings around a pole (closed over the nearer pole). An edge of
    exactly 360 degrees, as in Antarctica's outline or a box of the whole world, stays as it is. A rectangle
    wider than 180 degrees is read by its orientation, so that ``shapely.box(w, s, e, n)`` always means the
    box (w, s, e, n): counter-clockwise as it stands, clockwise (w > e) across the antimeridian.

    Raises:
        DataError: `geom` is not a (Multi)Polygon, or is empty.
        CoordinateError: a latitude is out of range or a coordinate is not finite.
    """
    if not isinstance(geom, Polygon | MultiPolygon):
        raise DataError(
            f"a region is a Polygon or a MultiPolygon, not {getattr(geom, 'geom_type', type(geom).__name__)}"
        )
    if geom.is_empty:
        raise DataError("the region is an empty polygon; give one with an area")
    xy = shapely.get_coordinates(geom)
    if not np.isfinite(xy).all():
        raise CoordinateError("the polygon has a coordinate that is not finite; repair it first")
    worst = xy[np.argmax(np.abs(xy[:, 1]))]
    if abs(worst[1]) > 90.0:
        raise CoordinateError(
            f"the polygon has latitude {worst[1]:g}; longitude comes first, and both are degrees: reproject it"
        )
    if np.abs(xy[:, 0]).max() > 540.0:
        raise CoordinateError("the polygon has a longitude beyond 540 degrees; reproject it to degrees first")
    polygons = list(geom.geoms) if isinstance(geom, MultiPolygon) else [geom]
    if all(_ordinary(p) for p in polygons):
        return geom if geom.is_valid else _areal(shapely.make_valid(geom))
    return _areal(shapely.union_all([_unwrap_one(p) for p in polygons]))


def unwrap_polygons(geoms: NDArray[np.object_]) -> NDArray[np.object_]:
    """`unwrap_polygon` of each of (n,) polygons of less than 180 degrees; ordinary ones are passed through at once."""
    out = np.array(geoms, dtype=object)
    bounds = shapely.bounds(out)
    odd = (bounds[:, 2] - bounds[:, 0] > 180.0) | (bounds[:, 0] < -180.0) | (bounds[:, 2] > 180.0)
    for row in np.flatnonzero(odd):
        out[row] = unwrap_polygon(out[row])
    return out


def _ordinary(polygon: Polygon) -> bool:
    west, _, east, _ = polygon.bounds
    if west < -180.0 or east > 180.0:
        return False
    if east - west <= 180.0:
        return True
    return all(not _jumps(np.asarray(ring.coords)[:, :2]) for ring in (polygon.exterior, *polygon.interiors))


def _jumps(ring: Floats) -> bool:
    step = np.abs(np.diff(ring[:, 0]))
    if not ((step > 180.0) & (step < 360.0)).any():
        return False
    corners = len(ring) == 5 and bool(((np.diff(ring, axis=0) == 0.0).sum(axis=1) == 1).all())
    return not (corners and shapely.is_ccw(shapely.linearrings(ring)))


def _unwrap_one(polygon: Polygon) -> BaseGeometry:
    area = _ring_area(np.asarray(polygon.exterior.coords)[:, :2])
    for hole in polygon.interiors:
        area = shapely.difference(area, _ring_area(np.asarray(hole.coords)[:, :2]))
    return area


def _ring_area(ring: Floats) -> BaseGeometry:
    """The area in a closed ring, cut to [-180, 180]."""
    if _jumps(ring):
        step = np.diff(ring[:, 0])
        step = np.where(np.abs(step) < 360.0, step - 360.0 * np.round(step / 360.0), step)
        x = ring[0, 0] + np.concatenate([[0.0], np.cumsum(step)])
        y = ring[:, 1]
        if abs(x[-1] - x[0]) > 180.0:
            pole = 90.0 if y.mean() >= 0.0 else -90.0
            x, y = np.append(x, [x[-1], x[0]]), np.append(y, [pole, pole])
        else:
            x[-1] = x[0]
        ring = np.stack([x, y], axis=1)
    area = shapely.make_valid(Polygon(ring))
    first, last = (int(np.floor((v + 180.0) / 360.0)) for v in (ring[:, 0].min(), ring[:, 0].max()))
    turns = range(first, last + 1)
    pieces = [shapely.intersection(shapely.transform(area, _turned(turn)), _WORLD) for turn in turns]
    return shapely.union_all(pieces)


def _turned(turn: int) -> Any:
    return lambda xy: xy - np.array([360.0 * turn, 0.0])


def _areal(geom: BaseGeometry) -> Polygon | MultiPolygon:
    """The polygons among the parts of a geometry: cutting leaves points and lines behind where it only touches."""
    parts = [p for p in shapely.get_parts(geom, return_index=False) if isinstance(p, Polygon) and p.area > 0.0]
    if isinstance(geom, shapely.GeometryCollection):
        parts = [q for p in shapely.get_parts(geom) for q in shapely.get_parts(p) if isinstance(q, Polygon)]
    if not parts:
        raise DataError("the region has no area; give a polygon with one")
    return parts[0] if len(parts) == 1 else MultiPolygon(parts)


def parse_bbox(text: str) -> Box:
    """The box that "west,south,east,north" writes, in degrees.

    Raises:
        UsageError: it is not four numbers, or no box.
    """
    try:
        west, south, east, north = (float(part) for part in text.split(","))
        return check_box((west, south, east, north))
    except ValueError:
        raise UsageError(
            f"{text!r} is not a box; write west,south,east,north in degrees, such as -9.6,36,3.3,43.8"
        ) from None
    except CoordinateError as error:
        raise UsageError(str(error)) from None


def parse_near(text: str) -> tuple[float, float, float]:
    """The (lon, lat, metres) that "LON,LAT,25km" writes; the distance is in m or km, and its unit must be written.

    Raises:
        UsageError: it is not a point and a distance.
    """
    parts = [part.strip() for part in text.split(",")]
    try:
        if len(parts) != 3:
            raise ValueError
        lon, lat, metres = float(parts[0]), float(parts[1]), parse_distance(parts[2])
    except (ValueError, UsageError):
        raise UsageError(
            f"{text!r} is not a point and a distance; write LON,LAT,DISTANCE such as -8.41,40.21,25km (units: m, km)"
        ) from None
    try:
        LonLat.of(lon, lat)
    except CoordinateError as error:
        raise UsageError(str(error).removeprefix("row 0: ")) from None
    return lon, lat, metres


def parse_distance(text: str) -> float:
    """The metres that "25km" or "800m" writes; the unit must be written.

    Raises:
        UsageError: it is not a distance.
    """
    match = re.fullmatch(r"(\d+(?:\.\d*)?|\.\d+)\s*(km|m)", text.strip().lower())
    if match is None:
        raise UsageError(f"{text!r} is no distance: write it like 60km or 800m")
    return float(match[1]) * (1000.0 if match[2] == "km" else 1.0)


def _check_radius(metres: float) -> None:
    if not (np.isfinite(metres) and metres >= 0.0):
        raise UsageError(f"the radius is {metres} m; give a finite number >= 0")


def _wrapped(lon: ArrayLike) -> Floats:
    """Longitudes in [-180, 180), those already there bit for bit; a new array."""
    x = np.array(lon, dtype=np.float64)
    out = (x >= 180.0) | (x < -180.0)
    x[out] = (x[out] + 180.0) % 360.0 - 180.0
    return x
