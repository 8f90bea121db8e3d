"""Labels of a few rows of a table, from a file that names them by id, by H3 cell, or by where they lie."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import shapely
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from placevec.errors import DataError, FormatError, SchemaError
from placevec.geo.cells import H3Cells
from placevec.geo.sphere import LonLat, chord_of
from placevec.provenance import digest_json
from placevec.table import Places, open_table

Rows = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Labels:
    """The classes of some rows."""

    rows: Rows  # (m,) row numbers, ascending, each once
    classes: NDArray[Any]  # (m,) names
    column: str  # of the file
    digest: str  # of the labels, in the order of ids
    notes: tuple[str, ...] = ()  # what was left out, and why

    def __len__(self) -> int:
        return len(self.rows)


def read_labels(path: str | Path, places: Places, column: str = "class", ground_m: float = 0.0) -> Labels:
    """The labels of a file, matched to rows.

    Rows are named by the column `id`, else `h3` (the cell's name or number), else `lon` and `lat` in degrees or a
    geometry. A point belongs to the row of its cell where rows are cells, else to the nearest row whose footprint
    reaches it; a polygon to all rows whose points lie in it.

    Args:
        path: .csv, .parquet, .lance, .geojson or .json.
        places: the rows.
        column: that holds the classes; empty ones are left out.
        ground_m: width of a row's footprint; 0 if it is not known: then half the usual way to the next row.

    Raises:
        FormatError: the file is none of these, or is damaged.
        SchemaError: the column of classes is absent, or nothing says which rows are meant.
        DataError: no label belongs to a row.
    """
    table, geometry = _read(Path(path))
    names = table.schema.names
    if column not in names:
        raise SchemaError(f"{path} has no column {column!r} (--label); its columns: {', '.join(names[:20])}")
    classes = np.array([_text(value) for value in table[column].to_pylist()], dtype=object)
    given = np.flatnonzero(classes != "")
    label, rows, what = _matched(path, table, geometry, places, ground_m)
    known = np.isin(label, given)
    notes = []
    if len(given) < len(classes):
        notes.append(f"{len(classes) - len(given):,} of {len(classes):,} labels are empty: left out")
    lost = len(given) - len(np.unique(label[known]))
    if lost:
        notes.append(f"{lost:,} of {len(given):,} labels belong to no row of the table ({what}): left out")
    label, rows = label[known], rows[known]
    if not len(rows):
        raise DataError(f"{path}: none of {len(given):,} labels belongs to a row of the table ({what})")
    # One row, two classes: nobody knows which is meant.
    order = np.lexsort((classes[label].astype(str), rows))
    rows, said = rows[order], classes[label][order]
    first = np.flatnonzero(np.concatenate([[True], rows[1:] != rows[:-1]]))
    last = np.concatenate([first[1:], [len(rows)]]) - 1
    agree = said[first] == said[last]
    if not agree.all():
        odd = places.ids[rows[first[~agree][0]]]
        notes.append(f"{int((~agree).sum()):,} rows have labels of several classes, such as {odd!r}: left out")
    again = len(rows) - len(first)
    if again and agree.all():
        notes.append(f"{again:,} labels say again what another says of the same row")
    kept = first[agree]
    if not len(kept):
        raise DataError(f"{path}: all labelled rows have labels of several classes")
    found = sorted(zip(places.ids[rows[kept]].tolist(), said[kept].tolist(), strict=True))
    return Labels(rows[kept], said[kept], column, digest_json(found)[:32], tuple(notes))


def _read(path: Path) -> tuple[pa.Table, NDArray[Any] | None]:
    """The columns of a file, and its geometries where it has any."""
    if not path.exists():
        raise FormatError(f"{path}: no such file")
    if path.name.endswith((".csv", ".csv.gz")):
        from pyarrow import csv

        # A cell of digits alone must stay a name, with its zeros.
        options = csv.ConvertOptions(column_types={"id": pa.string(), "h3": pa.string()})
        try:
            return csv.read_csv(path, convert_options=options), None
        except (pa.ArrowInvalid, UnicodeDecodeError) as error:
            raise FormatError(f"{path}: the CSV cannot be read: {str(error).splitlines()[0]}") from error
    if path.suffix in (".geojson", ".json"):
        return _features(path)
    if path.suffix == ".lance":
        places = open_table(path).places()
        return places.data, places.geometries()
    if path.suffix in (".parquet", ".gpq", ".geoparquet"):
        from pyarrow import parquet

        try:
            table = parquet.read_table(path)
        except (pa.ArrowInvalid, OSError) as error:
            raise FormatError(f"{path}: the Parquet file cannot be read: {str(error).splitlines()[0]}") from error
        if "geometry" not in table.schema.names:
            return table, None
        return table, shapely.from_wkb(np.array(table["geometry"].to_pylist(), dtype=object))
    raise FormatError(f"{path}: labels are read from .csv, .csv.gz, .parquet, .lance or .geojson")


def _features(path: Path) -> tuple[pa.Table, NDArray[Any]]:
    try:
        features: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["features"]
        shapes = [None if f.get("geometry") is None else shapely.geometry.shape(f["geometry"]) for f in features]
    except (ValueError, KeyError, TypeError, AttributeError, shapely.errors.ShapelyError) as error:
        raise FormatError(f"{path}: this is no GeoJSON FeatureCollection ({error})") from error
    names = list(dict.fromkeys(name for f in features for name in (f.get("properties") or {})))
    columns = {name: [_text((f.get("properties") or {}).get(name)) for f in features] for name in names}
    if "id" not in columns and features and all(f.get("id") is not None for f in features):
        columns["id"] = [str(f["id"]) for f in features]
    geometry = np.empty(len(shapes), dtype=object)
    geometry[:] = shapes
    return pa.table({name: pa.array(values, pa.string()) for name, values in columns.items()}), geometry


def _matched(
    path: str | Path, table: pa.Table, geometry: NDArray[Any] | None, places: Places, ground_m: float
) -> tuple[Rows, Rows, str]:
    """Pairs of a label's number and a row's, and by what they were found."""
    names = table.schema.names
    every = np.arange(table.num_rows, dtype=np.int64)
    if "id" in names:
        rows = places.rows_of([_text(value) for value in table["id"].to_pylist()])
        # A GeoJSON may number its features: then it is the geometry that says which rows are meant.
        if geometry is None or (rows >= 0).any():
            return every[rows >= 0], rows[rows >= 0], "by id"
    if "h3" in names:
        rows = _rows_of_cells(places, [_cell(value) for value in table["h3"].to_pylist()])
        return every[rows >= 0], rows[rows >= 0], "by H3 cell"
    if {"lon", "lat"} <= set(names):
        try:
            lon, lat = (table[name].cast(pa.float64()).to_numpy(zero_copy_only=False) for name in ("lon", "lat"))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise SchemaError(f"{path}: lon or lat are not numbers: {str(error).splitlines()[0]}") from error
        there = np.flatnonzero(np.isfinite(lon) & np.isfinite(lat))
        rows = _rows_of_points(places, LonLat(lon[there], lat[there]), ground_m)
        return there[rows >= 0], rows[rows >= 0], "by where they lie"
    if geometry is not None:
        return (*_rows_of_shapes(places, geometry, ground_m), "by where they lie")
    raise SchemaError(
        f"{path} does not say which rows are meant: give id, h3, or lon and lat; it has {', '.join(names)}"
    )


def _rows_of_cells(places: Places, cells: Sequence[int | None]) -> Rows:
    if not places.has("h3"):
        return places.rows_of(["" if cell is None else f"{cell:x}" for cell in cells])
    number = {cell: row for row, cell in enumerate(places.column("h3").tolist()) if cell is not None}
    return np.array([-1 if cell is None else number.get(cell, -1) for cell in cells], dtype=np.int64)


def _rows_of_points(places: Places, points: LonLat, ground_m: float) -> Rows:
    """The row of each point, −1 for none."""
    if not len(points):
        return np.empty(0, dtype=np.int64)
    if places.has("h3") and places.data["h3"].null_count == 0:
        own = places.column("h3").astype(np.uint64)
        levels = np.unique(own >> np.uint64(52) & np.uint64(0xF))  # where H3 keeps the resolution of a cell
        if len(levels) == 1:
            return _rows_of_cells(places, H3Cells(int(levels[0])).assign(points).tolist())
    located = np.flatnonzero(places.located)
    if not len(located):
        return np.full(len(points), -1, dtype=np.int64)
    xyz = places.lonlat(located).unit()
    tree = cKDTree(xyz)
    if ground_m:
        reach = float(chord_of(ground_m / np.sqrt(2)))  # from the middle of a square to its corner
    else:
        reach = float(np.median(np.asarray(tree.query(xyz, k=min(2, len(xyz)))[0]).reshape(len(xyz), -1)[:, -1])) / 2
    gap, nearest = tree.query(points.unit(), k=1)
    return np.where(np.asarray(gap) <= reach, located[np.asarray(nearest)], -1)


def _rows_of_shapes(places: Places, geometry: NDArray[Any], ground_m: float) -> tuple[Rows, Rows]:
    """Pairs of a geometry's number and a row's: the row of a point, all rows in a polygon."""
    kind = shapely.get_type_id(geometry)
    point = np.flatnonzero((kind == 0) & ~shapely.is_empty(geometry))
    rows = _rows_of_points(places, LonLat(shapely.get_x(geometry[point]), shapely.get_y(geometry[point])), ground_m)
    labels, found = [point[rows >= 0]], [rows[rows >= 0]]
    located = np.flatnonzero(places.located)
    for number in np.flatnonzero((kind == 3) | (kind == 6)).tolist():
        shapely.prepare(geometry[number])
        inside = located[shapely.contains_xy(geometry[number], places.lon[located], places.lat[located])]
        labels.append(np.full(len(inside), number, dtype=np.int64))
        found.append(inside)
    return np.concatenate(labels).astype(np.int64), np.concatenate(found).astype(np.int64)


def _cell(value: Any) -> int | None:
    if value is None or isinstance(value, int):
        return value
    try:
        return int(str(value), 16)
    except ValueError:
        return None


def _text(value: Any) -> str:
    return "" if value is None or value != value else str(value).strip()
