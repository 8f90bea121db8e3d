"""Lists of photos in tables: CSV, Parquet, GeoJSON and JSON lines, with the columns named by the user."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pyarrow as pa

from placevec.errors import FormatError, SchemaError, UsageError
from placevec.provenance import SourceRef
from placevec.sources.photos.found import NO_COORDINATES, Column, Found, degrees, objects
from placevec.sources.photos.lists import WINDOW
from placevec.sources.places import numbered
from placevec.table import Places, Skipped
from placevec.table.parquet import open_parquet
from placevec.table.places import RESERVED

NO_POINT = "its geometry is no point"
RAGGED = "the line has another number of cells than the header"
NO_JSON = "the line is no JSON object"

_CSV = (".csv", ".csv.gz", ".tsv", ".tsv.gz")
_LINES = (".jsonl", ".ndjson", ".geojsonl", ".geojsons")
_JSON = (".geojson", ".json")
_PARQUET = (".parquet", ".geoparquet", ".gpq")
_GEOMETRY = "geometry"


@dataclass(frozen=True)
class Columns:
    """The names of the columns of a list; nothing else is taken for one of them."""

    lon: str = "lon"  # longitude in degrees
    lat: str = "lat"  # latitude in degrees
    file: str | None = None  # path of the image; by default `file` or `asset`
    id: str | None = None  # names a row; by default `id` where there is one, else the file


def table_of_photos(path: str | Path, columns: Columns | None = None, *, images: str | Path | None = None) -> Found:
    """The photos of a list; every other column is kept as an attribute, `place` as what groups rows.

    Args:
        path: .csv or .tsv (also .gz), .parquet, .geojson, .json (features, or a list of objects), .jsonl.
        columns: their names. GeoJSON and GeoParquet have a geometry instead of longitude and latitude.
        images: the folder that paths of files are below; by default that of the list.

    Raises:
        FormatError: the file is not what its ending says.
        SchemaError: a column is absent; the message lists those that there are.
        UsageError: the ending is none of these.
    """
    where, named = Path(path), columns or Columns()
    if not where.is_file():
        raise FormatError(f"{path}: no such file")
    name = where.name.lower()
    if name.endswith(_CSV):
        texts = (named.lon, named.lat, named.file, named.id, "id", "file", "asset", "place")
        data, lost = read_csv(where, [one for one in texts if one is not None])
        found = table_columns(data, where)
    elif name.endswith(_PARQUET):
        found, lost = _parquet(where), []
    elif name.endswith((*_LINES, *_JSON)):
        found, lost = _json(where, lines=name.endswith(_LINES))
    else:
        raise UsageError(
            f"{path}: lists of photos are read from {', '.join((*_CSV, *_PARQUET, *_JSON, *_LINES))}, or name a folder"
        )
    return listed(where, found, named, images=images, lost=lost)


def listed(
    path: Path,
    found: Mapping[str, Column],
    columns: Columns,
    *,
    images: str | Path | None = None,
    lost: Iterable[Skipped] = (),
) -> Found:
    """The photos of columns that were read; see `table_of_photos`."""
    taken: set[str] = set()

    def column(name: str, option: str) -> Column:
        if name not in found:
            raise SchemaError(
                f"{path} has no column {name!r}; name it with --{option}; its columns: {', '.join(list(found)[:30])}"
            )
        taken.add(name)
        return found[name]

    file = columns.file or next((one for one in ("file", "asset") if one in found), "file")
    files = column(file, "file")
    by_geometry = _GEOMETRY in found and (columns.lon not in found or columns.lat not in found)
    if by_geometry:
        taken.add(_GEOMETRY)
        lonlat, without = _points(found[_GEOMETRY])
    else:
        lonlat, without = degrees(column(columns.lon, "lon"), column(columns.lat, "lat"))
    home = path.absolute().parent if images is None else Path(images).absolute()
    assets = objects(located(home, file) for file in files)
    if columns.id is not None or "id" in found:
        ids = objects(_text(one) for one in column(columns.id or "id", "id"))
    else:
        fallback = numbered(path, len(files))
        ids = objects(_text(one) or fallback[row] for row, one in enumerate(files))
    kept = {
        _free(name): values
        for name, values in found.items()
        if name not in taken and name != _GEOMETRY and not name.startswith("bbox")
    }
    return Found(
        where=str(path),
        ids=ids,
        assets=assets,
        lonlat=lonlat,
        without=without,
        attributes=kept,
        refs=(SourceRef(href=path.name),),
        lost=tuple(lost),
    )


def located(home: Path, name: Any) -> str:
    """The path of a file that a list names, absolute; "" where it names none."""
    text = _text(name)
    if not text or "://" in text or WINDOW in text:
        return text
    return str(home / PurePosixPath(text.replace("\\", "/")))


def read_csv(path: Path, texts: Iterable[str] = ()) -> tuple[pa.Table, list[Skipped]]:
    """A CSV in UTF-8 as a table, and the lines that do not fit.

    Args:
        path: cells parted by comma, semicolon or tab, plain or gzipped.
        texts: columns that stay texts, whatever they look like.

    Raises:
        FormatError: it cannot be read.
    """
    from pyarrow import csv as arrow

    lost: list[Skipped] = []
    stem = path.name.split(".")[0]

    def ragged(row: Any) -> str:
        line = row.number if row.number is not None else len(lost) + 1
        lost.append(Skipped(f"{stem}-line-{line}", "list", RAGGED))
        return "skip"

    header, delimiter = _header(path)
    kinds = {name: pa.string() for name in texts if name in header}
    try:
        with gzip.open(path) if path.name.endswith(".gz") else path.open("rb") as handle:
            data = arrow.read_csv(
                handle,
                read_options=arrow.ReadOptions(use_threads=False, block_size=16 << 20),
                parse_options=arrow.ParseOptions(
                    delimiter=delimiter, newlines_in_values=True, invalid_row_handler=ragged
                ),
                convert_options=arrow.ConvertOptions(column_types=kinds, strings_can_be_null=True, null_values=[""]),
            )
    except (pa.ArrowInvalid, pa.ArrowKeyError, OSError, EOFError, UnicodeDecodeError) as error:
        raise FormatError(f"{path}: the CSV cannot be read: {str(error).splitlines()[0][:200]}") from None
    return data, lost


def _header(path: Path) -> tuple[list[str], str]:
    """The cells of the first line, and what stands between them; FormatError if it is no text."""
    try:
        with gzip.open(path) if path.name.endswith(".gz") else path.open("rb") as handle:
            line = handle.readline(1 << 20).decode("utf-8-sig")
    except (OSError, EOFError, UnicodeDecodeError):
        raise FormatError(f"{path}: this is no text in UTF-8; write it as a CSV in UTF-8") from None
    if not line.strip() or "\x00" in line:
        raise FormatError(f"{path}: {'the file is empty' if not line.strip() else 'this is no text'}; fetch it again")
    delimiter = max(",;\t", key=line.count)
    return next(csv.reader([line.rstrip("\r\n")], delimiter=delimiter)), delimiter


def table_columns(data: pa.Table, path: str | Path) -> dict[str, Column]:
    """The columns of a table that hold one value a row; SchemaError if two have one name."""
    names = data.schema.names
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise SchemaError(f"{path}: two columns are called {twice!r}: give each its own name")
    out: dict[str, Column] = {}
    for name in names:
        kind = data.schema.field(name).type
        if pa.types.is_nested(kind) or pa.types.is_null(kind) or (pa.types.is_binary(kind) and name != _GEOMETRY):
            continue
        column = data[name]
        if pa.types.is_dictionary(kind):
            column = column.cast(kind.value_type)
        if column.null_count and pa.types.is_integer(column.type):
            out[name] = objects(column.to_pylist())
        elif pa.types.is_temporal(column.type):
            out[name] = objects(None if one is None else one.isoformat() for one in column.to_pylist())
        else:
            out[name] = np.asarray(column.to_numpy(zero_copy_only=False))
    return out


def _parquet(path: Path) -> dict[str, Column]:
    file, _ = open_parquet(path)
    found = table_columns(file.read(), path)
    if _GEOMETRY in found:
        geometry = pa.array(found[_GEOMETRY], pa.binary())
        places = Places(pa.table({"id": pa.array(["" for _ in geometry], pa.string()), _GEOMETRY: geometry}))
        shapes = places.geometries()
        found[_GEOMETRY] = objects(
            None if one is None else (one.x, one.y) if one.geom_type == "Point" and not one.is_empty else NO_POINT
            for one in shapes
        )
    return found


def _json(path: Path, *, lines: bool) -> tuple[dict[str, Column], list[Skipped]]:
    lost: list[Skipped] = []
    rows: list[Any] = []
    try:
        text = path.read_text(encoding="utf-8-sig")
        if lines:
            for number, line in enumerate(text.splitlines(), 1):
                if not line.strip():
                    continue
                try:
                    one = json.loads(line)
                except ValueError:
                    one = None
                if isinstance(one, dict):
                    rows.append(one)
                else:
                    lost.append(Skipped(f"{path.stem}-line-{number}", "list", NO_JSON))
        else:
            data = json.loads(text)
            rows = data["features"] if isinstance(data, dict) else data
            if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
                raise TypeError("its rows are no objects")
    except (ValueError, KeyError, TypeError) as error:
        raise FormatError(f"{path}: this is neither GeoJSON nor a list of JSON objects ({error})") from None
    records = [_record(row) for row in rows]
    names = list(dict.fromkeys(name for record in records for name in record))
    return {name: _column([record.get(name) for record in records]) for name in names}, lost


def _record(row: Mapping[str, Any]) -> dict[str, Any]:
    """A feature, or an object, as columns."""
    if row.get("type") != "Feature":
        return dict(row)
    shape = row.get("geometry")
    point: Any = None
    if isinstance(shape, dict):
        xy = shape.get("coordinates")
        good = shape.get("type") == "Point" and isinstance(xy, list) and len(xy) >= 2
        point = (xy[0], xy[1]) if good and isinstance(xy, list) else NO_POINT
    own = {"id": row["id"]} if row.get("id") is not None else {}
    return {**own, **(row.get("properties") or {}), _GEOMETRY: point}


def _column(values: list[Any]) -> Column:
    """A column of whatever JSON holds: lists of words are joined, other structures become their JSON."""
    plain = [_scalar(value) for value in values]
    kinds = {type(value) for value in plain if value is not None}
    if kinds <= {str} or kinds <= {bool} or kinds <= {tuple, str}:
        return objects(plain)
    if kinds == {int}:
        return objects(plain)
    if kinds <= {int, float}:
        return np.array([np.nan if value is None else float(value) for value in plain])
    return objects(value if value is None or isinstance(value, str | tuple) else str(value) for value in plain)


def _scalar(value: Any) -> Any:
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        return ",".join(value)
    return json.dumps(value, ensure_ascii=False) if isinstance(value, list | dict) else value


def _points(geometry: Column) -> tuple[np.ndarray[Any, np.dtype[np.float64]], Column]:
    pairs = [one if isinstance(one, tuple) else (None, None) for one in geometry]
    lonlat, without = degrees(objects(lon for lon, _ in pairs), objects(lat for _, lat in pairs))
    for row, one in enumerate(geometry):
        if not isinstance(one, tuple):
            without[row] = NO_COORDINATES if one is None else NO_POINT
    return lonlat, without


def _text(value: Any) -> str:
    return "" if value is None or value != value else str(value).strip()


def _free(name: str) -> str:
    """A column's name, out of the way of those that have a meaning of their own; `place` keeps its meaning."""
    return f"{name}_" if name in RESERVED and name != "place" else name
