"""Accessibility potential: how many opportunities lie within so many minutes of each place."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import dijkstra
from scipy.spatial import cKDTree

from placevec.errors import UsageError
from placevec.features.access.decay import decayed
from placevec.features.access.network import Network, Snapped
from placevec.geo.hilbert import hilbert_order
from placevec.geo.sphere import LonLat, chord_of, distance_m

Told = Callable[[str, int, int], None]
Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

CHUNK_BYTES = 64 << 20
"""What the distances from one chunk of places may take."""
_MOST_PLACES = 512  # in a chunk: so they lie near each other, and share one piece of the graph
_MOST_NODES = 50_000  # a graph of fewer is not cut into pieces


@dataclass(frozen=True, eq=False)
class Potential:
    """What can be reached."""

    values: Floats  # (n, c, t) of c kinds of opportunities within t limits of time
    present: NDArray[np.bool_]  # (n,) which places are near enough to a street


def potential(
    network: Network,
    origins: Snapped,
    opportunities: Snapped,
    weights: NDArray[np.floating],
    minutes: Sequence[float],
    *,
    decay: str = "cumulative",
    beta: float = 0.05,
    chunk_bytes: int = CHUNK_BYTES,
    told: Told | None = None,
) -> Potential:
    """The weighted sums of the opportunities within reach of each place.

    Searches go from the places or, against the direction of the edges, from the opportunities, whichever are at fewer
    nodes. The time is that of the walk to the street, the best way along the graph, and the walk from the street.

    Args:
        network: streets, with or without vehicles.
        origins: n places, a group of the network's points.
        opportunities: m places, likewise.
        weights: (m, c) how much of each kind there is.
        minutes: (t,) limits.
        decay: see `decay.decayed`.
        beta: likewise, per minute.
        chunk_bytes: about the memory used.
        told: of progress.

    Raises:
        UsageError: no limit, or one that is not above 0.
    """
    if not len(minutes) or min(minutes) <= 0 or not np.isfinite(max(minutes)):
        raise UsageError(f"minutes {list(minutes)}: give one or several numbers above 0")
    value = np.zeros((len(origins.node), weights.shape[1], len(minutes)))
    useful = opportunities.near & (weights != 0).any(axis=1)
    home, goal = np.flatnonzero(origins.near), np.flatnonzero(useful)
    forward = len(np.unique(origins.node[home])) <= len(np.unique(opportunities.node[goal]))
    graph = network.seconds if forward else csr_array(network.seconds.T)
    near, far = (origins, opportunities) if forward else (opportunities, origins)
    rows, cols = (home, goal) if forward else (goal, home)
    limit = 60.0 * float(max(minutes))
    amount = np.asarray(weights, dtype=np.float64)
    done = 0
    for source, target, seconds in _seconds(network, graph, near, far, rows, cols, limit, chunk_bytes):
        at, to = np.nonzero(seconds <= limit)
        took = seconds[at, to] / 60.0
        for k, within in enumerate(minutes):
            weight = csr_array((decayed(took, within, decay, beta), (at, to)), shape=seconds.shape)
            if forward:
                value[source, :, k] = np.asarray(weight @ amount[target])
            else:
                value[target, :, k] += np.asarray(weight.T @ amount[source])
        done += len(source)
        if told is not None:
            told("accessibility", done, len(rows))
    return Potential(value, origins.near)


def _seconds(
    network: Network,
    graph: csr_array,
    near: Snapped,
    far: Snapped,
    rows: Ints,
    cols: Ints,
    limit: float,
    chunk_bytes: int,
) -> Iterator[tuple[Ints, Ints, Floats]]:
    """Chunks (sources (a,), targets (b,), seconds (a, b)) of points `near` and `far`; infinite beyond the limit."""
    if not len(rows) or not len(cols):
        return
    where = network.where
    rows = rows[hilbert_order(where.lon[near.node[rows]], where.lat[near.node[rows]])]
    cut = _Pieces(network, limit) if len(network) > _MOST_NODES else None
    first = 0
    while first < len(rows):
        source = rows[first : first + _MOST_PLACES]
        piece = None if cut is None else cut.around(where[near.node[source]])
        if piece is None:
            own, number, target = graph, np.arange(len(network)), cols
        else:
            own = csr_array(graph[piece][:, piece])
            number = np.full(len(network), -1, dtype=np.int64)
            number[piece] = np.arange(len(piece))
            target = cols[number[far.node[cols]] >= 0]
        size = max(1, chunk_bytes // (8 * (own.shape[0] + 2 * len(target) + 1)))
        source = source[:size]
        first += len(source)
        if not len(target):
            continue
        nodes, of = np.unique(number[near.node[source]], return_inverse=True)
        found = dijkstra(own, directed=True, indices=nodes, limit=limit)
        seconds = found[of][:, number[far.node[target]]]
        seconds += near.seconds[source][:, None] + far.seconds[target]
        yield source, target, seconds


class _Pieces:
    """The nodes that can be reached at all from around a place: those within what the fastest edge covers in time."""

    def __init__(self, network: Network, limit: float) -> None:
        self._where = network.where
        self._radius = network.fastest_m_s * limit * (1 + 1e-9) + 1.0
        self._tree = cKDTree(self._where.unit())

    def around(self, places: LonLat) -> Ints | None:
        """The rows of the nodes, ascending; None if that is nearly all of them."""
        middle = LonLat.from_unit(places.unit().mean(axis=0, keepdims=True))
        reach = self._radius + float(distance_m(middle, places).max())
        found = self._tree.query_ball_point(middle.unit()[0], float(chord_of(reach)) * (1 + 1e-12))
        rows = np.sort(np.asarray(found, dtype=np.int64))
        return None if len(rows) > 0.8 * len(self._where) else rows
