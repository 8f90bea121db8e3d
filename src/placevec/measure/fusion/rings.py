"""Means over rings of hexagons: the parameter-free fusions that learned ones have to beat.

Two families, which are not the same:

- a *ring stack* lays x, Wx, W²x … side by side, W the mean over a cell and its neighbours (steps of a random walk);
- *ring means* replace x by one vector: the mean of the mean of ring 0 (the cell), ring 1 … ring k, each ring counting
  alike ("flat"), or less the farther it is ("exponential", e^−r). A ring that holds no cell counts as the cell itself.
  This is the ring aggregation of UrbanRepML (`stage2_fusion/models/ring_aggregation.py`), whose default is exponential.
"""

from __future__ import annotations

from functools import partial
from typing import Literal, get_args

import h3ronpy
import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from placevec.errors import DataError, UsageError
from placevec.geo.cells import H3Cells, ring_index
from placevec.measure.fusion.blocks import Floats32
from placevec.measure.parallel import in_parallel

Weighting = Literal["flat", "exponential"]

# Cells whose rings are held at once: sums over rings take at most about so many bytes.
_SUMS_AT_ONCE = 60_000_000


def resolution_of(cells: ArrayLike) -> int:
    """The H3 resolution of cells (n,).

    Raises:
        DataError: there are none, they are of several resolutions, or one stands there twice.
    """
    own = np.asarray(cells, dtype=np.uint64)
    levels = np.unique((own >> np.uint64(52)) & np.uint64(15))
    if len(levels) != 1:
        found = ", ".join(str(int(level)) for level in levels) or "none"
        raise DataError(f"cells of one resolution are fused, not of: {found}")
    if len(np.unique(own)) < len(own):
        raise DataError(f"{len(own) - len(np.unique(own))} cells stand twice; each cell has one row")
    return int(levels[0])


def spacing_m(resolution: int) -> float:
    """The mean distance between the centres of neighbouring cells of a resolution, in metres."""
    return float(np.sqrt(3.0) * H3Cells(resolution).edge_m)


def neighbour_mean(cells: ArrayLike) -> sparse.csr_array:
    """W (n, n): the mean over the cell itself and those of its neighbours that are among `cells`, float32."""
    resolution_of(cells)
    near = ring_index(cells, 1)
    row, column = np.nonzero(near >= 0)
    ends = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=len(near)))])
    share = (1.0 / np.diff(ends))[row].astype(np.float32)
    return sparse.csr_array((share, near[row, column], ends), shape=(len(near), len(near)))


def ring_stack(values: Floats32, cells: ArrayLike, steps: int) -> Floats32:
    """[x, Wx, …, W^steps x] (n, (steps + 1) d), see `neighbour_mean`."""
    mix = neighbour_mean(cells)
    parts = [values]
    for _ in range(steps):
        parts.append(np.asarray(mix @ parts[-1], dtype=np.float32))
    return np.concatenate(parts, axis=1)


def ring_means(values: Floats32, cells: ArrayLike, rings: int, weighting: Weighting = "flat") -> Floats32:
    """The weighted mean (n, d) of the means of the rings 0 to `rings`; see the module for both weightings."""
    return every_ring_mean(values, cells, rings, weighting)[rings]


def every_ring_mean(
    values: Floats32, cells: ArrayLike, rings: int, weighting: Weighting = "flat"
) -> dict[int, Floats32]:
    """`ring_means` for all of 1 … `rings` at once, by how many rings: (n, d) each.

    Raises:
        UsageError: fewer than one ring, or an unknown weighting.
    """
    if rings < 1 or weighting not in get_args(Weighting):
        raise UsageError(f"means over {rings} rings by {weighting!r} weights cannot be: 1 or more, flat or exponential")
    own = np.ascontiguousarray(cells, dtype=np.uint64)
    resolution_of(own)
    n, d = values.shape
    weights = np.exp(-np.arange(rings + 1.0)) if weighting == "exponential" else np.ones(rings + 1)
    out = {k: np.empty((n, d), dtype=np.float32) for k in range(1, rings + 1)}
    order = np.argsort(own, kind="stable")
    ordered = own[order]
    step = max(256, _SUMS_AT_ONCE // (4 * (rings + 1) * max(d, 30 * rings)))

    def part(rows: NDArray[np.int64]) -> None:
        means = _means_of_rings(values, own[rows], ordered, order, rings)
        # A ring without cells counts as the cell itself.
        total = np.zeros((len(rows), d), dtype=np.float64)
        for ring in range(rings + 1):
            total += weights[ring] * means[:, ring]
            if ring:
                out[ring][rows] = total / weights[: ring + 1].sum()

    # In the order of cells: what lies near is near in memory too.
    for _ in in_parallel([partial(part, order[start : start + step]) for start in range(0, n, step)]):
        pass
    return out


def _means_of_rings(
    values: Floats32, asked: NDArray[np.uint64], ordered: NDArray[np.uint64], order: NDArray[np.int64], rings: int
) -> Floats32:
    """The means (m, rings + 1, d) over each ring of the cells `asked` (m,) among all cells (`ordered`, by `order`)."""
    batch = h3ronpy.grid_disk_distances(asked, rings)
    lists = pa.array(batch["cell"])
    members = np.asarray(lists.values)
    ring = np.asarray(pa.array(batch["k"]).values).astype(np.int64)
    offsets = np.asarray(lists.offsets, dtype=np.int64)
    row = np.repeat(np.arange(len(asked)), offsets[1:] - offsets[:-1])
    at = np.minimum(np.searchsorted(ordered, members), len(ordered) - 1)
    there = ordered[at] == members
    group, column = (row * (rings + 1) + ring)[there], order[at[there]]
    if (np.diff(group) < 0).any():
        # Near a pentagon the rings of a cell do not come one after the other.
        by_ring = np.argsort(group, kind="stable")
        group, column = group[by_ring], column[by_ring]
    count = np.bincount(group, minlength=len(asked) * (rings + 1))
    ends = np.concatenate([[0], np.cumsum(count)])
    held = sparse.csr_array((np.ones(len(column), dtype=np.float32), column, ends), shape=(len(count), len(values)))
    sums = np.asarray(held @ values).reshape(len(asked), rings + 1, values.shape[1])
    counts = count.reshape(len(asked), rings + 1, 1)
    means = sums / np.maximum(counts, 1).astype(np.float32)
    return np.where(counts > 0, means, sums[:, :1])
