"""Rows in the binary form of COPY, made by numpy for thousands of rows at once.

The form (PostgreSQL manual, COPY, "Binary Format"): a header; for each row the number of fields (int16) and, for each
field, its length in bytes (int32, -1 for null) and the bytes; at the end an int16 of -1. All numbers are big-endian.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from placevec.errors import DataError

HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
TRAILER = b"\xff\xff"

# PostgreSQL counts time from 2000-01-01.
_EPOCH_US = 946_684_800_000_000
_EPOCH_DAYS = 10_957
Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class Field:
    """One column of rows to be sent: values of one width, or of varying lengths."""

    lengths: NDArray[np.int64]  # (n,) bytes of each value, 0 for null
    valid: NDArray[np.bool_] | None  # (n,) which are not null; None: all
    fixed: Bytes | None  # (n, width), or None
    flat: Bytes | None  # the bytes of all values that are not null, one after the other, or None


def fixed(values: NDArray[Any], valid: NDArray[np.bool_] | None = None) -> Field:
    """A column of big-endian `values`, (n,) or (n, m)."""
    n = len(values)
    data = np.ascontiguousarray(values).view(np.uint8).reshape(n, -1) if n else np.empty((0, 1), np.uint8)
    width = data.shape[1]
    lengths = np.full(n, width, dtype=np.int64) if valid is None else np.where(valid, width, 0)
    return Field(lengths, None if valid is None or valid.all() else valid, data, None)


def varying(column: pa.Array) -> Field:
    """A column of strings or bytes."""
    text = not (pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type))
    wide = column.cast(pa.large_string()) if text else column
    wide = wide.cast(pa.large_binary())
    n = len(wide)
    valid = np.asarray(wide.is_valid()) if wide.null_count else None
    if valid is not None:
        wide = wide.fill_null(b"")
    _, offsets, data = wide.buffers()
    at = np.frombuffer(offsets, dtype=np.int64)[wide.offset : wide.offset + n + 1] if n else np.zeros(1, np.int64)
    flat = np.frombuffer(data, dtype=np.uint8)[at[0] : at[-1]] if data is not None else np.empty(0, np.uint8)
    if text and len(flat) and not flat.all():
        row = int(np.searchsorted(at - at[0], np.flatnonzero(flat == 0)[0], side="right")) - 1
        raise DataError(f"a text holds a NUL byte, which PostgreSQL cannot store: {column[row].as_py()!r:.60}")
    return Field(np.diff(at), valid, None, flat)


def field_of(column: pa.ChunkedArray, kind: str) -> Field:
    """A column of a table for a column of the type `kind` in PostgreSQL."""
    array = column.combine_chunks()
    if isinstance(array, pa.ChunkedArray):
        array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], column.type)
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    kind = kind.removesuffix(" not null")
    if kind in ("text", "bytea"):
        return varying(array.cast(pa.large_string()) if pa.types.is_null(array.type) else array)
    valid = np.asarray(array.is_valid()) if array.null_count else None
    if kind in ("timestamptz", "timestamp"):
        return fixed((_filled(_micros(array)) - _EPOCH_US).astype(">i8"), valid)
    if kind == "date":
        days = array.cast(pa.date32()).cast(pa.int32())
        return fixed((_filled(days) - _EPOCH_DAYS).astype(">i4"), valid)
    if kind == "boolean":
        return fixed(_filled(array.cast(pa.uint8())), valid)
    if kind.startswith("numeric"):
        return fixed(_numeric(_filled(array)), valid)
    return fixed(_filled(array).astype(_WIRE[kind]), valid)


_WIRE = {"smallint": ">i2", "integer": ">i4", "bigint": ">i8", "real": ">f4", "double precision": ">f8"}


def _micros(array: pa.Array) -> pa.Array:
    # Finer than microseconds is cut: PostgreSQL keeps no more.
    return array.cast(pa.timestamp("us", array.type.tz), safe=False).cast(pa.int64())


def _filled(array: pa.Array) -> NDArray[Any]:
    if pa.types.is_float16(array.type):
        array = array.cast(pa.float32())
    if array.null_count:
        array = pc.fill_null(array, pa.scalar(0).cast(array.type))
    return np.asarray(array.to_numpy(zero_copy_only=False))


def _numeric(values: NDArray[np.uint64]) -> Bytes:
    """uint64 as numeric: five digits to the base 10000 behind their count, weight, sign and scale."""
    out = np.zeros((len(values), 9), dtype=">i2")
    out[:, 0], out[:, 1] = 5, 4
    rest = values.astype(np.uint64)
    for digit in range(8, 3, -1):
        out[:, digit] = (rest % np.uint64(10_000)).astype(np.int16)
        rest = rest // np.uint64(10_000)
    return out.view(np.uint8).reshape(len(values), -1)


def point_field(lon: NDArray[np.float64], lat: NDArray[np.float64]) -> Field:
    """A column of points, null where the longitude is NaN."""
    located = ~np.isnan(lon)
    return fixed(np.column_stack([lon, lat]).astype(">f8"), located)


def vector_field(vectors: NDArray[Any], *, half: bool) -> Field:
    """A column of pgvector's `vector`, or of `halfvec`."""
    n, d = vectors.shape
    head = np.tile(np.array([d, 0], dtype=">i2"), (n, 1)).view(np.uint8).reshape(n, -1)
    body = np.ascontiguousarray(vectors.astype(">f2" if half else ">f4")).view(np.uint8).reshape(n, -1)
    return fixed(np.concatenate([head, body], axis=1))


def vectors_of(values: list[bytes], dims: int, *, half: bool) -> NDArray[np.float32]:
    """The vectors (n, d) that pgvector sends in binary form."""
    width = 4 + dims * (2 if half else 4)
    raw = np.frombuffer(b"".join(values), dtype=np.uint8).reshape(len(values), width)
    body = np.ascontiguousarray(raw[:, 4:]).view(">f2" if half else ">f4")
    return body.reshape(len(values), dims).astype(np.float32)


def rows_of(fields: list[Field]) -> bytes:
    """The rows of the columns `fields`, without header and trailer."""
    n = len(fields[0].lengths)
    widths = np.full(n, 2 + 4 * len(fields), dtype=np.int64)
    for field in fields:
        widths += field.lengths
    out = np.zeros(int(widths.sum()), dtype=np.uint8)
    if not n:
        return b""
    at = np.concatenate([[0], np.cumsum(widths[:-1])])
    _put(out, at, np.tile(np.array([len(fields)], dtype=">i2").view(np.uint8), (n, 1)))
    at = at + 2
    for field in fields:
        told = field.lengths if field.valid is None else np.where(field.valid, field.lengths, -1)
        _put(out, at, told.astype(">i4").view(np.uint8).reshape(n, 4))
        at = at + 4
        if field.fixed is not None:
            keep = slice(None) if field.valid is None else field.valid
            _put(out, at[keep], field.fixed[keep])
        elif field.flat is not None and len(field.flat):
            first = np.cumsum(field.lengths) - field.lengths
            out[np.arange(len(field.flat)) + np.repeat(at - first, field.lengths)] = field.flat
        at = at + field.lengths
    return out.tobytes()


def _put(out: Bytes, at: NDArray[np.int64], block: Bytes) -> None:
    """Write the rows of `block` (n, w) at the places `at` (n,), which rise."""
    n, width = block.shape
    if not n or not width:
        return
    step = int(at[1] - at[0]) if n > 1 else width
    if n == 1 or bool((np.diff(at) == step).all()):
        # Rows of one length: a view with a stride needs no table of positions.
        goal = np.lib.stride_tricks.as_strided(out[at[0] :], (n, width), (step, 1), writeable=True)
        goal[...] = block
        return
    out[at[:, None] + np.arange(width)] = block
