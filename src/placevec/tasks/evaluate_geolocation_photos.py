"""The tested photos one by one: where each was, where it was thought to be; and the same added up by region."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from placevec.geo.sphere import LonLat
from placevec.measure.geolocation import distances, point_figures
from placevec.sources.exports import write_geoparquet
from placevec.table import Places
from placevec.tasks.evaluate_geolocation_rivals import NEAREST, PRIOR

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Photos:
    """n tested photos.

    Attributes:
        ids: (n,) their names.
        truth: where they were taken.
        points: where they were thought to be.
        confidence: (n,) the probability that a point is right; None without.
        region: (n,) the true region, a row of `names`.
        names: of the regions.
        covered: by level, (n,) whether the credible region holds the truth.
        regions: the `Regions`, for maps; None without.
        rivals: by name, the errors (n,) in kilometres of baselines.
    """

    ids: NDArray[Any]
    truth: LonLat
    points: LonLat
    confidence: Floats | None = None
    region: NDArray[np.int64] | None = None
    names: tuple[str, ...] = ()
    covered: Mapping[float, NDArray[np.bool_]] = field(default_factory=dict)
    regions: Any = None
    rivals: Mapping[str, Floats] = field(default_factory=dict)

    @cached_property
    def km(self) -> Floats:
        """The errors (n,) in kilometres."""
        return distances(self.truth, self.points)

    def nearest(self) -> Floats | None:
        """The errors (n,) of the nearest-image baseline with the smallest median; None without one."""
        found = [km for name, km in self.rivals.items() if name.startswith(NEAREST)]
        return min(found, key=lambda km: float(np.median(km))) if found else None

    def write(self, path: str | Path) -> None:
        """A table of places: the truth as geometry, the point, the error, the confidence, and what covers it."""
        columns: dict[str, Any] = {"guess_lon": self.points.lon, "guess_lat": self.points.lat, "error_km": self.km}
        if self.confidence is not None:
            columns["confidence"] = self.confidence
        if self.region is not None:
            columns["region"] = np.array([self.names[row] if row >= 0 else None for row in self.region], dtype=object)
        columns |= {f"in_{100 * level:g}_region": held for level, held in self.covered.items()}
        # One photo may stand in a list twice.
        names = [str(one) for one in self.ids]
        unique = names if len(set(names)) == len(names) else [f"{row}:{name}" for row, name in enumerate(names)]
        write_geoparquet([Places.create(unique, self.truth, attributes=columns)], path)


def region_records(photos: Photos, training: ArrayLike, region_logs: ArrayLike) -> tuple[dict[str, Any], ...]:
    """One record for each region: how many photos, how far off they are, and what the baselines say there.

    Args:
        photos: tested photos with their regions.
        training: (P,) training photos of each region.
        region_logs: (n, P) of the regions.
    """
    if photos.region is None:
        return ()
    named = np.argmax(np.asarray(region_logs), axis=1)
    nearest, prior = photos.nearest(), photos.rivals.get(PRIOR)
    records = []
    for row, name in enumerate(photos.names):
        own = photos.region == row
        record: dict[str, Any] = {
            "region": name,
            "photos": int(own.sum()),
            "training_photos": int(np.asarray(training)[row]),
        }
        if own.any():
            figures = point_figures(photos.truth[own], photos.points[own])
            record |= {key: figures[key] for key in ("median_km", "mean_km", "p90_km", "acc_25", "acc_200")}
            record["region_right"] = float((named[own] == row).mean())
            record |= {f"coverage_{100 * level:g}": float(held[own].mean()) for level, held in photos.covered.items()}
            if nearest is not None:
                record["nearest_image_median_km"] = float(np.median(nearest[own]))
            if prior is not None:
                record["prior_median_km"] = float(np.median(prior[own]))
        records.append(record)
    return tuple(records)
