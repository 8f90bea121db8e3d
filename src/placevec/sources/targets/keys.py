"""H3 cells as files write them: hexadecimal texts, decimal texts, or integers, in a column that is found out."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from placevec.config import nearest
from placevec.errors import DataError, SchemaError
from placevec.geo.cells import CellArray, are_cells
from placevec.sources.targets.columns import read_columns

# The names that a column of cells most often has, the clearest first.
_NAMES = ("h3", "h3_index", "h3index", "h3_id", "h3_cell", "h3_address", "hex_id", "hex", "hexagon", "region_id")
_HEX = re.compile(r"\s*(?:0[xX])?([0-9a-fA-F]{15,16})\s*")
_DECIMAL = re.compile(r"\s*([1-9][0-9]{17,18})\s*")
_SAMPLE = 200


def key_column(data: pa.Table, path: str | Path, wanted: str | None = None) -> str | None:
    """The name of the column of H3 cells; None if there is none.

    It is the one `wanted`, else one that is called like one, else the one with most cells among its first values, if
    these are more than half.

    Raises SchemaError if the column `wanted` is not there, or holds no cell.
    """
    names = data.schema.names
    if wanted is not None:
        if wanted not in names:
            raise SchemaError(f"{path} has no column {wanted!r}{nearest(wanted, names)}")
        if not _share(data[wanted]):
            raise SchemaError(f"{path}: the column {wanted!r} holds no H3 cells: name the one that does with --key")
        return wanted
    lowered = {name.lower(): name for name in reversed(names)}
    likely = [lowered[name] for name in _NAMES if name in lowered]
    found = next((name for name in likely if _share(data[name]) > 0.5), None)
    if found is not None or not names:
        return found
    shares = [_share(data[name]) for name in names]
    best = int(np.argmax(shares))
    return names[best] if shares[best] > 0.5 else None


def parse_cells(column: pa.ChunkedArray | pa.Array) -> CellArray:
    """The cells (n,) of a column of texts or integers; 0 where a value is no H3 cell."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        return parse_cells(column.cast(kind.value_type))
    if pa.types.is_integer(kind):
        filled = column.fill_null(0)
        cells = np.array(filled.to_numpy(zero_copy_only=False)).astype(np.uint64)
    elif pa.types.is_string(kind) or pa.types.is_large_string(kind):
        cells = np.array([_number(text) for text in column.to_pylist()], dtype=np.uint64)
    else:
        return np.zeros(len(column), dtype=np.uint64)
    return np.where(are_cells(cells), cells, np.uint64(0)) if len(cells) else cells


def resolutions(cells: CellArray) -> NDArray[np.int64]:
    """The resolution (n,) of each H3 cell."""
    return ((cells >> np.uint64(52)) & np.uint64(15)).astype(np.int64)


def read_cells(path: str | Path, key: str | None = None) -> tuple[CellArray, int]:
    """The distinct cells of a file, sorted, and how many of its rows name none or one that stands there already.

    Raises:
        DataError: no column holds cells, or they are of several resolutions.
        UsageError, FormatError: see `read_columns`.
    """
    data = read_columns(path)
    name = key_column(data, path, key)
    if name is None:
        raise DataError(f"{path}: no column holds H3 cells; its columns are: {', '.join(data.schema.names)[:200]}")
    found = parse_cells(data[name])
    cells = np.unique(found[found != 0])
    levels = np.unique(resolutions(cells))
    if len(levels) > 1:
        shown = ", ".join(str(level) for level in levels)
        raise DataError(f"{path}: the cells in {name!r} are of the resolutions {shown}: give those of one")
    return cells, len(found) - len(cells)


def cells_of_file(path: str | Path, key: str | None = None) -> CellArray:
    """The distinct cells of a file, sorted; see `read_cells`."""
    return read_cells(path, key)[0]


def _share(column: pa.ChunkedArray) -> float:
    """The share of cells among the first values of a column that are there."""
    head = column.drop_null()[:_SAMPLE]
    if len(head) == 0 or pa.types.is_nested(head.type):
        return 0.0
    return float((parse_cells(head) != 0).mean())


def _number(text: str | None) -> int:
    if text is None:
        return 0
    match = _HEX.fullmatch(text)
    if match is not None:
        return int(match[1], 16)
    match = _DECIMAL.fullmatch(text)
    return int(match[1]) if match is not None and int(match[1]) < 1 << 64 else 0
