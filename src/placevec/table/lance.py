"""EmbeddingTables as Lance datasets: large, appended, written by many workers with one commit."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from placevec.errors import FormatError, PlacevecError, SchemaError
from placevec.files import whole
from placevec.objects import Place, Remote, lance_options, located, remove, together, told
from placevec.provenance import TableMeta
from placevec.registry import need
from placevec.table.embeddings import EmbeddingTable, validate_schema
from placevec.table.filter import Filter
from placevec.table.stored import StoredTable
from placevec.table.unique import UniqueIds

_EXTRA = {"extra": "lance", "purpose": "a table as a Lance dataset"}
EMB_KEY = b"emb"


def lance_schema(schema: pa.Schema, meta: TableMeta) -> pa.Schema:
    """The stored schema: the columns of the table, and the footer `emb` as metadata."""
    fields = [field for field in schema if field.name != "bbox"]
    return pa.schema(fields, metadata={EMB_KEY: json.dumps(meta.to_footer()).encode()})


def write_lance(batches: Iterable[pa.Table], path: str | Path | Remote, meta: TableMeta) -> None:
    """Write a new dataset from pieces of a table; the folder appears when all is written, or not at all.

    In object storage, where folders cannot be exchanged, it is made ready in a temporary folder, then committed.
    """
    lance = _lance()
    place = located(path)
    if isinstance(place, Remote):
        with tempfile.TemporaryDirectory(prefix="placevec-") as folder:
            staged = Path(folder) / place.name
            write_lance(batches, staged, meta)
            made = lance.dataset(str(staged))
            parts = [json.dumps(part.metadata.to_json()) for part in made.get_fragments()]
            files = [staged / "data" / name for part in parts for name in data_files(part)]
            publish_fragments(parts, files, place, made.schema, meta)
        return
    pieces = iter(batches)
    first = next(pieces, None)
    if first is None:
        raise SchemaError(f"nothing was written to {path}: an empty table still has columns")
    schema = lance_schema(first.schema, meta)
    validate_schema(schema, meta)
    ids = UniqueIds()

    def stream() -> Iterator[pa.RecordBatch]:
        for piece in (first, *pieces):
            ids.add(piece["id"])
            yield from piece.select(schema.names).cast(schema).to_batches()

    with whole(place) as part:
        reader = pa.RecordBatchReader.from_batches(schema, stream())
        lance.write_dataset(reader, str(part), schema=schema, mode="create")
        ids.check(place.name)


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


def data_files(fragment: str) -> list[str]:
    """The names of the files that hold a fragment."""
    files: list[dict[str, Any]] = json.loads(fragment)["files"]
    return [str(file["path"]) for file in files]


def commit_fragments(fragments: Iterable[str], path: str | Path | Remote, schema: pa.Schema, meta: TableMeta) -> None:
    """Make the dataset at `path` of the `fragments` that workers wrote there, in one commit."""
    lance = _lance()
    place = located(path)
    parts = [lance.FragmentMetadata.from_json(fragment) for fragment in fragments]
    operation = lance.LanceOperation.Overwrite(lance_schema(schema, meta), parts)
    with told(place):
        lance.LanceDataset.commit(str(place), operation, storage_options=lance_options(place))


def publish_fragments(
    fragments: Sequence[str], files: Sequence[Place], goal: Place, schema: pa.Schema, meta: TableMeta
) -> None:
    """Bring the `files` of `fragments` to the dataset `goal`, and commit them; nothing stays there if that fails.

    The files stay where they are as well. What a killed process has committed already is not committed twice.
    """
    if _consists_of(goal, files):
        return
    fresh = not goal.exists()
    placed = [goal / "data" / path.name for path in files]
    try:
        if isinstance(goal, Path):
            (goal / "data").mkdir(parents=True, exist_ok=True)
            for path, at in zip(files, placed, strict=True):
                _link(path, at)
        else:
            together(_bring, list(zip(files, placed, strict=True)))
        commit_fragments(fragments, goal, schema, meta)
    except BaseException:
        with suppress(PlacevecError):  # a server that is gone is told of by the first error
            if not _consists_of(goal, files):
                for place in [goal] if fresh else placed:
                    remove(place)
        raise


def read_column(path: Place, name: str) -> list[Any]:
    """A column of one data file, as it stands there."""
    from lance.file import LanceFileReader

    with told(path):
        reader = LanceFileReader(str(path), storage_options=lance_options(path), columns=[name])
        found: list[Any] = reader.read_all().to_table()[name].to_pylist()
        return found


def _consists_of(goal: Place, files: Sequence[Place]) -> bool:
    """Whether the dataset consists of the files named: a kill may come between commit and the removal of the job."""
    try:
        parts = _lance().dataset(str(goal), storage_options=lance_options(goal)).get_fragments()
    except (ValueError, OSError):
        return False
    return bool(files) and [file.path for part in parts for file in part.data_files()] == [path.name for path in files]


def _bring(pair: tuple[Place, Place]) -> None:
    path, goal = pair
    assert isinstance(goal, Remote)
    if isinstance(path, Remote):
        path.copy_to(goal)
    else:
        goal.upload(path)


def _link(path: Place, goal: Place) -> None:
    assert isinstance(path, Path)
    assert isinstance(goal, Path)
    remove(goal)
    try:
        os.link(path, goal)
    except OSError:  # a file system without links
        shutil.copyfile(path, goal)


class LanceTable(StoredTable):
    """An EmbeddingTable in a Lance dataset, read in part."""

    def __init__(self, path: str | Path | Remote) -> None:
        lance = _lance()
        place = located(path)
        if not place.is_dir():
            raise FormatError(f"{path}: no such dataset")
        path = path if isinstance(place, Path) else place
        try:
            self._dataset: Any = lance.dataset(str(path), storage_options=lance_options(place))
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
