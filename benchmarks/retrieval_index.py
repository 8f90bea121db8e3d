"""Kept indexes: what share of the true neighbours each kind finds, how fast, in how many bytes, and built in how much.

Clustered unit vectors in a GeoParquet file; the truth is the exact ranking by float32 vectors. Every index is built in
a process of its own, whose peak of resident memory is the figure that counts. Queries per second are of one thread,
asked one at a time and 100 at a time, beside brute force with the whole matrix in memory, in turn.

Run it by itself, on a quiet machine: ``python benchmarks/retrieval_index.py [--sizes 10000,100000,1000000]``.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# One thread for each contestant, set before numpy is imported: threads wait for each other on a machine in use.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from common import Targets, fresh, in_turn, machine, report, show, spread

KINDS = ("flat", "hnsw", "ivf-sq8")
DIMS = 256
K = 10
QUERIES = 200
PEAK_MB = 1.5 * 2**30 / 1e6
BATCH = 20_000
PEER = "brute force"


@dataclass(frozen=True)
class Row:
    """What was measured of one kind of index at one size."""

    n: int  # vectors
    kind: str  # of index
    recall: float  # share of the true 10 nearest that were found
    one: float  # queries a second, asked one at a time
    many: float  # queries a second, asked 100 at a time
    ratio: tuple[float, float, float]  # how many times faster than brute force, one at a time
    open_ms: float  # to open the index, its files checked
    build_s: float  # to build it
    bytes_a_row: float  # of its files
    peak_mb: float  # of memory while it was built, the interpreter included


class Clusters:
    """Unit vectors around centres, a hundred to each; the same ones for the same seed."""

    def __init__(self, n: int, dims: int = DIMS) -> None:
        self.n, self.dims = n, dims
        self.centres = np.random.default_rng(0).standard_normal((max(20, n // 100), dims), dtype=np.float32)

    def draw(self, count: int, seed: int) -> np.ndarray:
        """Vectors (count, d) of random clusters."""
        rng = np.random.default_rng(seed)
        vectors = self.centres[rng.integers(0, len(self.centres), count)]
        vectors = vectors + rng.standard_normal((count, self.dims), dtype=np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    def batches(self) -> Any:
        """All n vectors piece by piece, each with the number of its first row."""
        for start in range(0, self.n, BATCH):
            yield start, self.draw(min(BATCH, self.n - start), 1 + start)


def write(path: Path, n: int, dims: int = DIMS) -> None:
    """A table of n clustered unit vectors, written piece by piece."""
    from placevec.geo.sphere import LonLat
    from placevec.provenance import Space
    from placevec.table import EmbeddingTable, Places
    from placevec.table.parquet import ParquetSink

    space, sink = Space.asserted("benchmark", dims), None
    rng = np.random.default_rng(1)
    for start, vectors in Clusters(n, dims).batches():
        lonlat = LonLat(rng.uniform(-10, 10, len(vectors)), rng.uniform(40, 60, len(vectors)))
        places = Places.create([f"p{start + i:07d}" for i in range(len(vectors))], lonlat)
        piece = EmbeddingTable.of(places, vectors, space)
        if sink is None:
            sink = ParquetSink(path, piece.meta)
            sink.__enter__()
        sink.write(piece.data)
    assert sink is not None
    sink.__exit__(None, None, None)


def truth(matrix: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """The rows (q, K) of the true best."""
    return np.concatenate([brute(matrix, queries[at : at + 50]) for at in range(0, len(queries), 50)])


def brute(matrix: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """What one writes without an index: all scores, then the best of them."""
    scores = queries @ matrix.T
    best = np.argpartition(scores, -K, axis=1)[:, -K:]
    order = np.argsort(-np.take_along_axis(scores, best, axis=1), axis=1)
    return np.take_along_axis(best, order, axis=1)


def build_step(table: Path, kind: str) -> None:
    """In a process of its own: build one index and report."""
    from placevec.tasks.index import index_table

    summary = index_table(table, table.with_name(f"{kind}.index"), kind=kind)
    report(seconds=summary.seconds, bytes_a_row=summary.bytes_a_row)


def measure(n: int, kinds: tuple[str, ...] = KINDS, rounds: int = 3, dims: int = DIMS) -> list[Row]:
    """All kinds at one size."""
    from placevec.index.stored import StoredIndex
    from placevec.table import open_table

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "t.parquet"
        write(path, n, dims)
        clusters = Clusters(n, dims)
        queries = clusters.draw(QUERIES, 999_999_937)
        matrix = np.concatenate([vectors for _, vectors in clusters.batches()])
        nearest = truth(matrix, queries)
        rows = []
        for kind in kinds:
            made = fresh(__file__, "--step", kind, "--path", str(path))
            began = time.perf_counter()
            index = StoredIndex(path.with_name(f"{kind}.index"), open_table(path))
            opened = time.perf_counter() - began
            found, _ = index.search(queries, K)
            recall = float(np.mean([np.isin(a, b).mean() for a, b in zip(nearest, found, strict=True)]))
            few = queries[:20]
            times = in_turn(
                {
                    kind: lambda index=index, few=few: [index.search(q[None], K) for q in few],
                    PEER: lambda few=few, matrix=matrix: [brute(matrix, q[None]) for q in few],
                },
                rounds,
            )
            batch = in_turn({kind: lambda index=index: index.search(queries[:100], K)}, rounds)
            rows.append(
                Row(
                    n,
                    kind,
                    recall,
                    len(few) / times.median(kind),
                    100 / batch.median(kind),
                    times.ratio(kind, PEER),
                    1000 * opened,
                    made["seconds"],
                    made["bytes_a_row"],
                    made["peak_mb"],
                )
            )
            del index
        return rows


def shown(rows: list[Row]) -> None:
    """Print the rows of one size."""
    head = ["kind", "recall@10", "one at a time, /s", "100 at a time, /s", f"faster than {PEER}"]
    head += ["opened in ms", "built in s", "bytes a vector", "peak of building, MB"]
    show(
        f"{rows[0].n:,} x {DIMS}",
        head,
        [
            [
                row.kind,
                f"{row.recall:.3f}",
                f"{row.one:,.0f}",
                f"{row.many:,.0f}",
                spread(row.ratio),
                f"{row.open_ms:.0f}",
                f"{row.build_s:.1f}",
                f"{row.bytes_a_row:,.0f}",
                f"{row.peak_mb:,.0f}",
            ]
            for row in rows
        ],
    )


def claims(rows: list[Row], targets: Targets) -> None:
    """What the project promises of these indexes."""
    for row in rows:
        what = f"{row.n:,} x {DIMS}, {row.kind}"
        least = 0.999 if row.kind == "flat" else 0.95
        targets.claim(f"{what}: recall@10 at least {least}", row.recall >= least, f"{row.recall:.3f}")
        if row.n >= 1_000_000:
            targets.claim(f"{what}: built within 1.5 GiB", row.peak_mb <= PEAK_MB, f"{row.peak_mb:,.0f} MB")
        if row.kind != "flat" and row.n >= 100_000:
            times = 20 if row.n >= 1_000_000 else 5
            targets.claim(f"{what}: at least {times} times {PEER}", row.ratio[0] >= times, spread(row.ratio))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", default="10000,100000,1000000", help="numbers of vectors, with commas")
    parser.add_argument("--kinds", default=",".join(KINDS), help="kinds of index, with commas")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--step", help=argparse.SUPPRESS)
    parser.add_argument("--path", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.step:
        build_step(Path(options.path), options.step)
        return
    print(machine())
    targets = Targets()
    for size in options.sizes.split(","):
        rows = measure(int(size), tuple(options.kinds.split(",")), options.rounds)
        shown(rows)
        claims(rows, targets)
    targets.done()


if __name__ == "__main__":
    main()
