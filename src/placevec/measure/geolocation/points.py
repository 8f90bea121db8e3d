"""How far off points are: errors along the sphere, the share within a distance, and the geoscore."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from placevec.errors import DataError
from placevec.geo.mixture.points import SCORE_M
from placevec.geo.sphere import LonLat, distance_m

Floats = NDArray[np.float64]

WITHIN_KM = (1, 25, 200, 750, 2500)
"""The distances of Im2GPS: street, city, region, country, continent (Vo et al., 2017)."""

GEOSCORE_KM = SCORE_M / 1000.0
"""The scale of the geoscore (Haas et al., PIGEON, 2024; Astruc et al., OSV-5M, 2024)."""

POINT_FIGURES = (
    "median_km",
    "mean_km",
    "p90_km",
    *(f"acc_{distance}" for distance in WITHIN_KM),
    "geoscore",
)
"""The names of `point_figures`, in the order in which they are shown."""

LOWER = frozenset({"median_km", "mean_km", "p90_km"})
"""The figures of which less is better."""


def distances(truth: LonLat, points: LonLat) -> Floats:
    """The errors (n,) in kilometres of points, row by row, along the great circle.

    Args:
        truth: n places; there must be at least one.
        points: n answers.

    Raises:
        DataError: none was given, or the lengths differ.
    """
    if len(truth) == 0 or len(truth) != len(points):
        raise DataError(f"{len(points)} points for {len(truth)} places; give one for each of at least one place")
    kilometres: Floats = distance_m(truth, points) / 1000.0
    return kilometres


def geoscores(km: ArrayLike) -> Floats:
    """5000 exp(-d / 1492.7 km) of errors (n,) in kilometres: 5000 is best, and 0 the worst."""
    scores: Floats = 5000.0 * np.exp(-np.asarray(km, dtype=np.float64) / GEOSCORE_KM)
    return scores


def error_figures(km: ArrayLike, within: Sequence[float] = WITHIN_KM) -> dict[str, float]:
    """Median, mean and 90th percentile, shares within some distances, and the mean geoscore of errors.

    Args:
        km: (n,) errors in kilometres, n > 0.
        within: distances in kilometres; a share is of errors up to and with the distance.

    Raises:
        DataError: no errors, or one that is negative or not finite.
    """
    errors = np.asarray(km, dtype=np.float64)
    if errors.ndim != 1 or len(errors) == 0 or not (np.isfinite(errors) & (errors >= 0)).all():
        raise DataError(f"errors are n > 0 finite distances; got {str(km)[:60]}")
    return {
        "median_km": float(np.median(errors)),
        "mean_km": float(errors.mean()),
        "p90_km": float(np.quantile(errors, 0.9)),
        **{f"acc_{distance:g}": float((errors <= distance).mean()) for distance in within},
        "geoscore": float(geoscores(errors).mean()),
    }


def point_figures(truth: LonLat, points: LonLat) -> dict[str, float]:
    """What `error_figures` says of n points and their true places.

    Raises:
        DataError: none was given, or the lengths differ.
    """
    return error_figures(distances(truth, points))
