"""What every stored table can do, whatever its form: read in part, in batches, by filter."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from placevec.errors import UsageError
from placevec.objects import Remote
from placevec.provenance import Space, TableMeta
from placevec.table.embeddings import BATCH_ROWS, EmbeddingTable
from placevec.table.filter import Filter
from placevec.table.fingerprint import Fingerprint
from placevec.table.places import Places


class StoredTable(ABC):
    """A table in a file or dataset, of which only the parts asked for are read.

    Attributes:
        path: where it is.
        schema: its Arrow schema, as stored.
        meta: Space, codec and provenance.
    """

    def __init__(self, path: str | Path | Remote, schema: pa.Schema, meta: TableMeta) -> None:
        self.path = str(path) if isinstance(path, Remote) else path
        self.schema = schema
        self.meta = meta

    @property
    @abstractmethod
    def num_rows(self) -> int:
        """The number of rows."""

    @abstractmethod
    def _scan(self, columns: list[str], filter: Filter | None, batch_rows: int) -> Iterator[tuple[int, pa.Table]]:
        """Pieces of the table that may hold rows passing `filter`, each with the number of its first row."""

    @abstractmethod
    def _gather(self, rows: NDArray[np.int64], columns: list[str]) -> pa.Table:
        """The rows with the numbers given, in their order."""

    @property
    @abstractmethod
    def state(self) -> str:
        """What changes whenever the stored bytes do: cheap to ask, compared by caches."""

    def __len__(self) -> int:
        return self.num_rows

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.path)!r}: {self.num_rows:,} rows, {self.space.label})"

    @property
    def space(self) -> Space:
        """The Space of the vectors."""
        return self.meta.space

    @property
    def dims(self) -> int:
        """The number of components of a vector."""
        return self.meta.space.dims

    @cached_property
    def attributes(self) -> tuple[str, ...]:
        """The names of the columns that have no meaning of their own."""
        return Places(self.schema.empty_table()).attributes

    def has(self, name: str) -> bool:
        """Whether there is a column `name`."""
        return name in self.schema.names

    def batches(
        self,
        columns: Sequence[str] | None = None,
        filter: Filter | None = None,
        batch_rows: int = BATCH_ROWS,
    ) -> Iterator[EmbeddingTable]:
        """The rows that pass `filter` in pieces of at most `batch_rows` rows, with their vectors.

        `columns` names those wanted beside the vectors (all by default). Parts of the file that cannot hold a row
        that passes are not read.
        """
        wanted = [name for name in self.schema.names if columns is None or name in {*columns, "embedding"}]
        read = list(dict.fromkeys((*wanted, *self._needed(filter))))
        for _, piece in self._scan(read, filter, batch_rows):
            data = piece if filter is None else piece.filter(pa.array(filter.mask(Places(piece))))
            if data.num_rows:
                yield EmbeddingTable(data.select(wanted), self.meta)

    def resolve(self, filter: Filter | None) -> tuple[NDArray[np.int64], int]:
        """The numbers of the rows that pass `filter`, and how many a geographic filter left out for want of a place.

        Vectors are not read.
        """
        if filter is None:
            return np.arange(self.num_rows, dtype=np.int64), 0
        found = [
            first + np.flatnonzero(filter.mask(Places(piece)))
            for first, piece in self._scan(self._needed(filter), filter, 8 * BATCH_ROWS)
        ]
        rows = np.concatenate(found) if found else np.empty(0, dtype=np.int64)
        return rows.astype(np.int64), (self.unlocated if filter.geographic else 0)

    @cached_property
    def unlocated(self) -> int:
        """How many rows have no geometry."""
        return self._count_unlocated()

    def _count_unlocated(self) -> int:
        return sum(piece["geometry"].null_count for _, piece in self._scan(["geometry"], None, 8 * BATCH_ROWS))

    def take(self, rows: NDArray[np.int64] | Sequence[int], columns: Sequence[str] | None = None) -> EmbeddingTable:
        """The rows with the numbers given, in their order, with their vectors and `columns` (all by default)."""
        wanted = [name for name in self.schema.names if columns is None or name in {*columns, "embedding"}]
        return EmbeddingTable(self._gather(np.asarray(rows, dtype=np.int64), wanted), self.meta)

    def read(self, filter: Filter | None = None, columns: Sequence[str] | None = None) -> EmbeddingTable:
        """The rows that pass `filter` in memory."""
        parts = [batch.data for batch in self.batches(columns, filter, 8 * BATCH_ROWS)]
        if not parts:
            names = [n for n in self.schema.names if columns is None or n in {*columns, "embedding"}]
            empty = pa.schema([self.schema.field(name) for name in names]).empty_table()
            return EmbeddingTable(empty, self.meta)
        return EmbeddingTable(pa.concat_tables(parts).combine_chunks(), self.meta)

    def scan(
        self,
        columns: Sequence[str],
        rows: NDArray[np.int64] | None = None,
        batch_rows: int = BATCH_ROWS,
    ) -> Iterator[tuple[int, pa.Table]]:
        """`columns` in pieces of at most `batch_rows` rows, each with the number of its first row.

        Pieces without any of `rows` (sorted) are left out, and not read where the form of the table allows that.
        """
        for first, piece in self._scan(list(columns), None, batch_rows):
            if rows is None or np.diff(np.searchsorted(rows, (first, first + piece.num_rows)))[0]:
                yield first, piece

    def places(self, columns: Sequence[str] | None = None, rows: NDArray[np.int64] | None = None) -> Places:
        """All rows, or those with the numbers given in their order, without their vectors, in memory."""
        names = [n for n in self.schema.names if n not in ("embedding", "bbox")]
        names = [n for n in names if columns is None or n in {*columns, "id", "geometry"}]
        if rows is not None:
            return Places(self._gather(np.asarray(rows, dtype=np.int64), names))
        parts = [piece for _, piece in self._scan(names, None, 8 * BATCH_ROWS)]
        empty = pa.schema([self.schema.field(name) for name in names]).empty_table()
        return Places(pa.concat_tables([empty, *parts]).combine_chunks())

    def rows_of(self, ids: Sequence[str]) -> NDArray[np.int64]:
        """The row numbers of `ids`, -1 where there is none."""
        wanted = Places.create(list(dict.fromkeys(ids)))
        found = np.full(len(wanted), -1, dtype=np.int64)
        for first, piece in self._scan(["id"], None, 8 * BATCH_ROWS):
            at = wanted.rows_of(piece["id"])
            hit = np.flatnonzero(at >= 0)
            found[at[hit]] = first + hit
        return found[wanted.rows_of(list(ids))]

    def fingerprint(self) -> str:
        """The fingerprint of the content, computed from what is stored, in batches."""
        total = Fingerprint()
        names = [name for name in self.schema.names if name != "bbox"]
        for _, piece in self._scan(names, None, BATCH_ROWS):
            total.update(piece)
        return str(total)

    def _needed(self, filter: Filter | None) -> list[str]:
        if filter is None:
            return []
        located = [n for n in ("geometry", "h3") if n in self.schema.names] if filter.geographic else []
        columns = list(filter.columns)
        for name in columns:
            if not self.has(name):
                known = ", ".join(self.attributes) or "none"
                raise UsageError(f"the filter names {name!r}, which the table lacks; its attributes: {known}")
        return list(dict.fromkeys((*located, *columns))) or ["id"]
