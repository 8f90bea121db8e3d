"""Embedding jobs: places are cut into shards, workers turn shards into fragments, the driver commits once.

A job is known by its key, the digest of all that its result depends on (inputs, recipe, code, weights, shards). Its
folder stands beside the table to be made; it holds what is done, and is removed when the table stands. Running the
same job again does what is left to do; how often it was killed before cannot be seen in the table.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, overload

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from placevec.engine.fragments import JOB, Form, Fragments, Record, full_disk
from placevec.engine.leases import Lease
from placevec.engine.locks import Lock
from placevec.engine.shards import Shard, check_plan, plan_parts, plan_shards
from placevec.errors import JobError
from placevec.objects import Place, Remote, located, remove, together, write_text
from placevec.provenance import TableMeta, digest_json
from placevec.table import EmbeddingTable
from placevec.table.codec import NORM_TOLERANCE, symmetric
from placevec.table.embeddings import norms
from placevec.table.fingerprint import Fingerprint
from placevec.table.skipped import SkippedSink
from placevec.table.unique import UniqueIds

__all__ = ["Committed", "Job", "Shard", "job_folder", "plan_parts", "plan_shards"]

Ids = NDArray[Any] | Callable[[Shard], Sequence[str]]
LOCK = "lock"


@overload
def job_folder(out: Path) -> Path: ...
@overload
def job_folder(out: str | Remote) -> Place: ...
def job_folder(out: str | Path | Remote) -> Place:
    """Where the job that makes the table `out` keeps what is done."""
    path = located(out)
    return path.with_name(f".{path.name}.job")


@dataclass(frozen=True)
class Committed:
    """What a commit has made: rows, skipped rows and how many for each reason, flagged rows, the fingerprint."""

    rows: int
    skipped: int
    reasons: Mapping[str, int]
    fingerprint: str
    flagged: Mapping[str, int] = field(default_factory=dict)


@dataclass
class Job:
    """A job and what of it is done.

    Args:
        folder: its folder, see `job_folder`.
        inputs: all that the result depends on, as JSON: fingerprint of the places, recipe, code version, weights.
        shards: its shards; together they hold every position once.
        form: how fragments are stored: "lance" if the table will be a Lance dataset of floats, else "parquet".
        flags: the boolean columns whose rows are counted, see `engine.flags`.
    """

    folder: Place
    inputs: Mapping[str, Any]
    shards: Sequence[Shard]
    form: Form = "parquet"
    flags: tuple[str, ...] = ()
    records: dict[str, Record] = field(default_factory=dict, init=False)
    _lock: Lock | Lease | None = field(default=None, init=False, repr=False)

    @property
    def key(self) -> str:
        """The derivation key."""
        return digest_json([dict(self.inputs), [shard.to_json() for shard in self.shards], self.form])[:32]

    @property
    def rows(self) -> int:
        """The number of places."""
        return sum(len(shard) for shard in self.shards)

    @property
    def table(self) -> str:
        """The name of the table to be made."""
        return self.folder.name.removeprefix(".").removesuffix(".job")

    @property
    def fragments(self) -> Fragments:
        """Where workers put their results."""
        return Fragments(self.folder, self.key, self.form, self.flags)

    @contextmanager
    def open(self, *, restart: bool = False) -> Iterator[Job]:
        """Hold the job: take its lock, look up what is done (`records`), forget that if it is to `restart`.

        Raises:
            JobError: another process holds it, or the folder belongs to another job.
        """
        self._lock = lock_of(self.folder, f"the job of {self.table}")
        with self._lock:
            if restart:
                for path in self.folder.iterdir():
                    if path.name != LOCK:
                        remove(path)
            self._claim()
            fragments = self.fragments
            names = [shard.name for shard in self.shards]
            ask = together if isinstance(self.folder, Remote) else map
            found = zip(names, ask(fragments.done, names), strict=True)
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

    def flagged(self) -> dict[str, int]:
        """Rows flagged so far by each boolean column; they are among those embedded."""
        return {name: sum(r.flagged.get(name, 0) for r in self.records.values()) for name in self.flags}

    def manifest(self) -> dict[str, Any]:
        """What is done and what is not, as JSON."""
        done = {
            name: {
                "rows": r.rows,
                "skipped": r.skipped,
                "reasons": dict(r.reasons),
                "flagged": dict(r.flagged),
                "files": dict(r.files),
            }
            for name, r in sorted(self.records.items())
        }
        counts = {**self.counts(), "flagged": self.flagged()}
        return {"key": self.key, **counts, "done": done, "todo": [shard.name for shard in self.todo()]}

    def commit(
        self,
        out: str | Path | Remote,
        template: EmbeddingTable,
        ids: Ids,
        dtype: str | None = None,
        n: int | None = None,
    ) -> Committed:
        """Make the table of all fragments and the file of skipped rows, then remove the job's folder.

        Args:
            out: the table, ``.parquet`` or ``.lance``; it appears, or is replaced, at once.
            template: a table without rows that has the columns and the provenance.
            ids: (n,) the ids of the places in the job's order; or a function that gives those of a shard, so that
                they are never all in memory.
            dtype: "int8" to store the float32 fragments by a linear codec fitted to all of them.
            n: the number of places, where `ids` is a function.

        Raises:
            JobError: a shard is not done, or the rows and the skipped rows are not exactly the places.
        """
        self._all_done()
        if self._lock is not None:
            self._lock.check()
        if callable(ids):
            check_plan(self.shards, self.rows if n is None else n)
            proof = ids
        else:
            check_plan(self.shards, len(ids))
            proof = _of_array(ids)
        goal = located(out)
        records = [self.records[shard.name] for shard in self.shards]
        total = Fingerprint()
        for record in records:
            total.merge(Fingerprint(*record.fingerprint))
        meta = self._meta(template.meta, records)
        with full_disk(goal.parent, "commits what is done"):
            if self.form == "lance":
                found = self._commit_lance(goal, template, meta, proof, records, total)
            elif dtype == "int8":
                found = self._commit_int8(goal, template, meta, proof, records)
            else:
                empty = template.data.schema.empty_table()
                found = _stream(goal, meta, [empty], (part.data for part in self._parts(proof, records)), total)
        reasons: dict[str, int] = {}
        for record in records:
            for reason, count in record.reasons.items():
                reasons[reason] = reasons.get(reason, 0) + count
        with full_disk(goal.parent, "commits what is done"), SkippedSink(goal) as sink:
            for record in records:
                sink.write(self.fragments.skipped(record))
        flagged = self.flagged()
        remove(self.folder)
        ordered = dict(sorted(reasons.items(), key=lambda item: (-item[1], item[0])))
        return Committed(total.rows, sink.count, ordered, found, flagged)

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

    def _all_done(self) -> None:
        missing = self.todo()
        if missing:
            names = ", ".join(shard.name for shard in missing[:3])
            raise JobError(f"{len(missing)} of {len(self.shards)} shards are not done ({names}): run the same again")

    def _account(self, shard: Shard, record: Record, given: Sequence[str], embedded: list[str]) -> None:
        """JobError unless rows and skipped rows of a shard are its places, in order."""
        expected = list(given)
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

    def _parts(self, ids: Callable[[Shard], Sequence[str]], records: list[Record]) -> Iterator[EmbeddingTable]:
        unique = UniqueIds()
        for shard, record in zip(self.shards, records, strict=True):
            part = self.fragments.read(record)
            expected = ids(shard)
            self._account(shard, record, expected, [] if part is None else part.ids.tolist())
            unique.add(pa.array(expected, type=pa.string()))
            if part is not None:
                yield part
        unique.check(self.table)

    def _meta(self, meta: TableMeta, records: list[Record]) -> TableMeta:
        filled = [record for record in records if record.rows]
        return meta.replace(normalized=bool(filled) and all(record.unit for record in filled))

    def _commit_int8(
        self,
        goal: Place,
        template: EmbeddingTable,
        meta: TableMeta,
        ids: Callable[[Shard], Sequence[str]],
        records: list[Record],
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
        goal: Place,
        template: EmbeddingTable,
        meta: TableMeta,
        ids: Callable[[Shard], Sequence[str]],
        records: list[Record],
        total: Fingerprint,
    ) -> str:
        from placevec.table.lance import publish_fragments

        unique = UniqueIds()
        for shard, record in zip(self.shards, records, strict=True):
            if self.fragments.done(shard.name) is None:
                raise JobError(f"the fragment of {shard.name} in {self.folder} was damaged: run the same again")
            expected = ids(shard)
            self._account(shard, record, expected, self.fragments.ids(record))
            unique.add(pa.array(expected, type=pa.string()))
        unique.check(goal.name)
        fragments = [fragment for record in records for fragment in record.fragments]
        files = [path for record in records for path in self.fragments.lance_files(record)]
        publish_fragments(fragments, files, goal, template.data.schema, meta)
        return str(total)


def lock_of(folder: Place, doing: str) -> Lock | Lease:
    """What keeps other drivers out of a folder: the kernel's lock on a disk, a lease in object storage."""
    return Lease(folder / LOCK, doing) if isinstance(folder, Remote) else Lock(folder / LOCK, doing)


def _of_array(ids: NDArray[Any]) -> Callable[[Shard], list[str]]:
    def those_of(shard: Shard) -> list[str]:
        found: list[str] = ids[shard.positions].tolist()
        return found

    return those_of


def _stream(
    goal: Place, meta: TableMeta, first: list[pa.Table], rest: Iterator[pa.Table], expected: Fingerprint | None = None
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
