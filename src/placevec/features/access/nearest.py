"""The nearest of many points to each of others."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from placevec.geo.sphere import LonLat, distance_m


def nearest(points: LonLat, among: LonLat) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The row (n,) of the nearest of `among` to each of `points`, and its distance in metres along the great circle.

    Of equally near ones any. Where there is none, the row is -1 and the distance infinite.
    """
    if len(among) == 0 or len(points) == 0:
        return np.full(len(points), -1, dtype=np.int64), np.full(len(points), np.inf)
    rows = np.asarray(cKDTree(among.unit()).query(points.unit())[1], dtype=np.int64)
    return rows, distance_m(points, among[rows])
