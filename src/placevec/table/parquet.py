"""EmbeddingTables as GeoParquet 1.1: one file, written whole, read in part."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from placevec.errors import FormatError, PlacevecError, SchemaError
from placevec.files import leave
from placevec.geo.boxes import Box, split_box
from placevec.geo.hilbert import hilbert_order
from placevec.objects import Remote, RemoteFile, ends, located, whole
from placevec.provenance import TableMeta
from placevec.table.embeddings import BATCH_ROWS, EmbeddingTable, validate_schema
from placevec.table.filter import Filter
from placevec.table.fingerprint import Fingerprint
from placevec.table.geometry import BBOX_TYPE, centres, covering, geometry_types
from placevec.table.places import Places
from placevec.table.stored import StoredTable
from placevec.table.unique import UniqueIds

# Vectors of about this size make a row group: small, so that a bounding box reads its share of a file.
GROUP_BYTES = 4 << 20
COMPRESSION_LEVEL = 1  # vectors hardly compress: a higher level costs time and saves nothing


class ParquetSink:
    """Writes a table of any size piece by piece; the file appears when all is written, or not at all.

    Rows stand in the order given: `write_table` sorts them, workers hand them over sorted.

    Attributes:
        fingerprint: of the rows written so far; it counts nothing with ``count=False``, which saves its time.
    """

    def __init__(self, path: str | Path | Remote, meta: TableMeta, *, count: bool = True) -> None:
        self.path = located(path)
        self.meta = meta
        self.fingerprint = Fingerprint()
        self._count = count
        self._whole = whole(self.path)
        self._writer: pq.ParquetWriter | None = None
        self._part: Path | None = None
        self._schema: pa.Schema | None = None
        self._bounds = np.array([np.inf, np.inf, -np.inf, -np.inf])
        self._kinds: set[str] = set()
        self._ids = UniqueIds()
        self._held: list[pa.Table] = []
        self._held_rows = 0
        self._group_rows = 0

    def __enter__(self) -> ParquetSink:
        self._part = self._whole.__enter__()
        return self

    def write(self, data: pa.Table) -> None:
        """Add rows; all pieces have the same columns."""
        if self._schema is None:
            data = data.drop_columns(["bbox"]) if "bbox" in data.schema.names else data
            validate_schema(data.schema, self.meta)
            self._open(data.schema)
        assert self._schema is not None
        try:
            data = data.select(self._schema.names).cast(self._schema)
        except (KeyError, pa.ArrowInvalid, ValueError) as error:
            raise SchemaError(f"the pieces of {self.path.name} have different columns: {error}") from error
        if data.num_rows == 0:
            return
        if self._count:
            self.fingerprint.update(data)
        self._ids.add(data["id"])
        self._held.append(data)
        self._held_rows += data.num_rows
        while self._held_rows >= self._group_rows:
            self._flush(self._group_rows)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        def finish() -> None:
            if kind is None:
                self._finish()
            elif self._writer is not None:
                self._writer.close()

        leave(self._whole, finish, kind, error, trace)

    def _open(self, schema: pa.Schema) -> None:
        dims = self.meta.space.dims
        width = {"float32": 4, "float16": 2, "int8": 1}[self.meta.dtype]
        self._group_rows = int(np.clip(GROUP_BYTES // (dims * width), 1024, 65_536))
        self._schema = schema.remove_metadata()
        fields = list(self._schema)
        after = self._schema.get_field_index("geometry") + 1
        # The footers stand in the schema too, as far as they are known now: a program that reads the table with
        # plain pyarrow and writes it again hands them on.
        stored = pa.schema([*fields[:after], pa.field("bbox", BBOX_TYPE), *fields[after:]], metadata=self._footers())
        # Of half floats DuckDB 2.0 does not read this encoding.
        floats = ["embedding.list.element"] if self.meta.dtype == "float32" else []
        corners = [f"bbox.{side.name}" for side in BBOX_TYPE]
        strings = [f.name for f in fields if pa.types.is_string(f.type) and f.name != "id"]
        assert self._part is not None
        self._writer = pq.ParquetWriter(
            self._part,
            stored,
            compression="zstd",
            compression_level=COMPRESSION_LEVEL,
            use_dictionary=strings,
            use_byte_stream_split=[*floats, *corners],
            # Statistics of every component would make the footer larger than some tables.
            write_statistics=[f.name for f in fields if f.name not in ("embedding", "geometry")] + corners,
            store_schema=True,
            write_batch_size=65_536,  # values encoded at a time: a tenth faster than the default for long lists
        )

    def _flush(self, rows: int) -> None:
        assert self._writer is not None
        held = pa.concat_tables(self._held)
        group, rest = held.slice(0, rows).combine_chunks(), held.slice(rows)
        geometry = group["geometry"]
        boxes = covering(geometry)
        located = np.asarray(boxes.is_valid())
        if located.any():
            sides = [np.asarray(boxes.field(i))[located] for i in range(4)]
            low = [sides[0].min(), sides[1].min()]
            high = [sides[2].max(), sides[3].max()]
            self._bounds[:2] = np.minimum(self._bounds[:2], low)
            self._bounds[2:] = np.maximum(self._bounds[2:], high)
            self._kinds |= geometry_types(geometry)
        after = group.schema.get_field_index("geometry") + 1
        group = group.add_column(after, "bbox", boxes).replace_schema_metadata(self._writer.schema.metadata)
        self._writer.write_table(group, row_group_size=rows)
        self._held = [rest] if rest.num_rows else []
        self._held_rows = rest.num_rows

    def _finish(self) -> None:
        if self._writer is None:
            raise SchemaError(
                f"nothing was written to {self.path.name}: write an empty table to say what its columns are"
            )
        if self._held_rows:
            self._flush(self._held_rows)
        try:
            self._ids.check(self.path.name)
        except SchemaError:
            self._writer.close()
            raise
        self._writer.add_key_value_metadata(self._footers())
        self._writer.close()

    def _footers(self) -> dict[str, str]:
        return {
            "geo": json.dumps(geo_footer(self._bounds, self._kinds)),
            "emb": json.dumps(self.meta.to_footer(), default=_plain),
        }


def write_parquet(table: EmbeddingTable, path: str | Path | Remote, *, order: str = "hilbert") -> None:
    """Write a table as GeoParquet 1.1, rows in Hilbert order ("keep" leaves them as they are)."""
    data = table.data
    if order == "hilbert":
        # One centre stands for a geometry: the order only has to keep neighbours near each other.
        rows = hilbert_order(*centres(data["geometry"]))
        if not np.array_equal(rows, np.arange(len(rows))):
            data = data.take(pa.array(rows))
    elif order != "keep":
        raise SchemaError(f"rows cannot be ordered by {order!r}: choose hilbert or keep")
    with ParquetSink(path, table.meta, count=False) as sink:
        sink.write(data)


class ParquetTable(StoredTable):
    """An EmbeddingTable in a GeoParquet file, read in part."""

    def __init__(self, path: str | Path | Remote) -> None:
        place = located(path)
        path = path if isinstance(place, Path) else place
        self._place = place
        self._file, footer = open_parquet(path)
        try:
            emb = json.loads(footer[b"emb"]) if b"emb" in footer else {}
        except ValueError as error:
            raise FormatError(f"{path}: the footer `emb` is not JSON") from error
        try:
            meta = TableMeta.from_footer(emb)
            schema = self._file.schema_arrow.remove_metadata()
            validate_schema(schema, meta)
        except PlacevecError as error:
            raise type(error)(f"{path}: {error}") from error
        super().__init__(path, schema, meta)
        rows = [self._file.metadata.row_group(i).num_rows for i in range(self._file.num_row_groups)]
        self._starts = np.concatenate(([0], np.cumsum(rows))).astype(np.int64)

    @property
    def num_rows(self) -> int:
        """The number of rows."""
        return int(self._file.metadata.num_rows)

    @property
    def state(self) -> str:
        """Size and time of the last change of the file."""
        if isinstance(self._place, Remote):
            return self._place.tag() or "gone"
        stat = self._place.stat()
        return f"{stat.st_size}-{stat.st_mtime_ns}"

    def read(self, filter: Filter | None = None, columns: Sequence[str] | None = None) -> EmbeddingTable:
        """See `StoredTable.read`; row groups are decoded side by side."""
        wanted = [name for name in self.schema.names if columns is None or name in {*columns, "embedding"}]
        groups = self._groups(filter)
        if not groups:
            return super().read(filter, columns)
        names = list(dict.fromkeys((*wanted, *self._needed(filter))))
        part = self._fragment().subset(row_group_ids=groups)
        data = part.to_table(schema=self.schema, columns=names, batch_size=1 << 20)
        if filter is not None:
            data = data.filter(pa.array(filter.mask(Places(data))))
        return EmbeddingTable(data.select(wanted).combine_chunks().replace_schema_metadata(None), self.meta)

    @cached_property
    def unlocated(self) -> int:
        """How many rows have no geometry: told by the statistics of the covering where they are."""
        if not self._corners:
            return self._count_unlocated()
        stats = [
            self._file.metadata.row_group(group).column(self._corners[0]).statistics
            for group in range(self._file.num_row_groups)
        ]
        if any(stat is None or not stat.has_null_count for stat in stats):
            return self._count_unlocated()
        return sum(stat.null_count for stat in stats)

    def _scan(self, columns: list[str], filter: Filter | None, batch_rows: int) -> Iterator[tuple[int, pa.Table]]:
        yield from self._scan_groups(self._groups(filter), columns, batch_rows)

    def scan(
        self,
        columns: Sequence[str],
        rows: NDArray[np.int64] | None = None,
        batch_rows: int = BATCH_ROWS,
    ) -> Iterator[tuple[int, pa.Table]]:
        """See `StoredTable.scan`; row groups without any of `rows` are not read."""
        if rows is None:
            groups = list(range(self._file.num_row_groups))
        else:
            groups = np.unique(np.searchsorted(self._starts, rows, side="right") - 1).tolist()
        for first, piece in self._scan_groups(groups, list(columns), batch_rows):
            if rows is None or np.diff(np.searchsorted(rows, (first, first + piece.num_rows)))[0]:
                yield first, piece

    def _scan_groups(self, groups: list[int], columns: list[str], batch_rows: int) -> Iterator[tuple[int, pa.Table]]:
        for group in groups:
            first = int(self._starts[group])
            for batch in self._file.iter_batches(batch_rows, row_groups=[group], columns=columns, use_threads=True):
                yield first, pa.Table.from_batches([batch])
                first += batch.num_rows

    def _groups(self, filter: Filter | None) -> list[int]:
        """The row groups that may hold a row that passes: by the statistics of the covering and of attributes."""
        groups = list(range(self._file.num_row_groups))
        if filter is None or filter.empty:
            return groups
        for box in filter.boxes:
            groups = self._touching(groups, box)
        if filter.expression is not None and groups:
            expression, names = filter.expression
            if all(name in self.schema.names for name in names):
                able = {part.id for part in self._fragment().subset(filter=expression, schema=self.schema).row_groups}
                groups = [group for group in groups if group in able]
        return groups

    def _fragment(self) -> Any:
        import pyarrow.dataset as ds

        if isinstance(self._place, Remote):
            return ds.ParquetFileFormat().make_fragment(pa.PythonFile(RemoteFile(self._place), mode="r"))
        (fragment,) = ds.dataset(str(self._place), format="parquet").get_fragments()
        return fragment

    @cached_property
    def _corners(self) -> list[int]:
        """The numbers of the columns of the covering; none if the file has no covering."""
        names = [self._file.schema.column(i).path for i in range(len(self._file.schema))]
        corners = [f"bbox.{side.name}" for side in BBOX_TYPE]
        return [names.index(corner) for corner in corners] if set(corners) <= set(names) else []

    def _touching(self, groups: list[int], box: Box) -> list[int]:
        bounds = self._bounds
        if bounds is None:
            return groups
        touched = np.zeros(len(bounds), dtype=bool)
        for west, south, east, north in split_box(box):
            x = (bounds[:, 0] <= east) & (west <= bounds[:, 2])
            touched |= x & (bounds[:, 1] <= north) & (south <= bounds[:, 3])
        return [group for group in groups if touched[group]]

    @cached_property
    def _bounds(self) -> NDArray[np.float64] | None:
        """(groups, 4) boxes of the row groups by the statistics of the covering; None if the file has no covering.

        A group without statistics may be anywhere; of one without a geometry there is no box (NaN touches nothing).
        """
        columns = self._corners
        if not columns:
            return None
        bounds = np.tile([-np.inf, -np.inf, np.inf, np.inf], (self._file.num_row_groups, 1))
        for group in range(len(bounds)):
            meta = self._file.metadata.row_group(group)
            stats = [meta.column(column).statistics for column in columns]
            if any(stat is None for stat in stats):
                continue
            known = all(stat.has_min_max for stat in stats)
            bounds[group] = [stats[0].min, stats[1].min, stats[2].max, stats[3].max] if known else np.nan
        return bounds

    def _gather(self, rows: NDArray[np.int64], columns: list[str]) -> pa.Table:
        if len(rows) and (rows.min() < 0 or rows.max() >= self.num_rows):
            raise SchemaError(f"row {int(rows.max())} of a table of {self.num_rows}")
        wanted, inverse = np.unique(rows, return_inverse=True)
        group_of = np.searchsorted(self._starts, wanted, side="right") - 1
        parts = []
        for group in np.unique(group_of):
            piece = self._file.read_row_group(int(group), columns=columns)
            parts.append(piece.take(pa.array(wanted[group_of == group] - self._starts[group])))
        names = [name for name in self.schema.names if name in columns]
        empty = pa.schema([self.schema.field(name) for name in names]).empty_table()
        found = pa.concat_tables([empty, *(part.select(names).replace_schema_metadata(None) for part in parts)])
        return found.take(pa.array(inverse.reshape(-1))).combine_chunks()


def open_parquet(path: str | Path | Remote) -> tuple[pq.ParquetFile, Mapping[bytes, bytes]]:
    """A Parquet file and its key-value footer; FormatError if it is none, is empty or was cut short."""
    where = located(path)
    size, head, tail = ends(where)
    if head != b"PAR1":
        raise FormatError(f"{path}: this is no Parquet file (it begins with {head!r})")
    if tail != b"PAR1":
        raise FormatError(f"{path}: the Parquet file is cut short ({size} bytes, no footer): copy or make it again")
    try:
        # Over a network, the columns of a row group are asked for together.
        remote = isinstance(where, Remote)
        file = pq.ParquetFile(RemoteFile(where) if isinstance(where, Remote) else where, pre_buffer=remote)
    except (pa.ArrowException, OSError) as error:
        raise FormatError(f"{path}: the Parquet file cannot be read: {str(error).splitlines()[0]}") from error
    return file, file.metadata.metadata or {}


def geo_footer(bounds: NDArray[np.float64], kinds: set[str]) -> dict[str, Any]:
    """The footer `geo` of GeoParquet 1.1; the CRS is left out, which means OGC:CRS84."""
    column: dict[str, Any] = {
        "encoding": "WKB",
        "geometry_types": sorted(kinds),
        "covering": {"bbox": {side.name: ["bbox", side.name] for side in BBOX_TYPE}},
    }
    if np.isfinite(bounds).all():
        column["bbox"] = [float(value) for value in bounds]
    return {"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": column}}


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} cannot stand in a footer")
