"""The street network: junctions and dead ends, and the streets between them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from placevec.features.roads.speeds import passage
from placevec.features.roads.tally import sums
from placevec.geo.sphere import LonLat, distance_m
from placevec.sources.osm.road_rules import ROAD_CLASSES
from placevec.sources.osm.roads import Roads

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class StreetGraph:
    """Junctions, dead ends (n) and the streets (e) between them; loops and parallel streets are kept.

    A node of the roads at which exactly two segments end is no place to choose: it lies on its street. A ring road
    without any junction keeps one node, the first.

    Attributes:
        lon: (n,) of the nodes, degrees.
        lat: (n,) of the nodes, degrees.
        node: (n,) rows of the nodes of the roads.
        degree: (n,) how many ends of streets meet; a loop has two. 1: a dead end.
        a: (e,) rows of the nodes at the start of each street.
        b: (e,) rows of the nodes at its end.
        metres: (e,) length along the street.
        straight: (e,) great-circle distance of its ends in metres; 0 for a loop.
        kind: (e,) the class that most of its metres are of, an index into ROAD_CLASSES.
        forward: (e,) seconds from a to b; infinite where one may not.
        backward: (e,) seconds from b to a.
        street_of: (s,) the row of the street that each segment of the roads is part of.
        node_of: (m,) the row of each node of the roads among the nodes here; -1 for one that lies on a street.
        street_at: (m,) a street that each node of the roads lies on or ends at; -1 for one that no segment touches.
    """

    lon: Floats
    lat: Floats
    node: Ints
    degree: Ints
    a: Ints
    b: Ints
    metres: Floats
    straight: Floats
    kind: NDArray[np.uint8]
    forward: Floats
    backward: Floats
    street_of: Ints
    node_of: Ints
    street_at: Ints

    @property
    def loops(self) -> NDArray[np.bool_]:
        """Which streets (e,) begin and end at one node."""
        found: NDArray[np.bool_] = self.a == self.b
        return found

    @property
    def one_way(self) -> NDArray[np.bool_]:
        """Which streets (e,) can be passed in one direction only."""
        found: NDArray[np.bool_] = np.isfinite(self.forward) != np.isfinite(self.backward)
        return found


def node_degrees(roads: Roads) -> Ints:
    """How many ends of segments meet at each node (m,) of the roads."""
    m = len(roads.lon)
    return np.bincount(roads.a, minlength=m) + np.bincount(roads.b, minlength=m)


def street_graph(roads: Roads, mode: str = "drive") -> StreetGraph:
    """The streets of roads: chains of segments through nodes at which nothing else ends, each as one.

    All given roads are taken; give ``roads.take(roads.drive)`` for the streets of cars.

    Args:
        roads: the segments.
        mode: for whom the seconds are: walk, bike or drive.

    Raises:
        UsageError: there is no such mode.
    """
    s, m = len(roads.a), len(roads.lon)
    way = passage(roads, mode)
    with np.errstate(divide="ignore"):
        along = np.where(way.forward, roads.metres / way.metres_per_second, np.inf)
        against = np.where(way.backward, roads.metres / way.metres_per_second, np.inf)
    seats = _seats(roads.a, roads.b, node_degrees(roads))
    chain, turned = _chains(roads.a, roads.b, seats)
    first = np.where(turned, roads.b, roads.a)  # of each segment in the direction of its street
    last = np.where(turned, roads.a, roads.b)
    streets = int(chain.max()) + 1 if s else 0
    start, end = np.zeros(streets, dtype=np.int64), np.zeros(streets, dtype=np.int64)
    begins, stops = seats[first], seats[last]
    start[chain[begins]] = first[begins]
    end[chain[stops]] = last[stops]
    kept = np.unique(np.concatenate([start, end]))
    node_of = np.full(m, -1, dtype=np.int64)
    node_of[kept] = np.arange(len(kept))
    street_at = np.full(m, -1, dtype=np.int64)
    street_at[roads.a] = chain
    street_at[roads.b] = chain
    a, b = node_of[start], node_of[end]
    where = LonLat(roads.lon[kept], roads.lat[kept])
    return StreetGraph(
        lon=roads.lon[kept],
        lat=roads.lat[kept],
        node=kept,
        degree=np.bincount(a, minlength=len(kept)) + np.bincount(b, minlength=len(kept)),
        a=a,
        b=b,
        metres=sums(chain, streets, roads.metres),
        straight=distance_m(where[a], where[b]) if streets else np.zeros(0),
        kind=_main_kind(chain, roads.kind, roads.metres, streets),
        forward=sums(chain, streets, np.where(turned, against, along)),
        backward=sums(chain, streets, np.where(turned, along, against)),
        street_of=chain,
        node_of=node_of,
        street_at=street_at,
    )


def _seats(a: Ints, b: Ints, degree: Ints) -> NDArray[np.bool_]:
    """The nodes (m,) at which streets end: all but those at which exactly two segments meet.

    A ring of segments without a junction is held by its first node.
    """
    seats: NDArray[np.bool_] = degree != 2
    seats[a[a == b]] = True
    bends = np.flatnonzero(~seats[a] & ~seats[b])
    if len(bends):
        # Rings are the connected parts of segments none of which touches a seat.
        m = len(degree)
        joined = coo_array((np.ones(len(a), dtype=np.int8), (a, b)), shape=(m, m))
        _, part = connected_components(joined, directed=False)
        held = np.zeros(part.max() + 1, dtype=bool)
        held[part[seats]] = True
        _, first = np.unique(part, return_index=True)
        seats[first[~held]] = True
    return seats


def _chains(a: Ints, b: Ints, seats: NDArray[np.bool_]) -> tuple[Ints, NDArray[np.bool_]]:
    """The chain (s,) of each segment, and whether it runs against the direction of its chain.

    Every segment stands twice, once for each of its directions; where two segments meet on a street, the directions
    that go on into each other are joined. A chain so is two connected parts, one for each direction, and that which
    holds its first segment as it is drawn is taken.
    """
    s = len(a)
    ends = np.concatenate([a, b])
    through = np.flatnonzero(~seats[ends])
    through = through[np.argsort(ends[through], kind="stable")]
    one, two = through[0::2], through[1::2]  # where in `ends` both segments of a bend stand
    i, j = one % s, two % s
    # Both begin there, or both end there: they go on into each other only if one of them is turned.
    same = (one < s) != (two < s)
    rows = np.concatenate([i, i + s])
    cols = np.concatenate([np.where(same, j, j + s), np.where(same, j + s, j)])
    joined = coo_array((np.ones(len(rows), dtype=np.int8), (rows, cols)), shape=(2 * s, 2 * s))
    _, label = connected_components(joined, directed=False)
    drawn, turned = label[:s].astype(np.int64), label[s:].astype(np.int64)
    # Labels are given in the order of each part's first vertex: the smaller has the first segment as it is drawn.
    chain = np.unique(np.minimum(drawn, turned), return_inverse=True)[1]
    return chain.astype(np.int64), turned < drawn


def _main_kind(chain: Ints, kind: NDArray[np.uint8], metres: NDArray[np.float32], streets: int) -> NDArray[np.uint8]:
    classes = len(ROAD_CLASSES)
    share = sums(chain * classes + kind, streets * classes, metres).reshape(streets, classes)
    return np.asarray(np.argmax(share, axis=1), dtype=np.uint8)
