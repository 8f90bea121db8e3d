"""The folder of a job: one fragment, one file of skipped rows and one record for each shard that is done.

A shard is done when its record stands there and every file that the record names has the checksum in it. All are
written whole, the record last, under names that no other attempt uses; so a kill at any moment leaves shards that are
done and files that nobody names, and two attempts at one shard do not disturb each other.
"""

from __future__ import annotations

import errno
import json
import platform
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa

from placevec.engine.flags import count_flags
from placevec.engine.work import Done
from placevec.errors import FormatError, JobError, PlacevecError
from placevec.objects import Place, Remote, local_copy, remove, write_text
from placevec.provenance import sha256_file
from placevec.table import EmbeddingTable, Skipped, read_skipped, read_table, skipped_counts, write_skipped
from placevec.table.fingerprint import Fingerprint
from placevec.table.skipped import skipped_path

Form = Literal["parquet", "lance"]
JOB = "job.json"  # says whose folder this is
_FULL = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True)
class Record:
    """What is known of a shard that is done.

    Attributes:
        shard: its name.
        key: the key of its job.
        rows: number of embedded rows.
        skipped: number of skipped rows.
        reasons: how many were skipped for each "stage: reason".
        unit: whether all vectors have length 1.
        largest: the largest absolute component.
        fingerprint: rows, low and high of `table.fingerprint.Fingerprint`.
        files: sha256 of each file (of an object: size and ETag) by its path in the folder.
        fragments: the Lance fragments as JSON.
        flagged: how many rows each boolean column of the encoder flags.
    """

    shard: str
    key: str
    rows: int
    skipped: int
    reasons: Mapping[str, int]
    unit: bool
    largest: float
    fingerprint: tuple[int, int, int]
    files: Mapping[str, str]
    fragments: tuple[str, ...] = ()
    flagged: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Place) -> Record | None:
        """The record at `path`; None if there is none that can be read."""
        try:
            value = json.loads(path.read_text())
            return cls(**{**value, "fingerprint": tuple(value["fingerprint"]), "fragments": tuple(value["fragments"])})
        except (OSError, ValueError, TypeError, KeyError):
            return None


@dataclass(frozen=True)
class Fragments:
    """The fragments of a job in its folder; all that a worker needs to know of the job.

    Args:
        folder: the job's folder.
        key: its key.
        form: how fragments are stored.
        flags: the boolean columns whose rows are counted.
    """

    folder: Place
    key: str
    form: Form = "parquet"
    flags: tuple[str, ...] = ()

    def check(self) -> None:
        """JobError unless this process sees the folder of this job; for workers that may be on another machine."""
        try:
            found = str(json.loads((self.folder / JOB).read_text())["key"])
        except (OSError, ValueError, KeyError, TypeError):
            found = ""
        if found != self.key:
            raise JobError(
                f"{platform.node()} does not see the job in {self.folder}: on a cluster without a shared disk write to "
                "s3://BUCKET/NAME, else to a folder of a file system that all nodes share"
            )

    def write(self, shard: str, done: Done) -> Record:
        """Store the result of a shard; it counts as done from then on.

        Raises:
            JobError: the disk is full. Nothing of this shard stays, what was done before does.
        """
        name = f"{shard}-{uuid.uuid4().hex[:8]}"
        try:
            with full_disk(self.folder.parent, f"goes on at {shard}"):
                return self._write(shard, name, done)
        except BaseException:
            with suppress(PlacevecError):  # a server that is gone is told of by the first error
                for path in self.folder.glob(f"{name}*"):
                    remove(path)
            raise

    def _write(self, shard: str, name: str, done: Done) -> Record:
        table, skipped = done
        with self._staged() as folder:
            files: list[Path] = []
            fragments: list[str] = []
            if len(table) and self.form == "lance":
                from placevec.table.lance import data_files, write_fragment

                fragments = write_fragment(table, folder / f"{name}.lance")
                data = folder / f"{name}.lance" / "data"
                files += [data / path for fragment in fragments for path in data_files(fragment)]
            elif len(table):
                from placevec.table.parquet import write_parquet

                files.append(folder / f"{name}.parquet")
                write_parquet(table, files[-1], order="keep")
            if skipped:
                marker = folder / f"{name}.parquet"
                write_skipped(marker, skipped)
                files.append(folder / skipped_path(marker).name)
            digests = {path.relative_to(folder).as_posix(): self._keep(path, folder) for path in files}
        count = Fingerprint().update(table.data)
        record = Record(
            shard=shard,
            key=self.key,
            rows=len(table),
            skipped=len(skipped),
            reasons=skipped_counts(skipped),
            unit=table.meta.normalized,
            largest=float(np.abs(table.vectors()).max(initial=0.0)),
            fingerprint=(count.rows, count.low, count.high),
            files=digests,
            fragments=tuple(fragments),
            flagged=count_flags(table.data, self.flags),
        )
        write_text(self._record(shard), json.dumps(asdict(record)))
        return record

    def done(self, shard: str) -> Record | None:
        """The record of a shard, if all its files are there and undamaged."""
        record = Record.read(self._record(shard))
        if record is None or record.key != self.key or record.shard != shard:
            return None
        for name, digest in record.files.items():
            if _digest(self.folder / name) != digest:
                return None
        return record

    def read(self, record: Record) -> EmbeddingTable | None:
        """The embedded rows of a shard stored as Parquet; None if there are none."""
        if not record.rows:
            return None
        name = next(name for name in record.files if name.endswith(".parquet") and not name.endswith("skipped.parquet"))
        try:
            with local_copy(self.folder / name) as path:
                return read_table(path)
        except (PlacevecError, pa.ArrowException, OSError) as error:
            raise self._damaged(record, error) from error

    def lance_files(self, record: Record) -> list[Place]:
        """The files of the Lance fragments of a shard."""
        return [self.folder / name for name in record.files if name.endswith(".lance")]

    def ids(self, record: Record) -> list[str]:
        """The ids of the embedded rows of a shard stored as Lance fragments, as its files have them."""
        from placevec.table.lance import read_column

        found: list[str] = []
        for path in self.lance_files(record):
            try:
                found += read_column(path, "id")
            except (OSError, ValueError) as error:
                raise self._damaged(record, error) from error
        return found

    def skipped(self, record: Record) -> list[Skipped]:
        """The skipped rows of a shard."""
        if not record.skipped:
            return []
        name = next(name for name in record.files if name.endswith(".skipped.parquet"))
        try:
            return read_skipped(self.folder / f"{name.removesuffix('.skipped.parquet')}.parquet")
        except (FormatError, pa.ArrowException, OSError) as error:
            raise self._damaged(record, error) from error

    @contextmanager
    def _staged(self) -> Iterator[Path]:
        """Where a worker writes: the job's folder, or a temporary one of which files are sent to object storage."""
        if isinstance(self.folder, Remote):
            with tempfile.TemporaryDirectory(prefix="placevec-") as folder:
                yield Path(folder)
        else:
            yield self.folder

    def _keep(self, path: Path, staged: Path) -> str:
        """See that a staged file stands in the job's folder; its digest."""
        if isinstance(self.folder, Remote):
            return (self.folder / path.relative_to(staged).as_posix()).upload(path)
        return sha256_file(path)

    def _record(self, shard: str) -> Place:
        return self.folder / f"{shard}.json"

    def _damaged(self, record: Record, error: Exception) -> JobError:
        reason = str(error).splitlines()[0]
        return JobError(f"the fragment of {record.shard} in {self.folder} was damaged ({reason}): run the same again")


def _digest(place: Place) -> str | None:
    """What tells the content of a file: its sha256; of an object, what the server says. None where there is none."""
    if isinstance(place, Remote):
        return place.tag()
    return sha256_file(place) if place.is_file() else None


@contextmanager
def full_disk(where: Place, then: str) -> Iterator[None]:
    """Turn the failure of a full disk into a JobError; `then` says what the same command does when there is room."""
    try:
        yield
    except OSError as error:
        # Lance reports a full disk in words only.
        if error.errno not in _FULL and "no space left" not in str(error).lower():
            raise
        raise JobError(f"the disk of {where} is full: make room, then run the same again, it {then}") from error
