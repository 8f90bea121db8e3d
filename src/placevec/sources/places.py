"""Lists of places from files: CSV with coordinates, GeoJSON, tables, and targets of cells."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import shapely
from numpy.typing import NDArray

from placevec.errors import CoordinateError, FormatError, SchemaError
from placevec.geo.sphere import LonLat
from placevec.objects import fetched, is_remote, located
from placevec.sources.base import Batch, Rows, check_rows
from placevec.table import Places, Skipped, open_table


class LonLatSource:
    """Places whose content is where they are: what a location encoder reads."""

    def __init__(self, places: Places) -> None:
        self._places = places

    def places(self) -> Places:
        """All places of the source."""
        return self._places

    def read(self, rows: Rows) -> Batch:
        """The coordinates of `rows`; rows without geometry are skipped."""
        rows = check_rows(rows, len(self._places))
        located = self._places.located[rows]
        kept = rows[located]
        lonlat = np.column_stack([self._places.lon[kept], self._places.lat[kept]])
        skipped = [Skipped(str(self._places.ids[row]), "place", "no geometry") for row in rows[~located]]
        return Batch(kept, {"lonlat": lonlat}, skipped)


def read_places(path: str | Path, *, lon: str = "lon", lat: str = "lat", id: str | None = None) -> Places:
    """The places of a file: a table of placevec, its targets, a CSV with coordinates in degrees, or a GeoJSON.

    Args:
        path: the file, which may stand in object storage (s3://).
        lon: the CSV's column of longitudes; never guessed.
        lat: the CSV's column of latitudes.
        id: the column or property that names a row; by default rows are numbered.

    Raises:
        FormatError: the file is none of these, or is damaged.
        SchemaError: a column is absent, or ids repeat.
        CoordinateError: a coordinate is out of range, or absent.
    """
    tables = (".parquet", ".lance", ".gpq", ".geoparquet")
    if is_remote(path) and located(path).suffix in tables:
        return open_table(located(path)).places()
    where = fetched(path) if is_remote(path) else Path(path)
    if not where.exists():
        raise FormatError(f"{path}: no such file")
    if where.suffix in tables:
        from placevec.sources.targets.file import is_targets, read_targets

        return read_targets(where)[0] if is_targets(where) else open_table(where).places()
    if where.name.endswith((".csv", ".csv.gz")):
        return _csv(where, lon, lat, id)
    if where.suffix in (".geojson", ".json"):
        return _geojson(where, id)
    raise FormatError(f"{path}: places are read from .parquet, .lance, .csv, .csv.gz or .geojson")


def _csv(path: Path, lon: str, lat: str, id: str | None) -> Places:
    from pyarrow import csv

    try:
        data = csv.read_csv(path)
    except (pa.ArrowInvalid, UnicodeDecodeError) as error:
        raise FormatError(f"{path}: the CSV cannot be read: {str(error).splitlines()[0]}") from error
    for name, option in ((lon, "lon"), (lat, "lat"), *(((id, "id"),) if id else ())):
        if name not in data.schema.names:
            columns = ", ".join(data.schema.names[:20])
            raise SchemaError(f"{path} has no column {name!r}; name it with --{option}; its columns: {columns}")
    try:
        x, y = (data[name].cast(pa.float64()).to_numpy() for name in (lon, lat))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise SchemaError(f"{path}: {lon!r} or {lat!r} are not numbers: {str(error).splitlines()[0]}") from error
    ids = data[id].cast(pa.string()) if id else numbered(path, data.num_rows)
    rest = {
        _free(name): data[name].combine_chunks()
        for name in data.schema.names
        if name not in (lon, lat, id) and not pa.types.is_null(data[name].type)
    }
    try:
        return Places.create(ids, LonLat(x, y), attributes=rest)
    except CoordinateError as error:
        raise CoordinateError(f"{path}: {error}") from None


def _geojson(path: Path, id: str | None) -> Places:
    try:
        features: list[dict[str, Any]] = json.loads(path.read_text())["features"]
        geometry = np.array(
            [None if f.get("geometry") is None else shapely.geometry.shape(f["geometry"]) for f in features] or [None],
            dtype=object,
        )[: len(features)]
    except (ValueError, KeyError, TypeError, AttributeError, shapely.errors.ShapelyError) as error:
        raise FormatError(f"{path}: this is no GeoJSON FeatureCollection ({error})") from error
    names = list(dict.fromkeys(name for f in features for name in (f.get("properties") or {})))
    if id is not None and id not in names:
        raise SchemaError(f"{path}: no feature has the property {id!r}; properties: {', '.join(names[:20])}")
    ids = [str(f["properties"][id]) for f in features] if id else numbered(path, len(features))
    columns: dict[str, Any] = {}
    for name in names:
        values = [(f.get("properties") or {}).get(name) for f in features]
        if name != id and all(value is None or isinstance(value, str | int | float | bool) for value in values):
            try:
                columns[_free(name)] = pa.array(values)
            except (pa.ArrowInvalid, pa.ArrowTypeError):
                columns[_free(name)] = pa.array([None if value is None else str(value) for value in values])
    _check_range(path, geometry)
    return Places.create(ids, geometry=geometry, attributes=columns)


def _check_range(path: Path, geometry: NDArray[np.object_]) -> None:
    """Refuse geometries beyond the Earth: coordinates that are swapped, or projected."""
    rows = np.flatnonzero(~(shapely.is_missing(geometry) | shapely.is_empty(geometry)))
    west, south, east, north = shapely.bounds(geometry[rows]).reshape(-1, 4).T
    try:
        LonLat(west, south)
        LonLat(east, north)
    except CoordinateError as error:
        shown = re.sub(r"^row (\d+)", lambda match: f"feature {rows[int(match[1])]}", str(error))
        raise CoordinateError(f"{path}: {shown}") from None


def numbered(path: Path, count: int) -> list[str]:
    """Ids for rows that have none: the file's name and the row's number, of one width so that they sort."""
    width = len(str(max(0, count - 1)))
    stem = path.name.split(".")[0]
    return [f"{stem}-{row:0{width}d}" for row in range(count)]


def _free(name: str) -> str:
    """A column's name, out of the way of those that have a meaning of their own."""
    from placevec.table.places import RESERVED

    return f"{name}_" if name in RESERVED else name
