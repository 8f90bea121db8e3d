"""How much of a mixture lies within a distance of a point: the probability behind a confidence."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from placevec.errors import DataError
from placevec.geo.mixture.law import Mixture, angles
from placevec.geo.sphere import EARTH_RADIUS_M, LonLat

Floats = NDArray[np.float64]

# Gauss-Legendre nodes; the integrand is a smooth density times a share with square roots at its ends, which the
# substitution below takes away.
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(32)
# Beyond 8.6 spreads a kernel has 1e-16 of its mass.
_FAR = 37.0
_AT_ONCE = 4_000_000


def within_mass(mixture: Mixture, centre: LonLat, radius_m: ArrayLike) -> Floats:
    """The probability (n,) that the place lies within `radius_m` of the centre of its row.

    The mass of a von Mises-Fisher kernel in a cap is one integral: over the angle t from the kernel's centre, of its
    radial density times the share of the circle of radius t that lies in the cap (the half-angle formula of spherical
    trigonometry). The floor counts by the area of the cap, as if all of it lay in the floor's area.

    Args:
        mixture: n laws.
        centre: n points, or one.
        radius_m: metres, a number or (n,).

    Raises:
        DataError: as many centres and radii as laws are needed; a radius is negative or not finite.
    """
    n = len(mixture)
    radius = np.asarray(radius_m, dtype=np.float64)
    if len(centre) not in (1, n) or radius.shape not in ((), (n,)):
        raise DataError(f"{len(centre)} centres and radii of the shape {radius.shape} for {n} mixtures; give one each")
    if not (np.isfinite(radius).all() and (radius >= 0).all()):
        raise DataError(f"a radius is a number of metres >= 0, not {str(radius_m)[:60]}")
    angle = np.broadcast_to(np.minimum(radius / EARTH_RADIUS_M, np.pi), (n,))
    middle = np.broadcast_to(centre.unit(), (n, 3))
    step = max(1, _AT_ONCE // (len(_NODES) * mixture.weights.shape[1]))
    out = np.empty(n)
    for at in range(0, n, step):
        part = slice(at, at + step)
        law = mixture[part]
        apart = angles(law.unit, middle[part, None, :])
        held = _cap_mass(apart, angle[part, None], (EARTH_RADIUS_M / law.spread_m) ** 2)
        cap = 2.0 * np.pi * EARTH_RADIUS_M**2 * 2.0 * np.sin(angle[part] / 2.0) ** 2
        out[part] = (law.weights * held).sum(axis=1) + law.floor * np.minimum(cap / law.area_m2, 1.0)
    return np.clip(out, 0.0, 1.0)


def _cap_mass(apart: Floats, radius: Floats, kappa: Floats) -> Floats:
    """The mass (n, m) of kernels of concentration `kappa` in caps of angle `radius`, `apart` from their centres."""
    apart, radius, kappa = np.broadcast_arrays(apart, radius, kappa)
    inner = np.abs(radius - apart)
    whole = _radial(inner, kappa) * (radius > apart)
    farthest = 2.0 * np.arcsin(np.sqrt(np.minimum(_FAR / (2.0 * kappa), 1.0)))
    outer = np.minimum(np.minimum(radius + apart, 2.0 * np.pi - radius - apart), np.maximum(farthest, inner))
    # A cap around the antipode of its kernel's other side: the circles near it lie in the cap as a whole.
    wrapped = radius + apart > np.pi
    whole = whole + np.where(wrapped, 1.0 - _radial(2.0 * np.pi - radius - apart, kappa), 0.0)
    # t = inner + (outer − inner) sin²(θ / 2): the square roots at both ends become smooth.
    theta = 0.5 * np.pi * (_NODES + 1.0)
    span = (outer - inner)[..., None]
    t = inner[..., None] + span * np.sin(theta / 2.0) ** 2
    dt = span * np.sin(theta / 2.0) * np.cos(theta / 2.0) * (0.5 * np.pi * _WEIGHTS)
    half = 0.5 * (t + apart[..., None] + radius[..., None])
    r, d = radius[..., None], apart[..., None]
    above = np.maximum(np.sin(half - t) * np.sin(half - d), 0.0)
    below = np.maximum(np.sin(half) * np.sin(half - r), 0.0)
    share = 2.0 / np.pi * np.arctan2(np.sqrt(above), np.sqrt(below))
    k = kappa[..., None]
    density = k * np.sin(t) * np.exp(-2.0 * k * np.sin(t / 2.0) ** 2) / -np.expm1(-2.0 * k)
    found: Floats = whole + (density * share * dt).sum(axis=-1)
    return found


def _radial(angle: Floats, kappa: Floats) -> Floats:
    """The mass of a kernel within an angle of its centre: (1 − exp(−κ (1 − cos t))) / (1 − exp(−2κ))."""
    share: Floats = np.expm1(-2.0 * kappa * np.sin(angle / 2.0) ** 2) / np.expm1(-2.0 * kappa)
    return share
