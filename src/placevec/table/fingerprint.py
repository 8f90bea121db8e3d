"""A fingerprint of a table's content that knows neither the order of rows nor the borders of files.

Each row is hashed over all its columns (by name, so that the order of columns does not matter either); the table's
fingerprint is the sum of the row hashes modulo 2^128, with the number of rows. So it can be added up in any order,
from batches, from workers, from fragments. A component is hashed by its stored bits, an attribute by its value
in the widest type of its kind, so that Parquet and Lance agree.

The hash guards against accidents (a changed value, a lost row, a stale index), not against an attacker.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from placevec.errors import SchemaError

_SLICE_BYTES = 4 << 20  # lanes hashed at a time: small enough for the caches, large enough for numpy
_MASK = (1 << 64) - 1
# Derived from geometry; two writers may round it in two ways.
_NOT_CONTENT = frozenset({"bbox"})


@dataclass
class Fingerprint:
    """A running fingerprint: `update` with tables or batches, `merge` with that of another part."""

    rows: int = 0
    low: int = 0
    high: int = 0

    def update(self, data: pa.Table | pa.RecordBatch) -> Fingerprint:
        """Add the rows of `data`."""
        step = max(1, _SLICE_BYTES // max(1, _row_bytes(data)))
        for start in range(0, data.num_rows, step):
            hashes = row_hashes(data.slice(start, step))
            self.rows += len(hashes)
            self.low = (self.low + int(hashes.sum(dtype=np.uint64))) & _MASK
            self.high = (self.high + int(_mix(hashes ^ _HIGH).sum(dtype=np.uint64))) & _MASK
        return self

    def merge(self, other: Fingerprint) -> Fingerprint:
        """Add the rows that `other` has counted."""
        self.rows += other.rows
        self.low = (self.low + other.low) & _MASK
        self.high = (self.high + other.high) & _MASK
        return self

    def __str__(self) -> str:
        return f"pv1-{self.rows:x}-{self.high:016x}{self.low:016x}"


def fingerprint(batches: Iterable[pa.Table | pa.RecordBatch]) -> str:
    """The fingerprint of all rows of all `batches`."""
    total = Fingerprint()
    for batch in batches:
        total.update(batch)
    return str(total)


def row_hashes(data: pa.Table | pa.RecordBatch) -> NDArray[np.uint64]:
    """One 64-bit hash for each row of `data`, over all columns that are content."""
    total = np.zeros(data.num_rows, dtype=np.uint64)
    for name in sorted(set(data.schema.names) - _NOT_CONTENT):
        column = data.column(name)
        if isinstance(column, pa.ChunkedArray):
            column = column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)
        key = _key(name)
        hashes = _column(column, key, name)
        if column.null_count:
            missing = np.asarray(pc.is_null(column))
            # An absent value adds nothing, so that a row does not change when a column of nulls is added by a union.
            hashes[missing] = np.uint64(0)
        total += hashes
    return _mix(total)


def _column(column: pa.Array, key: np.uint64, name: str) -> NDArray[np.uint64]:
    kind = column.type
    if pa.types.is_fixed_size_list(kind):
        return _fixed(_matrix(column), key)
    if pa.types.is_dictionary(kind):
        column = column.dictionary_decode()
        kind = column.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return _varying(column.cast(pa.large_string()).cast(pa.large_binary()), key)
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind):
        return _varying(column.cast(pa.large_binary()), key)
    if pa.types.is_boolean(kind) or pa.types.is_integer(kind):
        wide = pa.uint64() if kind == pa.uint64() else pa.int64()
        return _numbers(column.cast(wide), key)
    if pa.types.is_floating(kind):
        return _numbers(column.cast(pa.float64()), key)
    if pa.types.is_timestamp(kind):
        return _numbers(column.cast(pa.timestamp("us", kind.tz)).cast(pa.int64()), key)
    if pa.types.is_date(kind):
        return _numbers(column.cast(pa.date32()).cast(pa.int32()).cast(pa.int64()), key)
    if pa.types.is_null(kind):
        return np.zeros(len(column), dtype=np.uint64)
    raise SchemaError(f"column {name!r} has the type {kind}: a table holds scalars and one embedding")


def _numbers(column: pa.Array, key: np.uint64) -> NDArray[np.uint64]:
    values = column.fill_null(0).to_numpy(zero_copy_only=False)
    return _mix(np.ascontiguousarray(values).view(np.uint64) + key)


def _matrix(column: pa.FixedSizeListArray) -> NDArray[Any]:
    d = column.type.list_size
    values = column.values.slice(column.offset * d, len(column) * d)
    return np.asarray(values.to_numpy(zero_copy_only=True)).reshape(len(column), d)


def _fixed(matrix: NDArray[Any], key: np.uint64) -> NDArray[np.uint64]:
    bits = np.ascontiguousarray(matrix).view(np.uint8)
    width = -(-bits.shape[1] // 8) * 8
    if width != bits.shape[1]:
        bits = np.pad(bits, ((0, 0), (0, width - bits.shape[1])))
    lanes = np.ascontiguousarray(bits).view(np.uint64)
    # The key of a lane depends on where it stands, so that exchanged components are seen.
    keys = _mix(np.arange(lanes.shape[1], dtype=np.uint64) + key)
    hashes = _mix(lanes ^ keys).sum(axis=1, dtype=np.uint64)
    return _mix(hashes + key)


def _varying(column: pa.LargeBinaryArray, key: np.uint64) -> NDArray[np.uint64]:
    n = len(column)
    _, offsets_buffer, data_buffer = column.buffers()
    offsets = np.frombuffer(offsets_buffer, dtype=np.int64)[column.offset : column.offset + n + 1]
    lengths = np.diff(offsets)
    # The length is part of the value; it also keeps "" apart from an absent value.
    hashes = _mix(lengths.astype(np.uint64) + key)
    total = int(offsets[-1] - offsets[0])
    if total == 0:
        return _mix(hashes)
    flat = np.frombuffer(data_buffer, dtype=np.uint8)[offsets[0] : offsets[-1]]
    if (lengths == lengths[0]).all():
        return _mix(hashes + _fixed(flat.reshape(n, int(lengths[0])), key))
    starts = offsets[:-1] - offsets[0]
    where = np.arange(total, dtype=np.uint64) - np.repeat(starts, lengths).astype(np.uint64)
    # Bytes gathered to eights keep the number of mixed lanes down; the last lane of a value is short.
    lane = np.repeat(np.concatenate(([0], np.cumsum(-(-lengths // 8))[:-1])), lengths) + (where >> np.uint64(3)).astype(
        np.int64
    )
    shifted = flat.astype(np.uint64) << ((where & np.uint64(7)) << np.uint64(3))
    first = np.flatnonzero(np.diff(lane, prepend=-1))
    lanes = np.add.reduceat(shifted, first)
    place = where[first] >> np.uint64(3)
    mixed = _mix(lanes ^ _mix(place + key))
    counts = -(-lengths // 8)
    filled = counts > 0
    sums = np.add.reduceat(mixed, np.concatenate(([0], np.cumsum(counts[filled])[:-1])))
    fixed = np.zeros(n, dtype=np.uint64)
    fixed[filled] = _mix(sums + key)
    return _mix(hashes + fixed)


def _row_bytes(data: pa.Table | pa.RecordBatch) -> int:
    return int(data.nbytes // max(1, data.num_rows))


def _key(name: str) -> np.uint64:
    return np.uint64(int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little"))


def _mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finaliser of splitmix64 (Steele, Lea, Flood 2014): a bijection in which each bit stirs all others."""
    mixed = values + np.uint64(0x9E3779B97F4A7C15)
    mixed ^= mixed >> np.uint64(30)
    mixed *= np.uint64(0xBF58476D1CE4E5B9)
    mixed ^= mixed >> np.uint64(27)
    mixed *= np.uint64(0x94D049BB133111EB)
    mixed ^= mixed >> np.uint64(31)
    return mixed


_HIGH = np.uint64(0xD6E8FEB86659FD93)
