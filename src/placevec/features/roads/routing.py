"""The graph of nodes on which ways are found: seconds from node to node."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from placevec.features.roads.speeds import passage
from placevec.sources.osm.roads import Roads

LEAST_S = 1e-3
"""Nodes in one place are so far apart: a 0 in a sparse matrix would be no edge."""


@dataclass(frozen=True, eq=False)
class RoutingGraph:
    """The nodes (n) that a mode can reach, and the seconds along each edge.

    Attributes:
        seconds: (n, n) sparse, from the row's node to the column's; of parallel edges the fastest.
        lon: (n,) of the nodes, degrees.
        lat: (n,) of the nodes, degrees.
        node: (n,) rows of the nodes of the roads.
        main: (n,) which nodes belong to the largest part that hangs together, one-ways taken both ways.
        mode: how one moves.
    """

    seconds: csr_array
    lon: NDArray[np.float64]
    lat: NDArray[np.float64]
    node: NDArray[np.int64]
    main: NDArray[np.bool_]
    mode: str

    def __len__(self) -> int:
        return len(self.node)


def walk_graph(roads: Roads, mode: str = "walk") -> RoutingGraph:
    """The routing graph of all nodes of the roads that a mode may use.

    Degree-2 nodes stay, so that a place snaps to where the road passes it.

    Args:
        roads: of which those are taken that the mode may use.
        mode: walk, bike or drive; see `speeds.passage` for how fast.

    Raises:
        UsageError: there is no such mode.
    """
    forward, backward, speed = passage(roads, mode)
    seconds = np.maximum(roads.metres / speed, LEAST_S)
    rows = np.concatenate([roads.a[forward], roads.b[backward]])
    cols = np.concatenate([roads.b[forward], roads.a[backward]])
    took = np.concatenate([seconds[forward], seconds[backward]])
    node, ends = np.unique(np.concatenate([rows, cols]), return_inverse=True)
    rows, cols = ends[: len(rows)], ends[len(rows) :]
    graph = fastest(rows, cols, took, len(node))
    return RoutingGraph(graph, roads.lon[node], roads.lat[node], node.astype(np.int64), largest_part(graph), mode)


def fastest(rows: NDArray[np.int64], cols: NDArray[np.int64], cost: NDArray[np.float64], n: int) -> csr_array:
    """A sparse (n, n) of the costs > 0 of edges; of parallel edges the cheapest, of loops none."""
    apart = rows != cols
    rows, cols, cost = rows[apart], cols[apart], cost[apart]
    key = rows * n + cols
    order = np.lexsort((cost, key))
    first = np.ones(len(order), dtype=bool)
    first[1:] = key[order[1:]] != key[order[:-1]]
    keep = order[first]
    start = np.zeros(n + 1, dtype=np.int64)
    np.cumsum(np.bincount(rows[keep], minlength=n), out=start[1:])
    return csr_array((cost[keep], cols[keep].astype(np.int32), start.astype(np.int32)), shape=(n, n))


def largest_part(graph: csr_array) -> NDArray[np.bool_]:
    """Which nodes (n,) belong to the largest weakly connected part; of equally large ones the first."""
    if graph.shape[0] == 0:
        return np.zeros(0, dtype=bool)
    _, label = connected_components(graph, directed=True, connection="weak")
    found: NDArray[np.bool_] = label == np.argmax(np.bincount(label))
    return found
