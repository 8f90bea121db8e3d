"""Parquet files: GeoParquet of any version and maker, our own with a whole or a lost footer, or plain columns."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import shapely

from placevec.errors import FormatError, PlacevecError, SchemaError
from placevec.provenance import SourceRef, TableMeta
from placevec.sources.tables.geoparquet import geometry_columns, where_of
from placevec.sources.tables.layout import plan
from placevec.sources.tables.options import Options
from placevec.sources.tables.piece import ForeignFile, Piece, rows_per_piece
from placevec.sources.tables.place import Where
from placevec.sources.tables.vectors import component_columns, from_components, from_lists, list_column
from placevec.table.parquet import ParquetTable, open_parquet
from placevec.table.skipped import Skipped


class ParquetSource(ForeignFile):
    """A Parquet file with vectors in a column of lists, or in one column for each component."""

    def __init__(self, path: str, stem: str, options: Options) -> None:
        self.path = path
        self.notes = []
        self._file, self._footer = open_parquet(path)
        arrow = self._file.schema_arrow
        names = arrow.names
        self._emb = _emb(path, self._footer)
        self.own = _own(path, self._emb)
        self.model = _model(self._emb) if self.own is None else ""
        self._list, self._components = self._vector_columns(arrow, names, options)
        self.dims = len(self._components) or self._list_dims(arrow)
        if self.own is not None and self.own.space.dims != self.dims:
            raise SchemaError(
                f"{path}: vectors of {self.dims} components, the footer `emb` says {self.own.space.dims}: make it again"
            )
        if self.own is not None and self.own.dtype == "int8":
            self.codec = None if self.own.codec is None else dict(self.own.codec)
        where = where_of(path, self._file, self._footer, options)
        if options.crs is None and where.crs is not None and not where.crs.is_geographic and self._in_degrees(where):
            self.notes.append(
                f"the file says {where.crs.name}, but its coordinates are degrees: taken as longitude and latitude; "
                "--crs overrules that"
            )
            where = replace(where, crs=None)
        others = geometry_columns(self._file, self._footer) - set(where.columns)
        vectors = {*self._components, *([self._list] if self._list else [])}
        self._layout = plan(path, stem, arrow, where, options, {*vectors, *others})
        self.schema = self._layout.schema
        self.notes += self._layout.notes
        if others:
            self.notes.append(f"a table has one geometry; left out: {', '.join(sorted(others))}")
        if self.own is not None:
            self.kind = self.own.kind
            self.chip_layout = None if self.own.chip_layout is None else dict(self.own.chip_layout)

    @property
    def bytes(self) -> int:
        """About how much memory all rows take."""
        return int(self._file.metadata.num_rows) * (4 * self.dims + 256)

    def pieces(self) -> Iterator[Piece]:
        """The rows in the order of the file."""
        vectors = [self._list] if self._list else self._components
        columns = list(dict.fromkeys([*self._layout.needed, *vectors]))
        first = 0
        try:
            for batch in self._file.iter_batches(rows_per_piece(self.dims), columns=columns, use_threads=False):
                yield self._piece(pa.Table.from_batches([batch]), first)
                first += batch.num_rows
        except (pa.ArrowInvalid, OSError) as error:
            raise self._damaged(error) from None

    def source(self) -> SourceRef:
        """Where the rows come from, with the licence where the footer names one."""
        plain = super().source()
        makers = [str(maker.get("name", "")) for maker in self._emb.get("providers", ()) if isinstance(maker, Mapping)]
        return SourceRef(plain.href, plain.sha256, str(self._emb.get("license", "")), ", ".join(filter(None, makers)))

    def parents(self) -> tuple[str, ...]:
        """The fingerprint of the table that the file is, if placevec wrote it."""
        if self.own is None:
            return ()
        try:
            return (ParquetTable(self.path).fingerprint(),)
        except PlacevecError:
            return ()  # rewritten by another tool, which kept the footer
        except (pa.ArrowInvalid, OSError) as error:
            raise self._damaged(error) from None

    def _damaged(self, error: Exception) -> FormatError:
        reason = str(error).splitlines()[0][:160]
        return FormatError(f"{self.path}: the Parquet file is damaged ({reason}): copy or make it again")

    def _vector_columns(self, arrow: pa.Schema, names: list[str], options: Options) -> tuple[str | None, list[str]]:
        wanted = options.column("vector", options.vector, names, self.path) if options.vector else None
        column = list_column(arrow, wanted, self.path)
        if column is not None:
            return column, []
        components = component_columns(names, options.prefix, self.path)
        if not components:
            raise SchemaError(
                f"{self.path}: no column holds vectors (lists of numbers, or {options.prefix}0, {options.prefix}1 …); "
                f"the columns are: {', '.join(names)[:200]}"
            )
        return None, components

    def _list_dims(self, arrow: pa.Schema) -> int:
        kind = arrow.field(self._list).type
        if pa.types.is_fixed_size_list(kind):
            return int(kind.list_size)
        for batch in self._file.iter_batches(256, columns=[self._list], use_threads=False):
            lengths = pc.drop_null(pc.list_value_length(batch.column(0)))
            if len(lengths):
                if lengths[0].as_py() == 0:
                    raise SchemaError(f"{self.path}: the first vector has no component; leave such rows out")
                return int(lengths[0].as_py())
        raise SchemaError(
            f"{self.path}: no row has a vector, and {self._list!r} does not say how long one is: leave the file out"
        )

    def _in_degrees(self, where: Where) -> bool:
        """Whether coordinates that are said to be projected lie within 180 by 90 units of the origin, all of them.

        A region of that size at the very origin of a projection is the rarer case by far; files of degrees that were
        labelled with the projection of their pixels are known.
        """
        if where.kind not in ("wkb", "wkt"):
            return False
        shapes = shapely.from_wkb if where.kind == "wkb" else shapely.from_wkt
        located = False
        for batch in self._file.iter_batches(columns=list(where.columns), use_threads=False):
            values = np.asarray(batch.column(0).to_numpy(zero_copy_only=False), dtype=object)
            bounds = shapely.bounds(shapes(values, on_invalid="ignore"))
            bounds = bounds[np.isfinite(bounds).all(axis=1)]
            if not (np.abs(bounds) <= [180.0, 90.0, 180.0, 90.0]).all():
                return False
            located = located or len(bounds) > 0
        return located

    def _piece(self, data: pa.Table, first: int) -> Piece:
        places = self._layout.places(data, first)
        if self._list is None:
            return Piece(places, from_components(data, self._components, self.path, first))
        vectors, valid = from_lists(data[self._list], self.dims, self.path, first, stored=self.codec is not None)
        if valid.all():
            return Piece(places, vectors)
        gone = places.filter(pa.array(~valid))
        skipped = [
            Skipped(row["id"], "import", "the file has no vector for it", row["geometry"])
            for row in gone.select(["id", "geometry"]).to_pylist()
        ]
        return Piece(places.filter(pa.array(valid)), np.asarray(vectors), skipped)


def _emb(path: str, footer: Mapping[bytes, bytes]) -> dict[str, Any]:
    if b"emb" not in footer:
        return {}
    try:
        found = json.loads(footer[b"emb"])
    except ValueError:
        raise FormatError(f"{path}: the footer `emb` is not JSON: write the file again") from None
    return found if isinstance(found, dict) else {}


def _own(path: str, emb: Mapping[str, Any]) -> TableMeta | None:
    if "placevec" not in emb:
        return None
    try:
        return TableMeta.from_footer(emb)
    except FormatError as error:
        raise FormatError(f"{path}: {error}") from None


def _model(emb: Mapping[str, Any]) -> str:
    """What a foreign footer `emb` names as the maker of the vectors: ``id@version``."""
    model = emb.get("model")
    if not isinstance(model, Mapping) or not model.get("id"):
        return ""
    version = model.get("version")
    return f"{model['id']}@{version}" if version else str(model["id"])
