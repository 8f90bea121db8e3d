"""Embedding jobs: places are cut into shards, workers turn shards into fragments, the driver commits once.

A job is known by its key, the digest of all that its result depends on (inputs, recipe, code, weights, shards). Its
folder stands beside the table to be made; it holds what is done, and is removed when the table stands. Running the
same job again does what is left to do; how often it was killed before cannot be seen in the table.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from placevec.engine.fragments import Form, Fragments, Record, full_disk
from placevec.engine.locks import Lock
from placevec.errors import JobError
from placevec.files import remove, write_text
from placevec.provenance import TableMeta, digest_json
from placevec.table import EmbeddingTable, write_skipped
from placevec.table.codec import NORM_TOLERANCE, symmetric
from placevec.table.embeddings import norms
from placevec.table.fingerprint import Fingerprint

JOB = "job.json"
LOCK = "lock"


@dataclass(frozen=True, eq=False)
class Shard:
    """A part of a job that is done at once.

    Attributes:
        name: its name, unique in the job and safe as part of a file name.
        rows: positions in the job's order of places.
        key: what its places share, such as an H3 parent or a block of a raster; for people.
    """

    name: str
    rows: range | NDArray[np.int64]
    key: str = ""

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def positions(self) -> NDArray[np.int64]:
        """The positions as an array."""
        return np.asarray(self.rows, dtype=np.int64)

    def to_json(self) -> list[Any]:
        """What tells this shard from another."""
        rows = self.rows
        if isinstance(rows, range):
            return [self.name, rows.start, rows.stop, rows.step]
        return [self.name, digest_json(rows.tolist())]


def plan_shards(n_rows: int, shard_rows: int) -> list[Shard]:
    """Contiguous shards of at most `shard_rows` of `n_rows` positions; the same for the same numbers."""
    if shard_rows < 1:
        raise JobError(f"a shard of {shard_rows} rows: give at least 1")
    starts = range(0, n_rows, shard_rows)
    width = max(5, len(str(len(starts))))
    return [
        Shard(f"shard-{i:0{width}d}", range(start, min(start + shard_rows, n_rows))) for i, start in enumerate(starts)
    ]


def job_folder(out: str | Path) -> Path:
    """Where the job that makes the table `out` keeps what is done."""
    path = Path(out)
    return path.with_name(f".{path.name}.job")


@dataclass(frozen=True)
class Committed:
    """What a commit has made: rows, skipped rows and how many for each reason, the table's fingerprint."""

    rows: int
    skipped: int
    reasons: Mapping[str, int]
    fingerprint: str


@dataclass
class Job:
    """A job and what of it is done.

    Args:
        folder: its folder, see `job_folder`.
        inputs: all that the result depends on, as JSON: fingerprint of the places, recipe, code version, weights.
        shards: its shards; together they hold every position once.
        form: how fragments are stored: "lance" if the table will be a Lance dataset of floats, else "parquet".
    """

    folder: Path
    inputs: Mapping[str, Any]
    shards: Sequence[Shard]
    form: Form = "parquet"
    records: dict[str, Record] = field(default_factory=dict, init=False)

    @property
    def key(self) -> str:
        """The derivation key."""
        return digest_json([dict(self.inputs), [shard.to_json() for shard in self.shards], self.form])[:32]

    @property
    def rows(self) -> int:
        """The number of places."""
        return sum(len(shard) for shard in self.shards)

    @property
    def fragments(self) -> Fragments:
        """Where workers put their results."""
        return Fragments(self.folder, self.key, self.form)

    @contextmanager
    def open(self, *, restart: bool = False) -> Iterator[Job]:
        """Hold the job: take its lock, look up what is done (`records`), forget that if it is to `restart`.

        Raises:
            JobError: another process holds it, or the folder belongs to another job.
        """
        name = self.folder.name.removeprefix(".").removesuffix(".job")
        with Lock(self.folder / LOCK, f"the job of {name}"):
            if restart:
                for path in self.folder.iterdir():
                    if path.name != LOCK:
                        remove(path)
            self._claim()
            fragments = self.fragments
            found = ((shard.name, fragments.done(shard.name)) for shard in self.shards)
            self.records = {shard: record for shard, record in found if record is not None}
            yield self

    def todo(self) -> list[Shard]:
        """The shards that are not done, in order."""
        return [shard for shard in self.shards if shard.name not in self.records]

    def add(self, record: Record) -> None:
        """Count a shard as done."""
        self.records[record.shard] = record

    def counts(self) -> dict[str, int]:
        """Rows embedded and skipped so far."""
        records = self.records.values()
        return {"embedded": sum(r.rows for r in records), "skipped": sum(r.skipped for r in records)}

    def manifest(self) -> dict[str, Any]:
        """What is done and what is not, as JSON."""
        done = {
            name: {"rows": r.rows, "skipped": r.skipped, "reasons": dict(r.reasons), "files": dict(r.files)}
            for name, r in sorted(self.records.items())
        }
        return {"key": self.key, **self.counts(), "done": done, "todo": [shard.name for shard in self.todo()]}

    def commit(
        self, out: str | Path, template: EmbeddingTable, ids: NDArray[Any], dtype: str | None = None
    ) -> Committed:
        """Make the table of all fragments and the file of skipped rows, then remove the job's folder.

        Args:
            out: the table, ``.parquet`` or ``.lance``; it appears, or is replaced, at once.
            template: a table without rows that has the columns and the provenance.
            ids: (n,) the ids of the places in the job's order.
            dtype: "int8" to store the float32 fragments by a linear codec fitted to all of them.

        Raises:
            JobError: a shard is not done, or the rows and the skipped rows are not exactly the places.
        """
        self._check_plan(len(ids))
        goal = Path(out)
        records = [self.records[shard.name] for shard in self.shards]
        skipped = [row for record in records for row in self.fragments.skipped(record)]
        total = Fingerprint()
        for record in records:
            total.merge(Fingerprint(*record.fingerprint))
        meta = self._meta(template.meta, records)
        with full_disk(goal.parent, "commits what is done"):
            if self.form == "lance":
                found = self._commit_lance(goal, template, meta, ids, records, total)
            elif dtype == "int8":
                found = self._commit_int8(goal, template, meta, ids, records)
            else:
                empty = template.data.schema.empty_table()
                found = _stream(goal, meta, [empty], (part.data for part in self._parts(ids, records)), total)
        reasons: dict[str, int] = {}
        for record in records:
            for reason, count in record.reasons.items():
                reasons[reason] = reasons.get(reason, 0) + count
        with full_disk(goal.parent, "commits what is done"):
            write_skipped(goal, skipped)
        remove(self.folder)
        ordered = dict(sorted(reasons.items(), key=lambda item: (-item[1], item[0])))
        return Committed(total.rows, len(skipped), ordered, found)

    def _claim(self) -> None:
        path = self.folder / JOB
        if path.exists():
            try:
                stored = json.loads(path.read_text())
                other, inputs = str(stored["key"]), dict(stored["inputs"])
            except (OSError, ValueError, KeyError, TypeError):
                other, inputs = "unreadable", {}
            if other == self.key:
                return
            mine = json.loads(json.dumps(dict(self.inputs), default=str))
            differ = [name for name in sorted({*mine, *inputs}) if mine.get(name) != inputs.get(name)]
            what = ", ".join(differ) if differ else "the shards"
            raise JobError(
                f"{self.folder} holds the unfinished job {other[:12]}, this one is {self.key[:12]} (different: {what})"
                ": run the other one to its end, or give --restart to begin anew"
            )
        with full_disk(self.folder.parent, "begins"):
            write_text(path, json.dumps({"key": self.key, "inputs": dict(self.inputs)}, default=str, indent=1))

    def _check_plan(self, n: int) -> None:
        missing = self.todo()
        if missing:
            names = ", ".join(shard.name for shard in missing[:3])
            raise JobError(f"{len(missing)} of {len(self.shards)} shards are not done ({names}): run the same again")
        seen = np.zeros(n, dtype=np.int64)
        for shard in self.shards:
            at = shard.positions
            if len(at) and (at.min() < 0 or at.max() >= n):
                raise JobError(f"{shard.name} holds position {int(at.max())} of {n} places")
            np.add.at(seen, at, 1)
        if (seen != 1).any():
            first = int(np.flatnonzero(seen != 1)[0])
            raise JobError(f"position {first} stands in {int(seen[first])} shards: each place belongs to exactly one")

    def _account(self, shard: Shard, record: Record, expected: list[str], embedded: list[str]) -> None:
        """JobError unless rows and skipped rows of a shard are its places, in order."""
        out = {row.id for row in self.fragments.skipped(record)}
        if [name for name in expected if name not in out] == embedded and len(out) + len(embedded) == len(expected):
            return
        have = {*embedded, *out}
        lost, strange = [i for i in expected if i not in have], sorted(have - set(expected))
        example = f"; lost: {lost[0]!r}" if lost else f"; not asked for: {strange[0]!r}" if strange else ""
        raise JobError(
            f"{shard.name} has {len(expected)} places, but {len(embedded)} rows and {record.skipped} skipped"
            f"{example}: run it again with --restart"
        )

    def _parts(self, ids: NDArray[Any], records: list[Record]) -> Iterator[EmbeddingTable]:
        for shard, record in zip(self.shards, records, strict=True):
            part = self.fragments.read(record)
            self._account(shard, record, ids[shard.positions].tolist(), [] if part is None else part.ids.tolist())
            if part is not None:
                yield part

    def _meta(self, meta: TableMeta, records: list[Record]) -> TableMeta:
        filled = [record for record in records if record.rows]
        return meta.replace(normalized=bool(filled) and all(record.unit for record in filled))

    def _commit_int8(
        self, goal: Path, template: EmbeddingTable, meta: TableMeta, ids: NDArray[Any], records: list[Record]
    ) -> str:
        codec = symmetric(max((record.largest for record in records), default=0.0))

        def coded(part: EmbeddingTable) -> EmbeddingTable:
            places = part.places()
            return EmbeddingTable.of(places, part.vectors(), meta.space, dtype="int8", codec=codec, normalized=False)

        if meta.normalized:  # rounding to int8 may change lengths by more than a reader accepts
            worst = max(
                (float(np.abs(norms(coded(p).vectors()) - 1).max(initial=0.0)) for p in self._parts(ids, records)),
                default=0.0,
            )
            meta = meta.replace(normalized=worst <= NORM_TOLERANCE["int8"])
        meta = meta.replace(dtype="int8", codec=codec)
        empty = coded(template).data
        return _stream(goal, meta, [empty], (coded(part).data for part in self._parts(ids, records)))

    def _commit_lance(
        self,
        goal: Path,
        template: EmbeddingTable,
        meta: TableMeta,
        ids: NDArray[Any],
        records: list[Record],
        total: Fingerprint,
    ) -> str:
        from placevec.table.lance import commit_fragments

        for shard, record in zip(self.shards, records, strict=True):
            if self.fragments.done(shard.name) is None:
                raise JobError(f"the fragment of {shard.name} in {self.folder} was damaged: run the same again")
            self._account(shard, record, ids[shard.positions].tolist(), self.fragments.ids(record))
        fragments = [fragment for record in records for fragment in record.fragments]
        files = [path for record in records for path in self.fragments.lance_files(record)]
        if _committed(goal, files):
            return str(total)
        fresh = not goal.exists()
        try:
            # Links, not renames: until the commit the job's folder holds all of the job.
            (goal / "data").mkdir(parents=True, exist_ok=True)
            for path in files:
                _link(path, goal / "data" / path.name)
            commit_fragments(fragments, goal, template.data.schema, meta)
        except BaseException:
            if not _committed(goal, files):
                for path in [goal] if fresh else [goal / "data" / path.name for path in files]:
                    remove(path)
            raise
        return str(total)


def _stream(
    goal: Path, meta: TableMeta, first: list[pa.Table], rest: Iterator[pa.Table], expected: Fingerprint | None = None
) -> str:
    """Write a table of all pieces; nothing appears at `goal` unless its fingerprint is the one expected."""
    count = Fingerprint()

    def pieces() -> Iterator[pa.Table]:
        for piece in chain(first, rest):
            count.update(piece)
            yield piece
        if expected is not None and count != expected:
            raise JobError(f"the fragments of {goal.name} are not those that were written: run it with --restart")

    if goal.suffix == ".lance":
        from placevec.table.lance import write_lance

        write_lance(pieces(), goal, meta)
    else:
        from placevec.table.parquet import ParquetSink

        with ParquetSink(goal, meta) as sink:
            for piece in pieces():
                sink.write(piece)
    return str(count)


def _committed(goal: Path, files: list[Path]) -> bool:
    """Whether the dataset consists of the files named: a kill may come between commit and the removal of the job."""
    import lance

    try:
        parts = lance.dataset(str(goal)).get_fragments()
    except (ValueError, OSError):
        return False
    return bool(files) and [file.path for part in parts for file in part.data_files()] == [path.name for path in files]


def _link(path: Path, goal: Path) -> None:
    remove(goal)
    try:
        os.link(path, goal)
    except OSError:  # a file system without links
        shutil.copyfile(path, goal)
