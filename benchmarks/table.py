"""Tables: write and read against GeoPandas and plain pyarrow; a box of a large file; a large file in little memory.

GeoPandas and "pyarrow" write the float32 table, "pyarrow float16" the same half floats as placevec; all by their
defaults. placevec also sorts the rows, checks that ids are unique, and syncs the file to the disk.

The vectors are random, so that no format can compress them: real ones do a little better. Run it by itself, on a
quiet machine: ``python benchmarks/table.py [--quick]``.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from common import Targets, Times, arguments, fresh, in_turn, machine, report, show, spread

SPACE = "asserted:benchmark"
BOX = (-1.0, 49.0, 1.0, 51.0)  # a hundredth of the points' square of 20 degrees
PIECE = 16_384
MEMORY_MB = 400


def vectors_of(n: int, d: int, seed: int) -> np.ndarray:
    found = np.random.default_rng(seed).standard_normal((n, d), dtype=np.float32)
    found /= np.linalg.norm(found, axis=1, keepdims=True)
    return found


def points_of(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.uniform(-10, 10, n), rng.uniform(40, 60, n)


def table_of(n: int, d: int, dtype: str) -> Any:
    from placevec.geo.sphere import LonLat
    from placevec.provenance import Space
    from placevec.table import EmbeddingTable, Places

    lon, lat = points_of(n)
    elevation = np.random.default_rng(1).uniform(0, 3000, n)
    places = Places.create([f"p{i:08d}" for i in range(n)], LonLat(lon, lat), attributes={"elevation": elevation})
    return EmbeddingTable.of(places, vectors_of(n, d, 2), Space.asserted("benchmark", d), dtype=dtype)


def against_peers(n: int, d: int, rounds: int, folder: Path, targets: Targets) -> None:
    import geopandas
    import pyarrow as pa
    import pyarrow.parquet as pq

    from placevec.table import read_table, write_table

    wide, half = table_of(n, d, "float32"), table_of(n, d, "float16")
    frame = geopandas.GeoDataFrame(
        {"id": wide.ids, "elevation": wide.column("elevation"), "embedding": list(wide.raw)},
        geometry=geopandas.points_from_xy(wide.lon, wide.lat),
        crs="OGC:CRS84",
    )
    plain: pa.Table = wide.data
    short: pa.Table = half.data
    names = ("float32", "float16", "geopandas", "pyarrow", "pyarrow float16")
    paths = {name: folder / f"{name}.parquet" for name in names}
    writes = in_turn(
        {
            "float32": lambda: write_table(wide, paths["float32"]),
            "float16": lambda: write_table(half, paths["float16"]),
            "geopandas": lambda: frame.to_parquet(paths["geopandas"]),
            "pyarrow": lambda: pq.write_table(plain, paths["pyarrow"]),
            "pyarrow float16": lambda: pq.write_table(short, paths["pyarrow float16"]),
        },
        rounds,
    )
    reads = in_turn(
        {
            "float32": lambda: read_table(paths["float32"]).raw,
            "float16": lambda: read_table(paths["float16"]).raw,
            "geopandas": lambda: geopandas.read_parquet(paths["geopandas"]),
            "pyarrow": lambda: pq.read_table(paths["pyarrow"]),
            "pyarrow float16": lambda: pq.read_table(paths["pyarrow float16"]),
        },
        rounds,
    )
    sizes = {name: path.stat().st_size / 1e6 for name, path in paths.items()}
    rows = []
    for ours in ("float32", "float16"):
        for peer in names[2:]:
            rows.append(
                [
                    f"placevec {ours}",
                    peer,
                    spread(writes.ratio(ours, peer)),
                    spread(reads.ratio(ours, peer)),
                    f"{sizes[ours]:.1f} / {sizes[peer]:.1f} MB = {sizes[ours] / sizes[peer]:.2f}",
                ]
            )
    show(f"{n:,} x {d}: write and read", ["", "against", "write faster by", "read faster by", "size"], rows)
    seconds(writes, "write")
    seconds(reads, "read")
    for peer in names[2:]:
        for verb, times in (("writes", writes), ("reads", reads)):
            ratio = times.ratio("float16", peer)
            targets.claim(f"float16 {verb} at least as fast as {peer}", ratio[0] >= 1.0, spread(ratio))
        if peer != "pyarrow float16":
            share = sizes["float16"] / sizes[peer]
            targets.claim(f"float16 has half the size of {peer}'s float32", share <= 0.5, f"{share:.2f}")


def seconds(times: Times, verb: str) -> None:
    print(f"{verb}, median seconds: " + ", ".join(f"{name} {times.median(name):.3f}" for name in times.seconds))


def make_large(path: Path, n: int, d: int, dtype: str = "float32") -> None:
    """Write the large table piece by piece, never holding more than a piece of vectors."""
    from placevec.geo.hilbert import hilbert_order
    from placevec.geo.sphere import LonLat
    from placevec.provenance import Space
    from placevec.table import EmbeddingTable, Places
    from placevec.table.parquet import ParquetSink

    lon, lat = points_of(n)
    order = hilbert_order(lon, lat)
    lon, lat = lon[order], lat[order]
    space = Space.asserted("benchmark", d)
    sink: ParquetSink | None = None
    for start in range(0, n, PIECE):
        stop = min(start + PIECE, n)
        places = Places.create(
            [f"p{i:08d}" for i in range(start, stop)],
            LonLat(lon[start:stop], lat[start:stop]),
            attributes={"elevation": np.arange(start, stop) % 3000 / 1.0},
        )
        piece = EmbeddingTable.of(places, vectors_of(stop - start, d, start), space, dtype=dtype, normalized=True)
        if sink is None:
            sink = ParquetSink(path, piece.meta).__enter__()
        sink.write(piece.data)
    assert sink is not None
    sink.__exit__(None, None, None)


def large(n: int, d: int, rounds: int, folder: Path, targets: Targets) -> None:
    from placevec.table import Filter, read_table

    path = folder / "large.parquet"
    rows = []
    made = fresh(__file__, "--step", "make", "--path", str(path), *(["--quick"] if n < 1_000_000 else []))
    rows.append(["made, streaming", f"{made['seconds']:.1f}", f"{made['peak_mb']:.0f}"])
    for step in ("import", "stream", "search", "fingerprint", "all"):
        found = fresh(__file__, "--step", step, "--path", str(path))
        rows.append([found["what"], f"{found['seconds']:.1f}", f"{found['peak_mb']:.0f}"])
    peak = found["peak_mb"]
    size = path.stat().st_size / 1e6
    show(
        f"{n:,} x {d} float32 ({size:.0f} MB) in little memory, each step in a process of its own",
        ["step", "seconds", "peak MB, interpreter and libraries included"],
        rows,
    )
    targets.claim(f"streamed, searched and fingerprinted within {MEMORY_MB} MB", peak <= MEMORY_MB, f"{peak:.0f} MB")
    targets.claim(
        f"written, streaming, within {MEMORY_MB} MB", made["peak_mb"] <= MEMORY_MB, f"{made['peak_mb']:.0f} MB"
    )
    part = read_table(path, Filter(bbox=BOX))
    times = in_turn(
        {"box": lambda: read_table(path, Filter(bbox=BOX)).raw, "all": lambda: read_table(path).raw}, min(rounds, 3)
    )
    ratio = times.ratio("box", "all")
    share = len(part) / n
    rows = [[f"{len(part):,} ({share:.1%})", f"{times.median('box'):.3f}", f"{times.median('all'):.3f}", spread(ratio)]]
    show("A box of the large file against all of it", ["rows in the box", "box s", "all s", "box faster by"], rows)
    targets.claim("a box of 1 % is read in under a tenth of the time of all", ratio[0] > 10, spread(ratio))


def step(name: str, path: Path, quick: bool) -> None:
    """One step of `large`, in this process; reports its time and the peak of memory."""
    start = time.perf_counter()
    if name == "make":
        make_large(path, *((100_000, 256) if quick else (1_000_000, 256)))
        report(seconds=time.perf_counter() - start)
        return
    from placevec.index.exact import ExactIndex
    from placevec.table import open_table

    table = open_table(path)
    what = "opened only"
    if name in ("stream", "all"):
        what = "streamed"
        total = sum(float(batch.vectors().sum()) for batch in table.batches())
        assert np.isfinite(total)
    if name in ("search", "all"):
        what = "searched"
        queries = vectors_of(8, table.dims, 0)
        rows, scores = ExactIndex(table).search(queries, 10)
        # The first piece was made with the same seed: its first rows are the queries.
        assert (rows[:, 0] == np.arange(8)).all(), rows[:, 0]
        assert (scores[:, 0] > 0.9999).all()
    if name in ("fingerprint", "all"):
        what = "fingerprinted"
        assert table.fingerprint().startswith("pv1-")
    report(what="streamed, searched and fingerprinted" if name == "all" else what, seconds=time.perf_counter() - start)


def main() -> None:
    options = arguments(__doc__ or "")
    if options.step:
        step(options.step, Path(options.path), options.quick)
        return
    print(machine())
    targets = Targets()
    with tempfile.TemporaryDirectory() as folder:
        against_peers(*((20_000, 256) if options.quick else (100_000, 256)), options.rounds, Path(folder), targets)
        large(*((100_000, 256) if options.quick else (1_000_000, 256)), options.rounds, Path(folder), targets)
    targets.done()


if __name__ == "__main__":
    main()
