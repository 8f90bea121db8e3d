"""The columns of a CSV or a Parquet file, whoever wrote it."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
from numpy.typing import NDArray

from placevec.errors import FormatError, SchemaError, UsageError
from placevec.table.parquet import open_parquet

CSV = (".csv", ".csv.gz", ".tsv", ".tsv.gz")
PARQUET = (".parquet", ".geoparquet", ".gpq")
_MISSING = ["", "NA", "NaN", "nan", "NULL", "null", "None", "-", "n/a", "N/A"]


def is_csv(path: str | Path) -> bool:
    """Whether a file is a CSV by its name."""
    return str(path).lower().endswith(CSV)


def read_columns(path: str | Path) -> pa.Table:
    """All columns of a file: .csv, .tsv (also .gz) in UTF-8 with a header, or .parquet.

    What separates the cells of a CSV is found out. "NA", "null" and their like stand for an absent value.

    Raises:
        UsageError: there is no such file, or it is of another kind.
        FormatError: it is damaged, or not in UTF-8.
        SchemaError: two columns have one name.
    """
    where = Path(path)
    if not where.is_file():
        raise UsageError(f"{path}: there is no such file")
    if is_csv(where):
        table = _csv(where)
    elif where.suffix.lower() in PARQUET:
        try:
            table = open_parquet(where)[0].read()
        except (pa.ArrowException, OSError) as error:
            raise FormatError(f"{path}: the Parquet file is damaged ({str(error).splitlines()[0][:160]})") from None
    else:
        raise UsageError(f"{path}: values of cells are read from {', '.join((*CSV, *PARQUET))}")
    names = table.schema.names
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise SchemaError(f"{path}: two columns are called {twice!r}: give each its own name")
    return table


def numbers(column: pa.ChunkedArray | pa.Array) -> NDArray[np.float64] | None:
    """A column as numbers (n,), NaN where a value is absent; None if it holds no numbers."""
    kind = column.type
    if pa.types.is_boolean(kind):
        column = pc.cast(column, pa.uint8())
    elif pa.types.is_null(kind) or not (
        pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    ):
        return None
    values = pc.cast(column, pa.float64(), safe=False)
    return np.array(pc.fill_null(values, np.nan).to_numpy(zero_copy_only=False), dtype=np.float64)


def _csv(path: Path) -> pa.Table:
    opener = gzip.open if path.name.lower().endswith(".gz") else open
    try:
        with opener(path, "rb") as handle:
            data = handle.read()
    except (OSError, EOFError) as error:
        raise FormatError(f"{path}: the file cannot be read ({error})") from None
    header = data[: data.find(b"\n") if b"\n" in data else len(data)].decode("utf-8-sig", "replace")
    options = pacsv.ParseOptions(delimiter=max(",;\t|", key=header.count), newlines_in_values=True)
    absent = pacsv.ConvertOptions(null_values=_MISSING, strings_can_be_null=True)
    try:
        table = pacsv.read_csv(pa.BufferReader(data), parse_options=options, convert_options=absent)
    except (pa.ArrowException, UnicodeDecodeError) as error:
        raise FormatError(f"{path}: the CSV cannot be read ({str(error).splitlines()[0][:160]})") from None
    try:
        names = table.schema.names
        odd = next(
            (name for name, kind in zip(names, table.schema.types, strict=True) if pa.types.is_binary(kind)), None
        )
    except UnicodeDecodeError:
        raise FormatError(f"{path}: the names of the columns are not in UTF-8: convert the file with iconv") from None
    if odd is not None:
        raise FormatError(f"{path}: the column {odd!r} is not in UTF-8: convert the file with iconv")
    return table
