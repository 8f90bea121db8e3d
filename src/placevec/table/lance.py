"""EmbeddingTables as Lance datasets: large, appended, written by many workers with one commit."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from placevec.errors import FormatError, PlacevecError, SchemaError
from placevec.files import whole
from placevec.provenance import TableMeta
from placevec.registry import need
from placevec.table.embeddings import EmbeddingTable, validate_schema
from placevec.table.filter import Filter
from placevec.table.parquet import _hashes_of_ids
from placevec.table.stored import StoredTable

_EXTRA = {"extra": "lance", "purpose": "a table as a Lance dataset"}
EMB_KEY = b"emb"


def lance_schema(schema: pa.Schema, meta: TableMeta) -> pa.Schema:
    """The stored schema: the columns of the table, and the footer `emb` as metadata."""
    fields = [field for field in schema if field.name != "bbox"]
    return pa.schema(fields, metadata={EMB_KEY: json.dumps(meta.to_footer()).encode()})


def write_lance(batches: Iterable[pa.Table], path: str | Path, meta: TableMeta) -> None:
    """Write a new dataset from pieces of a table; the folder appears when all is written, or not at all."""
    lance = _lance()
    pieces = iter(batches)
    first = next(pieces, None)
    if first is None:
        raise SchemaError(f"nothing was written to {path}: an empty table still has columns")
    schema = lance_schema(first.schema, meta)
    validate_schema(schema, meta)
    hashes: list[NDArray[np.uint64]] = []

    def stream() -> Iterator[pa.RecordBatch]:
        for piece in (first, *pieces):
            hashes.append(_hashes_of_ids(piece["id"]))
            yield from piece.select(schema.names).cast(schema).to_batches()

    with whole(path) as part:
        reader = pa.RecordBatchReader.from_batches(schema, stream())
        lance.write_dataset(reader, str(part), schema=schema, mode="create")
        seen = np.concatenate(hashes)
        if len(np.unique(seen)) != len(seen):
            raise SchemaError(f"ids repeat among the rows of {Path(path).name}: ids are unique")


def append_lance(table: EmbeddingTable, path: str | Path) -> None:
    """Append rows to a dataset in one commit; readers see either all of them or none.

    Raises SpaceMismatch or SchemaError, and changes nothing, if Space, storage or columns differ or ids repeat.
    """
    lance = _lance()
    stored = LanceTable(path)
    stored.space.require(table.space, "appending")
    if (stored.meta.dtype, stored.meta.codec, stored.meta.tower) != (
        table.meta.dtype,
        table.meta.codec,
        table.meta.tower,
    ):
        raise SchemaError(f"{path} stores {stored.meta.dtype}, the rows to append are {table.meta.dtype}")
    present = stored.rows_of(list(table.ids))
    if (present >= 0).any():
        raise SchemaError(f"the id {table.ids[int(np.argmax(present >= 0))]!r} is in {path} already: ids are unique")
    try:
        data = table.data.select(stored.schema.names).cast(stored.schema)
    except (KeyError, pa.ArrowInvalid, ValueError) as error:
        raise SchemaError(f"the columns of {path} differ: {str(error).splitlines()[0]}") from error
    lance.write_dataset(data, str(path), mode="append")


def write_fragment(table: EmbeddingTable, path: str | Path) -> list[str]:
    """Write rows as fragments of the dataset at `path` without committing them; for workers.

    Returns the fragments as JSON, to be handed to `commit_fragments` by the driver. Until then no reader sees them.
    """
    lance = _lance()
    schema = lance_schema(table.data.schema, table.meta)
    data = table.data.select(schema.names).cast(schema)
    # "overwrite" because `commit_fragments` makes a new dataset: what stands there may have other columns.
    fragments = lance.fragment.write_fragments(data, str(path), schema=schema, mode="overwrite")
    return [json.dumps(fragment.to_json()) for fragment in fragments]


def commit_fragments(fragments: Iterable[str], path: str | Path, schema: pa.Schema, meta: TableMeta) -> None:
    """Make the dataset at `path` of the `fragments` that workers wrote there, in one commit."""
    lance = _lance()
    parts = [lance.FragmentMetadata.from_json(fragment) for fragment in fragments]
    operation = lance.LanceOperation.Overwrite(lance_schema(schema, meta), parts)
    lance.LanceDataset.commit(str(path), operation)


class LanceTable(StoredTable):
    """An EmbeddingTable in a Lance dataset, read in part."""

    def __init__(self, path: str | Path) -> None:
        lance = _lance()
        if "://" not in str(path) and not Path(path).is_dir():
            raise FormatError(f"{path}: no such dataset")
        try:
            self._dataset: Any = lance.dataset(str(path))
        except (ValueError, OSError) as error:
            raise FormatError(f"{path}: this is no Lance dataset ({str(error).splitlines()[0][:120]})") from error
        schema = self._dataset.schema
        footer = (schema.metadata or {}).get(EMB_KEY)
        try:
            meta = TableMeta.from_footer(json.loads(footer) if footer else {})
            schema = schema.remove_metadata()
            validate_schema(schema, meta)
        except PlacevecError as error:
            raise type(error)(f"{path}: {error}") from error
        super().__init__(path, schema, meta)

    @property
    def num_rows(self) -> int:
        """The number of rows."""
        return int(self._dataset.count_rows())

    @property
    def state(self) -> str:
        """The version of the dataset."""
        return f"version-{self._dataset.version}"

    def _scan(self, columns: list[str], filter: Filter | None, batch_rows: int) -> Iterator[tuple[int, pa.Table]]:
        first = 0
        names = [name for name in self.schema.names if name in columns]
        scanner = self._dataset.scanner(columns=names, batch_size=batch_rows, scan_in_order=True, batch_readahead=2)
        for batch in scanner.to_batches():
            yield first, pa.Table.from_batches([batch]).replace_schema_metadata(None)
            first += batch.num_rows

    def _gather(self, rows: NDArray[np.int64], columns: list[str]) -> pa.Table:
        names = [name for name in self.schema.names if name in columns]
        taken = self._dataset.take(rows.tolist(), columns=names)
        return taken.replace_schema_metadata(None).combine_chunks()


def _lance() -> Any:
    # Lance warns on stderr that a new dataset is new; it reads this variable once, when it is imported.
    os.environ.setdefault("LANCE_LOG", "error")
    return need("lance", **_EXTRA)
