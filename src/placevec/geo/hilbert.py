"""The Hilbert curve over longitude and latitude: an order of rows in which neighbours lie near each other."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

BITS = 26
"""Steps per axis: 2**26 cells of longitude are 0.6 m wide at the equator."""


def hilbert_key(lon: ArrayLike, lat: ArrayLike) -> NDArray[np.int64]:
    """The positions (n,) of points on the Hilbert curve over [-180, 180] x [-90, 90]; -1 where a value is NaN.

    Args:
        lon: (n,) degrees. Values outside the range are put at its edge.
        lat: (n,) degrees.

    Source: Hacker's Delight, 2nd edition, section 16-2 (by rotation of quadrants, one bit of each axis at a
    time).
    """
    side = 1 << BITS
    x_deg, y_deg = np.asarray(lon, dtype=np.float64), np.asarray(lat, dtype=np.float64)
    known = ~(np.isnan(x_deg) | np.isnan(y_deg))
    x = _steps((x_deg[known] + 180.0) / 360.0, side)
    y = _steps((y_deg[known] + 90.0) / 180.0, side)
    key = np.zeros(x.shape, dtype=np.int64)
    step = side >> 1
    while step:
        right, up = (x & step) > 0, (y & step) > 0
        key = (key << 2) | ((3 * right) ^ up)
        flip = right & ~up
        x, y = np.where(flip, side - 1 - x, x), np.where(flip, side - 1 - y, y)
        x, y = np.where(up, x, y), np.where(up, y, x)
        step >>= 1
    keys = np.full(x_deg.shape, -1, dtype=np.int64)
    keys[known] = key
    return keys


def hilbert_order(lon: ArrayLike, lat: ArrayLike) -> NDArray[np.int64]:
    """The rows (n,) in the order of the Hilbert curve; equal places keep their order, rows with NaN come last.

    Args:
        lon: (n,) degrees, NaN where a row has no geometry.
        lat: (n,) degrees.
    """
    keys = hilbert_key(lon, lat)
    last = np.iinfo(np.int64).max
    return np.argsort(np.where(keys < 0, last, keys), kind="stable").astype(np.int64)


def _steps(share: NDArray[np.float64], side: int) -> NDArray[np.int64]:
    return np.clip(share * side, 0, side - 1).astype(np.int64)
