"""Values of cells at another resolution: sums and means upwards, copies and shares downwards."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from placevec.errors import UsageError
from placevec.geo.cells import CellArray, H3Cells
from placevec.sources.targets.keys import resolutions

Group = Literal["sum", "mean"]
"""What a column is: parts of a "sum" (people, jobs) add up to the whole, those of a "mean" (a density) do not."""

Land = Literal["children", "area"]
"""How a sum is spread down: over all children of its cell, or over those that the area has."""

Floats = NDArray[np.float64]


def grouped(rows: NDArray[np.int64], values: Floats, count: int, how: Group, weights: Floats | None = None) -> Floats:
    """Values (n,) in the groups `rows` (n,), summed or averaged: (count,), NaN where no value is known.

    Args:
        rows: the group of each value, 0 to count.
        values: NaN where absent: these count for nothing.
        count: the number of groups.
        how: "sum" adds value · weight, "mean" divides that by the sum of the weights.
        weights: (n,), by default 1.
    """
    known = ~np.isnan(values)
    weight = known.astype(np.float64) if weights is None else np.where(known, weights, 0.0)
    total = np.bincount(rows, np.where(known, values, 0.0) * weight, minlength=count)
    there = np.bincount(rows, weight, minlength=count)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(there > 0, total / there if how == "mean" else total, np.nan)


def at_level(
    cells: CellArray, values: Floats, how: Group, resolution: int, wanted: CellArray, land: Land = "children"
) -> Floats:
    """The values (m,) of the cells `wanted` from those (n,) of cells of another resolution, or of the same.

    A finer source is summed or averaged within each cell. A coarser one is spread: a mean is copied to all cells in
    it; a sum is divided by the number of its children, or (``land = "area"``) of those that are wanted, so that
    nothing is lost where the others are sea.

    Args:
        cells: (n,) distinct H3 cells of one resolution.
        values: (n,), NaN where absent.
        how: what the column is.
        resolution: of `wanted`.
        wanted: (m,) sorted distinct cells.
        land: see above.

    Returns:
        (m,), NaN where nothing is known.
    """
    if len(cells) == 0 or len(wanted) == 0:
        return np.full(len(wanted), np.nan)
    own = int(resolutions(cells[:1])[0])
    if own >= resolution:
        parents = H3Cells(own).parent(cells, resolution)
        at, found = _rows(wanted, parents)
        return grouped(at[found], values[found], len(wanted), how)
    order = np.argsort(cells)
    parents = H3Cells(resolution).parent(wanted, own)
    at, found = _rows(cells[order], parents)
    spread = np.full(len(wanted), np.nan)
    rows = order[at[found]]
    spread[found] = values[rows]
    if how == "sum":
        share = (
            np.bincount(rows, minlength=len(cells))[rows] if land == "area" else children(parents[found], resolution)
        )
        spread[found] /= share
    return spread


def children(cells: CellArray, resolution: int) -> NDArray[np.int64]:
    """How many cells of a finer resolution lie in each cell (n,): 7 to the power of the steps, fewer in a pentagon."""
    steps = resolution - resolutions(cells)
    if (steps < 0).any():
        raise UsageError(f"cells of the resolution {resolution} are coarser: they are no children")
    power = 7**steps
    # A pentagon has six children, five of them hexagons: 1 + 5 (7^n - 1) / 6 in all.
    return np.where(_pentagon(cells), 1 + 5 * (power - 1) // 6, power)


def _pentagon(cells: CellArray) -> NDArray[np.bool_]:
    """Which cells (n,) are pentagons: a base cell that is one, and nothing but zeros as digits.

    https://h3geo.org/docs/core-library/h3Indexing: three bits a digit, 7 for those that are not used.
    """
    level = resolutions(cells).astype(np.uint64)
    base = (cells >> np.uint64(45)) & np.uint64(0x7F)
    digits = cells & np.uint64((1 << 45) - 1)
    unused = (np.uint64(1) << (np.uint64(3) * (np.uint64(15) - level))) - np.uint64(1)
    found: NDArray[np.bool_] = np.isin(base, _PENTAGON_BASES) & (digits == unused)
    return found


_PENTAGON_BASES = np.array([4, 14, 24, 38, 49, 58, 63, 72, 83, 97, 107, 117], dtype=np.uint64)


def _rows(ordered: CellArray, asked: CellArray) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """The row of each of the cells asked for among sorted ones, and whether it is there."""
    at = np.minimum(np.searchsorted(ordered, asked), len(ordered) - 1)
    return at, ordered[at] == asked
