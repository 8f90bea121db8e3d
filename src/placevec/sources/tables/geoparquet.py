"""Where a Parquet file says its rows are: GeoParquet 1.0, 1.1, 2.0, native GEOMETRY columns, or plain columns."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from placevec.errors import FormatError, SchemaError
from placevec.sources.tables.options import Options
from placevec.sources.tables.place import Kind, Where, missing_crs, system

_LON, _LAT = ("lon", "longitude", "lng"), ("lat", "latitude")


def where_of(path: str, file: pq.ParquetFile, footer: Mapping[bytes, bytes], options: Options) -> Where:
    """How the file says where its rows are.

    The CRS is that of the footer `geo`, or of the native type. Absent it means OGC:CRS84 in both specifications;
    null in the footer means unknown, and then `--crs` has to say it. Where a file says one thing and `--crs` another,
    the user counts: files are known to be wrong (Planet's sample holds degrees and says metres).
    """
    names = file.schema_arrow.names
    if options.lon is not None and options.lat is not None:
        xy = (options.column("lon", options.lon, names, path), options.column("lat", options.lat, names, path))
        return Where("xy", xy, None if options.crs is None else system(options.crs, "--crs", path))
    geo = _geo(path, footer)
    native = _native(file)
    column = options.column("geometry", options.geometry, names, path) if options.geometry else None
    column = column or geo.get("primary_column") or next(iter(native), None)
    if column is None and "geometry" in names:
        column = "geometry"
    if column is None:
        return _plain(path, names, options)
    if column not in names:
        raise SchemaError(
            f"{path}: the footer `geo` names the column {column!r}, which is absent: name one with --geometry"
        )
    stated = geo.get("columns", {}).get(column)
    kind = _kind(path, column, file.schema_arrow.field(column).type, stated)
    crs = _crs(path, column, stated, native.get(column), footer, options)
    return Where(kind, (column,), crs)


def geometry_columns(file: pq.ParquetFile, footer: Mapping[bytes, bytes]) -> set[str]:
    """All columns that hold geometries, of which a table keeps one."""
    geo = _geo("", footer) if b"geo" in footer else {}
    return {*geo.get("columns", {}), *_native(file)}


def _geo(path: str, footer: Mapping[bytes, bytes]) -> dict[str, Any]:
    if b"geo" not in footer:
        return {}
    try:
        geo = json.loads(footer[b"geo"])
    except ValueError:
        raise FormatError(
            f"{path}: the footer `geo` is not JSON: name column and system with --geometry and --crs"
        ) from None
    if not isinstance(geo, dict) or not isinstance(geo.get("columns", {}), dict):
        raise FormatError(f"{path}: the footer `geo` is not that of GeoParquet: write the file again")
    return geo


def _native(file: pq.ParquetFile) -> dict[str, dict[str, Any]]:
    """The columns of the Parquet types GEOMETRY and GEOGRAPHY, with what their types say."""
    found = {}
    for i in range(len(file.schema)):
        column = file.schema.column(i)
        if column.logical_type.type in ("GEOMETRY", "GEOGRAPHY"):
            found[column.path] = json.loads(column.logical_type.to_json())
    return found


def _plain(path: str, names: list[str], options: Options) -> Where:
    lowered = {name.lower(): name for name in reversed(names)}
    lon = next((lowered[name] for name in _LON if name in lowered), None)
    lat = next((lowered[name] for name in _LAT if name in lowered), None)
    if lon is not None and lat is not None:
        return Where("xy", (lon, lat), None if options.crs is None else system(options.crs, "--crs", path))
    if options.crs is not None:
        raise SchemaError(f"{path}: no column says where the rows are: name it with --geometry, or --lon and --lat")
    return Where("none")


def _kind(path: str, column: str, kind: pa.DataType, stated: Mapping[str, Any] | None) -> Kind:
    encoding = str((stated or {}).get("encoding", "WKB"))
    if isinstance(kind, pa.BaseExtensionType):
        kind = kind.storage_type
    binary = pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind)
    if encoding.upper() == "WKB" and binary:
        return "wkb"
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return "wkt"
    if encoding == "point" or (pa.types.is_struct(kind) and {"x", "y"} <= {field.name for field in kind}):
        return "point"
    if pa.types.is_null(kind):
        return "none"
    raise FormatError(
        f"{path}: the geometry {column!r} is encoded as {encoding!r} ({str(kind)[:40]}), which is not read: "
        "write it as WKB"
    )


def _crs(
    path: str,
    column: str,
    stated: Mapping[str, Any] | None,
    native: Mapping[str, Any] | None,
    footer: Mapping[bytes, bytes],
    options: Options,
) -> Any:
    if options.crs is not None:
        return system(options.crs, "--crs", path)
    if stated is not None and "crs" in stated:
        if stated["crs"] is None:
            raise missing_crs(path, f"the footer `geo` says that the CRS is unknown: coordinates in {column!r}")
        return system(stated["crs"], "the CRS in the footer `geo`", path)
    if native is not None and native.get("crs"):
        return system(_native_crs(str(native["crs"]), footer), "the CRS of the geometry column", path)
    if stated is None and native is None:
        raise missing_crs(path, f"there is no footer `geo`: coordinates in {column!r}")
    return None


def _native_crs(text: str, footer: Mapping[bytes, bytes]) -> Any:
    if text.startswith("srid:"):
        return f"EPSG:{text.removeprefix('srid:')}"
    if text.startswith("projjson:"):
        # The text names a key of the footer that holds the definition.
        return footer.get(text.removeprefix("projjson:").encode(), b"").decode()
    return text
