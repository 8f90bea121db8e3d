"""Accessibility potential on Porto Alegre: placevec against a heap in Python and against scipy without limit or care.

All compute the same sums: jobs and schools within 15 and 30 minutes of each cell, by foot and by foot and transit. The
heap runs one search an origin, for some origins, and its time is scaled to all; scipy runs one search an origin over
the graph as it is read, with no limit. Peak memory is that of a process of its own. Needs PLACEVEC_DATA and the extra
`osm`: ``python benchmarks/access.py [--quick]``.
"""

from __future__ import annotations

import csv
import heapq
import os
import time
from pathlib import Path
from typing import Any

# One thread for each contestant, set before numpy is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from common import Targets, arguments, fresh, machine, report, show
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import dijkstra

from placevec.features.access import Network, potential, rides, transit_network, walk_network, window
from placevec.features.roads import walk_graph
from placevec.geo.cells import H3Cells
from placevec.sources.gtfs import read_feed
from placevec.sources.osm.roads import read_roads

FOLDER = Path(os.environ.get("PLACEVEC_DATA", "../shared/data")) / "porto_alegre"
MINUTES = (15.0, 30.0)
DEPART = "14:00-16:00"


def networks(small: bool) -> tuple[dict[str, Network], NDArray[np.float64]]:
    """Streets, streets and vehicles; with cells as both groups of points, and the opportunities at the cells."""
    with (FOLDER / "poa_hexgrid.csv").open() as handle:
        rows = list(csv.DictReader(handle))
    cells = np.array([int(row["id"], 16) for row in rows], dtype=np.uint64)
    weights = np.array([[float(row[name] or 0) for name in ("jobs", "schools")] for row in rows])
    weights[~np.isfinite(weights)] = 0.0
    feed = read_feed([FOLDER / "poa_eptc.zip", FOLDER / "poa_trensurb.zip"]).of_day()
    where = H3Cells(9).centre(cells)
    walk = walk_network(walk_graph(read_roads(FOLDER / "poa_osm.pbf")), where, where, feed.where, small=small)
    both = transit_network(walk, rides(feed, *window(DEPART)), feed.where, walk.points[2])
    return {"walk": walk, "transit": both}, weights


def sums(network: Network, seconds: NDArray[np.float64], rows: NDArray[np.int64], weights: Any) -> NDArray[np.float64]:
    """(rows, columns, limits) from the seconds (rows, nodes) of the network."""
    at = network.points[1]
    goals = np.flatnonzero(at.near)
    total = seconds[:, at.node[goals]] + network.points[0].seconds[rows][:, None] + at.seconds[goals]
    return np.stack([(total <= 60 * limit) @ weights[goals] for limit in MINUTES], axis=2)


def heap(network: Network, rows: NDArray[np.int64], weights: Any) -> NDArray[np.float64]:
    """One search with a heap an origin, up to the limit."""
    graph = csr_array(network.seconds)
    edges = [
        list(zip(graph.indices[a:b].tolist(), graph.data[a:b].tolist(), strict=True))
        for a, b in zip(graph.indptr[:-1], graph.indptr[1:], strict=True)
    ]
    out = np.full((len(rows), len(network)), np.inf)
    for i, row in enumerate(rows):
        best: dict[int, float] = {}
        queue = [(0.0, int(network.points[0].node[row]))]
        while queue:
            cost, node = heapq.heappop(queue)
            if node in best:
                continue
            best[node] = cost
            for to, step in edges[node]:
                if to not in best and cost + step <= 60 * max(MINUTES):
                    heapq.heappush(queue, (cost + step, to))
        out[i, list(best)] = list(best.values())
    return sums(network, out, rows, weights)


def scipy_plain(network: Network, rows: NDArray[np.int64], weights: Any) -> NDArray[np.float64]:
    """One search of scipy an origin, to the end of the graph."""
    found = [
        sums(network, dijkstra(network.seconds, indices=[network.points[0].node[row]]), np.array([row]), weights)
        for row in rows
    ]
    return np.concatenate(found)


def step(who: str, mode: str, count: int) -> None:
    """One contestant in a process of its own."""
    found, weights = networks(small=who == "placevec")
    network = found[mode]
    rows = np.flatnonzero(network.points[0].near)
    some = rows if who == "placevec" else rows[:: max(1, len(rows) // count)]
    start = time.process_time()
    if who == "placevec":
        values = potential(network, network.points[0], network.points[1], weights, MINUTES).values
    elif who == "heap":
        values = heap(network, some, weights)
    else:
        values = scipy_plain(network, some, weights)
    seconds = time.process_time() - start
    keep = rows[:: max(1, len(rows) // count)]
    told = values[keep] if who == "placevec" else values
    report(seconds=seconds * len(rows) / len(some), nodes=len(network), places=len(rows), values=told.ravel().tolist())


def main() -> None:
    given = arguments(__doc__ or "")
    count = 5 if given.quick else 60
    if given.step:
        who, mode = given.step.split(",")
        return step(who, mode, count)
    print(machine())
    targets = Targets()
    rows = []
    for mode in ("walk", "transit"):
        quick = ["--quick"] if given.quick else []
        found = {who: fresh(__file__, "--step", f"{who},{mode}", *quick) for who in ("placevec", "scipy", "heap")}
        own = found["placevec"]
        for who, one in found.items():
            error = np.abs(np.array(one["values"]) - np.array(own["values"])).max() / np.max(own["values"])
            rows.append(
                [mode, who, f"{one['nodes']:,}", f"{one['seconds']:.2f}", f"{one['peak_mb']:.0f}",
                 f"{one['seconds'] / own['seconds']:.1f}x", f"{error:.1e}"]
            )  # fmt: skip
            targets.claim(f"{mode}: the sums of {who} are the same to 1e-6", bool(error < 1e-6), f"{error:.1e}")
    show(
        f"{own['places']:,} cells to as many, 15 and 30 minutes; seconds of processor time for all cells",
        ["by", "contestant", "nodes", "seconds", "peak MB", "to placevec", "difference"],
        rows,
    )
    return targets.done()


if __name__ == "__main__":
    main()
