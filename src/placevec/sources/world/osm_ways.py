"""Roads of the generated country as ways of OpenStreetMap: chains of shared nodes with tags."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import cKDTree

from placevec.sources.world.ground import Ground
from placevec.sources.world.roads import KINDS, SPEED_KMH, Roads
from placevec.sources.world.streets import CLASSES, STEP_M, Streets

Window = tuple[float, float, float, float]
"""(left, top, right, bottom) in columns and rows of the grid."""

_LONGEST = 16  # segments of a way: as in real data, a street is many ways
_SPEED = {"secondary": "60", "tertiary": "50", "residential": "30"}
_MOTORWAY, _SECONDARY = 0, 2
_IN_TOWN = 0.15  # how built-up it is where highways pass through crossings of streets


class Ways:
    """Ways as they are collected, over nodes at positions (column, row)."""

    def __init__(self) -> None:
        self._col: list[NDArray[np.float64]] = []
        self._row: list[NDArray[np.float64]] = []
        self._count = 0
        self.ways: list[tuple[list[int], dict[str, str]]] = []
        self.first: dict[int, int] = {}  # town -> the row of its first node, its middle

    def add_nodes(self, col: ArrayLike, row: ArrayLike) -> int:
        """Add nodes (n,); the row of the first."""
        self._col.append(np.asarray(col, dtype=np.float64))
        self._row.append(np.asarray(row, dtype=np.float64))
        self._count += len(self._col[-1])
        return self._count - len(self._col[-1])

    def cut(
        self, window: Window | None
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], list[tuple[list[int], dict[str, str]]]]:
        """Columns and rows of the nodes that some way has, and the ways over them, without what lies outside."""
        col, row = np.concatenate(self._col), np.concatenate(self._row)
        there = inside(window, col, row)
        ways = self.ways
        if not there.all():
            listed = there.tolist()
            ways = [(part, tags) for nodes, tags in ways for part in _runs(nodes, listed)]
        used = np.zeros(len(col), dtype=bool)
        used[[node for nodes, _ in ways for node in nodes]] = True
        number = (np.cumsum(used) - 1).tolist()
        return col[used], row[used], [([number[node] for node in nodes], tags) for nodes, tags in ways]


def inside(window: Window | None, col: NDArray[np.float64], row: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which positions (n,) are in a window."""
    if window is None:
        return np.ones(len(col), dtype=bool)
    left, top, right, bottom = window
    return (col >= left) & (col <= right) & (row >= top) & (row <= bottom)


def street_ways(ways: Ways, streets: Streets, town: int, names: Sequence[str]) -> None:
    """Add the streets of a town: one way for each stretch of one street that is of one class."""
    first = ways.add_nodes(streets.col, streets.row)
    ways.first[town] = first
    order = np.lexsort((streets.step, streets.line))
    line, step, kind = streets.line[order], streets.step[order], streets.kind[order]
    oneway, ends = streets.oneway[order], streets.ends[order] + first
    same = (line[1:] == line[:-1]) & (step[1:] == step[:-1] + 1)
    same &= (kind[1:] == kind[:-1]) & (oneway[1:] == oneway[:-1])
    starts = np.flatnonzero(np.append(True, ~same)) if len(line) else np.zeros(0, dtype=np.int64)
    for start, end in pairwise([*starts.tolist(), len(line)]):
        name = CLASSES[kind[start]]
        tags = {"highway": name}
        if name != "footway":
            suffix = "Avenue" if name in ("secondary", "tertiary") else "Street"
            tags["name"] = f"{names[(int(line[start]) + 131 * town) % len(names)]} {suffix}"
        if name in _SPEED:
            tags["maxspeed"] = _SPEED[name]
        if oneway[start]:
            tags["oneway"] = "yes"
        for at in range(start, end, _LONGEST):
            ways.ways.append((_chain(ends[at : min(at + _LONGEST, end)]), tags))


def highway_ways(ways: Ways, roads: Roads, streets: Mapping[int, Streets], ground: Ground) -> None:
    """Add the highways, which share nodes with each other and with streets; the wide streets of towns are left out."""
    metres = ground.grid.metres
    at = np.concatenate([np.zeros((0, 2)), *(np.stack([each.col, each.row], 1) for each in streets.values())])
    rows = np.concatenate(
        [np.zeros(0, dtype=np.int64), *(ways.first[town] + np.arange(len(each.col)) for town, each in streets.items())]
    )
    crossings = cKDTree(at * metres)
    ends: dict[int, int] = {}

    def end(node: int) -> int:
        if node not in ends:
            town = int(roads.town[node])
            ends[node] = ways.first[town] if town in ways.first else ways.add_nodes(*roads.nodes[[node]].T)
        return ends[node]

    for line, kind, (a, b) in zip(roads.lines, roads.kind.tolist(), roads.edges.tolist(), strict=True):
        if kind > _SECONDARY:
            continue
        tags = {"highway": KINDS[kind], "maxspeed": f"{SPEED_KMH[KINDS[kind]]:.0f}", "ref": f"{'MPS'[kind]}{a + b}"}
        if kind == _MOTORWAY:
            tags["oneway"] = "no"  # both carriageways are one line
        points, own = _dense(line, ground) if kind != _MOTORWAY else (line[1:-1], np.ones(len(line) - 2, dtype=bool))
        near = np.full(len(points), -1, dtype=np.int64)
        if kind != _MOTORWAY and len(points):
            far, found = crossings.query(points * metres, distance_upper_bound=0.75 * STEP_M)
            hit = np.isfinite(far)
            near[hit] = rows[np.asarray(found)[hit]]
        kept = own | (near >= 0)
        points, near = points[kept], near[kept]
        fresh = near < 0
        near[fresh] = np.arange(int(fresh.sum())) + ways.add_nodes(*points[fresh].T)
        nodes: list[int] = [end(a), *near.tolist(), end(b)]
        ways.ways.append(([nodes[0], *(two for one, two in pairwise(nodes) if one != two)], tags))


def _dense(line: NDArray[np.float64], ground: Ground) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """The inner points of a line with more of them in towns, and which are its own."""
    metres = ground.grid.metres
    points, own = [], []
    for one, two in pairwise(line):
        count = int(np.ceil(np.hypot(*(two - one)) * metres / STEP_M))
        share = np.arange(count)[:, None] / count
        points.append(one + share * (two - one))
        own.append(np.arange(count) == 0)
    found, mine = np.concatenate(points)[1:], np.concatenate(own)[1:]
    kept = mine | (ground.built(found[:, 0], found[:, 1]) > _IN_TOWN)
    return found[kept], mine[kept]


def _chain(ends: NDArray[np.int64]) -> list[int]:
    """The nodes of segments (n, 2) that follow each other, in the direction in which they are drawn."""
    if len(ends) > 1 and ends[0, 0] == ends[1, 1]:
        ends = ends[::-1]
    return [int(ends[0, 0]), *ends[:, 1].tolist()]


def _runs(nodes: list[int], there: list[bool]) -> list[list[int]]:
    """The stretches of a way, of two nodes at least, whose nodes are there."""
    out: list[list[int]] = [[]]
    for node in nodes:
        if there[node]:
            out[-1].append(node)
        elif out[-1]:
            out.append([])
    return [part for part in out if len(part) > 1]
