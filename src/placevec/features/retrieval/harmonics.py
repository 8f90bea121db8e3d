"""Smooth functions of the place: low-degree spherical harmonics in a frame that fits the region, in numpy.

The columns of degree l are scaled by (l + 1)^-p. A ridge on them is then a Gaussian process whose variance falls with
the degree as a power law, as that of the Matérn family does: smooth, and no rougher than the targets of a region are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from placevec.errors import CoordinateError
from placevec.geo.sphere import Floats, LonLat, spherical_mean

REACH_DEG = 45.0
"""The half-width in degrees to which a region is stretched: a quarter of the sphere, so that nothing wraps round."""


@dataclass(frozen=True)
class Frame:
    """The sphere turned so that a region's centre lies at (0, 0), and stretched about it.

    Turned coordinates make the equirectangular frame of a region the same thing at the equator, at a pole and on the
    antimeridian.

    Attributes:
        lon0: longitude of the centre, degrees.
        lat0: latitude of the centre, degrees.
        stretch: by how much the turned longitudes and latitudes are multiplied; 1 leaves the whole sphere as it is.
    """

    lon0: float = 0.0
    lat0: float = 0.0
    stretch: float = 1.0

    @classmethod
    def around(cls, places: LonLat) -> Self:
        """The frame in which the places reach to 45 degrees; the sphere itself for places wider apart than that."""
        try:
            centre = spherical_mean(places)
        except CoordinateError:  # they cancel each other: all over the Earth
            return cls()
        frame = cls(float(centre.lon[0]), float(centre.lat[0]))
        lon, lat = frame.apply(places)
        reach = float(np.degrees(max(np.abs(lon).max(), np.abs(lat).max())))
        if reach >= REACH_DEG:
            return cls()
        return cls(frame.lon0, frame.lat0, REACH_DEG / max(reach, 1e-6))

    def apply(self, places: LonLat) -> tuple[Floats, Floats]:
        """Longitudes and latitudes (n,) in the frame, in radians; what lies far outside is held at its rim."""
        lon0, lat0 = np.radians(self.lon0), np.radians(self.lat0)
        x, y, z = places.unit().T
        east = np.cos(lon0) * y - np.sin(lon0) * x
        out = np.cos(lon0) * x + np.sin(lon0) * y
        ahead, up = np.cos(lat0) * out + np.sin(lat0) * z, np.cos(lat0) * z - np.sin(lat0) * out
        lon = np.arctan2(east, ahead) * self.stretch
        lat = np.arctan2(up, np.hypot(east, ahead)) * self.stretch
        return np.clip(lon, -np.pi, np.pi), np.clip(lat, -np.pi / 2, np.pi / 2)

    def to_json(self) -> dict[str, Any]:
        """For the recipe of a table."""
        return {"lon0": self.lon0, "lat0": self.lat0, "stretch": self.stretch}


def real_harmonics(lon: Floats, lat: Floats, degrees: int) -> Floats:
    """Real orthonormal spherical harmonics (n, degrees²) of the degrees 0 to degrees - 1, in float64.

    The fully normalised recurrence in l for all orders: P_lm = a x P_{l-1,m} - b P_{l-2,m} with x = sin(latitude),
    a = √((4l² - 1) / (l² - m²)), b = √((2l + 1) ((l-1)² - m²) / ((2l - 3) (l² - m²))) (Holmes and Featherstone, 2002,
    eqs. 11 and 12). Column l² + l + m: cos mφ for m > 0, sin |m|φ for m < 0.

    Args:
        lon: (n,) radians.
        lat: (n,) radians.
        degrees: how many degrees, from 1.
    """
    x, s = np.sin(lat), np.cos(lat)
    out = np.empty((degrees**2, len(x)))
    turn = np.arange(degrees)[:, None] * lon[None, :]
    around = {1: np.sqrt(2.0) * np.cos(turn), -1: np.sqrt(2.0) * np.sin(turn)}
    before, last = np.zeros((degrees, len(x))), np.zeros((degrees, len(x)))
    diagonal: Floats = np.full(len(x), 1.0 / np.sqrt(4.0 * np.pi))
    for degree in range(degrees):
        now = np.zeros((degrees, len(x)))
        if degree:
            m = np.arange(degree)[:, None].astype(np.float64)
            span = degree**2 - m**2
            a = np.sqrt((4.0 * degree**2 - 1.0) / span)
            b = np.sqrt(np.maximum((2.0 * degree + 1.0) * ((degree - 1.0) ** 2 - m**2), 0.0) / span)
            # The last two orders have no P_{l-2}: their b is 0, whatever the sign of 2l - 3 at l = 1.
            b /= np.sqrt(max(2.0 * degree - 3.0, 1.0))
            now[:degree] = a * x * last[:degree] - b * before[:degree]
            diagonal = np.asarray(diagonal * s * -np.sqrt((2.0 * degree + 1.0) / (2.0 * degree)), dtype=np.float64)
        now[degree] = diagonal
        centre = degree**2 + degree
        out[centre] = now[0]
        for order in range(1, degree + 1):
            out[centre + order] = now[order] * around[1][order]
            out[centre - order] = now[order] * around[-1][order]
        before, last = last, now
    return out.T


def spectrum(degrees: int, power: float) -> Floats:
    """The factors (degrees² - 1,) of the columns of the degrees from 1: (l + 1)^-power."""
    degree = np.repeat(np.arange(degrees), 2 * np.arange(degrees) + 1)[1:]
    return np.asarray((degree + 1.0) ** -power, dtype=np.float64)


def smooth(places: LonLat, frame: Frame, degrees: int, power: float) -> NDArray[np.float32]:
    """The harmonics (n, degrees² - 1) of the degrees from 1 in a frame, scaled by the spectrum.

    The constant is left out: every regression has its own.
    """
    lon, lat = frame.apply(places)
    return (real_harmonics(lon, lat, degrees)[:, 1:] * spectrum(degrees, power)).astype(np.float32)
