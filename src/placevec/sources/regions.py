"""The regions of a country, such as its provinces, from a file of polygons with names."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from shapely.geometry import MultiPolygon, Polygon
from shapely.geometry.base import BaseGeometry

from placevec.errors import DataError, FormatError, SchemaError
from placevec.geo.boxes import unwrap_polygon
from placevec.geo.regions import Regions

_SHOWN = 12  # names in a message


def read_regions(path: str | Path, *, column: str | None = None, rename: Mapping[str, str] | None = None) -> Regions:
    """The regions of a GeoJSON FeatureCollection; polygons of one name are united.

    Names are taken as they stand: "Azad Jammu and Kashmir" is another region than "Azad Kashmir", unless `rename`
    says that they are one.

    Args:
        path: the file, of Polygons and MultiPolygons in longitude and latitude.
        column: the property that names a region. It may be left out where only one property tells all features apart
            by texts, or is called "name"; `name_column` says which.
        rename: what regions are called instead, by the name in the file. Several may become one.

    Raises:
        FormatError: there is no such file, or it is no GeoJSON.
        SchemaError: the property is absent or empty, or several could be meant.
        DataError: a feature is no polygon, or `rename` names a region that is not there.
    """
    features = _features(Path(path))
    chosen = name_column(path) if column is None else column
    names = []
    for row, feature in enumerate(features):
        properties = feature.get("properties") or {}
        if chosen not in properties:
            raise SchemaError(
                f"{path}: feature {row} has no property {chosen!r}; its properties: {', '.join(properties) or 'none'}"
            )
        value = properties[chosen]
        if value is None or not str(value).strip():
            raise SchemaError(f"{path}: the property {chosen!r} of feature {row} is empty; name the region")
        names.append(str(value).strip())
    mapping = dict(rename or {})
    unknown = [name for name in mapping if name not in names]
    if unknown:
        raise DataError(
            f"{path}: no region is called {unknown[0]!r}, so it cannot be renamed; there are: {_some(names)}"
        )
    parts: dict[str, list[BaseGeometry]] = {}
    for row, (feature, name) in enumerate(zip(features, names, strict=True)):
        parts.setdefault(mapping.get(name, name), []).append(_polygon(path, row, name, feature.get("geometry")))
    polygons = np.empty(len(parts), dtype=object)
    for row, shapes in enumerate(parts.values()):
        polygons[row] = shapes[0] if len(shapes) == 1 else unwrap_polygon(shapely.union_all(shapes))
    return Regions(tuple(parts), polygons)


def name_column(path: str | Path) -> str:
    """The property that names the regions of a file: the only one that can, or the one that is called "name".

    Raises:
        FormatError: there is no such file, or it is no GeoJSON.
        SchemaError: there is none, or several could be meant.
    """
    features = _features(Path(path))
    values: dict[str, list[Any]] = {}
    for feature in features:
        for key, value in (feature.get("properties") or {}).items():
            values.setdefault(key, []).append(value)
    telling = [
        key
        for key, found in values.items()
        if len(found) == len(features) == len(set(map(str, found)))
        and all(isinstance(value, str) and value.strip() for value in found)
    ]
    named = [key for key in values if key.lower() == "name"]
    if len(named) == 1:
        return named[0]
    if len(telling) == 1:
        return telling[0]
    if not telling:
        raise SchemaError(
            f"{path}: no property names its {len(features)} features apart; say which one names the regions (polygons "
            f"of one name are united); there are: {', '.join(values) or 'none'}"
        )
    shown = "; ".join(f"{key} ({values[key][0]!r})" for key in telling)
    raise SchemaError(f"{path}: several properties could name the regions: say which: {shown}")


def _features(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        raise FormatError(f"{path}: no such file; give a GeoJSON of polygons")
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        features = data["features"] if data["type"] == "FeatureCollection" else [data]
        if not all(isinstance(feature, dict) and feature["type"] == "Feature" for feature in features):
            raise TypeError("its parts are no features")
    except (ValueError, KeyError, TypeError) as error:
        raise FormatError(f"{path}: this is no GeoJSON FeatureCollection ({error}); export it again") from None
    if not features:
        raise DataError(f"{path} holds no feature; give one polygon for each region")
    found: list[dict[str, Any]] = features
    return found


def _polygon(path: str | Path, row: int, name: str, geometry: Any) -> Polygon | MultiPolygon:
    if geometry is None:
        raise DataError(f"{path}: feature {row} ({name}) is no polygon: it has no geometry; give one, or leave it out")
    try:
        return unwrap_polygon(shapely.geometry.shape(geometry))
    except (
        DataError,
        AttributeError,
        KeyError,
        TypeError,
        ValueError,
        IndexError,
        shapely.errors.ShapelyError,
    ) as error:
        raise DataError(f"{path}: feature {row} ({name}) is no polygon that can be used: {error}") from None


def _some(names: list[str]) -> str:
    known = list(dict.fromkeys(names))
    return ", ".join(known[:_SHOWN]) + (", …" if len(known) > _SHOWN else "")
