"""Counting points by cell and category."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from placevec.features.roads.placing import CellRows


def count_points(
    cells: ArrayLike,
    lon: ArrayLike,
    lat: ArrayLike,
    category: ArrayLike,
    categories: int,
    weight: ArrayLike | None = None,
) -> NDArray[np.float32]:
    """How many points of each category lie in each cell.

    Args:
        cells: (n,) H3 cells of one resolution, distinct, in any order; points elsewhere are passed over.
        lon: (p,) degrees.
        lat: (p,) degrees.
        category: (p,) from 0 to categories - 1.
        categories: how many there are.
        weight: (p,) how much each point counts, such as the places of a school; 1 where absent.

    Returns:
        (n, categories).

    Raises:
        DataError: the cells are of several resolutions, or one is there twice.
    """
    own = CellRows(cells)
    row = own.at(lon, lat)
    inside = row >= 0
    at = row[inside] * categories + np.asarray(category, dtype=np.int64)[inside]
    mass = None if weight is None else np.asarray(weight, dtype=np.float64)[inside]
    total = np.bincount(at, weights=mass, minlength=len(own) * categories)
    return total.reshape(len(own), categories).astype(np.float32)


def grouped(counts: NDArray[np.float32], group_of: Sequence[int], groups: int) -> NDArray[np.float32]:
    """Counts (n, groups) of groups of categories from those (n, k) of categories, `group_of` (k) each its group."""
    total = np.zeros((len(counts), groups), dtype=np.float32)
    for column, group in enumerate(group_of):
        total[:, group] += counts[:, column]
    return total
