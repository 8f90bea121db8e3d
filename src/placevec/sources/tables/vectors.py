"""From columns to vectors: one column of lists, or one column for each component."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from placevec.errors import SchemaError
from placevec.table.embeddings import check_finite

LIST_NAMES = ("embedding", "embeddings", "vector", "vectors", "emb")


def component_columns(names: Sequence[str], prefix: str, path: str) -> list[str]:
    """The columns ``prefix0 … prefixN`` by number, wherever they stand; none if there is none.

    Raises SchemaError if a number between the first and the last is absent or stands twice.
    """
    pattern = re.compile(re.escape(prefix) + r"(\d+)")
    found = sorted((int(match[1]), name) for name in names if (match := pattern.fullmatch(name)))
    for (a, one), (b, other) in pairwise(found):
        if b != a + 1:
            what = f"{one!r} and {other!r} are one number" if a == b else f"{prefix}{a + 1} is absent after {one!r}"
            raise SchemaError(f"{path}: the columns of components are not numbered through: {what}")
    return [name for _, name in found]


def from_components(data: pa.Table, names: Sequence[str], path: str, first: int) -> NDArray[np.float32]:
    """The vectors (n, d) float32 of component columns; SchemaError names the first value that is no finite number."""
    out = np.empty((data.num_rows, len(names)), dtype=np.float32)
    for i, name in enumerate(names):
        column = data[name]
        if column.null_count:
            row = first + int(np.argmin(np.asarray(column.is_valid())))
            raise SchemaError(f"{path}: row {row} has no value in {name!r}: fill it in, or leave the row out")
        try:
            column = column.cast(pa.float32())
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            raise SchemaError(f"{path}: the column {name!r} is {column.type}: components are numbers") from None
        out[:, i] = column.to_numpy()
    finite(out, path, first)
    return out


def list_column(schema: pa.Schema, wanted: str | None, path: str) -> str | None:
    """The name of the column of vectors, None if there is no column of lists at all.

    Raises SchemaError if several could be meant, or the one named holds no lists of numbers.
    """
    if wanted is not None:
        if not _is_vector(schema.field(wanted).type):
            raise SchemaError(f"{path}: the column {wanted!r} is {schema.field(wanted).type}, no list of numbers")
        return wanted
    lists = [field.name for field in schema if _is_vector(field.type)]
    named = [name for name in LIST_NAMES if name in lists]
    if named:
        return named[0]
    if len(lists) > 1:
        raise SchemaError(f"{path}: {', '.join(map(repr, lists))} hold lists of numbers: say which with --vector")
    return lists[0] if lists else None


def _is_vector(kind: pa.DataType) -> bool:
    lists = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list, pa.types.is_list_view)
    if not any(is_list(kind) for is_list in (*lists, pa.types.is_large_list_view)):
        return False
    return bool(pa.types.is_floating(kind.value_type) or pa.types.is_integer(kind.value_type))


def from_lists(
    column: pa.ChunkedArray, dims: int, path: str, first: int, *, stored: bool = False
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """The vectors (m, d) of the rows that have one, and which of the n rows these are (n,).

    `stored` keeps int8 as it is (it has a codec); all other numbers become float32.

    Raises SchemaError for lists of another length than `dims`, and for components that are absent or not finite.
    """
    array = column.combine_chunks()
    if isinstance(array, pa.ChunkedArray):
        array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], column.type)
    valid = np.asarray(array.is_valid())
    present = array if valid.all() else array.filter(pa.array(valid))
    lengths = np.asarray(pc.list_value_length(present))
    if (lengths != dims).any():
        at = int(np.argmax(lengths != dims))
        row = first + int(np.flatnonzero(valid)[at])
        raise SchemaError(f"{path}: ragged vectors: row {row} has {lengths[at]} components, the first has {dims}")
    flat = present.flatten()
    if flat.null_count:
        at = int(np.argmin(np.asarray(flat.is_valid())))
        row = first + int(np.flatnonzero(valid)[at // dims])
        raise SchemaError(f"{path}: component {at % dims} of row {row} is absent: fill it in, or leave the row out")
    values = flat.to_numpy(zero_copy_only=False).reshape(-1, dims)
    if stored and values.dtype == np.int8:
        return values, valid
    with np.errstate(over="ignore"):
        vectors = values.astype(np.float32)
    finite(vectors, path, first, np.flatnonzero(valid))
    return vectors, valid


def finite(vectors: NDArray[np.float32], path: str, first: int, rows: NDArray[np.int64] | None = None) -> None:
    """SchemaError, naming file and row, unless all components are finite."""
    numbers = np.arange(len(vectors)) if rows is None else rows
    try:
        check_finite(vectors, numbers)
    except SchemaError:
        bad = int(np.argmin(np.isfinite(vectors).all(axis=1)))
        at = int(np.argmin(np.isfinite(vectors[bad])))
        raise SchemaError(
            f"{path}: component {at} of row {first + int(numbers[bad])} is {vectors[bad, at]}: vectors are finite "
            "numbers; leave the row out"
        ) from None
