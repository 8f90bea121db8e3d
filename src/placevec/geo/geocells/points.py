"""Training points by unit vectors, and the cell of each: what all steps of building geocells work on.

Distances are compared as chords between unit vectors, which grow with the great-circle distance: no projection,
no zones, no special meridian.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from placevec.geo.regions import Regions
from placevec.geo.sphere import EARTH_RADIUS_M, Floats, LonLat

Ints = NDArray[np.int64]

# Chords are 2 at most, so that points of two regions never are each other's nearest.
_REGION_STEP = 10.0


def metres_of(chord: Floats) -> Floats:
    """Great-circle distances in metres of chords between unit vectors; inf stays inf."""
    angle = 2.0 * np.arcsin(np.minimum(chord, 2.0) / 2.0)
    return np.where(np.isinf(chord), np.inf, EARTH_RADIUS_M * angle)


@dataclass(frozen=True, eq=False)
class Points:
    """Training points within regions, in an order of their own: by region, longitude and latitude.

    The order is what makes the cells the same whatever the order in which the points were given.
    """

    lonlat: LonLat  # n points
    unit: Floats  # (n, 3) their unit vectors
    region: Ints  # (n,) row of the region of each point, ascending
    regions: Regions  # the regions

    @classmethod
    def of(cls, p: LonLat, region: Ints, regions: Regions) -> Points:
        """The points that lie in a region (row >= 0)."""
        order = np.lexsort((p.lat, p.lon, region))
        order = order[region[order] >= 0]
        return cls(p[order], p[order].unit(), region[order], regions)

    def __getitem__(self, rows: Ints | NDArray[np.bool_]) -> Points:
        return Points(self.lonlat[rows], self.unit[rows], self.region[rows], self.regions)

    def degrees(self, unit: Floats) -> LonLat:
        """Directions (N, 3) in longitude and latitude; those of a point have its very degrees.

        So that a centre on the border of a region stays in it: on the way to a unit vector and back, the last digit
        may change.
        """
        chord, row = cKDTree(self.unit).query(unit)
        same = np.asarray(chord) == 0.0
        found, own = LonLat.from_unit(unit), self.lonlat[np.asarray(row)]
        return LonLat(np.where(same, own.lon, found.lon), np.where(same, own.lat, found.lat))

    def __len__(self) -> int:
        return len(self.region)


class Centres:
    """Centres of cells, of which each point belongs to the nearest one of its own region.

    Args:
        unit: (N, 3) unit vectors.
        region: (N,) row of the region of each.
    """

    def __init__(self, unit: Floats, region: Ints) -> None:
        self.unit, self.region = unit, region
        # One tree for all regions: a fourth axis keeps them apart.
        self._tree = cKDTree(np.column_stack([unit, _REGION_STEP * region]))

    def __len__(self) -> int:
        return len(self.region)

    def nearest(self, unit: Floats, region: Ints, k: int = 1) -> tuple[Ints, Floats]:
        """The rows (n, k) of the nearest centres of the same region and their distances in metres, nearest first.

        -1 and inf where the region has fewer centres.
        """
        chord, rows = self._tree.query(np.column_stack([unit, _REGION_STEP * region]), k=[*range(1, k + 1)])
        beyond = chord > _REGION_STEP / 2.0
        return np.where(beyond, -1, rows), metres_of(np.where(beyond, np.inf, chord))


@dataclass(frozen=True, eq=False)
class Division:
    """Points divided among centres: what a step of building takes and gives."""

    centres: Centres  # N centres
    label: Ints  # (n,) the centre of each point: the nearest of its region
    away_m: Floats  # (n,) its distance in metres
    count: Ints  # (N,) points of each centre
    radius_m: Floats  # (N,) distance of the farthest of them

    @classmethod
    def by_nearest(cls, points: Points, centres: Centres) -> Division:
        """Give each point to the nearest centre of its region; centres that are nobody's nearest are dropped."""
        rows, away = centres.nearest(points.unit, points.region)
        label, away_m = rows[:, 0], away[:, 0]
        count = np.bincount(label, minlength=len(centres))
        if (count == 0).any():
            kept = np.flatnonzero(count)
            label = (np.cumsum(count > 0) - 1)[label]
            centres, count = Centres(centres.unit[kept], centres.region[kept]), count[kept]
        radius = np.zeros(len(centres))
        np.maximum.at(radius, label, away_m)
        return cls(centres, label, away_m, count.astype(np.int64), radius)

    @classmethod
    def by_label(cls, points: Points, label: Ints) -> Division:
        """Put a centre into the middle of each group of points, and give each point to the nearest."""
        return cls.by_nearest(points, Centres(*middles(points, label)))


def middles(points: Points, label: Ints) -> tuple[Floats, Ints]:
    """The middle (N, 3) of each group of points and its region (N,).

    It is the spherical mean; where that lies outside of the region (between islands, in the arm of a bay), or is
    undefined (points that cancel each other), it is the point of the group that lies nearest to it.

    Args:
        points: the points.
        label: (n,) the group of each, 0 to N - 1, none empty and each within one region.
    """
    count = int(label.max()) + 1
    total = np.stack([np.bincount(label, points.unit[:, axis], minlength=count) for axis in range(3)], axis=1)
    first = np.full(count, len(points), dtype=np.int64)
    np.minimum.at(first, label, np.arange(len(points)))
    region = points.region[first]
    length = np.linalg.norm(total, axis=1)
    lost = length < 1e-9
    unit = np.where(lost[:, None], points.unit[first], total / np.where(lost, 1.0, length)[:, None])
    outside = np.flatnonzero(points.regions.assign(LonLat.from_unit(unit)) != region)
    if len(outside):
        rows = np.flatnonzero(np.isin(label, outside))
        away = np.linalg.norm(points.unit[rows] - unit[label[rows]], axis=1)
        order = np.lexsort((rows, away, label[rows]))
        leads = np.concatenate([[True], np.diff(label[rows][order]) != 0])
        unit[outside] = points.unit[rows[order][leads]]
    return unit, region
