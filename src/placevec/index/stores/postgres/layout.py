"""How a table stands in PostgreSQL: which column has which name and type, written down in the card.

Beside the columns of the table there are ``_slot`` (a number that a row keeps while it is unchanged), ``_hash`` (of
its content, so that a load sees what changed) and ``_point`` (longitude and latitude, for the geographic index).
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from placevec.errors import FormatError, SchemaError, UsageError
from placevec.index.stores.base import Table
from placevec.table import EmbeddingTable, Places

CARDS = "placevec_tables"
SLOT, HASH, POINT, VECTOR = "_slot", "_hash", "_point", "embedding"

# PostgreSQL cuts longer names short without a word, and then two may be one.
_NAME_BYTES = 63
_NOT_CONTENT = frozenset({"bbox", VECTOR})
# Names that PostgreSQL keeps to itself in every table.
_TAKEN = frozenset(
    {SLOT, HASH, POINT, VECTOR, "tableoid", "xmin", "cmin", "xmax", "cmax", "ctid", "oid"},
)
# pgvector: what a column of vectors can hold, and what HNSW can index of `vector` and of `halfvec`.
_MOST_DIMS, _INDEXED_DIMS, _INDEXED_HALF_DIMS = 16_000, 2_000, 4_000
_HALF_SINCE = (0, 7)

Version = tuple[int, ...]


def checked_name(name: str) -> str:
    """The name of a table if it can be one; UsageError else."""
    if len(name.encode()) > _NAME_BYTES:
        raise UsageError(f"the table name {name[:20]!r}… has more than {_NAME_BYTES} bytes: PostgreSQL would cut it")
    if "\0" in name or "%" in name or not name.strip():
        raise UsageError(f"{name!r} cannot be the name of a table: give another, without % and NUL")
    if name == CARDS:
        raise UsageError(f"the table {CARDS} holds the cards of all others: give another name")
    return name


@dataclass(frozen=True)
class Layout:
    """The columns of a stored table."""

    schema: pa.Schema  # of the table's columns without the vectors
    columns: Mapping[str, str]  # the name in PostgreSQL of each of them
    dims: int  # of a vector
    half: bool  # whether vectors are kept as halfvec, which loses nothing of float16
    level: int | None  # the one H3 resolution of the column h3; None without such a column

    @classmethod
    def of(cls, table: Table, version: Version) -> Layout:
        """The layout of a table in a server with that version of pgvector.

        Raises:
            SchemaError: vectors too long, or a column of a type that PostgreSQL has none for.
        """
        stored = table.data.schema if isinstance(table, EmbeddingTable) else table.schema
        dims = table.space.dims
        if dims > _MOST_DIMS:
            raise SchemaError(f"vectors of {dims} components: pgvector holds {_MOST_DIMS:,} at most; reduce them first")
        schema = pa.schema([field for field in stored if field.name not in _NOT_CONTENT]).remove_metadata()
        for field in schema:
            sql_type(field)
        half = table.meta.dtype == "float16" and version >= _HALF_SINCE
        return cls(schema, _names(schema.names), dims, half, _level(table))

    def column(self, name: str) -> str:
        """The name in PostgreSQL of a column of the table."""
        return self.columns[name]

    @property
    def created(self) -> list[tuple[str, str]]:
        """The columns (name, type) of the table in PostgreSQL, in order."""
        # Bytes are compared, as Arrow does; the collation of the database knows another order.
        own = [(self.columns[field.name], sql_type(field).replace("text", 'text collate "C"')) for field in self.schema]
        kind = "halfvec" if self.half else "vector"
        rest = [(SLOT, "bigint not null"), (HASH, "bigint not null"), (POINT, "point")]
        return [*own, *rest, (VECTOR, f"{kind}({self.dims}) not null")]

    def indexed(self, version: Version) -> str | None:
        """The type by which HNSW indexes the vectors: "vector", "halfvec" or, where neither can, None."""
        if self.half:
            return "halfvec" if self.dims <= _INDEXED_HALF_DIMS else None
        if self.dims <= _INDEXED_DIMS:
            return "vector"
        return "halfvec" if self.dims <= _INDEXED_HALF_DIMS and version >= _HALF_SINCE else None

    def to_json(self) -> dict[str, Any]:
        """A JSON object; see `from_json`."""
        return {
            "schema": base64.b64encode(self.schema.serialize().to_pybytes()).decode(),
            "columns": dict(self.columns),
            "dims": self.dims,
            "half": self.half,
            "level": self.level,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Layout:
        """Read what `to_json` wrote; FormatError if it is not that."""
        try:
            schema = pa.ipc.read_schema(pa.py_buffer(base64.b64decode(value["schema"])))
            level = value["level"]
            return cls(
                schema,
                {str(name): str(column) for name, column in value["columns"].items()},
                int(value["dims"]),
                bool(value["half"]),
                None if level is None else int(level),
            )
        except (KeyError, TypeError, ValueError, AttributeError, OSError, pa.ArrowException) as error:
            raise FormatError(
                f"the card of the store is damaged ({error!r:.120}): load it again with --replace"
            ) from None

    @cached_property
    def shape(self) -> tuple[Any, ...]:
        """What must be the same for a load to go on with the table that is there."""
        return (sorted((field.name, str(field.type)) for field in self.schema), self.dims)


def sql_type(field: pa.Field) -> str:
    """The type in PostgreSQL of a column; SchemaError if there is none."""
    if field.name == "id":
        return "text not null"
    if field.name == "h3" and field.type == pa.uint64():
        return "bigint"
    kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
    if pa.types.is_timestamp(kind):
        return "timestamptz" if kind.tz else "timestamp"
    for matches, name in _TYPES:
        if matches(kind):
            return name
    raise SchemaError(f"the column {field.name!r} has the type {field.type}, which a store in PostgreSQL cannot hold")


_TYPES: tuple[tuple[Any, str], ...] = (
    (lambda t: pa.types.is_string(t) or pa.types.is_large_string(t) or pa.types.is_string_view(t), "text"),
    (lambda t: pa.types.is_binary(t) or pa.types.is_large_binary(t) or pa.types.is_binary_view(t), "bytea"),
    (pa.types.is_boolean, "boolean"),
    (pa.types.is_uint64, "numeric(20)"),
    (lambda t: pa.types.is_int64(t) or pa.types.is_uint32(t), "bigint"),
    (lambda t: pa.types.is_int32(t) or pa.types.is_uint16(t), "integer"),
    (pa.types.is_integer, "smallint"),
    (lambda t: pa.types.is_float16(t) or pa.types.is_float32(t), "real"),
    (pa.types.is_float64, "double precision"),
    (pa.types.is_date, "date"),
    (pa.types.is_null, "text"),
)


def _names(given: list[str]) -> dict[str, str]:
    """A name in PostgreSQL for each column: its own where that can be, so that people can write their own queries."""
    out: dict[str, str] = {}
    used = set(_TAKEN)
    for at, name in enumerate(given):
        own = name
        if own in used or "%" in own or "\0" in own or not own or len(own.encode()) > _NAME_BYTES:
            own = f"column_{at}"
            while own in used or own in given:
                own += "_"
        used.add(own)
        out[name] = own
    return out


def _level(table: Table) -> int | None:
    """The H3 resolution of the column h3, if all of its cells have the same one."""
    if not table.has("h3"):
        return None
    found: set[int] = set()
    pieces = [table.data] if isinstance(table, EmbeddingTable) else (piece for _, piece in table.scan(["h3"]))
    for piece in pieces:
        if piece["h3"].null_count:
            return None
        found.update(np.unique(resolutions(piece["h3"].to_numpy())).tolist())
    return found.pop() if len(found) == 1 else None


def resolutions(cells: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The resolution (n,) of each H3 cell, from where H3 keeps it."""
    return cells >> np.uint64(52) & np.uint64(0xF)


def points(places: Places) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Longitudes in [-180, 180) and latitudes (n,), NaN where there is no geometry."""
    lon, lat = places.lon, places.lat
    odd = (lon >= 180.0) | (lon < -180.0)
    return np.where(odd, (lon + 180.0) % 360.0 - 180.0, lon), lat
