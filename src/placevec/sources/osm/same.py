"""One thing that is mapped twice: as a point, and as the building or the grounds around it."""

from __future__ import annotations

from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray


def once(
    points: NDArray[np.float64], names: NDArray[Any], leaves: NDArray[np.int16], areas: NDArray[Any]
) -> NDArray[np.bool_]:
    """Which of p objects are counted.

    An object is the same as an area if its point lies in the area, both are of one category, and they have one name or
    one of them has none; of the two the larger is counted, and of two of one size the first. So a shop's node within
    its building, the building within the school's grounds, and a multipolygon within its own outer way count once, and
    two named practices in one building twice.

    Args:
        points: (p, 2) longitude and latitude of a point on each.
        names: (p,) str, "" without one.
        leaves: (p,) categories.
        areas: (p,) the area of each as WKB, None for points and lines.
    """
    keep = np.ones(len(points), dtype=bool)
    has_area = np.array([area is not None for area in areas], dtype=bool)
    for leaf in np.unique(leaves[has_area]):  # a leaf at a time: polygons take much more room than their WKB
        rows = np.flatnonzero(leaves == leaf)
        around = rows[has_area[rows]]
        keep[rows] = _once(points[rows], names[rows], np.searchsorted(rows, around), shapely.from_wkb(areas[around]))
    return keep


def _once(
    points: NDArray[np.float64], names: NDArray[Any], around: NDArray[np.int64], areas: NDArray[Any]
) -> NDArray[np.bool_]:
    """`once` among objects of one leaf, of which the rows `around` have the `areas`."""
    size = np.zeros(len(points))
    size[around] = shapely.area(areas)
    tree = shapely.STRtree(areas)
    inner, outer = tree.query(shapely.points(points), predicate="intersects")
    outer = around[outer]
    larger = (size[outer] > size[inner]) | ((size[outer] == size[inner]) & (outer < inner))
    alike = (names[inner] == names[outer]) | (names[inner] == "") | (names[outer] == "")
    keep = np.ones(len(points), dtype=bool)
    keep[inner[larger & alike.astype(bool)]] = False
    return keep
