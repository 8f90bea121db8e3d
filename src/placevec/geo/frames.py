"""Coordinate reference systems: local frames in metres, and transformation from any system to any other."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, overload

import numpy as np
import shapely
from numpy.typing import ArrayLike, NDArray
from pyproj import CRS, Geod, Transformer
from pyproj.exceptions import CRSError as PyprojCrsError
from pyproj.exceptions import ProjError
from shapely.geometry.base import BaseGeometry

from placevec.errors import CrsError, DataError
from placevec.geo.boxes import unwrap_polygons
from placevec.geo.sphere import Floats, LonLat

LONLAT = "OGC:CRS84"
"""The system of every geometry in a table: WGS84, longitude then latitude, in degrees."""

_GEOD = Geod(ellps="WGS84")


def read_crs(crs: Any) -> CRS:
    """The pyproj CRS that `crs` names: "EPSG:25830", 32629, WKT, PROJJSON, a PROJ string, or a CRS.

    Raises:
        CrsError: it is missing (None or "") or unknown.
    """
    if crs is None or (isinstance(crs, str) and not crs.strip()):
        raise CrsError('the coordinate reference system is missing; name it, such as "EPSG:4326"')
    try:
        return CRS.from_user_input(crs)
    except PyprojCrsError:
        raise CrsError(
            f"unknown coordinate reference system {str(crs)[:80]!r}; give an EPSG code such as EPSG:25830, or WKT"
        ) from None


@dataclass(frozen=True)
class LocalFrame:
    """Metres east and north of a centre: the azimuthal equal-area projection (LAEA) of WGS84 around it.

    Areas are exact everywhere; lengths are right to 1 in 1000 within some 500 km of the centre. There and back closes
    to 2 mm.
    """

    centre: LonLat
    crs: CRS = field(repr=False)
    _to: Transformer = field(repr=False, compare=False)
    _back: Transformer = field(repr=False, compare=False)

    @classmethod
    def at(cls, centre: LonLat) -> LocalFrame:
        """The frame around `centre`, a LonLat of length 1.

        Raises:
            DataError: `centre` is not exactly one point.
        """
        if len(centre) != 1:
            raise DataError(f"a local frame has one centre, not {len(centre)}; pass points[i]")
        # Full digits: the frame must come back to the same centre when it is rebuilt from its CRS.
        lon, lat = float(centre.lon[0]), float(centre.lat[0])
        definition = f"+proj=laea +lat_0={lat!r} +lon_0={lon!r} +datum=WGS84 +units=m +type=crs"
        return cls(centre, CRS.from_proj4(definition), *_transformers(definition))

    def forward(self, p: LonLat) -> tuple[Floats, Floats]:
        """Points to metres: (east_m, north_m), each (n,). The antipode of the centre has no place: inf."""
        east, north = self._to.transform(p.lon, p.lat)
        return np.asarray(east, dtype=np.float64), np.asarray(north, dtype=np.float64)

    def inverse(self, east_m: ArrayLike, north_m: ArrayLike) -> LonLat:
        """Metres east and north of the centre, each (n,), to points.

        Raises:
            CoordinateError: an offset lies outside the projection (farther than twice the radius of the
                Earth).
        """
        east, north = np.atleast_1d(*np.broadcast_arrays(np.asarray(east_m, float), np.asarray(north_m, float)))
        lon, lat = self._back.transform(east, north)
        return LonLat(lon, lat)


@lru_cache(maxsize=256)
def _transformers(definition: str) -> tuple[Transformer, Transformer]:
    there = Transformer.from_crs(LONLAT, definition, always_xy=True)
    return there, Transformer.from_crs(definition, LONLAT, always_xy=True)


def square_window(centre: LonLat, side_m: float) -> NDArray[np.object_]:
    """Squares of `side_m` metres around each centre, as (n,) shapely polygons in longitude and latitude.

    Corners lie at the ellipsoidal distance side / sqrt(2) to NE, NW, SW and SE (counter-clockwise). A window
    that crosses the antimeridian or holds a pole comes back split and closed, as a valid (Multi)Polygon.

    Raises:
        DataError: the side is not a positive number.
    """
    if not (np.isfinite(side_m) and side_m > 0):
        raise DataError(f"the side of a window is {side_m} m; give a positive number")
    n = len(centre)
    azimuth = np.tile([45.0, -45.0, -135.0, 135.0], n)
    reach = np.full(4 * n, side_m / np.sqrt(2.0))
    lon, lat, _ = _GEOD.fwd(np.repeat(centre.lon, 4), np.repeat(centre.lat, 4), azimuth, reach)
    corners = np.stack([lon, lat], axis=1).reshape(n, 4, 2)
    rings = np.concatenate([corners, corners[:, :1]], axis=1)
    return unwrap_polygons(np.asarray(shapely.polygons(shapely.linearrings(rings)), dtype=object))


@overload
def transform(geometries: LonLat, crs_from: Any, crs_to: Any) -> tuple[Floats, Floats]: ...


@overload
def transform(geometries: BaseGeometry, crs_from: Any, crs_to: Any) -> BaseGeometry: ...


@overload
def transform(geometries: NDArray[np.object_], crs_from: Any, crs_to: Any) -> NDArray[np.object_]: ...


def transform(geometries: Any, crs_from: Any, crs_to: Any) -> Any:
    """Geometries, or points, from one coordinate reference system to another; x (east, longitude) first in both.

    Args:
        geometries: a shapely geometry, an array of them (None stays None), or a LonLat.
        crs_from: the system they are in; with a LonLat it must be geographic.
        crs_to: the system wanted. See `read_crs` for what may be given.

    Returns:
        The same kind; for a LonLat the arrays (x, y).

    Raises:
        CrsError: a system is missing or unknown, or a coordinate cannot be expressed in `crs_to`.
    """
    source, target = read_crs(crs_from), read_crs(crs_to)
    if isinstance(geometries, LonLat):
        if not source.is_geographic:
            raise CrsError(f"a LonLat is in degrees, not in {source.name}; use to_lonlat for projected coordinates")
        return _apply(source, target, geometries.lon, geometries.lat)

    def moved(xy: Floats) -> Floats:
        return np.stack(_apply(source, target, xy[:, 0], xy[:, 1]), axis=1)

    return shapely.transform(geometries, moved)


def to_lonlat(x: ArrayLike, y: ArrayLike, crs: Any) -> LonLat:
    """Coordinates (x, y), each (n,), of any coordinate reference system, as points.

    Raises:
        CrsError: the system is missing or unknown, or a coordinate lies outside it.
    """
    xs, ys = np.atleast_1d(np.asarray(x, dtype=np.float64)), np.atleast_1d(np.asarray(y, dtype=np.float64))
    return LonLat(*_apply(read_crs(crs), read_crs(LONLAT), xs, ys))


def _apply(source: CRS, target: CRS, x: Floats, y: Floats) -> tuple[Floats, Floats]:
    try:
        moved_x, moved_y = Transformer.from_crs(source, target, always_xy=True).transform(x, y)
    except ProjError as error:
        raise CrsError(f"no transformation from {source.name} to {target.name}: {error}") from None
    out_x, out_y = np.asarray(moved_x, dtype=np.float64), np.asarray(moved_y, dtype=np.float64)
    lost = (np.isfinite(x) & np.isfinite(y)) & ~(np.isfinite(out_x) & np.isfinite(out_y))
    if lost.any():
        row = int(np.argmax(lost))
        raise CrsError(
            f"({x[row]:g}, {y[row]:g}) cannot be taken from {source.name} to {target.name}; check the system it is in"
        )
    return out_x, out_y
