"""The targets of `evaluate`: what is to be predicted, and at which places."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from placevec.errors import SchemaError, UsageError
from placevec.geo.sphere import LonLat
from placevec.sources.places import read_places
from placevec.table import Places
from placevec.tasks.inputs import sample

_COLUMN = re.compile(r"^(?P<file>.+\.(?:csv|csv\.gz|parquet|lance|gpq|geoparquet)):(?P<column>.+)$")
_POLYGON = re.compile(r"^(?P<file>.+\.(?:geojson|json)):(?P<column>.+)$")
_DATASET = re.compile(r"^dataset:(?P<name>[^:]+):(?P<column>[^:]+)$")


@dataclass(frozen=True, eq=False)
class Target:
    """One target at its places.

    Attributes:
        name: as reports show it.
        column: what it is called where it comes from; a leak is looked for under both names.
        places: (n,) all with a geometry.
        values: (n,) numbers or classes; NaN, None or "" where there is none.
        source: where it comes from, in the words of the user.
        own: whether the places are those of its own file, not the common ones.
    """

    name: str
    column: str
    places: Places
    values: NDArray[Any]
    source: str
    own: bool = False

    def take(self, rows: NDArray[np.int64]) -> Target:
        """The target at some of its places."""
        return replace(self, places=self.places.take(rows), values=self.values[rows])

    @property
    def groups(self) -> NDArray[Any]:
        """What keeps rows of one place in one fold (n,): their key, or, where there is none, their very coordinates."""
        if self.places.has("place"):
            return self.places.keys
        spots = np.round(np.column_stack([self.places.lon, self.places.lat]), 6)
        return np.unique(spots, axis=0, return_inverse=True)[1].ravel().astype(np.int64)


@dataclass(frozen=True)
class Columns:
    """How a file of places names its columns: longitude, latitude, and what names a row."""

    lon: str = "lon"
    lat: str = "lat"
    id: str | None = None


def read_target(text: str, common: Callable[[], Places], columns: Columns | None = None) -> Target:
    """The target that a text names.

    Args:
        text: ``NAME=RASTER`` samples a raster at the common places; ``NAME=FILE.csv:COLUMN`` (or a table) brings its
            own places, with ``@LON,LAT`` behind it where its coordinates are called otherwise;
            ``NAME=FILE.geojson:PROPERTY`` is the property of the polygon around each common place;
            ``NAME=dataset:DATASET:COLUMN`` the same of a known dataset's file; ``COLUMN`` a column of the
            common places.
        common: gives the common places; called only where they are needed.
        columns: the columns of a CSV, where the text does not say.

    Raises:
        UsageError: the text names nothing that exists.
        SchemaError: a column or property is absent.
    """
    known = columns or Columns()
    name, equals, source = text.partition("=")
    if not equals:
        places = common()
        if not places.has(name):
            listed = ", ".join(places.attributes) or "none"
            raise UsageError(
                f"the target {name!r} is no column of the places ({listed}): give one, NAME=RASTER, "
                "NAME=FILE.csv:COLUMN or NAME=FILE.geojson:PROPERTY"
            )
        return _located(Target(name, name, places, places.column(name), "a column of the places"))
    if not name or not source:
        raise UsageError(
            f"{text!r} is no target: write NAME=RASTER, NAME=FILE.csv:COLUMN or NAME=FILE.geojson:PROPERTY"
        )
    from_dataset = _DATASET.match(source)
    if from_dataset:
        file, column = _dataset_file(from_dataset["name"]), from_dataset["column"]
        return _from_file(name, source, file, column, common, known)
    polygon, table = _POLYGON.match(source), _COLUMN.match(source)
    found = polygon or table
    if found:
        return _from_file(name, source, found["file"], found["column"], common, known)
    places = common()
    places = places.take(np.flatnonzero(places.located))
    return Target(name, name, places, sample(source, places.lonlat()), source)


def _from_file(
    name: str, source: str, file: str, column: str, common: Callable[[], Places], columns: Columns
) -> Target:
    if not Path(file).exists():
        raise UsageError(f"the target {name!r}: {file} does not exist")
    if _POLYGON.match(f"{file}:x"):
        places = common()
        places = places.take(np.flatnonzero(places.located))
        return Target(name, column, places, polygon_values(file, column, places.lonlat()), source)
    column, at, coordinates = column.partition("@")
    lon, comma, lat = coordinates.partition(",")
    if at and not (lon and comma and lat):
        raise UsageError(f"the target {name!r}: behind @ stand the two columns LON,LAT, not {coordinates!r}")
    places = read_places(file, lon=lon or columns.lon, lat=lat or columns.lat, id=columns.id)
    return _located(Target(name, column, places, places.column(column), source, own=True))


def polygon_values(file: str | Path, name: str, lonlat: LonLat) -> NDArray[Any]:
    """The property `name` of the first polygon of a GeoJSON that covers each point (n,); None outside of all.

    Raises:
        SchemaError: no feature has the property, or none is a polygon.
    """
    import shapely

    shapes = read_places(file)
    values = shapes.column(name)
    geometries = shapes.geometries()
    usable = np.array([g is not None and g.geom_type in ("Polygon", "MultiPolygon") for g in geometries], dtype=bool)
    if not usable.any():
        raise SchemaError(f"{file}: no feature is a polygon, so that none can lie around a place")
    rows = np.flatnonzero(usable)
    tree = shapely.STRtree(geometries[rows])
    lon = (lonlat.lon + 180.0) % 360.0 - 180.0
    point, shape = tree.query(shapely.points(lon, lonlat.lat), predicate="intersects")
    # Of several, the first in the file.
    order = np.lexsort((shape, point))
    first = np.unique(point[order], return_index=True)
    out = np.full(len(lonlat), None, dtype=object)
    out[first[0]] = values[rows[shape[order][first[1]]]]
    return out


def _located(target: Target) -> Target:
    located = target.places.located
    return target if located.all() else target.take(np.flatnonzero(located))


def _dataset_file(name: str) -> str:
    from placevec.sources.catalog import fetch

    files = [path for path in fetch(name).values() if _POLYGON.match(f"{path}:x") or _COLUMN.match(f"{path}:x")]
    if len(files) != 1:
        raise UsageError(f"the dataset {name!r} holds {len(files)} files of columns or polygons: name the file itself")
    return str(files[0])
