"""Merging cells: small ones go where the limits allow it, or as many as a target says."""

from __future__ import annotations

import numpy as np

from placevec.geo.geocells.points import Centres, Division, Ints, Points
from placevec.geo.sphere import Floats


def merge(points: Points, division: Division, limit_m: Floats, least: Ints, spare: Ints) -> Division:
    """The division without the cells that are too small and not needed.

    A cell goes if each of its points lies within the limit of the next nearest centre of its region: then all radii
    stay within their limits, because no centre moves. The smallest go first.

    Args:
        points: the points.
        division: the cells.
        limit_m: (N,) the limit of each.
        least: (P,) points of a cell below which it is too small, by region.
        spare: (P,) how many cells a region can do without.
    """
    spare = spare.copy()
    while True:
        gone = _gone(points, division, limit_m, least, spare)
        if not gone.any():
            return division
        spare -= np.bincount(division.centres.region[gone], minlength=len(spare))
        kept = ~gone
        centres, limit_m = Centres(division.centres.unit[kept], division.centres.region[kept]), limit_m[kept]
        division = Division.by_nearest(points, centres)


def _gone(
    points: Points, division: Division, limit_m: Floats, least: Ints, spare: Ints
) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Which cells (N,) go in one round: none of them has points for which another that goes is next."""
    region, size = division.centres.region, len(division.centres)
    small = (division.count < least[region]) & (spare[region] > 0)
    rows = np.flatnonzero(small[division.label])
    gone = np.zeros(size, dtype=bool)
    if len(rows) == 0:
        return gone
    near, away = division.centres.nearest(points.unit[rows], points.region[rows], 2)
    label, target = division.label[rows], near[:, 1]
    # Of two centres at the same distance the tree may name either first.
    target = np.where(target == label, near[:, 0], target)
    fits = (target >= 0) & (away[:, 1] <= limit_m[target])
    small[label[~fits]] = False
    pairs = np.unique(np.stack([label, target], axis=1)[small[label]], axis=0)
    targets = dict(zip(*_lists(pairs), strict=True)) if len(pairs) else {}
    stays = np.zeros(size, dtype=bool)
    left = spare.copy()
    for cell in sorted(targets, key=lambda cell: (division.count[cell], cell)):
        others = targets[cell]
        if not stays[cell] and left[region[cell]] > 0 and not gone[others].any():
            gone[cell] = True
            stays[others] = True
            left[region[cell]] -= 1
    return gone


def _lists(pairs: Ints) -> tuple[list[int], list[Ints]]:
    """The first of each pair, each once, and the seconds that it has; the pairs are sorted."""
    starts = np.flatnonzero(np.concatenate([[True], np.diff(pairs[:, 0]) != 0]))
    return pairs[starts, 0].tolist(), np.split(pairs[:, 1], starts[1:])
