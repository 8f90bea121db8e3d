"""How large a cell may be: small where training points are dense, large where they are sparse."""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree

from placevec.geo.geocells.config import GeoCellConfig
from placevec.geo.geocells.points import Points, metres_of
from placevec.geo.sphere import Floats, chord_of

# A circle of the limit's radius holds so many times `min_points` points, between the dense and the sparse limit:
# a cell has about half of the circle for itself, and so `min_points` of them or more.
_CIRCLE = 2

# What is built stays so far below the limits, in metres, for rounding when centres are written in degrees.
_SLACK_M = 1e-3


class Limits:
    """The limit of a cell's radius as a law of where its centre lies.

    It is the radius of the circle about the centre that holds 2 `min_points` training points of whatever region,
    but no less than `dense_km` and no more than `sparse_km`. It depends on the place alone, not on the division: a
    centre that stays keeps its limit, so that adding centres can only come nearer to the goal.
    """

    def __init__(self, points: Points, config: GeoCellConfig) -> None:
        self._tree = cKDTree(points.unit)
        self._points = _CIRCLE * config.min_points
        self._dense_m, self._sparse_m = 1000.0 * config.dense_km, 1000.0 * config.sparse_km

    def at(self, unit: Floats) -> Floats:
        """The limit (N,) in metres of cells with the centres (N, 3)."""
        # A search that ends at the sparse limit: what lies beyond is inf, and clipped.
        bound = float(chord_of(self._sparse_m)) * (1.0 + 1e-9)
        chord, _ = self._tree.query(unit, k=[self._points], distance_upper_bound=bound)
        return np.clip(metres_of(np.asarray(chord)[:, 0]), self._dense_m, self._sparse_m)

    def strict(self, unit: Floats) -> Floats:
        """The limits (N,) less a millimetre, which building keeps to."""
        return self.at(unit) - _SLACK_M
