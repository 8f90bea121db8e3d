"""What a file of targets says, and of what: H3 cells, points or polygons."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import shapely
from numpy.typing import NDArray

from placevec.errors import CrsError, DataError, FormatError, UsageError
from placevec.geo.cells import CellArray
from placevec.provenance import SourceRef, sha256_file
from placevec.registry import need
from placevec.sources.places import read_places
from placevec.sources.tables.csv import csv_where
from placevec.sources.tables.geoparquet import geometry_columns, where_of
from placevec.sources.tables.options import Options
from placevec.sources.targets.columns import CSV, PARQUET, is_csv, read_columns
from placevec.sources.targets.keys import key_column, parse_cells
from placevec.table.geometry import wkb_to_geometries
from placevec.table.parquet import open_parquet
from placevec.table.places import RESERVED

Kind = Literal["h3", "points", "polygons"]

_JSON = (".geojson", ".json")
_OGR = (".gpkg", ".shp", ".fgb")


@dataclass(frozen=True, eq=False)
class TargetRows:
    """The rows of a file.

    Attributes:
        kind: what they are about.
        data: (n) the columns that hold values.
        source: the file.
        cells: (n,) of "h3"; 0 where a row names no cell.
        geometry: (n,) shapely geometries of the others in longitude and latitude; None where there is none.
        notes: lines for people.
    """

    kind: Kind
    data: pa.Table
    source: SourceRef
    cells: CellArray | None = None
    geometry: NDArray[np.object_] | None = None
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return int(self.data.num_rows)


def read_rows(
    path: str | Path,
    *,
    kind: Kind | None = None,
    key: str | None = None,
    lon: str | None = None,
    lat: str | None = None,
    geometry: str | None = None,
    crs: str | None = None,
) -> TargetRows:
    """The rows of a CSV, Parquet, GeoJSON, GeoPackage, Shapefile or FlatGeobuf file.

    Args:
        path: the file.
        kind: what rows are about; by default cells where a column holds them, else what the geometries are.
        key: the column of H3 cells.
        lon: the column of longitudes, or of x in `crs`.
        lat: the column of latitudes, or of y in `crs`.
        geometry: the column of geometries: WKT in a CSV, WKB in Parquet.
        crs: the coordinate system, where the file does not say it.

    Raises:
        UsageError: no such file or kind of file, or options that contradict each other.
        FormatError, CoordinateError, CrsError: the file is damaged, or does not say where its rows are.
        DataError: its rows are neither cells nor points nor polygons.
    """
    where = Path(path)
    if key is not None and (lon is not None or geometry is not None or kind not in (None, "h3")):
        raise UsageError("--key names cells, and other options say that rows are points or polygons: leave some out")
    if not where.is_file():
        raise UsageError(f"{path}: there is no such file")
    source = SourceRef(where.name, sha256_file(where))
    lower = where.name.lower()
    if lower.endswith(_JSON) or lower.endswith(_OGR):
        data, shapes = _features(where, crs)
        cells = None if kind in ("points", "polygons") else _cells(data, where, key)
        if cells is not None and kind == "h3":
            return TargetRows("h3", data.drop_columns([cells[0]]), source, cells[1])
        return _shaped(path, kind, data, source, shapes)
    if not lower.endswith((*CSV, *PARQUET)):
        raise UsageError(f"{path}: targets are read from {', '.join((*CSV, *PARQUET, *_JSON, *_OGR))}")
    data = read_columns(where)
    if kind in (None, "h3") and lon is None and geometry is None:
        cells = _cells(data, where, key)
        if cells is not None:
            places = [name for name in ("lon", "lat", "longitude", "latitude") if name in data.schema.names]
            return TargetRows("h3", _values(data, {cells[0], *places}), source, cells[1])
        if kind == "h3":
            raise DataError(f"{path}: no column holds H3 cells; its columns are: {', '.join(data.schema.names)[:200]}")
    options = Options(crs=crs, lon=lon, lat=lat, geometry=geometry)
    if is_csv(where):
        there, others = csv_where(str(path), data.schema.names, options), set[str]()
    else:
        file, footer = open_parquet(where)
        there, others = where_of(str(path), file, footer, options), geometry_columns(file, footer)
    if there.kind == "none":
        raise DataError(
            f"{path}: rows are neither cells nor places; name the column of cells with --key, or --lon and --lat; "
            f"the columns are: {', '.join(data.schema.names)[:200]}"
        )
    shapes = wkb_to_geometries(pa.chunked_array([there.wkb(data, str(path), 0)]))
    notes = (there.describe(),) if there.describe() else ()
    return _shaped(path, kind, _values(data, {*there.columns, *others}), source, shapes, notes)


def _shaped(
    path: str | Path,
    kind: Kind | None,
    data: pa.Table,
    source: SourceRef,
    shapes: NDArray[np.object_],
    notes: tuple[str, ...] = (),
) -> TargetRows:
    types = shapely.get_type_id(shapes)
    areas, points = bool(np.isin(types, (3, 6)).any()), bool((types == 0).any())
    found: Kind | None = "polygons" if areas else "points" if points else None
    if found is None or (kind is not None and kind != found and not (kind == "points" and areas)):
        raise DataError(f"{path} holds no {kind or 'points or polygons'}: give the kind that it is of, or another file")
    if kind == "points" and areas:
        shapes = shapely.centroid(shapes)
        notes = (*notes, "polygons were taken as points, by their centroids")
    return TargetRows(kind or found, data, source, None, shapes, notes)


def _cells(data: pa.Table, path: Path, key: str | None) -> tuple[str, CellArray] | None:
    name = key_column(data, path, key)
    return None if name is None else (name, parse_cells(data[name]))


def _values(data: pa.Table, out: set[str]) -> pa.Table:
    """The columns that may hold values: neither the place of a row nor lists."""
    keep = [
        field.name
        for field in data.schema
        if field.name not in out
        and field.name not in RESERVED
        and not (pa.types.is_nested(field.type) or pa.types.is_binary(field.type) or pa.types.is_null(field.type))
    ]
    return data.select(keep)


def _features(path: Path, crs: str | None) -> tuple[pa.Table, NDArray[np.object_]]:
    """The properties and geometries of a file of features, in longitude and latitude."""
    if path.suffix.lower() in _JSON and crs is None and not _says_crs(path):
        places = read_places(path)
        return places.data.select(list(places.attributes)), places.geometries()
    geopandas = need("geopandas", extra="geopandas", purpose=f"reading {path.suffix} files")
    try:
        frame = geopandas.read_file(path)
    except Exception as error:  # pyogrio and geopandas each raise errors of their own
        raise FormatError(f"{path} cannot be read ({str(error).splitlines()[0][:160]}); export it again") from None
    if crs is not None:
        frame = frame.set_crs(crs, allow_override=True)
    if frame.crs is None:
        raise CrsError(f"{path} does not say its coordinate system: say which with --crs, such as --crs EPSG:28992")
    # pandas' own metadata says nothing about targets.
    data = pa.Table.from_pandas(frame.drop(columns=frame.geometry.name), preserve_index=False)
    moved: Any = frame.to_crs("OGC:CRS84").geometry
    return data.replace_schema_metadata(None), np.asarray(moved.to_numpy(), dtype=object)


def _says_crs(path: Path) -> bool:
    """Whether a GeoJSON has the member "crs" of its first edition, from 2008, and names a projection there."""
    try:
        named = json.loads(path.read_text(encoding="utf-8")).get("crs")
    except (ValueError, AttributeError):
        return False
    name = str((named or {}).get("properties", {}).get("name", "")) if isinstance(named, dict) else ""
    return bool(name) and not name.endswith(("CRS84", "EPSG::4326", "EPSG:4326"))
