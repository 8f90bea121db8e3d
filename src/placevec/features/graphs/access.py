"""The accessibility graph: which neighbouring cells a road joins, how long it takes, and what waits there."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from placevec.errors import DataError
from placevec.features.graphs.cell_graph import CellGraph
from placevec.features.roads.placing import PIECES_PER_EDGE, CellRows, along, pieces
from placevec.features.roads.speeds import passage
from placevec.geo.cells import ring_index
from placevec.geo.sphere import distance_m
from placevec.sources.osm.roads import Roads

BETA = {"walk": 0.002, "bike": 0.0012, "drive": 0.0008}
"""How fast weights fall, per second, by mode."""


def access_graph(
    roads: Roads, cells: ArrayLike, mode: str, mass: ArrayLike | None = None, *, beta: float | None = None
) -> CellGraph:
    """The edges between neighbouring cells that share a road which a mode may use.

    An edge leads from cell i to cell j, one of its ring, where a road passes the border from i to j. It takes the
    distance of the centres at the speed of the fastest such road (`speeds.passage`), and has the weight
    exp(-beta seconds) times the mass of j. One-way roads bind bikes and cars.

    Args:
        roads: of the area.
        cells: (n,) H3 cells of one resolution, in any order; roads elsewhere are passed over.
        mode: walk, bike or drive.
        mass: (n,) what waits in each cell, such as its people or jobs, none negative; 1 where absent.
        beta: per second; by default .002 for walking, .0012 by bike, .0008 by car.

    Raises:
        UsageError: there is no such mode.
        DataError: the mass is not n numbers of 0 or more, or the cells are of several resolutions.
    """
    own = CellRows(cells)
    n = len(own)
    waits = np.ones(n) if mass is None else np.asarray(mass, dtype=np.float64)
    if waits.shape != (n,) or not np.isfinite(waits).all() or (waits < 0).any():
        raise DataError(f"the mass of {n} cells is as many finite numbers of 0 or more; got {str(waits)[:60]}")
    forward, backward, speed = passage(roads, mode)
    rate = BETA[mode] if beta is None else beta
    if not np.isfinite(rate) or rate < 0:
        raise DataError(f"beta = {rate}: weights fall by 0 or more per second; give such as {BETA[mode]}")
    segment, i, j = _crossings(roads, own, np.flatnonzero(forward | backward))
    there, back = forward[segment], backward[segment]
    rows = np.concatenate([i[there], j[back]])
    cols = np.concatenate([j[there], i[back]])
    fast = np.concatenate([speed[segment[there]], speed[segment[back]]])
    key = rows * n + cols
    order = np.lexsort((-fast, key))
    first = np.ones(len(order), dtype=bool)
    first[1:] = key[order[1:]] != key[order[:-1]]
    best = order[first]
    rows, cols = rows[best], cols[best]
    centre = own.system.centre(own.cells)
    seconds = distance_m(centre[rows], centre[cols]) / fast[best]
    weight = np.exp(-rate * seconds) * waits[cols]
    return CellGraph(own.cells, rows, cols, seconds.astype(np.float32), weight.astype(np.float32), mode, rate)


def _crossings(
    roads: Roads, own: CellRows, usable: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Where a segment passes from one cell into a neighbour: the segment, the rows of the cells before and after."""
    node = own.at(roads.lon, roads.lat)
    longest = own.system.edge_m / PIECES_PER_EDGE
    a, b = roads.a[usable], roads.b[usable]
    # A segment within one cell passes no border, unless it is long enough to leave the cell and come back.
    leaves = (node[a] != node[b]) | (roads.metres[usable] > longest)
    usable = usable[leaves & ((node[a] >= 0) | (node[b] >= 0) | (roads.metres[usable] > longest))]
    cut = pieces(roads.metres[usable], longest)
    segment = usable[cut.of]
    begin = _at_end(roads, own, node, segment, cut.part, cut.parts)
    after = np.append(begin[1:], -1)
    end = np.where(cut.part == cut.parts - 1, node[roads.b[segment]], after)
    near = _neighbours(own, begin, end)
    return segment[near], begin[near], end[near]


def _at_end(
    roads: Roads,
    own: CellRows,
    node: NDArray[np.int64],
    segment: NDArray[np.int64],
    part: NDArray[np.int64],
    parts: NDArray[np.int64],
) -> NDArray[np.int64]:
    """The row of the cell in which each piece begins."""
    begin = node[roads.a[segment]]
    inner = np.flatnonzero(part > 0)
    where = along(roads, segment[inner], part[inner] / parts[inner])
    begin[inner] = own.at(where.lon, where.lat)
    return begin


def _neighbours(own: CellRows, i: NDArray[np.int64], j: NDArray[np.int64]) -> NDArray[np.int64]:
    """Which pairs of rows are two cells next to each other."""
    pairs = np.flatnonzero((i != j) & (i >= 0) & (j >= 0))
    if not len(pairs):
        return pairs
    ring = ring_index(own.cells, 1, own.system)
    beside: NDArray[np.bool_] = (ring[i[pairs], 1:] == j[pairs, None]).any(axis=1)
    return pairs[beside]
