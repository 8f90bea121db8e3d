"""Writing a patch set: files of so many places, each whole or not there; what is done after a kill is kept."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from placevec.errors import FormatError, JobError, UsageError
from placevec.files import PART, remove, write_text
from placevec.provenance import digest_json
from placevec.sources.patches.files import Part, write_part
from placevec.sources.patches.source import PatchSource
from placevec.table import Places, Skipped, skipped_counts, write_skipped
from placevec.table.fingerprint import row_hashes

MANIFEST = "patches.json"
FORMAT = "placevec-patches/1"

Progress = Callable[[int, int, Mapping[str, Any]], None]


@dataclass(frozen=True)
class Written:
    """What `write_patches` has made; places = written + skipped.

    Attributes:
        folder: the patch set.
        places: how many places were asked for.
        written: how many patches stand in it.
        skipped: how many places have none.
        reasons: how many for each reason.
        files: how many files there are.
        reused: how many of them stood there before.
    """

    folder: Path
    places: int
    written: int
    skipped: int
    reasons: Mapping[str, int]
    files: int
    reused: int


def write_patches(
    source: PatchSource,
    folder: str | Path,
    *,
    samples_per_file: int = 4096,
    workers: int = 1,
    limit: int | None = None,
    restart: bool = False,
    progress: Progress | None = None,
) -> Written:
    """Write the patches of a source as a patch set (see `files`, `PatchSet`), going on where a killed run stopped.

    The same source gives the same files, byte for byte, however many workers there are and however often it was
    killed. Memory holds `workers` files at most.

    Args:
        source: what is read.
        folder: where; it is made, or holds what an earlier run of the same left.
        samples_per_file: places of one file.
        workers: threads that read and write.
        limit: only the first so many places, for a trial.
        restart: forget what is there.
        progress: told of places done, their number, and what was skipped.

    Raises:
        UsageError: a number is not possible, or the folder holds something else.
        JobError: the folder holds patches of something else.
        DataError: the rasters do not cover the places, or hold an unknown class.
    """
    if samples_per_file < 1 or workers < 1 or (limit is not None and limit < 1):
        raise UsageError("samples_per_file, workers and limit are at least 1")
    source.check_places()
    places = source.places()
    total = len(places) if limit is None else min(limit, len(places))
    goal = Path(folder)
    key = digest_json([FORMAT, source.identity(), _digest(places, total), samples_per_file])[:32]
    _claim(goal, key, restart)
    starts = range(0, total, samples_per_file)
    parts = [(goal / _name(i, len(starts)), range(a, min(a + samples_per_file, total))) for i, a in enumerate(starts)]
    listed: dict[str, dict[str, Any]] = {}
    lost: dict[str, list[Skipped]] = {}
    todo: list[tuple[Path, range]] = []
    for path, rows in parts:
        found = _stored(path, key, len(rows))
        if found is None:
            todo.append((path, rows))
        else:
            listed[path.name], lost[path.name] = found
    reused = len(listed)

    def tell() -> None:
        if progress is not None:
            done = sum(one["rows"] + one["skipped"] for one in listed.values())
            progress(done, total, {"skipped": sum(one["skipped"] for one in listed.values())})

    def make(path: Path, rows: range) -> tuple[str, dict[str, Any], list[Skipped]]:
        batch = source.read(np.arange(rows.start, rows.stop))
        layers = {layer.name: batch.data[layer.name] for layer in source.layers}
        write_part(path, places.take(batch.rows), layers, batch.skipped, key)
        return path.name, {"name": path.name, "rows": len(batch), "skipped": len(batch.skipped)}, batch.skipped

    tell()
    for name, record, skipped in _in_turn(make, todo, workers):
        listed[name], lost[name] = record, skipped
        tell()
    for stray in goal.glob("part-*.arrow"):  # of an earlier run with other numbers, forgotten by `restart`
        if stray.name not in listed:
            remove(stray)
    every = [one for path, _ in parts for one in lost[path.name]]
    files = [listed[path.name] for path, _ in parts]
    written = sum(one["rows"] for one in files)
    if written + len(every) != total:
        raise JobError(f"{goal}: {total} places, but {written} patches and {len(every)} skipped; write it again")
    write_skipped(goal / "patches", every)
    reasons = skipped_counts(every)
    manifest = {
        "format": FORMAT,
        "complete": True,
        "key": key,
        **source.identity(),
        "sources": [asdict(ref) for ref in source.refs],
        "samples_per_file": samples_per_file,
        "counts": {"places": total, "written": written, "skipped": len(every)},
        "reasons": reasons,
        "files": files,
    }
    write_text(goal / MANIFEST, json.dumps(manifest, indent=1) + "\n")
    return Written(goal, total, written, len(every), reasons, len(files), reused)


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """The manifest of a patch set, whole or not; None where there is none.

    Raises:
        FormatError: it cannot be read, or is of another format.
    """
    path = folder / MANIFEST
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        raise FormatError(f"{path} cannot be read ({error}); write the patches again") from None
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise FormatError(f"{path} is no manifest of patches of this version; write the patches again")
    return found


def _claim(goal: Path, key: str, restart: bool) -> None:
    """Make the folder this run's own: the key of an unfinished run, or of a whole set, must be this one's."""
    if goal.exists() and not goal.is_dir():
        raise UsageError(f"{goal} is a file; patches are written to a folder")
    found = read_manifest(goal) if not restart else None
    if found is not None and found.get("key") != key:
        state = "the patches" if found.get("complete") else "unfinished patches"
        raise JobError(
            f"{goal} holds {state} of other places, rasters or sizes: choose another folder, or begin anew (--restart)"
        )
    if found is None:
        strange = [p.name for p in goal.iterdir() if not p.name.startswith(".")] if goal.is_dir() else []
        if strange and not (goal / MANIFEST).exists():
            raise UsageError(f"{goal} holds something else ({sorted(strange)[0]}); give a folder of its own")
        for path in goal.glob("part-*.arrow") if goal.is_dir() else ():
            remove(path)
        write_text(goal / MANIFEST, json.dumps({"format": FORMAT, "complete": False, "key": key}) + "\n")
    for left in goal.glob(f".part-*{PART}*"):
        remove(left)


def _stored(path: Path, key: str, places: int) -> tuple[dict[str, Any], list[Skipped]] | None:
    """What a file of an earlier run holds; None if there is none, or it is of another run or damaged."""
    if not path.exists():
        return None
    try:
        part = Part(path)
        skipped = part.skipped()
    except (FormatError, ValueError, KeyError):
        return None
    if part.key != key or len(part) + len(skipped) != places:
        return None
    return {"name": path.name, "rows": len(part), "skipped": len(skipped)}, skipped


def _in_turn(
    make: Callable[[Path, range], tuple[str, dict[str, Any], list[Skipped]]],
    todo: list[tuple[Path, range]],
    workers: int,
) -> Iterator[tuple[str, dict[str, Any], list[Skipped]]]:
    """The results of `make` as they come, by threads: numpy and GDAL do not hold the interpreter."""
    if workers == 1:
        for path, rows in todo:
            yield make(path, rows)
        return
    left = iter(todo)
    with ThreadPoolExecutor(workers) as pool:
        running: set[Future[tuple[str, dict[str, Any], list[Skipped]]]] = set()
        try:
            while True:
                for path, rows in left:
                    running.add(pool.submit(make, path, rows))
                    if len(running) >= workers:
                        break
                if not running:
                    return
                done, running = wait(running, return_when=FIRST_COMPLETED)
                for one in done:
                    yield one.result()
        finally:
            for one in running:
                one.cancel()


def _name(number: int, of: int) -> str:
    return f"part-{number:0{max(5, len(str(of)))}d}.arrow"


def _digest(places: Places, total: int) -> str:
    """The digest of the first places, in their order, with all their columns."""
    digest = hashlib.sha256()
    for first in range(0, total, 1 << 16):
        digest.update(row_hashes(places.data.slice(first, min(1 << 16, total - first))).tobytes())
    return digest.hexdigest()
