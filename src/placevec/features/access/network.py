"""The graph on which a traveller moves: streets, and above them the vehicles."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array, csr_array

from placevec.errors import DataError, UsageError
from placevec.features.access.contract import contract
from placevec.features.access.nearest import nearest
from placevec.features.access.rides import Rides
from placevec.features.roads.routing import LEAST_S, RoutingGraph, fastest
from placevec.features.roads.speeds import WALK_KMH
from placevec.geo.sphere import LonLat, distance_m

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Snapped:
    """Points (p) on the street graph."""

    node: Ints  # (p,) the nearest node, -1 of a point that is too far from every street
    seconds: Floats  # (p,) to walk there straight; infinite if too far

    @property
    def near(self) -> NDArray[np.bool_]:
        """Which points (p,) are near enough to a street."""
        found: NDArray[np.bool_] = self.node >= 0
        return found


@dataclass(frozen=True, eq=False)
class Network:
    """Nodes (n): places on streets first, then places in vehicles."""

    seconds: csr_array  # (n, n) from the row's node to the column's
    lon: Floats  # (n,) degrees; of a place in a vehicle that of the stop which it leaves
    lat: Floats  # (n,) degrees
    streets: int  # how many of the nodes are on streets
    points: tuple[Snapped, ...]  # the points that were given, in groups

    def __len__(self) -> int:
        return len(self.lon)

    @property
    def where(self) -> LonLat:
        """Where the nodes are."""
        return LonLat(self.lon, self.lat)

    @property
    def fastest_m_s(self) -> float:
        """No edge gets ahead faster than this, as the crow flies, in metres a second."""
        edges = coo_array(self.seconds)
        if edges.nnz == 0:
            return 0.0
        where = self.where
        ends = where[edges.row.astype(np.int64)], where[edges.col.astype(np.int64)]
        return float((distance_m(*ends) / edges.data).max())


def walk_network(
    graph: RoutingGraph, *points: LonLat, kmh: float = WALK_KMH, snap_m: float = 500.0, small: bool = True
) -> Network:
    """The streets, and groups of points on them.

    A point goes straight to the nearest node of the largest part of the streets that hangs together.

    Args:
        graph: `walk_graph(roads)`.
        points: groups of points, such as those from which and those to which one goes.
        kmh: how fast one walks; the graph's times are for 4.8 km/h.
        snap_m: a point farther than this from the streets is on none.
        small: leave out nodes that only lead on, which changes no time between points.

    Raises:
        DataError: there is no street to walk on.
        UsageError: a speed or a distance that is not above 0; a graph of another mode.
    """
    if graph.mode != "walk":
        raise UsageError(f"access is by foot, not by {graph.mode}: give walk_graph(roads)")
    if not (kmh > 0 and snap_m > 0):
        raise UsageError(f"walking at {kmh:g} km/h, to streets within {snap_m:g} m: both have to be above 0")
    main = np.flatnonzero(graph.main)
    if len(main) == 0:
        raise DataError("the map has no street to walk on: is it an extract of roads, and of this place?")
    where = LonLat(graph.lon[main], graph.lat[main])
    seconds = csr_array(graph.seconds[main][:, main] * (WALK_KMH / kmh))
    found = [nearest(group, where) for group in points]
    rows = np.arange(len(main))
    if small:
        keep = np.zeros(len(main), dtype=bool)
        for node, metres in found:
            keep[node[metres <= snap_m]] = True
        seconds, rows = contract(seconds, keep)
    number = np.full(len(main), -1, dtype=np.int64)
    number[rows] = np.arange(len(rows))
    snapped = []
    for node, metres in found:
        near = metres <= snap_m
        at = np.where(near, number[node], -1)
        snapped.append(Snapped(at, np.where(near, metres / (kmh / 3.6), np.inf)))
    return Network(seconds, where.lon[rows], where.lat[rows], len(rows), tuple(snapped))


def transit_network(walk: Network, rides: Rides, stops: LonLat, at: Snapped) -> Network:
    """The streets and the vehicles above them.

    A leg is a node: to sit in a vehicle that leaves a stop for the next. One gets there from the stop's street by
    walking to the stop and waiting, or from the leg before without either; and leaves it at the next stop.

    Args:
        walk: `walk_network`, of which the stops were one group of points.
        rides: of the timetable.
        stops: (s) where the stops are.
        at: (s) where they are on the streets.
    """
    legs = walk.streets + np.arange(len(rides.seconds))
    ride = np.maximum(rides.seconds, LEAST_S)
    board = np.flatnonzero(np.isfinite(rides.wait) & at.near[rides.start])
    alight = np.flatnonzero(at.near[rides.end])
    streets = coo_array(walk.seconds)
    rows: list[NDArray[Any]] = [streets.row, at.node[rides.start[board]], legs[alight], legs[rides.before]]
    cols: list[NDArray[Any]] = [streets.col, legs[board], at.node[rides.end[alight]], legs[rides.after]]
    cost: list[Floats] = [
        np.asarray(streets.data, dtype=np.float64),
        np.maximum(at.seconds[rides.start[board]] + rides.wait[board], LEAST_S),
        ride[alight] + at.seconds[rides.end[alight]],
        ride[rides.before] + rides.dwell,
    ]
    n = walk.streets + len(legs)
    graph = fastest(
        np.concatenate(rows).astype(np.int64), np.concatenate(cols).astype(np.int64), np.concatenate(cost), n
    )
    lon, lat = stops.lon[rides.start], stops.lat[rides.start]
    return Network(graph, np.concatenate([walk.lon, lon]), np.concatenate([walk.lat, lat]), walk.streets, walk.points)
