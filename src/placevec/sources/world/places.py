"""Points of interest of the generated country, and its timetable."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import dijkstra

from placevec.geo.sphere import distance_m
from placevec.sources.world.cover import FOREST, WATER, Cover
from placevec.sources.world.grid import Grid
from placevec.sources.world.noise import stream
from placevec.sources.world.roads import Roads
from placevec.sources.world.settlement import Towns
from placevec.sources.world.terrain import Terrain

# group: kind: (weight, spread about the town's centre in shares of its radius, people that a town needs to have one)
CATEGORIES: dict[str, dict[str, tuple[float, float, float]]] = {
    "food": {"restaurant": (14, 0.45, 0), "cafe": (11, 0.4, 0), "bar": (7, 0.3, 5000)},
    "shop": {"supermarket": (9, 0.7, 0), "bakery": (8, 0.6, 0), "clothes": (6, 0.25, 15000)},
    "education": {"school": (9, 0.8, 0), "university": (1, 0.5, 120000)},
    "health": {"pharmacy": (6, 0.55, 0), "clinic": (3, 0.6, 10000), "hospital": (0.8, 0.7, 60000)},
    "leisure": {"park": (6, 0.8, 0), "sports": (4, 0.9, 0), "theatre": (1.2, 0.25, 80000)},
    "tourism": {"hotel": (4, 0.35, 8000), "museum": (1.4, 0.25, 40000)},
    "transport": {"fuel": (4, 1.0, 0), "parking": (6, 0.5, 8000)},
    "office": {"company": (8, 0.5, 12000), "government": (1.2, 0.2, 30000)},
}
RAIL, BUS = 2, 3  # types of routes, as GTFS numbers them
# Outside of towns: where they lie decides.
WILD = {"tourism/viewpoint": 40, "tourism/campsite": 30, "leisure/beach": 40, "transport/service": 25}


@dataclass(frozen=True)
class Pois:
    """Points of interest: positions (column, row), "group/kind", and a name."""

    col: NDArray[np.float64]
    row: NDArray[np.float64]
    category: NDArray[np.object_]
    name: NDArray[np.object_]


@dataclass(frozen=True)
class Transit:
    """Stops, lines and departures.

    Attributes:
        stop_col: (s,) columns of stops.
        stop_row: (s,) rows of stops.
        stop_name: (s,) names.
        lines: for each line its name, GTFS route type (2 rail, 3 bus), stops in order, seconds from the first stop to
            each, and the seconds between departures.
    """

    stop_col: NDArray[np.float64]
    stop_row: NDArray[np.float64]
    stop_name: list[str]
    lines: list[tuple[str, int, list[int], list[int], int]]


def make_pois(seed: int, grid: Grid, terrain: Terrain, cover: Cover, towns: Towns) -> Pois:
    """Points of interest: about one for every 1,100 people, thicker towards centres, and some in the open land."""
    rng = stream(seed, "pois")
    kinds = [(f"{group}/{kind}", *rest) for group, each in CATEGORIES.items() for kind, rest in each.items()]
    col, row, category, name = [], [], [], []
    for i in range(len(towns)):
        count = int(np.clip(towns.people[i] / 1100, 12, 700))
        weight = np.array([w if towns.people[i] >= need else 0.0 for _, w, _, need in kinds])
        picked = rng.choice(len(kinds), count, p=weight / weight.sum())
        spread = np.array([kinds[k][2] for k in picked]) * 1300 * (towns.people[i] / 10_000) ** 0.42 / grid.metres
        angle, far = rng.uniform(0, 2 * np.pi, count), np.abs(rng.standard_normal(count)) * spread
        col.append(towns.col[i] + far * np.cos(angle))
        row.append(towns.row[i] + far * np.sin(angle))
        category += [kinds[k][0] for k in picked]
        name += [f"{towns.name[i]} {kinds[k][0].partition('/')[2]} {n + 1}" for n, k in enumerate(picked)]
    dry = terrain.land & (cover.now != WATER)
    where = {
        "tourism/viewpoint": dry & (terrain.slope > np.quantile(terrain.slope[terrain.land], 0.93)),
        "tourism/campsite": dry & (cover.now == FOREST) & (terrain.coast_km < 60),
        "leisure/beach": dry & (terrain.coast_km < 1.5 * grid.metres / 1000) & (terrain.slope < 0.02),
        "transport/service": dry & (cover.urban > 0.05) & (cover.urban < 0.4),
    }
    for kind, count in WILD.items():
        spots = np.argwhere(where[kind])
        if len(spots):
            chosen = spots[rng.choice(len(spots), min(count, len(spots)), replace=False)]
            at = chosen + rng.random(chosen.shape)
            col.append(at[:, 1])
            row.append(at[:, 0])
            category += [kind] * len(chosen)
            name += [f"{kind.partition('/')[2]} {n + 1}" for n in range(len(chosen))]
    cols, rows = np.concatenate(col), np.concatenate(row)
    y, x = np.clip(rows.astype(int), 0, grid.height - 1), np.clip(cols.astype(int), 0, grid.width - 1)
    keep = dry[y, x]
    return Pois(cols[keep], rows[keep], np.array(category, dtype=object)[keep], np.array(name, dtype=object)[keep])


def make_transit(seed: int, grid: Grid, towns: Towns, roads: Roads) -> Transit:
    """Trains between towns along the links of the roads, and buses across every larger town."""
    rng = stream(seed, "transit")
    col, row = list(towns.col), list(towns.row)
    name = [f"{town} Central" for town in towns.name]
    lines: list[tuple[str, int, list[int], list[int], int]] = []

    def seconds(stops: list[int], kmh: float, dwell: int) -> list[int]:
        p = grid.lonlat(np.array([col[s] for s in stops]), np.array([row[s] for s in stops]))
        ride = np.rint(1.25 * distance_m(p[:-1], p[1:]) / (kmh / 3.6)).astype(int) + dwell
        return [0, *np.cumsum(ride).tolist()]

    a, b = roads.links.T
    gap = np.hypot(towns.col[a] - towns.col[b], towns.row[a] - towns.row[b])
    graph = coo_matrix((gap, (a, b)), shape=(len(towns), len(towns))).tocsr()
    hubs = [0, *[int(i) for i in np.flatnonzero(towns.island)[:1]]]
    for hub in hubs:
        far, before = dijkstra(graph, directed=False, indices=np.array([hub]), return_predecessors=True)
        far, before = far[0], before[0]
        inner = set(before.tolist())
        ends = [i for i in range(len(towns)) if np.isfinite(far[i]) and i != hub and i not in inner]
        for end in ends:
            stops = [end]
            while stops[-1] != hub:
                stops.append(int(before[stops[-1]]))
            stops.reverse()
            every = int(np.clip(9e7 / np.sqrt(towns.people[hub] * towns.people[end]), 1800, 7200) // 300 * 300)
            lines.append((f"R{len(lines) + 1}", 2, stops, seconds(stops, 85, 90), every))
    for i in np.flatnonzero(towns.people > 45_000):
        radius = 1200 * (towns.people[i] / 10_000) ** 0.42 / grid.metres
        count = int(np.clip(towns.people[i] / 45_000, 2, 8))
        turn = rng.uniform(0, np.pi)
        for n in range(count):
            angle = turn + np.pi * n / count
            half = max(2, int(radius * grid.metres / 650))
            stops = []
            for step in range(-half, half + 1):
                if step == 0:
                    stops.append(int(i))
                    continue
                bend = angle + 0.25 * np.sin(step / half * 2)
                stops.append(len(col))
                col.append(towns.col[i] + step / half * radius * np.cos(bend))
                row.append(towns.row[i] + step / half * radius * np.sin(bend))
                name.append(f"{towns.name[i]} {n + 1}.{step + half + 1}")
            every = int(np.clip(2.4e8 / towns.people[i], 600, 2400) // 60 * 60)
            lines.append((f"{towns.name[i]} {n + 1}", 3, stops, seconds(stops, 22, 20), every))
    return Transit(np.array(col), np.array(row), name, lines)
