"""Masks: where there is land, or whatever a file of polygons describes, as separate polygons that can be asked fast."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry import MultiPolygon, Polygon
from shapely.geometry.base import BaseGeometry

from placevec.errors import CoordinateError, DataError, FormatError, UsageError
from placevec.geo.boxes import unwrap_polygon
from placevec.provenance import SourceRef
from placevec.registry import need
from placevec.sources.topojson import is_topology, topology_polygons

LAND = "land"
"""The word for all land of the Earth: the dataset `natural-earth-land`."""

_JSON = (".json", ".geojson", ".topojson")
_TABLES = (".gpkg", ".shp", ".fgb", ".geoparquet", ".parquet")


@dataclass(frozen=True, eq=False)
class Mask:
    """A part of the Earth's surface.

    Attributes:
        name: what it is called.
        polygons: (n,) shapely Polygons in longitude and latitude, within 180 degrees, that share no area and no
            border with one another.
        sources: where they come from.
    """

    name: str
    polygons: NDArray[np.object_]
    sources: tuple[SourceRef, ...] = field(default=())

    @classmethod
    def of(cls, geometries: Iterable[BaseGeometry], name: str = "area", sources: tuple[SourceRef, ...] = ()) -> Mask:
        """The mask of any polygons: they may overlap, cross the antimeridian or go around a pole.

        Raises:
            DataError: there is no polygon with an area.
            CoordinateError: a latitude is out of range or a coordinate is not finite.
        """
        parts: list[Any] = []
        for geometry in geometries:
            # A flat ring around a pole has its area only when it is unwrapped.
            if isinstance(geometry, Polygon | MultiPolygon) and not geometry.is_empty:
                try:
                    parts.extend(shapely.get_parts(unwrap_polygon(geometry)))
                except CoordinateError:
                    raise
                except DataError:  # a flat one among others is nothing to stop for
                    continue
        polygons = np.array(parts, dtype=object)
        polygons = polygons[shapely.area(polygons) > 0.0]
        if len(polygons) == 0:
            raise DataError(f"{name} holds no polygon with an area; give a file of Polygons or MultiPolygons")
        return cls(name, _disjoint(polygons), sources)


def read_mask(name: str | Path, allow_network: bool = False) -> Mask:
    """A mask by name: "land" for all land, or a file of polygons.

    Args:
        name: "land" (Natural Earth 1:10 million), or a GeoJSON, TopoJSON, GeoPackage, Shapefile or GeoParquet file.
        allow_network: fetch the land, if it is not on this machine.

    Raises:
        UsageError: there is no such file, or its kind is unknown.
        FormatError: it is damaged.
        DataError: it holds no polygon, or the land may not be fetched.
        MissingExtra: its kind needs geopandas, which is not installed.
    """
    if str(name) == LAND:
        from placevec.sources.catalog import fetch, source_refs

        path = fetch("natural-earth-land", allow_network)["land-10m.json"]
        return Mask.of(_read(path), LAND, source_refs("natural-earth-land"))
    path = Path(name)
    if not path.is_file():
        raise UsageError(f"{name!s} is neither a file of polygons nor {LAND!r}; check the path")
    with path.open("rb") as handle:
        ref = SourceRef(path.name, hashlib.file_digest(handle, "sha256").hexdigest())
    try:
        return Mask.of(_read(path), path.name, (ref,))
    except (DataError, CoordinateError) as error:
        text = str(error)
        raise type(error)(text if text.startswith(path.name) or str(path) in text else f"{path}: {text}") from None


def _read(path: Path) -> Iterable[BaseGeometry]:
    suffix = path.suffix.lower()
    if suffix in _JSON:
        return _read_json(path)
    if suffix in _TABLES:
        return _read_table(path)
    raise UsageError(f"{path}: polygons are read from {', '.join((*_JSON, *_TABLES))}")


def _read_json(path: Path) -> Iterable[BaseGeometry]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError):
        raise FormatError(f"{path} is no JSON; export it as GeoJSON in longitude and latitude") from None
    if is_topology(data):
        return topology_polygons(data, str(path))
    try:
        kind = data["type"]
        items = data["features"] if kind == "FeatureCollection" else [data]
        found = [item["geometry"] if item["type"] == "Feature" else item for item in items]
        shapes = [shapely.geometry.shape(geometry) for geometry in found if geometry]
    except (KeyError, TypeError, AttributeError, ValueError, IndexError, shapely.errors.ShapelyError):
        raise FormatError(f"{path} is JSON but neither GeoJSON nor TopoJSON; export it again") from None
    return list(_flat(shapes))


def _flat(shapes: Iterable[BaseGeometry]) -> Iterable[BaseGeometry]:
    for shape in shapes:
        yield from _flat(shape.geoms) if isinstance(shape, shapely.GeometryCollection) else (shape,)


def _read_table(path: Path) -> Iterable[BaseGeometry]:
    geopandas = need("geopandas", extra="geopandas", purpose=f"reading {path.suffix} files")
    try:
        frame = geopandas.read_parquet(path) if "parquet" in path.suffix else geopandas.read_file(path)
    except Exception as error:  # pyogrio, pyarrow and geopandas each raise errors of their own
        raise FormatError(f"{path} cannot be read ({str(error).splitlines()[0][:160]}); export it again") from None
    if frame.crs is None:
        raise DataError(f"{path} does not say its coordinate system; set it, or export it as GeoJSON")
    return list(_flat(g for g in frame.to_crs("OGC:CRS84").geometry if g is not None))


def _disjoint(polygons: NDArray[np.object_]) -> NDArray[np.object_]:
    """The polygons with those that touch merged: a cell across their common border then lies in one of them."""
    one, other = shapely.STRtree(polygons).query(polygons)
    # Each pair once, the one with more vertices first: it is prepared, and asked about many small ones.
    size = shapely.get_num_coordinates(polygons)
    once = (size[one] > size[other]) | ((size[one] == size[other]) & (one < other))
    one, other = one[once], other[once]
    shapely.prepare(polygons[np.unique(one)])
    touch = shapely.intersects(polygons[one], polygons[other])
    touching = np.unique([one[touch], other[touch]])
    if len(touching) == 0:
        return polygons
    merged = shapely.get_parts(shapely.union_all(polygons[touching]))
    merged = merged[shapely.get_type_id(merged) == 3]
    return np.concatenate([np.delete(polygons, touching), merged])
