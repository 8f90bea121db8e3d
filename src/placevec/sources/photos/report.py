"""What a photo list holds: how many photos lie where, how densely, what is known of them, and what was left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from placevec.geo.regions import Regions
from placevec.geo.sphere import LonLat, distance_m, spherical_mean
from placevec.table import Places, Skipped, skipped_counts

KNOWN = ("taken", "hour", "focal_mm", "heading", "altitude_m", "tags", "author", "licence")
"""Columns of which the report says how many photos have them."""

_FEW = 30  # photos of a region of which a model can learn something


@dataclass(frozen=True)
class RegionCount:
    """The photos of a region."""

    region: str
    photos: int
    share: float  # of all photos that were kept
    places: int  # groups of photos that stay on one side of a split
    area_km2: float | None  # on the sphere; None where no outline is known
    per_1000_km2: float | None


@dataclass(frozen=True)
class PhotoReport:
    """What is known of a photo list."""

    photos: int  # photos in = kept + skipped
    kept: int
    skipped: int
    skipped_because: Mapping[str, int]  # how many for each "stage: reason", the most frequent first
    places: int  # distinct places
    largest_place: int  # photos of the largest place
    widest_place_m: float  # twice the greatest distance of a photo from the middle of its place, in metres
    regions: tuple[RegionCount, ...]
    known: Mapping[str, float]  # share of photos that have a value, by column
    first: str | None  # the earliest and the latest time of a photo, ISO 8601
    last: str | None
    warnings: tuple[str, ...]

    def to_record(self) -> dict[str, Any]:
        """A JSON object."""
        return {**asdict(self), "regions": self.to_records(), "warnings": list(self.warnings)}

    def to_records(self) -> list[dict[str, Any]]:
        """A JSON object for each region, and for all photos together."""
        return [asdict(one) for one in self.regions]


def photo_report(places: Places, skipped: Sequence[Skipped] = (), regions: Regions | None = None) -> PhotoReport:
    """Count the photos of a list, or any places with a column `region`.

    Args:
        places: the rows, all with a geometry.
        skipped: what was left out.
        regions: their outlines; regions without photos are counted too.
    """
    counts = _regions(places, regions)
    largest, widest = _spread(places)
    distinct = len(set(places.keys.tolist()))
    times = sorted(str(one) for one in places.column("taken") if one) if places.has("taken") else []
    return PhotoReport(
        photos=len(places) + len(skipped),
        kept=len(places),
        skipped=len(skipped),
        skipped_because=skipped_counts(skipped),
        places=distinct,
        largest_place=largest,
        widest_place_m=widest,
        regions=tuple(counts),
        known={name: _share(places, name) for name in KNOWN},
        first=times[0] if times else None,
        last=times[-1] if times else None,
        warnings=(*_warnings(counts, distinct), *([] if regions is None else regions.warnings())),
    )


def _regions(places: Places, regions: Regions | None) -> list[RegionCount]:
    own = places.column("region") if places.has("region") else np.array(["all"] * len(places), dtype=object)
    own = np.array(["(none)" if name is None else str(name) for name in own], dtype=object)
    names = list(regions.names) if regions is not None else sorted(set(own.tolist()))
    areas = {} if regions is None else dict(zip(regions.names, (regions.areas_m2 / 1e6).tolist(), strict=True))
    found = []
    for name in names:
        rows = np.flatnonzero(own == name)
        area = areas.get(name)
        found.append(
            RegionCount(
                region=name,
                photos=len(rows),
                share=round(len(rows) / max(1, len(places)), 4),
                places=len(set(places.keys[rows].tolist())),
                area_km2=None if area is None else round(area, 1),
                per_1000_km2=None if not area else round(len(rows) / area * 1000.0, 3),
            )
        )
    return found


def _spread(places: Places) -> tuple[int, float]:
    """The photos of the largest place, and how wide the widest is in metres."""
    if not len(places):
        return 0, 0.0
    _, group, counts = np.unique(places.keys.astype(str), return_inverse=True, return_counts=True)
    order = np.argsort(group.reshape(-1), kind="stable")
    widest = 0.0
    points = places.lonlat()
    for rows in np.split(order, np.cumsum(counts)[:-1]):
        if len(rows) > 1:
            part = LonLat(points.lon[rows], points.lat[rows])
            widest = max(widest, 2.0 * float(distance_m(part, spherical_mean(part)).max()))
    return int(counts.max()), round(widest, 1)


def _share(places: Places, name: str) -> float:
    if not places.has(name) or not len(places):
        return 0.0
    return round(1.0 - int(places.data[name].null_count) / len(places), 4)


def _warnings(counts: Sequence[RegionCount], distinct: int) -> list[str]:
    said = []
    for one in counts:
        if one.photos == 0:
            said.append(f"{one.region} has no photo: nothing there can be learned or tested")
        elif one.places == 1 and distinct > 1:
            said.append(f"{one.region} has one place ({one.photos:,} photos): it is learned or tested, never both")
        elif one.photos < _FEW:
            said.append(f"{one.region} has {one.photos:,} photos: few to learn from, and its scores will be rough")
    return said
