"""The road network of the generated country: highways over the terrain, and streets in the towns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components, dijkstra, minimum_spanning_tree

from placevec.geo.sphere import distance_m
from placevec.sources.world.grid import Grid
from placevec.sources.world.noise import stream
from placevec.sources.world.settlement import Towns, lattice
from placevec.sources.world.terrain import Terrain

KINDS = ("motorway", "primary", "secondary", "tertiary", "residential")
SPEED_KMH = {"motorway": 110.0, "primary": 80.0, "secondary": 60.0, "tertiary": 40.0, "residential": 30.0}

Line = NDArray[np.float64]


@dataclass(frozen=True)
class Roads:
    """A graph of roads; positions are (column, row) of the grid.

    Attributes:
        nodes: (n, 2) positions of junctions, ends and town centres.
        edges: (m, 2) nodes at both ends.
        lines: m polylines (k, 2) from the first node to the second.
        kind: (m,) indices into KINDS.
        length_m: (m,) lengths on the sphere.
        town: (n,) the town whose centre a node is, -1 elsewhere.
        links: (l, 2) pairs of towns that a highway joins.
    """

    nodes: NDArray[np.float64]
    edges: NDArray[np.int64]
    lines: list[Line]
    kind: NDArray[np.int8]
    length_m: NDArray[np.float64]
    town: NDArray[np.int64]
    links: NDArray[np.int64]


def make_roads(seed: int, grid: Grid, terrain: Terrain, towns: Towns) -> Roads:
    """Highways along the cheapest ways between neighbouring towns, and a street grid in each town."""
    links = _links(towns)
    nodes, edges, lines, kind, centre = _highways(grid, terrain, towns, links)
    s_nodes, s_edges, s_kind = _streets(seed, grid, terrain, towns, centre, len(nodes))
    all_nodes = np.concatenate([nodes, s_nodes])
    town = np.full(len(all_nodes), -1, dtype=np.int64)
    town[centre] = np.arange(len(towns))
    lines += [all_nodes[pair] for pair in s_edges]
    points = np.concatenate(lines)
    cut = np.cumsum([len(line) for line in lines])
    where = grid.lonlat(points[:, 0], points[:, 1])
    steps = np.append(distance_m(where[:-1], where[1:]), 0.0)
    steps[cut - 1] = 0.0  # no step from one line to the next
    length = np.add.reduceat(steps, np.concatenate([[0], cut[:-1]]))
    return Roads(
        all_nodes,
        np.concatenate([edges, s_edges]),
        lines,
        np.concatenate([kind, s_kind]).astype(np.int8),
        length,
        town,
        links,
    )


def _links(towns: Towns) -> NDArray[np.int64]:
    """Neighbouring towns: those without a third town near the way between them, on one side of the sea."""
    points = np.stack([towns.col, towns.row], axis=1)
    a, b = np.triu_indices(len(towns), 1)
    third = np.hypot(*((points[a] + points[b])[:, None] / 2 - points[None]).transpose(2, 0, 1))
    pair = np.arange(len(a))
    third[pair, a] = third[pair, b] = np.inf
    near = third.min(axis=1) >= 0.42 * np.hypot(*(points[a] - points[b]).T)
    keep = near & (towns.island[a] == towns.island[b])
    return np.stack([a[keep], b[keep]], axis=1).astype(np.int64)


def _highways(
    grid: Grid, terrain: Terrain, towns: Towns, links: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.int64], list[Line], NDArray[np.int8], NDArray[np.int64]]:
    factor = max(3, grid.width // 170)
    land = terrain.land[::factor, ::factor] & ~terrain.lake[::factor, ::factor]
    slope = terrain.slope[::factor, ::factor]
    cost = (
        1
        + 28 * slope
        + np.maximum(terrain.elevation, 0)[::factor, ::factor] / 900
        + 2.0 * (terrain.flow[::factor, ::factor] > 900)
    )
    cost = np.where(land, cost, 60.0)
    rows, cols = cost.shape
    graph = lattice(cost)
    home = (np.minimum(towns.row / factor, rows - 1).astype(np.int64)) * cols + np.minimum(
        towns.col / factor, cols - 1
    ).astype(np.int64)
    best: dict[tuple[int, int], int] = {}
    sources = np.unique(links[:, 0])
    _, before = dijkstra(graph, directed=False, indices=home[sources], return_predecessors=True)
    backbone = _backbone(towns, links)
    for a, b in links.tolist():
        kind = 0 if (a, b) in backbone and max(a, b) < max(6, len(towns) // 4) else (1 if (a, b) in backbone else 2)
        previous = before[int(np.searchsorted(sources, a))]
        at = int(home[b])
        while at != home[a]:
            to = int(previous[at])
            if to < 0:
                break
            step = (min(at, to), max(at, to))
            best[step] = min(best.get(step, 9), kind)
            at = to
    return _chains(best, home, factor, cols, towns)


def _backbone(towns: Towns, links: NDArray[np.int64]) -> set[tuple[int, int]]:
    """The links of the shortest network that joins all towns."""
    gap = np.hypot(towns.col[links[:, 0]] - towns.col[links[:, 1]], towns.row[links[:, 0]] - towns.row[links[:, 1]])
    tree = minimum_spanning_tree(coo_matrix((gap, (links[:, 0], links[:, 1])), shape=(len(towns), len(towns)))).tocoo()
    return {(int(min(a, b)), int(max(a, b))) for a, b in zip(tree.row, tree.col, strict=True)}


def _chains(
    steps: dict[tuple[int, int], int], home: NDArray[np.int64], factor: int, cols: int, towns: Towns
) -> tuple[NDArray[np.float64], NDArray[np.int64], list[Line], NDArray[np.int8], NDArray[np.int64]]:
    """Steps on the lattice to a graph whose nodes are junctions, ends and towns."""
    around: dict[int, list[int]] = {}
    for a, b in steps:
        around.setdefault(a, []).append(b)
        around.setdefault(b, []).append(a)

    def kind_of(a: int, b: int) -> int:
        return steps[min(a, b), max(a, b)]

    towns_at = {int(cell): i for i, cell in reversed(list(enumerate(home.tolist())))}
    stops = {
        cell for cell, next_ in around.items() if len(next_) != 2 or kind_of(cell, next_[0]) != kind_of(cell, next_[1])
    }
    stops |= set(towns_at)
    number = {cell: i for i, cell in enumerate(sorted(stops))}

    def position(cell: int) -> tuple[float, float]:
        if cell in towns_at:
            i = towns_at[cell]
            return float(towns.col[i]), float(towns.row[i])
        return (cell % cols) * factor + 0.5, (cell // cols) * factor + 0.5

    edges, lines, kinds = [], [], []
    for start in sorted(stops):
        for first in around.get(start, []):
            chain = [start, first]
            while chain[-1] not in stops:
                a, b = around[chain[-1]]
                chain.append(b if a == chain[-2] else a)
            if (chain[0], chain[1]) > (chain[-1], chain[-2]):
                continue  # the same chain from its other end
            edges.append((number[chain[0]], number[chain[-1]]))
            lines.append(_smooth(np.array([position(cell) for cell in chain])))
            kinds.append(kind_of(chain[0], chain[1]))
    nodes = np.array([position(cell) for cell in sorted(stops)])
    centre = np.array([number[int(cell)] for cell in home], dtype=np.int64)
    return nodes, np.array(edges, dtype=np.int64).reshape(-1, 2), lines, np.array(kinds, dtype=np.int8), centre


def _smooth(line: Line) -> Line:
    """Corners cut twice (G. Chaikin, 1974); the ends stay."""
    for _ in range(2):
        if len(line) < 3:
            return line
        near, far = 0.75 * line[:-1] + 0.25 * line[1:], 0.25 * line[:-1] + 0.75 * line[1:]
        line = np.concatenate([line[:1], np.stack([near, far], axis=1).reshape(-1, 2)[1:-1], line[-1:]])
    return line


def _streets(
    seed: int, grid: Grid, terrain: Terrain, towns: Towns, centre: NDArray[np.int64], first: int
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int8]]:
    nodes: list[NDArray[np.float64]] = []
    edges: list[NDArray[np.int64]] = []
    kinds: list[NDArray[np.int8]] = []
    for i in range(len(towns)):
        rng = stream(seed, f"streets {i}")
        radius = 1300 * (towns.people[i] / 10_000) ** 0.42
        step = max(300.0, radius * np.sqrt(np.pi / 330)) / grid.metres
        half = int(np.ceil(radius / grid.metres / step))
        a, b = (
            part.ravel() for part in np.meshgrid(np.arange(-half, half + 1), np.arange(-half, half + 1), indexing="ij")
        )
        turn = rng.uniform(0, np.pi / 2)
        jitter = 0.12 * rng.standard_normal((2, len(a)))
        jitter[:, (a == 0) & (b == 0)] = 0
        x, y = (a + jitter[0]) * step, (b + jitter[1]) * step
        col, row = (
            towns.col[i] + x * np.cos(turn) - y * np.sin(turn),
            towns.row[i] + x * np.sin(turn) + y * np.cos(turn),
        )
        r = np.clip(row.astype(int), 0, grid.height - 1), np.clip(col.astype(int), 0, grid.width - 1)
        rim = radius / grid.metres * (0.8 + 0.35 * rng.random(len(a)))
        good = (np.hypot(x, y) <= rim) & terrain.land[r] & ~terrain.lake[r]
        good |= (a == 0) & (b == 0)
        side = 2 * half + 1
        index = np.arange(len(a))
        pairs = np.concatenate(
            [
                np.stack([index[b < half], index[b < half] + 1], 1),
                np.stack([index[a < half], index[a < half] + side], 1),
            ]
        )
        main = np.where(pairs[:, 1] - pairs[:, 0] == 1, a[pairs[:, 0]], b[pairs[:, 0]]) % 4 == 0
        keep = good[pairs].all(axis=1) & (main | (rng.random(len(pairs)) > 0.14))
        pairs, main = pairs[keep], main[keep]
        graph = coo_matrix((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(len(a), len(a)))
        _, label = connected_components(graph, directed=False)
        middle = half * side + half
        used = label[pairs[:, 0]] == label[middle]
        pairs, main = pairs[used], main[used]
        mine = np.flatnonzero(label == label[middle])
        mine = mine[mine != middle]
        number = np.full(len(a), -1, dtype=np.int64)
        number[mine] = first + np.arange(len(mine))
        number[middle] = centre[i]
        first += len(mine)
        nodes.append(np.stack([col[mine], row[mine]], axis=1))
        edges.append(number[pairs])
        kinds.append(np.where(main, 3, 4).astype(np.int8))
    return np.concatenate(nodes), np.concatenate(edges), np.concatenate(kinds)
