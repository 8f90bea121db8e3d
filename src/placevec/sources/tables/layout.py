"""From the columns of a foreign table to those of Places: ids, geometry, times, attributes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from placevec.errors import SchemaError
from placevec.sources.tables.options import Options
from placevec.sources.tables.place import Where
from placevec.table.places import RESERVED

TIME = pa.timestamp("us", "UTC")
# Names that say clearly what they are, the clearest first.
_TIMES = {
    "time_start": ("time_start", "start_datetime", "datetime", "date"),
    "time_end": ("time_end", "end_datetime"),
}
_OWN = {"place": pa.string(), "asset": pa.string(), "h3": pa.uint64()}


@dataclass
class Layout:
    """Which column of a file becomes which column of the table.

    Attributes:
        path: the file, for messages.
        stem: what ids that are made begin with.
        where: where its rows are.
        id: the column of ids, None if they are made.
        columns: name in the table -> (name in the file, type in the table).
        notes: what was mapped and left out.
    """

    path: str
    stem: str
    where: Where
    id: str | None
    columns: dict[str, tuple[str, pa.DataType]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def needed(self) -> list[str]:
        """The columns of the file that are read, vectors apart."""
        own = [] if self.id is None else [self.id]
        return list(dict.fromkeys((*own, *self.where.columns, *(source for source, _ in self.columns.values()))))

    @property
    def schema(self) -> pa.Schema:
        """The columns of `places`."""
        fields = [("id", pa.string()), ("geometry", pa.binary())]
        return pa.schema([*fields, *((name, kind) for name, (_, kind) in self.columns.items())])

    def places(self, data: pa.Table, first: int) -> pa.Table:
        """The rows of `data`, of which the first has the number `first` in the file."""
        columns = [self._ids(data, first), self.where.wkb(data, self.path, first)]
        for name, (source, kind) in self.columns.items():
            columns.append(self._cast(data[source].combine_chunks(), name, source, kind))
        return pa.Table.from_arrays(columns, schema=self.schema)

    def _ids(self, data: pa.Table, first: int) -> pa.Array:
        if self.id is None:
            numbers = pa.array(np.arange(first, first + data.num_rows)).cast(pa.string())
            return pc.binary_join_element_wise(pa.scalar(self.stem), numbers, ":")
        ids = data[self.id].combine_chunks().cast(pa.string())
        bad = pc.fill_null(pc.equal(ids, ""), True)
        if pc.any(bad).as_py():
            row = first + int(np.argmax(np.asarray(bad)))
            raise SchemaError(f"{self.path}: row {row} has no id in the column {self.id!r}: give each row its own")
        return ids

    def _cast(self, column: pa.Array, name: str, source: str, kind: pa.DataType) -> pa.Array:
        try:
            if name == "h3" and pa.types.is_string(column.type):
                return _hex(column)
            if pa.types.is_dictionary(column.type):
                column = column.dictionary_decode()
            if pa.types.is_timestamp(kind) and pa.types.is_timestamp(column.type) and column.type.tz is None:
                # Times without a zone are taken as UTC.
                column = column.cast(pa.timestamp("us"), safe=False)
            return column.cast(kind, safe=not pa.types.is_timestamp(kind))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise SchemaError(f"{self.path}: the column {source!r} does not fit {kind}: {reason}") from None


def plan(path: str, stem: str, schema: pa.Schema, where: Where, options: Options, used: set[str]) -> Layout:
    """The layout of a file with the columns `schema`, of which those `used` hold vectors or are known already."""
    names = schema.names
    for name in names:
        if names.count(name) > 1:
            raise SchemaError(f"{path}: two columns are called {name!r}: give each its own name")
    ids = options.column("id", options.id, names, path) if options.id else ("id" if "id" in names else None)
    if ids is not None and not _names_rows(schema.field(ids).type):
        raise SchemaError(f"{path}: the column {ids!r} is {schema.field(ids).type}: ids are text or whole numbers")
    layout = Layout(path, stem, where, ids)
    if ids is None:
        layout.notes.append(f"no column of ids: made of file name and row number, such as {stem}:0 (--id names one)")
    if where.describe():
        layout.notes.append(where.describe())
    left = [name for name in names if name not in {*used, *where.columns, ids}]
    left = _times(layout, schema, left)
    dropped: dict[str, list[str]] = {}
    for name in left:
        kind = schema.field(name).type
        wanted = _attribute(kind)
        if (name == "bbox" and pa.types.is_struct(kind)) or name.startswith("__index_level_"):
            continue  # derived from the geometry; the row numbers of pandas
        if wanted is None:
            dropped.setdefault(_kind(kind), []).append(name)
        elif name in _OWN and _fits(name, kind):
            layout.columns[name] = (name, _OWN[name])
        else:
            free = name
            while free in RESERVED or (free != name and free in names):
                free += "_"
            if free != name:
                layout.notes.append(f"the column {name!r} became {free!r}: the name has a meaning of its own")
            layout.columns[free] = (name, wanted)
    for kind_name, gone in dropped.items():
        layout.notes.append(f"left out {len(gone)} columns that hold no plain values ({kind_name}): {_some(gone)}")
    return layout


def _times(layout: Layout, schema: pa.Schema, left: list[str]) -> list[str]:
    for name, candidates in _TIMES.items():
        for source in candidates:
            if source in left and _is_time(schema.field(source).type):
                layout.columns[name] = (source, TIME)
                left = [other for other in left if other != source]
                if source != name:
                    layout.notes.append(f"{name} is the column {source!r}, taken as UTC")
                break
    return left


def _is_time(kind: pa.DataType) -> bool:
    return bool(pa.types.is_timestamp(kind) or pa.types.is_date(kind))


def _names_rows(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or _is_text(kind) or pa.types.is_null(kind))


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _attribute(kind: pa.DataType) -> pa.DataType | None:
    """The type in which an attribute is kept, None if it is no plain value."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if _is_text(kind) or pa.types.is_time(kind) or pa.types.is_null(kind):
        return pa.string()
    if pa.types.is_float16(kind):
        return pa.float32()
    if pa.types.is_decimal(kind):
        return pa.float64()
    if pa.types.is_date(kind):
        return pa.date32()
    if pa.types.is_timestamp(kind):
        return pa.timestamp("us", kind.tz)
    if pa.types.is_large_binary(kind) or pa.types.is_binary(kind):
        return pa.binary()
    plain = pa.types.is_boolean(kind) or pa.types.is_integer(kind) or pa.types.is_floating(kind)
    return kind if plain else None


def _fits(name: str, kind: pa.DataType) -> bool:
    return _is_text(kind) or (pa.types.is_integer(kind) and name in ("h3", "place"))


def _hex(column: pa.Array) -> pa.Array:
    return pa.array([None if text is None else int(text, 16) for text in column.to_pylist()], type=pa.uint64())


def _kind(kind: pa.DataType) -> str:
    text = str(kind)
    return text if len(text) <= 30 else f"{text[:27]}…"


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def shared_schema(schemas: Mapping[str, pa.Schema]) -> pa.Schema:
    """The columns of all files together, each in a type that holds those of all; SchemaError if there is none."""
    paths = list(schemas)
    total = schemas[paths[0]]
    for path in paths[1:]:
        try:
            total = pa.unify_schemas([total, schemas[path]], promote_options="permissive")
        except (pa.ArrowTypeError, pa.ArrowInvalid):
            total = pa.schema([_wider(total, schemas[path], name, path) for name in total.names])
    return total


def _wider(total: pa.Schema, other: pa.Schema, name: str, path: str) -> Any:
    a, b = total.field(name).type, other.field(name).type if name in other.names else total.field(name).type
    try:
        return pa.unify_schemas([pa.schema([(name, a)]), pa.schema([(name, b)])], promote_options="permissive").field(0)
    except (pa.ArrowTypeError, pa.ArrowInvalid):
        if pa.types.is_string(a) or pa.types.is_string(b):
            return pa.field(name, pa.string())
        raise SchemaError(f"{path}: the column {name!r} is {b}, in the files before it {a}: give it one type") from None
