"""Points on the sphere: the one coordinate type of placevec, distances, offsets and means.

Everything is computed on unit vectors or with the stable half-angle forms, so that coincident points,
antipodes, the poles and the antimeridian are ordinary cases.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from placevec.errors import CoordinateError, DataError

Floats = NDArray[np.float64]

EARTH_RADIUS_M = 6371008.8
"""The mean radius of the Earth, (2a + b) / 3 of WGS84 (Moritz, Geodetic Reference System 1980)."""


@dataclass(frozen=True, eq=False)
class LonLat:
    """Points by longitude and latitude in degrees: the only way in which coordinates cross a public boundary.

    Args:
        lon: (n,) longitudes in [-180, 360]; kept in [-180, 180).
        lat: (n,) latitudes in [-90, 90].

    Raises:
        CoordinateError: a value is not finite or out of range; the message names the first, and says whether
            the two columns look swapped.
    """

    lon: Floats
    lat: Floats

    def __post_init__(self) -> None:
        lon, lat = _column(self.lon, "longitude"), _column(self.lat, "latitude")
        if len(lon) != len(lat):
            raise CoordinateError(f"{len(lon)} longitudes and {len(lat)} latitudes; give as many of each")
        _check(lon, lat)
        east = lon >= 180.0
        if east.any():
            lon = np.where(east, lon - 360.0, lon)
        for name, column in (("lon", lon), ("lat", lat)):
            view = column.view()
            view.flags.writeable = False
            object.__setattr__(self, name, view)

    @classmethod
    def of(cls, lon: float, lat: float) -> LonLat:
        """One point, as a LonLat of length 1."""
        return cls(np.array([lon], dtype=np.float64), np.array([lat], dtype=np.float64))

    @classmethod
    def from_unit(cls, xyz: ArrayLike) -> LonLat:
        """The points in the directions of `xyz` (n, 3), which need not have length 1.

        Raises:
            CoordinateError: a vector is zero or not finite, and so has no direction.
        """
        v = np.asarray(xyz, dtype=np.float64)
        if v.ndim != 2 or v.shape[1] != 3:
            raise DataError(f"unit vectors have the shape (n, 3), not {v.shape}")
        bad = ~np.isfinite(v).all(axis=1) | ~v.any(axis=1)
        if bad.any():
            row = int(np.argmax(bad))
            raise CoordinateError(f"row {row}: the vector {v[row].tolist()} has no direction; drop it first")
        lat = np.degrees(np.arctan2(v[:, 2], np.hypot(v[:, 0], v[:, 1])))
        return cls(np.degrees(np.arctan2(v[:, 1], v[:, 0])), lat)

    def unit(self) -> Floats:
        """The (n, 3) unit vectors: x to (0, 0), y to (90 E, 0), z to the north pole."""
        lon, lat = np.radians(self.lon), np.radians(self.lat)
        cos_lat = np.cos(lat)
        return np.stack([cos_lat * np.cos(lon), cos_lat * np.sin(lon), np.sin(lat)], axis=1)

    def __len__(self) -> int:
        return len(self.lon)

    def __getitem__(self, rows: int | slice | NDArray[np.int64] | NDArray[np.bool_] | list[int]) -> LonLat:
        index = slice(rows, rows + 1 or None) if isinstance(rows, int | np.integer) else rows
        if isinstance(rows, int | np.integer) and not -len(self) <= rows < len(self):
            raise IndexError(f"row {rows} of {len(self)} points")
        part = object.__new__(LonLat)
        for name, column in (("lon", self.lon[index]), ("lat", self.lat[index])):
            column.flags.writeable = False
            object.__setattr__(part, name, column)
        return part

    def __iter__(self) -> Iterator[LonLat]:
        return (self[row] for row in range(len(self)))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, LonLat):
            return NotImplemented
        return np.array_equal(self.lon, other.lon) and np.array_equal(self.lat, other.lat)

    def __repr__(self) -> str:
        if len(self) == 1:
            return f"LonLat({self.lon[0]:.6f}, {self.lat[0]:.6f})"
        return f"LonLat(<{len(self)} points>)"


def _column(values: ArrayLike, name: str) -> Floats:
    try:
        column = np.array(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise CoordinateError(f"{name} is not a column of numbers: {str(values)[:60]}") from None
    if column.ndim != 1:
        raise CoordinateError(
            f"{name} has the shape {column.shape}; give a 1-D array, or LonLat.of(lon, lat) for one point"
        )
    return column


def _check(lon: Floats, lat: Floats) -> None:
    finite = np.isfinite(lon) & np.isfinite(lat)
    if not finite.all():
        row = int(np.argmin(finite))
        name, value = ("longitude", lon[row]) if not np.isfinite(lon[row]) else ("latitude", lat[row])
        raise CoordinateError(f"row {row}: {name} is {value}; leave out the rows without coordinates first")
    lat_ok = np.abs(lat) <= 90.0
    lon_ok = (lon >= -180.0) & (lon <= 360.0)
    if lat_ok.all() and lon_ok.all():
        return
    row = int(np.argmin(lat_ok & lon_ok))
    if not lat_ok[row]:
        message = f"row {row}: latitude {lat[row]:g} is outside [-90, 90]"
    else:
        message = f"row {row}: longitude {lon[row]:g} is outside [-180, 360]"
    if bool((np.abs(lon) <= 90.0).all() and (lat >= -180.0).all() and (lat <= 360.0).all()):
        raise CoordinateError(f"{message}; looks like lat, lon; placevec takes lon, lat")
    raise CoordinateError(f"{message}; coordinates are degrees of WGS84: reproject projected ones first")


def _pair(a: LonLat, b: LonLat) -> None:
    if len(a) != len(b) and 1 not in (len(a), len(b)):
        raise DataError(f"{len(a)} points cannot be paired with {len(b)}; give as many of each, or one of either")


def _angle(p: Floats, q: Floats) -> Floats:
    """The angle between unit vectors (..., 3), exact for near and for opposite ones (Kahan, 2006, section 12)."""
    angle: Floats = 2.0 * np.arctan2(np.linalg.norm(p - q, axis=-1), np.linalg.norm(p + q, axis=-1))
    return angle


def distance_m(a: LonLat, b: LonLat) -> Floats:
    """Great-circle distances in metres, row by row; a LonLat of length 1 goes with every row of the other.

    The chord form 2 R atan2(|p - q|, |p + q|) loses no digits for coincident or antipodal points.

    Raises:
        DataError: the lengths differ and neither is 1.
    """
    _pair(a, b)
    return EARTH_RADIUS_M * _angle(a.unit(), b.unit())


def haversine_m(a: LonLat, b: LonLat) -> Floats:
    """Great-circle distances in metres by the haversine formula, row by row (Sinnott, 1984).

    Exact to the last digits for points of a few metres; near antipodes it loses half of its digits, where
    `distance_m` does not.
    """
    _pair(a, b)
    lon1, lat1, lon2, lat2 = (np.radians(v) for v in (a.lon, a.lat, b.lon, b.lat))
    h = np.sin((lat2 - lat1) / 2) ** 2 + np.cos(lat1) * np.cos(lat2) * np.sin((lon2 - lon1) / 2) ** 2
    h = np.clip(h, 0.0, 1.0)
    metres: Floats = 2.0 * EARTH_RADIUS_M * np.arctan2(np.sqrt(h), np.sqrt(1.0 - h))
    return metres


def chord_m(a: LonLat, b: LonLat) -> Floats:
    """Straight-line distances through the Earth in metres, row by row; what a k-d tree on unit vectors compares."""
    _pair(a, b)
    chord: Floats = EARTH_RADIUS_M * np.linalg.norm(a.unit() - b.unit(), axis=1)
    return chord


def chord_of(metres: ArrayLike) -> Floats:
    """The chord between unit vectors (0 to 2) whose points lie `metres` apart along the great circle."""
    angle = np.clip(np.asarray(metres, dtype=np.float64) / EARTH_RADIUS_M, 0.0, np.pi)
    chord: Floats = np.asarray(2.0 * np.sin(angle / 2.0))
    return chord


def pairwise_m(a: LonLat, b: LonLat) -> Floats:
    """The (n, m) great-circle distances in metres between all points of `a` and all points of `b`."""
    p, q = a.unit(), b.unit()
    minus = np.zeros((len(a), len(b)))
    plus = np.zeros((len(a), len(b)))
    # One axis at a time: a third of the memory of an (n, m, 3) array.
    for axis in range(3):
        minus += np.subtract.outer(p[:, axis], q[:, axis]) ** 2
        plus += np.add.outer(p[:, axis], q[:, axis]) ** 2
    return 2.0 * EARTH_RADIUS_M * np.arctan2(np.sqrt(minus), np.sqrt(plus))


def destination(p: LonLat, bearing_deg: ArrayLike, metres: ArrayLike) -> LonLat:
    """The points reached from `p` along great circles.

    Args:
        p: n points, or one.
        bearing_deg: degrees clockwise from north, a number or (n,). At a pole, "north" is the direction that
            the longitude of the point gives.
        metres: the distance to go, a number or (n,).
    """
    bearing, angle, lon, lat = np.broadcast_arrays(
        np.radians(np.asarray(bearing_deg, dtype=np.float64)),
        np.asarray(metres, dtype=np.float64) / EARTH_RADIUS_M,
        np.radians(p.lon),
        np.radians(p.lat),
    )
    sin_lon, cos_lon, sin_lat, cos_lat = np.sin(lon), np.cos(lon), np.sin(lat), np.cos(lat)
    ahead, side, along = np.sin(angle) * np.cos(bearing), np.sin(angle) * np.sin(bearing), np.cos(angle)
    radial = along * cos_lat - ahead * sin_lat
    xyz = np.stack(
        [
            radial * cos_lon - side * sin_lon,
            radial * sin_lon + side * cos_lon,
            along * sin_lat + ahead * cos_lat,
        ],
        axis=-1,
    )
    return LonLat.from_unit(xyz)


def tangent_offset(origin: LonLat, p: LonLat) -> tuple[Floats, Floats]:
    """The offsets (east_m, north_m) of `p` from `origin` on the azimuthal equidistant plane, in metres.

    Length and direction of the offset are the great-circle distance and the bearing at the origin (Snyder,
    1987, p. 195). The antipode, which lies in every direction, is given as straight north. `from_tangent` is
    the inverse.
    """
    _pair(origin, p)
    lon0, lat0, lon1, lat1 = (np.radians(v) for v in (origin.lon, origin.lat, p.lon, p.lat))
    dlon = lon1 - lon0
    east = np.cos(lat1) * np.sin(dlon)
    # sin(lat1 - lat0) + ... instead of the textbook difference of products keeps the digits of near points.
    north = np.sin(lat1 - lat0) + 2.0 * np.sin(lat0) * np.cos(lat1) * np.sin(dlon / 2.0) ** 2
    cosine = np.sin(lat0) * np.sin(lat1) + np.cos(lat0) * np.cos(lat1) * np.cos(dlon)
    sine = np.hypot(east, north)
    length = EARTH_RADIUS_M * np.arctan2(sine, cosine)
    safe = np.where(sine > 0.0, sine, 1.0)
    east_m = np.where(sine > 0.0, length * (east / safe), 0.0)
    north_m = np.where(sine > 0.0, length * (north / safe), length)
    return east_m, north_m


def from_tangent(origin: LonLat, east_m: ArrayLike, north_m: ArrayLike) -> LonLat:
    """The points at the offsets (east_m, north_m) in metres from `origin`; the inverse of `tangent_offset`."""
    east, north = np.asarray(east_m, dtype=np.float64), np.asarray(north_m, dtype=np.float64)
    return destination(origin, np.degrees(np.arctan2(east, north)), np.hypot(east, north))


def spherical_mean(p: LonLat, weights: ArrayLike | None = None) -> LonLat:
    """The mean direction of the points, as a LonLat of length 1.

    Args:
        p: n points, n > 0.
        weights: (n,) weights, none negative; equal when absent.

    Raises:
        CoordinateError: the mean is undefined: no points, or points that cancel each other (antipodes).
        DataError: weights of another length, negative, not finite or all zero.
    """
    if len(p) == 0:
        raise CoordinateError("the mean of no points is undefined; give at least one")
    w = np.ones(len(p)) if weights is None else np.asarray(weights, dtype=np.float64)
    if w.shape != (len(p),) or not np.isfinite(w).all() or (w < 0).any() or w.max() == 0.0:
        raise DataError(f"weights must be {len(p)} finite numbers >= 0, not all 0; got {str(weights)[:60]}")
    mean = (w / w.sum()) @ p.unit()
    if np.linalg.norm(mean) < 1e-12:
        raise CoordinateError(f"the mean of {len(p)} points is undefined: they cancel each other (antipodes)")
    return LonLat.from_unit(mean[None, :])
