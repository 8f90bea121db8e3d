"""Filtered exact search against brute force, from a selectivity of 100 % down to 0.01 %.

Brute force scores all rows and then filters. placevec resolves the filter to rows and scores those; the first
search of each filter is timed, nothing is kept from one query to the next. Then the same from a file, where brute
force has to read all of it. Run it by itself, on a quiet machine: ``python benchmarks/search_scan.py [--quick]``.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

# One thread for each contestant, set before numpy is imported: threads wait for each other on a machine in use.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from common import Targets, Times, arguments, in_turn, machine, show, spread

SHARES = (1.0, 0.1, 0.01, 0.001, 0.0001)
K = 10
SIDE = 20.0  # degrees of the square in which the points lie
CENTRE = (0.0, 50.0)


def make_table(n: int, d: int) -> Any:
    """A table of clustered unit vectors, in Hilbert order."""
    from placevec.geo.hilbert import hilbert_order
    from placevec.geo.sphere import LonLat
    from placevec.provenance import Space
    from placevec.table import EmbeddingTable, Places

    rng = np.random.default_rng(0)
    lon, lat = rng.uniform(-SIDE / 2, SIDE / 2, n), rng.uniform(50 - SIDE / 2, 50 + SIDE / 2, n)
    order = hilbert_order(lon, lat)
    centres = rng.standard_normal((200, d), dtype=np.float32)
    vectors = centres[rng.integers(0, 200, n)] + 0.6 * rng.standard_normal((n, d), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    places = Places.create([f"p{i:07d}" for i in range(n)], LonLat(lon[order], lat[order]))
    return EmbeddingTable.of(places, vectors, Space.asserted("benchmark", d))


def box_of(share: float) -> tuple[float, float, float, float]:
    half = SIDE / 2 * np.sqrt(share)
    return (CENTRE[0] - half, CENTRE[1] - half, CENTRE[0] + half, CENTRE[1] + half)


def brute(vectors: np.ndarray, lon: np.ndarray, lat: np.ndarray, query: np.ndarray, share: float) -> np.ndarray:
    """Rows of the K best: score all, then filter."""
    scores = vectors @ query
    rows = np.arange(len(scores))
    if share < 1.0:
        west, south, east, north = box_of(share)
        rows = np.flatnonzero((lon >= west) & (lon <= east) & (lat >= south) & (lat <= north))
        scores = scores[rows]
    best = np.argpartition(scores, -K)[-K:] if len(scores) > K else np.arange(len(scores))
    return rows[best[np.argsort(-scores[best])]]


def recall(found: np.ndarray, wanted: np.ndarray) -> float:
    return len(np.intersect1d(found, wanted)) / max(1, len(wanted))


def in_memory(table: Any, rounds: int, targets: Targets) -> None:
    from placevec.index.planner import Planner
    from placevec.table import Filter

    planner = Planner(table)
    vectors, lon, lat = table.raw, table.lon, table.lat
    rng = np.random.default_rng(1)
    queries = vectors[rng.integers(0, len(table), 20)] + 0.2 * rng.standard_normal((20, table.dims), dtype=np.float32)
    rows = []
    for share in SHARES:
        chosen = None if share == 1.0 else share

        def ours(share: float | None = chosen) -> list[Any]:
            return [planner.search(q, K, filter=None if share is None else Filter(bbox=box_of(share))) for q in queries]

        def theirs(share: float = share) -> list[np.ndarray]:
            return [brute(vectors, lon, lat, query, share) for query in queries]

        hits, truth = ours(), theirs()
        share_found = float(np.mean([recall(a.rows, b) for a, b in zip(hits, truth, strict=True)]))
        full = all(len(hit) == min(K, hit.plan.candidates) for hit in hits)
        times = in_turn({"placevec": ours, "brute force": theirs}, rounds)
        ratio = times.ratio("placevec", "brute force")
        rows.append(_row(share, hits[0], times, ratio, share_found, len(queries)))
        targets.claim(
            f"in memory, {share:.2%}: recall 1, the full k", share_found == 1.0 and full, f"{share_found:.3f}"
        )
        if share < 1.0:  # without a filter both do the same
            targets.claim(f"in memory, {share:.2%}: at least as fast as brute force", ratio[0] >= 1.0, spread(ratio))
    show(f"{len(table):,} x {table.dims} in memory, one query at a time, k = {K}", _HEAD, rows)


def from_file(table: Any, rounds: int, targets: Targets) -> None:
    from placevec.index.planner import Planner
    from placevec.table import Filter, open_table, read_table, write_table

    query = table.raw[12345 % len(table)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "t.parquet"
        write_table(table, path, order="keep")
        rows = []
        for share in SHARES:

            def ours(share: float = share) -> Any:
                chosen = None if share == 1.0 else Filter(bbox=box_of(share))
                return Planner(open_table(path)).search(query, K, filter=chosen)

            def theirs(share: float = share) -> np.ndarray:
                whole = read_table(path)
                return brute(whole.raw, whole.lon, whole.lat, query, share)

            hits, truth = ours(), theirs()
            share_found = recall(hits.rows, truth)
            times = in_turn({"placevec": ours, "brute force": theirs}, rounds)
            ratio = times.ratio("placevec", "brute force")
            rows.append(_row(share, hits, times, ratio, share_found, 1))
            targets.claim(f"from a file, {share:.2%}: recall 1", share_found == 1.0, f"{share_found:.3f}")
            if share <= 0.01:
                targets.claim(f"from a file, {share:.2%}: at least 3 times as fast", ratio[0] >= 3.0, spread(ratio))
        show(f"{len(table):,} x {table.dims} from a GeoParquet file, opened for each query", _HEAD, rows)


_HEAD = ["selectivity", "candidates", "plan", "recall", "placevec ms", "brute force ms", "placevec faster by"]


def _row(
    share: float, hits: Any, times: Times, ratio: tuple[float, float, float], found: float, queries: int
) -> list[str]:
    return [
        f"{share:.2%}",
        f"{hits.plan.candidates:,}",
        hits.plan.name,
        f"{found:.3f}",
        f"{1000 * times.median('placevec') / queries:.2f}",
        f"{1000 * times.median('brute force') / queries:.2f}",
        spread(ratio),
    ]


def main() -> None:
    options = arguments(__doc__ or "")
    print(machine())
    targets = Targets()
    table = make_table(*((50_000, 64) if options.quick else (500_000, 64)))
    in_memory(table, options.rounds, targets)
    from_file(table, min(options.rounds, 5), targets)
    targets.done()


if __name__ == "__main__":
    main()
