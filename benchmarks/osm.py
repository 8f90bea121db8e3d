"""Reading OpenStreetMap: roads and points of interest in MB/s, against a loop over all objects, and peak memory.

The real files are small, so that starting would take most of the time: a larger one is written, of many shifted copies
of Monaco, with the numbers of its objects close together as in real files. The copies have no dates and authors, and
Monaco is a dense town: by MB they have more than twice the roads of the planet. What is projected for a country of
1.3 GB is that a MB of it takes as long as a MB of the copies, without an allowance for the emptier country.

What counts is processor time, of all threads together (the median): as osmium unpacks on a second core, the clock shows
less than that on idle cores, and more beside other programs. The clock of the quietest round is shown too.

    PLACEVEC_DATA=DIR python benchmarks/osm.py [--quick] [--rounds 3]
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import osmium
from common import Targets, arguments, fresh, in_turn, machine, peak_mb, report, show, spread

from placevec.sources.osm import CATEGORIES, read_pois, read_roads
from placevec.sources.osm.road_rules import KEYS, road_rule

COUNTRY_MB, SECONDS, RATE, FASTER = 1300.0, 120.0, 12.0, 2.0  # what is claimed
MEMORY_MB = 700.0  # for the file written here; a country's nodes are on disk, what is found grows with it
COPIES = 70
READERS: dict[str, Callable[..., Any]] = {"roads": read_roads, "points of interest": read_pois}


def main() -> None:
    """Measure, show, and end with 1 if a claim does not hold."""
    given = arguments(__doc__.splitlines()[0])
    if given.step:
        in_a_process(given.step, Path(given.path))
        return
    folder = os.environ.get("PLACEVEC_DATA")
    if not folder:
        raise SystemExit("set PLACEVEC_DATA to the folder of real data, which holds osm/monaco.osm.pbf")
    monaco = Path(folder) / "osm/monaco.osm.pbf"
    print(machine())
    with tempfile.TemporaryDirectory() as scratch:
        large = Path(scratch) / "copies.osm.pbf"
        write_copies(monaco, large, 4 if given.quick else COPIES)
        real = [monaco, Path(folder) / "porto_alegre/poa_osm.pbf"]
        show(
            "Real files",
            ["file", "MB", "read", "found", "seconds", "MB/s"],
            [row for path in real for row in rows_of(path, given.rounds)],
        )
        targets = Targets()
        compare(large, given.rounds, targets, quick=given.quick)
        remember(large, targets, quick=given.quick)
    targets.done()


def rows_of(path: Path, rounds: int) -> list[list[str]]:
    """A row for each reader of a file."""
    rows = []
    for name, read in READERS.items():
        times = in_turn({name: lambda read=read: read(path)}, rounds=rounds, clock=time.process_time)
        seconds, size = times.median(name), megabytes(path)
        rows.append([path.name, f"{size:.1f}", name, f"{len(read(path)):,}", f"{seconds:.2f}", f"{size / seconds:.1f}"])
    return rows


def compare(path: Path, rounds: int, targets: Targets, *, quick: bool) -> None:
    """Readers with positions in memory and on disk against loops over all objects, in turn."""
    size = megabytes(path)
    clock: dict[str, list[float]] = {}

    def timed(name: str, run: Callable[[], Any]) -> Callable[[], Any]:
        def both() -> None:
            start = time.perf_counter()
            run()
            clock.setdefault(name, []).append(time.perf_counter() - start)

        return both

    with tempfile.TemporaryDirectory() as disk:
        contestants: dict[str, Callable[[], Any]] = {}
        for name, read in READERS.items():
            contestants[name] = lambda read=read: read(path)
            contestants[f"{name}, positions on disk"] = lambda read=read: read(path, on_disk=disk)
        contestants["roads, all objects in a loop"] = lambda: naive_roads(path)
        contestants["points of interest, all objects in a loop"] = lambda: naive_pois(path)
        measured = {name: timed(name, run) for name, run in contestants.items()}
        times = in_turn(measured, rounds=rounds, warm_up=0, clock=time.process_time)
    rows = []
    for name in contestants:
        kind, seconds, least = name.split(",")[0], times.median(name), min(clock[name])
        peer = f"{kind}, all objects in a loop"
        ratio = times.ratio(name, peer)
        projected = COUNTRY_MB / size * seconds
        faster = "" if name == peer else spread(ratio)
        both = [f"{seconds:.2f}", f"{size / seconds:.1f}", f"{projected:.0f}", f"{least:.2f}", f"{size / least:.1f}"]
        rows.append([name, *both, faster])
        if not quick and name in (kind, f"{kind}, positions on disk"):
            what = f"{name}: {COUNTRY_MB / 1000:.1f} GB projected under {SECONDS:.0f} s"
            targets.claim(what, projected < SECONDS, f"{projected:.0f} s")
        if not quick and name == kind:
            targets.claim(f"{name}: {RATE:.0f} MB/s", size / seconds >= RATE, f"{size / seconds:.1f} MB/s")
            targets.claim(f"{name}: {FASTER} times as fast as the loop", ratio[0] >= FASTER, spread(ratio))
    head = ["read", "processor, s", "MB/s", "1.3 GB, s", "clock, s", "MB/s", "faster than the loop by"]
    show(f"{size:.0f} MB of copies of Monaco", head, rows)
    roads, slow = read_roads(path), naive_roads(path)
    targets.claim("the loop finds the same segments", len(roads) == len(slow), f"{len(roads):,} and {len(slow):,}")


def remember(path: Path, targets: Targets, *, quick: bool) -> None:
    """Peak memory, each reader in a process of its own."""
    rows = []
    for step in ("roads", "points of interest", "roads on disk", "points of interest on disk", "loop"):
        found = fresh(__file__, "--step", step, "--path", str(path))
        rows.append([step, f"{found['before_mb']:.0f}", f"{found['peak_mb']:.0f}", f"{found['found']:,}"])
        if step.endswith("disk") and not quick:
            targets.claim(
                f"{step}: under {MEMORY_MB:.0f} MB", found["peak_mb"] < MEMORY_MB, f"{found['peak_mb']:.0f} MB"
            )
    show("Memory, MB", ["read", "before", "peak", "found"], rows)


def in_a_process(step: str, path: Path) -> None:
    """Read in a process of its own and report its peak."""
    before = peak_mb()
    start = time.perf_counter()
    if step == "loop":
        found = len(naive_roads(path))
    else:
        with tempfile.TemporaryDirectory() as disk:
            on_disk = disk if step.endswith("disk") else None
            found = len(READERS[step.removesuffix(" on disk")](path, on_disk=on_disk))
    report(before_mb=before, found=found, seconds=time.perf_counter() - start)


def naive_roads(path: Path) -> list[tuple[int, int, float, float, float, float]]:
    """Segments as one would write it down: all objects in a loop, the nodes in a dict."""
    at: dict[int, tuple[float, float]] = {}
    found = []
    for each in osmium.FileProcessor(str(path)):
        if each.is_node():
            at[each.id] = (each.location.lon, each.location.lat)
        elif each.is_way() and "highway" in each.tags:
            if isinstance(road_rule(tuple(each.tags.get(key) for key in KEYS)), str):
                continue
            nodes = [node.ref for node in each.nodes]
            found += [(a, b, *at[a], *at[b]) for a, b in pairwise(nodes) if a != b and a in at and b in at]
    return found


def naive_pois(path: Path) -> list[tuple[int, float, float]]:
    """Points as one would write it down: all objects in a loop, a dict of tags, and the means of nodes for places."""
    exact = {one[0]: row for row, leaf in enumerate(CATEGORIES.leaves) for one in leaf.tags if len(one) == 1}
    at: dict[int, tuple[float, float]] = {}
    found = []
    for each in osmium.FileProcessor(str(path)):
        if each.is_node():
            at[each.id] = (each.location.lon, each.location.lat)
        leaf = min((exact.get((tag.k, tag.v), len(exact)) for tag in each.tags), default=len(exact))
        if leaf == len(exact) or each.is_relation():
            continue
        places = [at[each.id]] if each.is_node() else [at[node.ref] for node in each.nodes if node.ref in at]
        if places:
            found.append((leaf, sum(x for x, _ in places) / len(places), sum(y for _, y in places) / len(places)))
    return found


def write_copies(source: Path, goal: Path, copies: int) -> None:
    """A file of shifted copies of `source`, with a header, its objects numbered close together."""
    nodes: list[Any] = []
    ways: list[Any] = []
    relations: list[Any] = []
    for each in osmium.FileProcessor(str(source)):
        tags = dict(each.tags)
        if each.is_node():
            nodes.append((each.id, tags, each.location.lon, each.location.lat))
        elif each.is_way():
            ways.append((each.id, tags, [node.ref for node in each.nodes]))
        else:
            relations.append((each.id, tags, [(one.type, one.ref, one.role) for one in each.members]))
    row = {
        kind: {one[0]: k for k, one in enumerate(these)}
        for kind, these in zip("nwr", (nodes, ways, relations), strict=True)
    }
    lost = 1 << 24  # what is not in the file stays so in its copies
    stride = {kind: len(rows) + 100_000 for kind, rows in row.items()}

    def number(kind: str, old: int, copy: int) -> int:
        known = row[kind].get(old)
        return (lost << 8) + old if known is None else 1 + copy * stride[kind] + known

    header = osmium.io.Header()
    header.set("sorting", "Type_then_ID")  # as extracts say, and as it is written
    header.add_box(osmium.osm.Box(-11.0, 43.0, 5.0, 50.0))
    make = osmium.osm.mutable
    with osmium.SimpleWriter(str(goal), header=header, overwrite=True) as writer:
        for copy in range(copies):
            east, north = (copy % 20) * 0.1 - 17.0, (copy // 20) * 0.1
            for old, tags, lon, lat in nodes:
                writer.add_node(make.Node(id=number("n", old, copy), tags=tags, location=(lon + east, lat + north)))
        for copy in range(copies):
            for old, tags, refs in ways:
                own = [number("n", ref, copy) for ref in refs]
                writer.add_way(make.Way(id=number("w", old, copy), tags=tags, nodes=own))
        for copy in range(copies):
            for old, tags, members in relations:
                own = [(kind, number(kind, ref, copy), role) for kind, ref, role in members]
                writer.add_relation(make.Relation(id=number("r", old, copy), tags=tags, members=own))


def megabytes(path: Path) -> float:
    """The size of a file in MB of 10^6 bytes."""
    return path.stat().st_size / 1e6


if __name__ == "__main__":
    sys.exit(main())
