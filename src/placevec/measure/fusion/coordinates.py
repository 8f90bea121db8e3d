"""Coordinates as features of radial bases: a smooth map in columns, which a ridge can take beside others."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import svd
from scipy.spatial.distance import cdist

from placevec.geo.sphere import EARTH_RADIUS_M, LonLat
from placevec.measure.fusion.rings import spacing_m

LANDMARKS = 150
"""How many places the bases stand on, drawn at random by the seed."""

# 1.5 km for cells of resolution 9, and in proportion to their spacing for others.
_WIDTH_M, _AT_RESOLUTION = 1500.0, 9


def rbf_width_m(resolution: int) -> float:
    """The width of the bases for cells of a resolution, in metres: 1.5 km at resolution 9, 4.3 times the spacing."""
    return _WIDTH_M * spacing_m(resolution) / spacing_m(_AT_RESOLUTION)


def rbf_coordinates(
    lonlat: LonLat, width_m: float, *, landmarks: int = LANDMARKS, seed: int = 0
) -> NDArray[np.float64]:
    """Nyström features (n, min(landmarks, n)) of the kernel exp(−d² / 2 width²), d the chord in metres.

    K(x, L) K(L, L)^−½ on landmarks L drawn among the places (Williams and Seeger, 2001), so that products of the
    features approximate the kernel. No label is used.

    Args:
        lonlat: (n,) the places.
        width_m: of the kernel, in metres.
        landmarks: how many.
        seed: of their draw.
    """
    xyz = lonlat.unit() * EARTH_RADIUS_M
    # The legacy generator, so that the landmarks are those of scikit-learn's Nystroem for the same seed.
    chosen = np.random.RandomState(seed).permutation(len(xyz))[:landmarks]
    scale = 1.0 / (2.0 * width_m**2)
    u, s, vt = svd(np.exp(-scale * cdist(xyz[chosen], xyz[chosen], "sqeuclidean")))
    root = (u / np.sqrt(np.maximum(s, 1e-12))) @ vt
    return np.asarray(np.exp(-scale * cdist(xyz, xyz[chosen], "sqeuclidean")) @ root.T)
