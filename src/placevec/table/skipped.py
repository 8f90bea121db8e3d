"""Rows that could not be embedded: places in = rows + skipped, always."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import pyarrow as pa

from placevec.files import leave
from placevec.objects import Place, Remote, local_copy, located, remove, whole


@dataclass(frozen=True)
class Skipped:
    """A place that was not embedded.

    Attributes:
        id: its id.
        stage: where it fell out, such as "chip" or "encode".
        reason: why, for people.
        geometry: its WKB, or None.
    """

    id: str
    stage: str
    reason: str
    geometry: bytes | None = None


_SCHEMA = pa.schema([("id", pa.string()), ("stage", pa.string()), ("reason", pa.string()), ("geometry", pa.binary())])


def skipped_path(table: str | Path | Remote) -> Place:
    """Where the skipped rows of a table stand: ``NAME.skipped.parquet`` beside it."""
    path = located(table)
    return path.with_name(f"{path.stem}.skipped.parquet")


class SkippedSink:
    """Writes the skipped rows of the table at a path piece by piece, in the order given.

    The file appears when all is written; without any rows, an older file is removed.
    """

    def __init__(self, table: str | Path | Remote) -> None:
        self.path = skipped_path(table)
        self.count = 0
        self._whole = whole(self.path)
        self._writer: Any = None

    def __enter__(self) -> SkippedSink:
        return self

    def write(self, rows: Iterable[Skipped]) -> None:
        """Add rows."""
        import pyarrow.parquet as pq

        data = pa.Table.from_pylist([vars(row) for row in rows], schema=_SCHEMA)
        if not data.num_rows:
            return
        if self._writer is None:
            self._writer = pq.ParquetWriter(self._whole.__enter__(), _SCHEMA, compression="zstd")
        self._writer.write_table(data)
        self.count += data.num_rows

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._writer is None:
            if kind is None:
                remove(self.path)
            return
        leave(self._whole, self._writer.close, kind, error, trace)


def write_skipped(table: str | Path | Remote, rows: Iterable[Skipped]) -> None:
    """Write the skipped rows of the table at the path given, by id; without any, an older file is removed."""
    with SkippedSink(table) as sink:
        sink.write(sorted(rows, key=lambda row: row.id))


def read_skipped(table: str | Path | Remote) -> list[Skipped]:
    """The skipped rows of the table at the path given."""
    path = skipped_path(table)
    if not path.exists():
        return []
    import pyarrow.parquet as pq

    with local_copy(path) as file:
        return [Skipped(**row) for row in pq.read_table(file, schema=_SCHEMA).to_pylist()]


def skipped_counts(rows: Iterable[Skipped]) -> dict[str, int]:
    """How many rows fell out for each "stage: reason", the most frequent first."""
    return dict(Counter(f"{row.stage}: {row.reason}" for row in rows).most_common())
