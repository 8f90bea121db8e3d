"""Towns and provinces of the generated country."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.sparse import coo_matrix, csr_matrix
from scipy.sparse.csgraph import dijkstra
from scipy.spatial import cKDTree

from placevec.sources.world.noise import Field, fractal, rank01, smoothstep, stream
from placevec.sources.world.terrain import Terrain

_HEADS = [
    *("Al", "Bel", "Cor", "Dor", "El", "Far", "Gal", "Hal", "Is", "Jor", "Kal"),
    *("Lor", "Mar", "Nov", "Or", "Pal", "Ros", "Sal", "Tor", "Val", "Ver", "Zan"),
]
_MIDDLES = ["a", "an", "ar", "e", "en", "i", "in", "o", "ol", "os", "u"]
_TAILS = [
    *("bona", "ca", "da", "dor", "gata", "lia", "mina", "na"),
    *("nia", "polis", "ra", "ria", "sca", "tara", "vera", "zza"),
]


@dataclass(frozen=True)
class Towns:
    """Towns, the largest first: positions in pixels, people at the two dates, names."""

    col: NDArray[np.float64]
    row: NDArray[np.float64]
    people: NDArray[np.float64]
    people_before: NDArray[np.float64]
    name: list[str]
    island: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.col)


def make_names(rng: np.random.Generator, count: int) -> list[str]:
    """Different names that sound alike."""
    names: dict[str, None] = {}
    while len(names) < count:
        names[rng.choice(_HEADS) + (rng.choice(_MIDDLES) if rng.random() < 0.75 else "") + rng.choice(_TAILS)] = None
    return list(names)


def make_towns(seed: int, terrain: Terrain, metres: float, count: int) -> Towns:
    """Towns where land is low, flat, mild, on rivers and coasts, and not too near to each other."""
    rng = stream(seed, "towns")
    river = np.exp(-ndimage.distance_transform_edt(terrain.flow < 120) * metres / 4000)
    coast = np.exp(-np.maximum(terrain.coast_km - 2, 0) / 5)
    score = (
        0.45
        + 0.8 * river
        + 0.7 * coast
        + 0.35 * rank01(fractal(rng, terrain.land.shape, 60_000 / metres, 2.4))
        - 14 * ndimage.gaussian_filter(terrain.slope, 1.5)
        - np.maximum(terrain.elevation, 0) / 1300
    )
    score[~terrain.land | terrain.lake | (terrain.coast_km < 1.4 * metres / 1000)] = -9
    cols, rows, island = [], [], []
    y, x = np.mgrid[0 : score.shape[0], 0 : score.shape[1]]
    share = float(terrain.island.sum()) / float(terrain.land.sum())
    spacing = 0.62 * np.sqrt(terrain.land.sum() / count)
    on_island = max(2, round(count * share)) if terrain.island.any() else 0
    for part, wanted in ((~terrain.island, count - on_island), (terrain.island, on_island)):
        free = np.where(part, score, -9.0)
        for i in range(wanted):
            best = int(free.argmax())
            if free.flat[best] <= -5:
                break
            row, col = divmod(best, score.shape[1])
            cols.append(col + 0.5)
            rows.append(row + 0.5)
            island.append(bool(terrain.island[row, col]))
            reach = spacing * (1.35 if i < 6 else 1.0) * (0.55 if part is terrain.island else 1.0)
            distance = np.hypot(x - col, y - row)
            free[distance < reach * 0.6] = -9
            free -= 1.2 * np.exp(-((distance / reach) ** 2))
    n = len(cols)
    order = np.argsort(np.array(island) * 6 + np.arange(n), kind="stable")
    people: NDArray[np.float64] = (
        720_000 * (np.arange(n, dtype=np.float64) + 1.0) ** -0.95 * np.exp(0.15 * rng.standard_normal(n)) + 2500
    )
    people = np.sort(people)[::-1].astype(np.float64)
    before = people * rng.uniform(0.7, 0.93, n)
    col, row = np.array(cols)[order], np.array(rows)[order]
    return Towns(col, row, people, before, make_names(rng, n), np.array(island)[order])


def make_provinces(seed: int, terrain: Terrain, towns: Towns, count: int) -> tuple[NDArray[np.int8], list[int]]:
    """The province of every land pixel (-1 in the sea), and the capital of each.

    Provinces are what is nearest to a capital over land, where mountains and great rivers are far to cross.
    """
    rng = stream(seed, "provinces")
    mainland = [i for i in range(len(towns)) if not towns.island[i]]
    capitals = [mainland[0]]
    points = np.stack([towns.col, towns.row], axis=1)
    while len(capitals) < count:
        gap = cKDTree(points[capitals]).query(points)[0] * (towns.people / towns.people[0]) ** 0.12
        gap[towns.island] = -1
        capitals.append(int(gap.argmax()))
    factor = max(2, terrain.land.shape[1] // 256)
    land = terrain.land[::factor, ::factor]
    rows, cols = land.shape
    cost = (
        1 + np.maximum(terrain.elevation, 0)[::factor, ::factor] / 500 + 1.6 * (terrain.flow > 600)[::factor, ::factor]
    )
    cost = cost * np.exp(0.5 * fractal(rng, land.shape, cols / 6, 2.6)) + 9.0 * ~land
    graph = lattice(cost)
    start = (points[capitals, 1] // factor).astype(int) * cols + (points[capitals, 0] // factor).astype(int)
    distance = dijkstra(graph, directed=False, indices=start).reshape(count, rows, cols)
    scale = (1, terrain.land.shape[0] / rows, terrain.land.shape[1] / cols)
    near = np.asarray(ndimage.zoom(distance, scale, order=1, mode="nearest", grid_mode=True))
    label = near.argmin(axis=0).astype(np.int8)
    label[~terrain.land] = -1
    return label, capitals


def lattice(cost: NDArray[np.float64]) -> csr_matrix[np.float64]:
    """The graph of a grid with 8 neighbours: an edge costs its length times the mean cost of its ends."""
    rows, cols = cost.shape
    index = np.arange(rows * cols).reshape(rows, cols)
    a, b, w = [], [], []
    for dy, dx, far in ((0, 1, 1.0), (1, 0, 1.0), (1, 1, 2**0.5), (1, -1, 2**0.5)):
        one = index[: rows - dy, max(0, -dx) : cols - max(0, dx)].ravel()
        two = index[dy:, max(0, dx) : cols + min(0, dx)].ravel()
        a.append(one)
        b.append(two)
        w.append(far * (cost.ravel()[one] + cost.ravel()[two]) / 2)
    return coo_matrix(
        (np.concatenate(w), (np.concatenate(a), np.concatenate(b))), shape=(index.size, index.size)
    ).tocsr()


def urban_intensity(
    towns: Towns, people: NDArray[np.float64], shape: tuple[int, int], metres: float, rough: Field
) -> Field:
    """How built-up each pixel is: 1 and more in town centres, falling outwards with ragged rims."""
    out = np.zeros(shape, dtype=np.float32)
    for col, row, number in zip(towns.col, towns.row, people, strict=True):
        reach = 1400 * (number / 10_000) ** 0.42 / metres
        r = int(np.ceil(4.5 * reach)) + 1
        y0, y1 = max(0, int(row) - r), min(shape[0], int(row) + r + 1)
        x0, x1 = max(0, int(col) - r), min(shape[1], int(col) + r + 1)
        y, x = np.mgrid[y0:y1, x0:x1] + 0.5
        d = np.hypot(x - col, y - row) / reach
        bump = 2.1 * np.exp(-(d**1.25)) * (1 + 0.42 * rough[y0:y1, x0:x1] * smoothstep(d, 0.2, 1.2))
        out[y0:y1, x0:x1] = np.maximum(out[y0:y1, x0:x1], bump)
    return out
