"""Filtered search: placevec's planner beside raw FAISS, Lance and Qdrant, from all rows down to 0.01 % of them.

Clustered unit vectors whose places cluster as towns do; every query has a box of its own around its own place. Each
contestant lives in a process of its own, held to one core, its peak of memory taken there; they are asked in turn,
round by round, and what counts is processor time. Peers are set so that they find at least 99 % of the true neighbours
on these very queries where they can; placevec is left as its index tuned itself. Without a filter, faiss and placevec
get all queries at once; Lance and Qdrant have no such call. At least k rows pass each filter.

Run it by itself, on a quiet machine, a quarter of an hour: ``python benchmarks/search.py [--smoke]``. One cell of its
tables: ``--only A --share 0.1 --engines "placevec,faiss IVF"``.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

# One thread for each contestant, set before numpy is imported: threads wait for each other on a machine in use.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from common import Targets, Times, machine, show, spread
from search_peers import ENGINES, OURS, TARGET, K

SHARES = ("1", "0.1", "0.01", "0.001", "0.0001")
SIZES = {"A": (500_000, 64), "B": (100_000, 512)}
QUERIES = 200
LATENT = 24  # directions in which the vectors of a cluster differ; what else there is, is noise
PEERS_PACKAGES = {"faiss HNSW": "faiss", "faiss IVF": "faiss", "lance": "lance", "qdrant-edge": "qdrant_edge"}


def draw(n: int, d: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vectors (n, d) of length 1, lon and lat, in Hilbert order as tables are.

    Places lie in 400 towns of very different size and extent; half of those of a town are of 40 kinds that it has more
    of, the others of any kind. A kind is a cluster of vectors, tight or wide.
    """
    from placevec.geo.hilbert import hilbert_order

    rng = np.random.default_rng(seed)
    towns, kinds = 400, max(50, n // 500)
    weight = rng.pareto(1.2, towns) + 0.2
    town = rng.choice(towns, n, p=weight / weight.sum())
    middle = rng.uniform(-170, 170, towns), np.degrees(np.arcsin(rng.uniform(-0.8, 0.9, towns)))
    wide = 10 ** rng.uniform(-1.5, 0.7, towns)
    lon = np.clip(middle[0][town] + wide[town] * rng.standard_normal(n), -179.9, 179.9)
    lat = np.clip(middle[1][town] + 0.7 * wide[town] * rng.standard_normal(n), -89.9, 89.9)
    own = rng.integers(0, kinds, (towns, 40))
    kind = np.where(rng.random(n) < 0.5, own[town, rng.integers(0, 40, n)], rng.integers(0, kinds, n))
    centre = rng.standard_normal((kinds, LATENT), dtype=np.float32)
    breadth = (10 ** rng.uniform(-0.6, 0.0, kinds)).astype(np.float32)
    inner = centre[kind] + breadth[kind, None] * rng.standard_normal((n, LATENT), dtype=np.float32)
    vectors = np.tanh(inner @ (rng.standard_normal((LATENT, d), dtype=np.float32) / np.sqrt(np.float32(LATENT))))
    vectors += np.float32(0.2) * rng.standard_normal((n, d), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    order = hilbert_order(lon, lat)
    return vectors[order], lon[order], lat[order]


def write(folder: Path, n: int, d: int, queries: int) -> None:
    """Everything that the contestants read."""
    from placevec.geo.sphere import LonLat
    from placevec.provenance import Space
    from placevec.table import EmbeddingTable, Places, write_table

    vectors, lon, lat = draw(n, d)
    rng = np.random.default_rng(1)
    own = rng.choice(n, queries, replace=False)
    asked = vectors[own] + np.float32(0.3 / np.sqrt(d)) * rng.standard_normal((queries, d), dtype=np.float32)
    asked /= np.linalg.norm(asked, axis=1, keepdims=True)
    np.save(folder / "vectors.npy", vectors)
    np.save(folder / "lonlat.npy", np.stack([lon, lat]))
    np.save(folder / "queries.npy", asked)
    places = Places.create([f"p{at:07d}" for at in range(n)], LonLat(lon, lat))
    write_table(EmbeddingTable.of(places, vectors, Space.asserted("benchmark", d)), folder / "t.parquet", order="keep")
    boxes = {share: np.empty((queries, 4)) for share in SHARES[1:]}
    truth = {share: np.full((queries, K), -1) for share in SHARES}
    for at, row in enumerate(own):
        scores = vectors @ asked[at]
        away = np.maximum(np.abs(lon - lon[row]), np.abs(lat - lat[row]))
        truth["1"][at] = best(scores, np.arange(n))
        for share, box in boxes.items():
            rank = max(K, int(n * float(share))) - 1
            # A little wider than to the last point, so that nobody has to decide about points on the border.
            half = np.partition(away, rank)[rank] + 1e-6
            west, south, east, north = lon[row] - half, lat[row] - half, lon[row] + half, lat[row] + half
            box[at] = max(west, -180.0), max(south, -90.0), min(east, 180.0), min(north, 90.0)
            inside = (lon >= box[at, 0]) & (lon <= box[at, 2]) & (lat >= box[at, 1]) & (lat <= box[at, 3])
            rows = np.flatnonzero(inside)
            found = best(scores[rows], rows)
            truth[share][at, : len(found)] = found
    for share in SHARES:
        np.save(folder / f"truth-{share}.npy", truth[share])
    for share, box in boxes.items():
        np.save(folder / f"boxes-{share}.npy", box)


def best(scores: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """The rows with the K highest scores."""
    few = np.argpartition(scores, -K)[-K:] if len(scores) > K else np.arange(len(scores))
    return rows[few[np.argsort(-scores[few])]]


@dataclass
class Contestant:
    """A process that has built its index and waits for orders."""

    name: str
    folder: Path
    build_s: float = 0.0
    tuned: dict[str, dict[str, Any]] = field(default_factory=dict)  # what `tune` found at each selectivity

    def __enter__(self) -> Self:
        script = Path(__file__).with_name("search_peers.py")
        # The index is built with all cores; searches have one.
        free = {key: value for key, value in os.environ.items() if key != "OMP_NUM_THREADS"}
        self._process = subprocess.Popen(
            [sys.executable, str(script), self.name, str(self.folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**free, "LANCE_LOG": "error", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"},
        )
        self.build_s = self._answer()["build_s"]
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=60)

    def order(self, do: str, **values: Any) -> dict[str, Any]:
        """Tell it what to do; what it answers."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": do, **values}) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("{"):
                return dict(json.loads(line))
        raise SystemExit(f"{self.name} ended with status {self._process.wait()}")


def measure(
    name: str, n: int, d: int, queries: int, rounds: int, engines: list[str], shares: list[str], targets: Targets
) -> None:
    """Build, tune, ask in turn and show one size."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write(folder, n, d, queries)
        running: list[Contestant] = []
        try:
            for engine in engines:
                running.append(Contestant(engine, folder).__enter__())
            # A few thousand rows are scanned in no time by anybody: there speed is nobody's claim.
            compare(f"{name}: {n:,} x {d}", running, queries, rounds, shares, targets, speed=n >= 50_000)
        finally:
            for one in running:
                one.__exit__()


def compare(
    title: str,
    running: list[Contestant],
    queries: int,
    rounds: int,
    shares: list[str],
    targets: Targets,
    *,
    speed: bool,
) -> None:
    """Tune and time all contestants at some selectivities."""
    rows = []
    for share in shares:
        asked = [one for one in running if one.name != "placevec hnsw" or share == "1"]
        for one in asked:
            one.tuned[share] = one.order("tune", share=share)
        times = Times({one.name: [] for one in asked})
        for _ in range(rounds):
            for one in asked:
                done = one.order("time", share=share, setting=one.tuned[share]["setting"])
                times.seconds[one.name].append(done["seconds"])
        able = [one.name for one in asked if one.name not in OURS and one.tuned[share]["recall"] >= TARGET]
        peer = min(able, key=times.median) if able else None
        ours = [one.name for one in asked if one.name in OURS and one.tuned[share]["recall"] >= TARGET]
        for one in asked:
            own = one.tuned[share]
            ratio = "" if peer is None or one.name == peer else spread(times.ratio(one.name, peer))
            rows.append(
                [
                    f"{float(share):.2%}",
                    one.name,
                    f"{own['recall']:.3f}",
                    f"{own['full']:.3f}",
                    f"{queries / times.median(one.name):,.0f}",
                    ratio if own["recall"] >= TARGET else f"{ratio} (at less recall)",
                    "+".join(own["plans"]) or str(own["setting"]),
                ]
            )
            if one.name in OURS:
                what = f"{title}, {float(share):.2%}, {one.name}: recall at least {TARGET}, the full k"
                targets.claim(what, own["recall"] >= TARGET and own["full"] == 1.0, f"{own['recall']:.3f}")
        if peer is not None and ours and speed:
            fastest = min(ours, key=times.median)
            ratio_of = times.ratio(fastest, peer)
            what = f"{title}, {float(share):.2%}: {fastest} at least as fast as {peer}"
            targets.claim(what, ratio_of[0] >= 1.0, spread(ratio_of))
    head = ["rows that pass", "", "recall@10", "returned", "queries a second", "faster than the best peer", "set to"]
    show(title, head, rows)
    built = [[one.name, f"{one.build_s:.0f}", f"{one.order('peak')['peak_mb']:,.0f}"] for one in running]
    show(f"{title}: building", ["", "built in s", "peak of memory, MB"], built)


def installed(engines: list[str]) -> list[str]:
    """The contestants whose package is there; the others are named."""
    from importlib.util import find_spec

    absent = [name for name in engines if name in PEERS_PACKAGES and find_spec(PEERS_PACKAGES[name]) is None]
    for name in absent:
        print(f"{name} is not installed and takes no part")
    return [name for name in engines if name not in absent]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="4,000 rows, for a look; its figures prove nothing")
    parser.add_argument("--only", choices=list(SIZES), help="one of the sizes")
    parser.add_argument("--rows", type=int, help="another number of rows")
    parser.add_argument("--share", choices=SHARES, action="append", help="one of the shares of rows, to be repeated")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--engines", default=",".join(ENGINES), help="contestants, with commas")
    options = parser.parse_args()
    engines = installed(options.engines.split(","))
    print(machine())
    began = time.monotonic()
    targets = Targets()
    sizes = SIZES if options.only is None else {options.only: SIZES[options.only]}
    if options.smoke:
        sizes = {"smoke": (4_000, 16)}
    for name, (n, d) in sizes.items():
        queries, rounds = (20, 1) if options.smoke else (QUERIES, options.rounds)
        measure(name, options.rows or n, d, queries, rounds, engines, options.share or list(SHARES), targets)
    print(f"\n{time.monotonic() - began:.0f} s in all")
    targets.done()


if __name__ == "__main__":
    main()
