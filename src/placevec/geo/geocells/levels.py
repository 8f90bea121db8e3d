"""The coarser levels of geocells: groups of cells within a region, each level within the next."""

from __future__ import annotations

import numpy as np

from placevec.geo.geocells.config import GeoCellConfig
from placevec.geo.geocells.points import Ints, metres_of
from placevec.geo.geocells.split import bisect
from placevec.geo.sphere import Floats


def group_levels(unit: Floats, region: Ints, radius_m: Floats, config: GeoCellConfig) -> Ints:
    """The group (L, N) of each cell at each coarser level, numbered from 0 without gaps, in the order of the cells.

    The last level is the regions. Above it a group holds the cells whose circles lie within `levels_km` of the mean
    of their centres; a cell that is larger is a group by itself. Regions are bisected until they are groups of the
    coarsest level, these until they are groups of the next: so each group lies in one of the next level.

    Args:
        unit: (N, 3) centres.
        region: (N,) the region of each.
        radius_m: (N,) the radius of each.
        config: the settings.
    """
    label = np.unique(region, return_inverse=True)[1].astype(np.int64)
    levels = [label]
    for radius_km in reversed(config.levels_km):
        while True:
            count = int(label.max()) + 1
            mean = np.stack([np.bincount(label, unit[:, axis], minlength=count) for axis in range(3)], axis=1)
            length = np.linalg.norm(mean, axis=1, keepdims=True)
            mean = np.where(length > 1e-12, mean / np.maximum(length, 1e-12), 0.0)
            reach = metres_of(np.linalg.norm(unit - mean[label], axis=1)) + radius_m
            far = np.zeros(count, dtype=bool)
            np.logical_or.at(far, label, reach > 1000.0 * radius_km)
            found = bisect(unit, label, far & (np.bincount(label) > 1))
            if int(found.max()) + 1 == count:
                break
            label = found
        levels.append(label)
    return np.stack([_in_order(label) for label in reversed(levels)])


def _in_order(label: Ints) -> Ints:
    """Labels by new numbers: that of the first cell is 0, that of the next with another label 1, and so on."""
    _, first, inverse = np.unique(label, return_index=True, return_inverse=True)
    rank = np.empty(len(first), dtype=np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    return rank[inverse]
