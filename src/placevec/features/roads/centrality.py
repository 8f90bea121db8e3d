"""Betweenness and closeness of street nodes, estimated from ways that start at a sample of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import dijkstra

from placevec.errors import UsageError
from placevec.features.roads.routing import fastest
from placevec.features.roads.street import StreetGraph
from placevec.geo.hilbert import hilbert_order

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

_CHUNK_BYTES = 24 << 20  # of the distances and predecessors of the sources that are handled at once
_NEAREST_KM = 0.01  # nodes nearer than this count as this far for closeness, or twins would outweigh a town
_LEAST_M = 0.01


class Centrality(NamedTuple):
    """Of each node (n) of a street graph."""

    betweenness: Floats  # pairs of nodes whose shortest way within the limit passes the node
    closeness: Floats  # sum of 1 / km over the nodes within the limit
    sources: int  # how many ways' starts were drawn


def centrality(
    graph: StreetGraph,
    samples: int,
    limit_m: float,
    *,
    seed: int = 0,
    told: Callable[[int, int], None] | None = None,
) -> Centrality:
    """Betweenness and harmonic closeness within a limit of metres along the streets, both ways of each.

    Shortest ways are found from `samples` of the n nodes, and sums over these are multiplied by n / samples (Brandes
    and Pich, 2007): unbiased, since every node is drawn with the same probability, and exact with all nodes. The draw
    is systematic along a Hilbert curve, so that the sample is spread as the nodes are. Betweenness (Freeman, 1977)
    counts unordered pairs, without those that end at the node; of equally short ways one is taken. Closeness is the
    harmonic one (Marchiori and Latora, 2000).

    Args:
        graph: the streets.
        samples: how many nodes ways start at; all, if there are no more.
        limit_m: ways are no longer than this, in metres; infinite for no limit.
        seed: of the draw.
        told: told the sources done, and how many there are.

    Raises:
        UsageError: there are fewer than 1 sample or no metres.
    """
    if samples < 1 or not limit_m > 0:
        raise UsageError(f"centrality from {samples} samples within {limit_m:g} m: give at least 1, and metres above 0")
    n = len(graph.lon)
    through, near = np.zeros(n), np.zeros(n)
    sources = _draw(graph, samples, seed)
    lengths = np.maximum(graph.metres, _LEAST_M)
    streets = fastest(np.concatenate([graph.a, graph.b]), np.concatenate([graph.b, graph.a]), np.tile(lengths, 2), n)
    at_once = max(1, _CHUNK_BYTES // (12 * max(n, 1)))
    for start in range(0, len(sources), at_once):
        some = sources[start : start + at_once]
        _add(streets, some, limit_m, through, near)
        if told is not None:
            told(start + len(some), len(sources))
    scale = n / max(len(sources), 1)
    return Centrality(through * scale / 2.0, near * scale, len(sources))


def _draw(graph: StreetGraph, samples: int, seed: int) -> Ints:
    """Every so manyth node along a Hilbert curve, from a random one on."""
    n = len(graph.lon)
    if samples >= n:
        return np.arange(n)
    step = n / samples
    first = np.random.default_rng(seed).uniform(0.0, step)
    order = hilbert_order(graph.lon, graph.lat)
    return np.asarray(order, dtype=np.int64)[(first + step * np.arange(samples)).astype(np.int64) % n]


def _add(streets: csr_array, sources: Ints, limit_m: float, through: Floats, near: Floats) -> None:
    """Add what the ways from `sources` say of each node."""
    metres, before = dijkstra(streets, directed=True, indices=sources, return_predecessors=True, limit=limit_m)
    n = streets.shape[0]
    # Reached nodes of all sources as one forest; a place in it is source * n + node.
    place = np.flatnonzero(np.isfinite(metres.ravel()))
    source, node = np.divmod(place, n)
    slot = np.full(metres.size, -1, dtype=np.int64)
    slot[place] = np.arange(len(place))
    parent_node = before.ravel()[place]
    root = parent_node < 0
    parent = np.where(root, np.arange(len(place)), slot[source * n + np.maximum(parent_node, 0)])
    weight = _below(parent, root)
    weight[root] = 0.0  # a way does not pass its own start
    through += np.bincount(node, weight, minlength=n)
    far = metres.ravel()[place] / 1000.0
    near += np.bincount(node, np.where(root, 0.0, 1.0 / np.maximum(far, _NEAREST_KM)), minlength=n)


def _below(parent: Ints, root: NDArray[np.bool_]) -> Floats:
    """How many nodes (p,) of a forest hang below each, itself not counted; a root is its own parent."""
    depth = _depths(parent, root)
    order = np.argsort(depth, kind="stable")
    starts = np.searchsorted(depth[order], np.arange(depth.max(initial=0) + 2))
    below = np.zeros(len(parent))
    # From the deepest up: the children of a node lie one level below it, and are done before it.
    for level in range(len(starts) - 2, 0, -1):
        rows = order[starts[level] : starts[level + 1]]
        np.add.at(below, parent[rows], below[rows] + 1.0)
    return below


def _depths(parent: Ints, root: NDArray[np.bool_]) -> Ints:
    """The number of steps (p,) to the root, by doubling the steps taken at once."""
    depth = np.where(root, 0, 1).astype(np.int64)
    up = parent
    while not root[up].all():
        depth = depth + depth[up]
        up = up[up]
    return depth
