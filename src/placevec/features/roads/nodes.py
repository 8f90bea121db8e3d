"""What the junctions, dead ends and streets of each cell say of its streets: counts and indices."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from placevec.features.roads.placing import CellRows
from placevec.features.roads.street import StreetGraph, node_degrees
from placevec.features.roads.tally import sums
from placevec.sources.osm.roads import Roads

Floats = NDArray[np.float64]

CIRCUITY = 5.0
"""The greatest circuity: of a lone street that ends where it began it would have no bound."""


class Junctions(NamedTuple):
    """Nodes (n) of each cell by how many ends of segments meet there."""

    three: Floats  # where three do
    four: Floats  # where four or more do
    dead: Floats  # where one does

    @property
    def crossings(self) -> Floats:
        """Where three or more do."""
        return self.three + self.four


def junctions(roads: Roads, cells: CellRows) -> Junctions:
    """The intersections and dead ends of each cell, over all roads given."""
    degree = node_degrees(roads)
    row = cells.at(roads.lon, roads.lat)
    n = len(cells)
    kinds = (degree == 3, degree >= 4, degree == 1)
    return Junctions(*(sums(row[(row >= 0) & kind], n) for kind in kinds))


class Shape(NamedTuple):
    """Ratios (n) of the streets of each cell; what each is where there is no street stands behind it."""

    mean_degree: Floats  # streets that meet at a node, 0
    link_node_ratio: Floats  # streets that touch the cell over its nodes, 0
    mean_street_m: Floats  # length of a street, 0
    circuity: Floats  # length of streets over the distance of their ends, at most CIRCUITY; 1
    alpha: Floats  # circuits there are, of those there could be, 0
    beta: Floats  # streets within the cell over its nodes, 0
    gamma: Floats  # pairs of nodes that a street joins, of those that could be, 0


def shape(graph: StreetGraph, cells: CellRows) -> Shape:
    """The ratios of each cell.

    A street counts by half to the cell of each of its ends for lengths and circuity (Boeing, 2017; loops are left out
    of the latter, their ends being no distance apart). Alpha, beta and gamma (Kansky, 1963; for planar graphs: alpha =
    (e - v + p) / (2v - 5), gamma = e / 3(v - 2)) are of the nodes v of the cell, the p parts they hang together in,
    and the streets e with both ends in it, of which alpha and gamma count parallel ones once and loops not at all.
    The ratio of links and nodes (Ewing, 1996) counts streets that leave the cell too.
    """
    n = len(cells)
    row = cells.at(graph.lon, graph.lat)
    ia, ib = row[graph.a], row[graph.b]
    v = sums(row[row >= 0], n)
    degree = sums(row[row >= 0], n, graph.degree[row >= 0])
    half = np.concatenate([ia, ib])
    known = half >= 0
    metres, straight = (np.tile(column, 2) for column in (graph.metres, graph.straight))
    apart = known & ~np.tile(graph.loops, 2)
    inner = (ia >= 0) & (ia == ib)
    links = sums(half[known], n) - sums(ia[inner], n)
    detour = _ratio(sums(half[apart], n, metres[apart]), sums(half[apart], n, straight[apart]), 1.0)
    simple, parts = _simple(graph, row, inner, n)
    return Shape(
        mean_degree=_ratio(degree, v),
        link_node_ratio=_ratio(links, v),
        mean_street_m=_ratio(sums(half[known], n, metres[known]), sums(half[known], n)),
        circuity=np.clip(detour, 1.0, CIRCUITY),
        alpha=np.clip(_ratio(simple - v + parts, 2.0 * v - 5.0), 0.0, 1.0),
        beta=_ratio(sums(ia[inner], n), v),
        gamma=np.clip(_ratio(simple, 3.0 * (v - 2.0)), 0.0, 1.0),
    )


def _simple(graph: StreetGraph, row: NDArray[np.int64], inner: NDArray[np.bool_], n: int) -> tuple[Floats, Floats]:
    """Of each cell (n): the pairs of its nodes that a street within it joins, and the parts they hang together in."""
    many = len(graph.lon)
    low, high = (np.asarray(side(graph.a[inner], graph.b[inner])) for side in (np.minimum, np.maximum))
    pair = np.unique((low * many + high)[low != high])
    low, high = np.divmod(pair, max(many, 1))
    joined = coo_array((np.ones(len(pair), dtype=np.int8), (low, high)), shape=(many, many))
    label = connected_components(joined, directed=False)[1] if many else np.zeros(0, dtype=np.int32)
    first = np.unique(label, return_index=True)[1]
    where = row[first]
    return sums(row[low], n), sums(where[where >= 0], n)


def _ratio(above: Floats, below: Floats, empty: float = 0.0) -> Floats:
    good = below > 0
    return np.where(good, above / np.where(good, below, 1.0), empty)
