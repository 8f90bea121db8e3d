"""Rows that could not be embedded: places in = rows + skipped, always."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from placevec.files import remove, whole


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


def skipped_path(table: str | Path) -> Path:
    """Where the skipped rows of a table stand: ``NAME.skipped.parquet`` beside it."""
    path = Path(table)
    return path.with_name(f"{path.stem}.skipped.parquet")


def write_skipped(table: str | Path, rows: Iterable[Skipped]) -> None:
    """Write the skipped rows of the table at the path given; without any, an older file is removed."""
    found = sorted(rows, key=lambda row: row.id)
    path = skipped_path(table)
    if not found:
        remove(path)
        return
    import pyarrow.parquet as pq

    data = pa.Table.from_pylist([vars(row) for row in found], schema=_SCHEMA)
    with whole(path) as part:
        pq.write_table(data, part, compression="zstd")


def read_skipped(table: str | Path) -> list[Skipped]:
    """The skipped rows of the table at the path given."""
    path = skipped_path(table)
    if not path.exists():
        return []
    import pyarrow.parquet as pq

    return [Skipped(**row) for row in pq.read_table(path, schema=_SCHEMA).to_pylist()]


def skipped_counts(rows: Iterable[Skipped]) -> dict[str, int]:
    """How many rows fell out for each "stage: reason", the most frequent first."""
    return dict(Counter(f"{row.stage}: {row.reason}" for row in rows).most_common())
