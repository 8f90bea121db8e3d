"""Rough positions for training: the true ones, moved by an error of the size that is told."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from placevec.errors import UsageError
from placevec.geo.sphere import LonLat, from_tangent

Floats = NDArray[np.float64]


def rough_positions(
    truth: LonLat,
    rng: np.random.Generator,
    *,
    error_m: tuple[float, float] = (1_000.0, 300_000.0),
    known: float = 0.5,
    told: float = 0.9,
) -> Floats:
    """What a branch of the kind "location" reads: (n, 3) longitude, latitude, error in metres, NaN where unknown.

    A model that is trained on true positions would only copy them. Each error s is drawn log-uniformly from `error_m`,
    and the position from a normal law of standard deviation s to each side, so that the network learns what s means.

    Args:
        truth: n true points.
        rng: the random stream.
        error_m: the least and the largest error, metres.
        known: share of the points of which anything is known.
        told: share of those of which the error is told as well.

    Raises:
        UsageError: errors that are not above 0 and ascending.
    """
    least, most = error_m
    if not 0.0 < least <= most < float("inf"):
        raise UsageError(f"error_m = {error_m}: give metres above 0, the smaller first")
    n = len(truth)
    spread = np.exp(rng.uniform(np.log(least), np.log(most), n))
    east, north = spread * rng.standard_normal((2, n))
    moved = from_tangent(truth, east, north)
    out = np.column_stack([moved.lon, moved.lat, np.where(rng.random(n) < told, spread, np.nan)])
    out[rng.random(n) >= known] = np.nan
    return out
