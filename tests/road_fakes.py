"""Small road networks, and slow and obvious forms of what is computed on roads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from shapely.geometry import box

from placevec.geo.sphere import LonLat, distance_m
from placevec.sources.osm.road_rules import ROAD_CLASSES
from placevec.sources.osm.roads import Roads

RESIDENTIAL = ROAD_CLASSES.index("residential")


def roads_of(
    lon: ArrayLike,
    lat: ArrayLike,
    pairs: ArrayLike,
    *,
    kind: ArrayLike | str = "residential",
    oneway: ArrayLike = 0,
    kmh: ArrayLike = np.nan,
    walk: ArrayLike = True,
    bike: ArrayLike = True,
    drive: ArrayLike = True,
    covered: Any = None,
    metres: ArrayLike | None = None,
) -> Roads:
    """Roads of nodes (m) and segments (s, 2); everything else is one value, or one a segment."""
    x, y = np.asarray(lon, dtype=np.float64), np.asarray(lat, dtype=np.float64)
    ends = np.asarray(pairs, dtype=np.int64).reshape(-1, 2)
    s = len(ends)
    where = LonLat(x, y)
    length = distance_m(where[ends[:, 0]], where[ends[:, 1]]) if metres is None else np.asarray(metres)
    number = ROAD_CLASSES.index(kind) if isinstance(kind, str) else kind

    def each(value: ArrayLike, dtype: Any) -> NDArray[Any]:
        return np.broadcast_to(np.asarray(value, dtype=dtype), (s,)).copy()

    return Roads(
        node_id=np.arange(len(x), dtype=np.int64) + 100,
        lon=x,
        lat=y,
        a=ends[:, 0].copy(),
        b=ends[:, 1].copy(),
        way=np.arange(s, dtype=np.int64),
        kind=each(number, np.uint8),
        metres=length.astype(np.float32),
        oneway=each(oneway, np.int8),
        kmh=each(kmh, np.float32),
        walk=each(walk, bool),
        bike=each(bike, bool),
        drive=each(drive, bool),
        covered=box(-180, -90, 180, 90) if covered is None else covered,
        counts={"ways": s},
    )


def grid_city(
    columns: int = 6, rows: int = 5, *, lon: float = 10.0, lat: float = 50.0, step_m: float = 120.0, seed: int = 0
) -> Roads:
    """Streets on a grid, bent a little, some missing: no two ways are equally long."""
    rng = np.random.default_rng(seed)
    j, i = np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij")
    north = step_m / 111_195.0
    y = lat + north * (j.ravel() + 0.2 * rng.uniform(-1, 1, j.size))
    x = lon + north / np.cos(np.radians(lat)) * (i.ravel() + 0.2 * rng.uniform(-1, 1, i.size))
    number = np.arange(j.size).reshape(rows, columns)
    across = np.stack([number[:, :-1].ravel(), number[:, 1:].ravel()], axis=1)
    up = np.stack([number[:-1].ravel(), number[1:].ravel()], axis=1)
    pairs = np.concatenate([across, up])
    pairs = pairs[rng.random(len(pairs)) > 0.15]
    return roads_of((x + 180) % 360 - 180, y, pairs, kind=rng.integers(0, len(ROAD_CLASSES), len(pairs)))


def slow_streets(roads: Roads) -> list[tuple[int, int, float]]:
    """(start, end, metres) of each street, walked segment by segment; start <= end, sorted."""
    around: dict[int, list[int]] = {}
    for k, (a, b) in enumerate(zip(roads.a.tolist(), roads.b.tolist(), strict=True)):
        around.setdefault(a, []).append(k)
        around.setdefault(b, []).append(k)
    left = set(range(len(roads.a)))
    found = []

    def walk(start: int, segment: int) -> None:
        at, metres = start, 0.0
        while True:
            left.discard(segment)
            metres += float(roads.metres[segment])
            a, b = int(roads.a[segment]), int(roads.b[segment])
            at = b if at == a else a
            further = [k for k in around[at] if k in left]
            if len(around[at]) != 2 or at == start or not further:
                break
            segment = further[0]
        found.append((min(start, at), max(start, at), round(metres, 3)))

    for node in sorted(around):
        if len(around[node]) != 2:
            for segment in around[node]:
                if segment in left:
                    walk(node, segment)
    while left:  # rings
        node = min(min(int(roads.a[k]), int(roads.b[k])) for k in left)
        walk(node, next(k for k in around[node] if k in left))
    return sorted(found)


def slow_dijkstra(edges: Sequence[tuple[int, int, float]], source: int, n: int) -> list[float]:
    """Costs from `source` along directed edges, by relaxing all of them again and again."""
    cost = [float("inf")] * n
    cost[source] = 0.0
    for _ in range(n):
        for a, b, w in edges:
            cost[b] = min(cost[b], cost[a] + w)
    return cost


def slow_centrality(edges: Sequence[tuple[int, int, float]], n: int, limit: float) -> tuple[list[float], list[float]]:
    """Betweenness over unordered pairs and the sum of 1 / km, from the ways between all pairs, either way."""
    both = [*edges, *((b, a, w) for a, b, w in edges)]
    cost = [slow_dijkstra(both, source, n) for source in range(n)]
    through, near = [0.0] * n, [0.0] * n
    for s in range(n):
        for t in range(n):
            if s == t or cost[s][t] > limit:
                continue
            near[t] += 1000.0 / max(cost[s][t], 10.0)
            for v in range(n):
                if s < t and v not in (s, t) and abs(cost[s][v] + cost[v][t] - cost[s][t]) < 1e-6:
                    through[v] += 1.0
    return through, near


def osm_xml(roads: Roads) -> str:
    """The text of an .osm file of roads: one way for each segment."""
    lines = ['<?xml version="1.0"?>', '<osm version="0.6" generator="test">']
    for number, x, y in zip(roads.node_id.tolist(), roads.lon.tolist(), roads.lat.tolist(), strict=True):
        lines.append(f'<node id="{number}" version="1" lon="{x:.7f}" lat="{y:.7f}"/>')
    for k in range(len(roads.a)):
        a, b = roads.node_id[roads.a[k]], roads.node_id[roads.b[k]]
        tag = f'<tag k="highway" v="{ROAD_CLASSES[roads.kind[k]]}"/>'
        lines.append(f'<way id="{k + 1}" version="1"><nd ref="{a}"/><nd ref="{b}"/>{tag}</way>')
    return "\n".join([*lines, "</osm>", ""])
