"""How a row of a table stands in a point: payload ``{id, location: {lon, lat}, hash, attributes: {…}}``.

`location` is the representative point of the geometry, absent where there is none; outlines are not kept. The poles
stand 0.1 m beside themselves, because Qdrant's index of locations loses points of latitude 90 and boxes that reach it.
What JSON cannot say is spelt so that it comes back as it was: see `_plain`.
"""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from placevec.errors import FormatError
from placevec.geo.sphere import LonLat
from placevec.table import EmbeddingTable, Places
from placevec.table.fingerprint import row_hashes
from placevec.table.geometry import points_to_wkb

ID, LOCATION, HASH, ATTRIBUTES = "id", "location", "hash", "attributes"
# Columns that are kept elsewhere in a point.
_APART = frozenset({"id", "geometry", "embedding", "bbox"})
NAN = "NaN"
# Stands for infinity, which JSON lacks, and compares as it does with every other number.
_HUGE = float(np.finfo(np.float64).max)
_I64 = (1 << 63) - 1
# The latitude at which the poles are kept.
POLE = 90.0 - 1e-6


def attribute_schema(schema: pa.Schema) -> pa.Schema:
    """The columns of a table that go into `attributes`."""
    return pa.schema([pa.field(f.name, _value_type(f.type)) for f in schema if f.name not in _APART])


def schema_text(schema: pa.Schema) -> str:
    """A schema as text, for the card."""
    return base64.b64encode(schema.serialize().to_pybytes()).decode("ascii")


def schema_of_text(text: str) -> pa.Schema:
    """The schema that `schema_text` wrote; FormatError if it is not that."""
    try:
        return pa.ipc.read_schema(pa.py_buffer(base64.b64decode(text, validate=True)))
    except (ValueError, pa.ArrowException) as error:
        raise FormatError("the card of the store is damaged: load it again with --replace") from error


def path_of(column: str) -> str:
    """The path of a column within a payload."""
    plain = re.fullmatch(r"[A-Za-z_][A-Za-z0-9_-]*", column) is not None
    return f"{ATTRIBUTES}.{column}" if plain else f'{ATTRIBUTES}."{column}"'


def states(data: pa.Table) -> NDArray[np.int64]:
    """A hash (n,) of all content of each row, as the signed numbers that a payload can hold."""
    return row_hashes(data).view(np.int64)


def payloads(piece: EmbeddingTable, hashes: NDArray[np.int64]) -> list[dict[str, Any]]:
    """The payload of each row."""
    names = [name for name in piece.data.schema.names if name not in _APART]
    columns = {name: _plain(piece.data[name]) for name in names}
    found = []
    for row, (name, lon, lat, state) in enumerate(
        zip(piece.data["id"].to_pylist(), piece.lon.tolist(), piece.lat.tolist(), hashes.tolist(), strict=True)
    ):
        payload: dict[str, Any] = {ID: name, HASH: state}
        if not math.isnan(lon):
            payload[LOCATION] = {"lon": _turned(lon), "lat": min(max(lat, -POLE), POLE)}
        attributes = {key: values[row] for key, values in columns.items() if values[row] is not None}
        if attributes:
            payload[ATTRIBUTES] = attributes
        found.append(payload)
    return found


def places_of(found: Sequence[dict[str, Any]], schema: pa.Schema) -> Places:
    """The places that payloads stand for, with the attributes of `schema`."""
    where = [payload.get(LOCATION) for payload in found]
    located = np.array([point is not None for point in where], dtype=bool)
    lon, lat = (np.array([point[name] for point in where if point], dtype=np.float64) for name in ("lon", "lat"))
    lat = np.where(np.abs(lat) >= POLE, np.copysign(90.0, lat), lat)
    columns: dict[str, Any] = {
        "id": pa.array([str(payload[ID]) for payload in found], pa.string()),
        "geometry": points_to_wkb(LonLat(lon, lat), located),
    }
    for field in schema:
        values = [payload.get(ATTRIBUTES, {}).get(field.name) for payload in found]
        columns[field.name] = pa.array([_typed(value, field.type) for value in values], field.type)
    return Places(pa.table(columns))


def _turned(lon: float) -> float:
    """A longitude in [-180, 180]."""
    return lon if -180.0 <= lon <= 180.0 else (lon + 180.0) % 360.0 - 180.0


def _value_type(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _plain(column: pa.ChunkedArray) -> list[Any]:
    """The values of a column as JSON: times in ISO 8601, NaN as "NaN", infinity as the largest number."""
    kind = _value_type(column.type)
    values: list[Any] = column.to_pylist()
    if pa.types.is_floating(kind):
        return [_number(value) for value in values]
    if pa.types.is_uint64(kind):
        # A payload's whole numbers have a sign.
        return [value if value is None or value <= _I64 else str(value) for value in values]
    if pa.types.is_timestamp(kind):
        return [
            None if value is None else _instant(value)
            for value in column.cast(pa.timestamp("us", kind.tz), safe=False).to_pylist()
        ]
    if pa.types.is_date(kind):
        return [None if value is None else value.isoformat() for value in values]
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return [None if value is None else base64.b64encode(value).decode("ascii") for value in values]
    return values


def _number(value: float | None) -> float | str | None:
    if value is None:
        return None
    if math.isnan(value):
        return NAN
    return math.copysign(_HUGE, value) if math.isinf(value) else float(value)


def _instant(value: datetime) -> str:
    return (value if value.tzinfo else value.replace(tzinfo=UTC)).isoformat(timespec="microseconds")


def _typed(value: Any, kind: pa.DataType) -> Any:
    """The value that `_plain` spelt."""
    if value is None:
        return None
    if pa.types.is_floating(kind):
        number = float(value)
        return math.copysign(math.inf, number) if abs(number) == _HUGE else number
    if pa.types.is_integer(kind):
        return int(value)
    if pa.types.is_timestamp(kind):
        instant = datetime.fromisoformat(value)
        return instant if kind.tz else instant.replace(tzinfo=None)
    if pa.types.is_date(kind):
        return date.fromisoformat(value)
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return base64.b64decode(value)
    return value
