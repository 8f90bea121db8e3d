"""Small GTFS feeds as files, and the way through a timetable and streets in its slow and obvious form."""

from __future__ import annotations

import heapq
import io
import statistics
import zipfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from placevec.features.roads.speeds import passage
from placevec.geo.sphere import LonLat, distance_m
from placevec.sources.gtfs import Feed
from placevec.sources.osm.roads import Roads

# Two lines over four stops some 500 m apart in a town at 10 E, 50 N; a Wednesday more is run on 2024-05-15.
SHEETS: dict[str, str] = {
    "agency.txt": "agency_id,agency_name,agency_url,agency_timezone\nA,Town,https://example.org,Europe/Berlin\n",
    "stops.txt": (
        "stop_id,stop_name,stop_lat,stop_lon\n"
        "a,Alpha,50.0000,10.0000\nb,Beta,50.0000,10.0070\nc,Gamma,50.0000,10.0140\nd,Delta,50.0045,10.0070\n"
    ),
    "routes.txt": "route_id,route_short_name,route_long_name,route_type\nR1,1,East,3\nR2,,North,0\n",
    "calendar.txt": (
        "service_id,monday,tuesday,wednesday,thursday,friday,saturday,sunday,start_date,end_date\n"
        "week,1,1,1,1,1,0,0,20240506,20240526\nsun,0,0,0,0,0,0,1,20240506,20240526\n"
    ),
    "calendar_dates.txt": "service_id,date,exception_type\nextra,20240515,1\nweek,20240509,2\n",
    "trips.txt": ("route_id,service_id,trip_id\nR1,week,t1\nR1,week,t2\nR2,week,t3\nR2,extra,t4\nR1,sun,t5\n"),
    "stop_times.txt": (
        "trip_id,arrival_time,departure_time,stop_id,stop_sequence\n"
        "t1,7:00:00,7:00:00,a,1\nt1,,,b,2\nt1,07:04:00,07:05:00,c,3\n"
        "t2,7:30:00,7:30:00,a,1\nt2,7:32:00,7:33:00,b,5\nt2,7:36:00,,c,9\n"
        "t3,08:10:00,08:10:00,b,1\nt3,08:12:00,08:12:00,d,2\n"
        "t4,24:10:00,24:10:00,b,1\nt4,24:12:00,24:12:00,d,2\n"
        "t5,10:00:00,10:00:00,c,1\nt5,10:09:00,10:09:00,a,2\n"
    ),
}


def write_feed(path: Path, changes: Mapping[str, str | bytes | None] | None = None, *, inside: str = "") -> Path:
    """The feed as a zip, or as a folder where `path` has no suffix; a sheet that is None is left out."""
    sheets: dict[str, str | bytes | None] = {**SHEETS, **(changes or {})}
    data = {
        inside + name: text.encode() if isinstance(text, str) else text
        for name, text in sheets.items()
        if text is not None
    }
    if path.suffix:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in data.items():
                archive.writestr(name, content)
        path.write_bytes(buffer.getvalue())
        return path
    for name, content in data.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    return path


Edges = dict[object, list[tuple[object, float]]]


def slow_streets(roads: Roads, kmh: float = 4.8) -> tuple[Edges, list[int]]:
    """The edges of the streets in seconds, and the nodes of their largest part."""
    edges: Edges = defaultdict(list)
    speed = passage(roads, "walk").metres_per_second * (kmh / 4.8)
    for a, b, metres, pace, walk in zip(
        roads.a.tolist(), roads.b.tolist(), roads.metres.tolist(), speed.tolist(), roads.walk.tolist(), strict=True
    ):
        if walk and a != b:
            edges[a].append((b, max(metres / pace, 1e-3)))
            edges[b].append((a, max(metres / pace, 1e-3)))
    best: list[int] = []
    seen: set[object] = set()
    for start in sorted(edges):
        if start in seen:
            continue
        part, queue = {start}, [start]
        while queue:
            for node, _ in edges[queue.pop()]:
                if node not in part:
                    part.add(node)
                    queue.append(node)
        seen |= part
        if len(part) > len(best):
            best = sorted(part)
    return edges, best


def slow_snap(
    roads: Roads, nodes: Sequence[int], points: LonLat, most: float, kmh: float = 4.8
) -> list[tuple[int, float]]:
    """(node, seconds) of each point, (-1, inf) beyond `most` metres."""
    where = LonLat(roads.lon[list(nodes)], roads.lat[list(nodes)])
    found = []
    for point in points:
        metres = distance_m(point, where)
        k = int(np.argmin(metres))
        near = metres[k] <= most
        found.append((nodes[k], float(metres[k]) / (kmh / 3.6)) if near else (-1, float("inf")))
    return found


def slow_vehicles(
    edges: Edges, feed: Feed, stops: Sequence[tuple[int, float]], start: int, end: int, longest: float = 1800.0
) -> Edges:
    """The edges with those of the timetable: a node ("leg", route, stop, next stop) is a seat in a vehicle."""
    calls = defaultdict(list)
    for k in range(len(feed)):
        if feed.departure[k] >= 0:
            row = calls[int(feed.trip[k])]
            call = (int(feed.stop[k]), int(feed.arrival[k]), int(feed.departure[k]))
            if row and row[-1][0] == call[0]:
                row.pop()
            row.append(call)
    ride, count, dwell = defaultdict(list), defaultdict(int), defaultdict(list)
    for trip, row in calls.items():
        if not any(start <= departure < end for _, _, departure in row[:-1]):
            continue
        route = int(feed.trip_route[trip])
        legs = [("leg", route, one[0], two[0]) for one, two in pairwise(row)]
        for k, leg in enumerate(legs):
            ride[leg].append(row[k + 1][1] - row[k][2])
            count[leg] += start <= row[k][2] < end
            if k + 1 < len(legs):
                dwell[leg, legs[k + 1]].append(row[k + 1][2] - row[k + 1][1])
    both: Edges = defaultdict(list, {node: list(out) for node, out in edges.items()})
    for leg, times in ride.items():
        took = max(statistics.median(times), 1e-3)
        (board, walk), (leave, back) = stops[leg[2]], stops[leg[3]]
        if count[leg] and board >= 0:
            both[board].append((leg, max(walk + min((end - start) / count[leg] / 2, longest), 1e-3)))
        if leave >= 0:
            both[leg].append((leave, took + back))
    for (leg, further), times in dwell.items():
        took = max(statistics.median(ride[leg]), 1e-3)
        both[leg].append((further, took + statistics.median(times)))
    return both


def slow_ways(edges: Edges, source: object, limit: float = float("inf")) -> dict[object, float]:
    """The seconds to all nodes within a limit, with a heap."""
    best: dict[object, float] = {}
    queue: list[tuple[float, int, object]] = [(0.0, 0, source)]
    number = 0
    while queue:
        cost, _, node = heapq.heappop(queue)
        if node in best:
            continue
        best[node] = cost
        for to, step in edges[node]:
            if to not in best and cost + step <= limit:
                number += 1
                heapq.heappush(queue, (cost + step, number, to))
    return best


def slow_potential(
    edges: Edges,
    origins: Sequence[tuple[int, float]],
    goals: Sequence[tuple[int, float]],
    weights: NDArray[np.float64],
    minutes: Sequence[float],
) -> NDArray[np.float64]:
    """(n, c, t) sums of what lies within each limit, one search an origin."""
    out = np.zeros((len(origins), weights.shape[1], len(minutes)))
    limit = 60.0 * max(minutes)
    for i, (node, walk) in enumerate(origins):
        if node < 0:
            continue
        found = slow_ways(edges, node, limit)
        for (goal, back), weight in zip(goals, weights, strict=True):
            seconds = walk + found.get(goal, float("inf")) + back
            for k, within in enumerate(minutes):
                out[i, :, k] += weight * (seconds <= 60.0 * within)
    return out
