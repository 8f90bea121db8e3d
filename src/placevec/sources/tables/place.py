"""Where rows are: geometries of any form and coordinate system to WKB in longitude and latitude."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import shapely
from numpy.typing import NDArray
from pyproj import CRS

from placevec.errors import CoordinateError, CrsError, FormatError, SchemaError
from placevec.geo.boxes import unwrap_polygons
from placevec.geo.frames import LONLAT, read_crs, to_lonlat, transform
from placevec.geo.sphere import LonLat
from placevec.sources.georeference import is_lonlat
from placevec.table.geometry import geometries_to_wkb, points_of_wkb, points_to_wkb

_POLYGONS = (3, 6)


Kind = Literal["wkt", "wkb", "xy", "point", "none"]


@dataclass(frozen=True)
class Where:
    """How a file says where its rows are.

    Attributes:
        kind: WKT text, WKB, or x and y in two columns or in a struct ("point"); "none" if it does not say.
        columns: the columns that hold it.
        crs: the system of its coordinates; None stands for longitude and latitude.
    """

    kind: Kind
    columns: tuple[str, ...] = ()
    crs: CRS | None = None

    def describe(self) -> str:
        """A note on what was taken for what."""
        if self.kind == "none":
            return "no column says where the rows are: they have no geometry"
        if self.crs is not None:
            return f"coordinates were taken from {self.crs.name} to longitude and latitude"
        if self.kind == "xy":
            return f"{self.columns[0]!r} and {self.columns[1]!r} are longitude and latitude in degrees of WGS84"
        return ""

    def wkb(self, data: pa.Table, path: str, first: int) -> pa.Array:
        """The geometries of the rows of `data` as WKB in lon, lat; `first` is the number of its first row.

        Raises FormatError for text that is not WKT or WKB, CoordinateError for coordinates out of range.
        """
        if self.kind == "none":
            return pa.nulls(data.num_rows, pa.binary())
        columns = [data[name].combine_chunks() for name in self.columns]
        try:
            if self.kind == "xy":
                x, y = (_numbers(column, name, path) for column, name in zip(columns, self.columns, strict=True))
                return self._points(x, y)
            if self.kind == "point":
                struct = columns[0]
                fields = [pc.struct_field(struct, side).cast(pa.float64()) for side in ("x", "y")]
                return self._points(*(np.asarray(side.to_numpy(zero_copy_only=False)) for side in fields))
            if self.kind == "wkb":
                points = points_of_wkb(columns[0])
                if points is not None:
                    return self._points(*points)
                geometries = _parse(columns[0], shapely.from_wkb, "WKB", self.columns[0], path, first)
            else:
                geometries = _parse(columns[0], shapely.from_wkt, "WKT", self.columns[0], path, first)
            return self._shapes(geometries)
        except CoordinateError as error:
            raise CoordinateError(f"{path}: {_moved(str(error), first)}") from None
        except CrsError as error:
            raise CrsError(f"{path}: {error}") from None

    def _points(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> pa.Array:
        half = np.isnan(x) != np.isnan(y)
        if half.any():
            row = int(np.argmax(half))
            raise CoordinateError(f"row {row}: one of its two coordinates is absent ({x[row]}, {y[row]}): give both")
        located = ~np.isnan(x)
        rows = np.flatnonzero(located)
        try:
            points = LonLat(x[rows], y[rows]) if self.crs is None else to_lonlat(x[rows], y[rows], self.crs)
        except CoordinateError as error:
            raise CoordinateError(_renumbered(str(error), rows)) from None
        return points_to_wkb(points, located)

    def _shapes(self, geometries: NDArray[Any]) -> pa.Array:
        kinds = shapely.get_type_id(geometries)
        kinds[shapely.is_empty(geometries)] = -1
        if not (kinds > 0).any():
            present = geometries.copy()
            present[kinds < 0] = None
            return self._points(shapely.get_x(present), shapely.get_y(present))
        moved = shapely.force_2d(geometries) if self.crs is None else transform(geometries, self.crs, LONLAT)
        moved = np.asarray(moved, dtype=object)
        rows = np.flatnonzero(kinds >= 0)
        west, south, east, north = shapely.bounds(moved[rows]).T
        try:
            LonLat(west, south)
            LonLat(east, north)
        except CoordinateError as error:
            raise CoordinateError(_renumbered(str(error), rows)) from None
        areas = np.flatnonzero(np.isin(kinds, _POLYGONS))
        moved[areas] = unwrap_polygons(moved[areas])
        return geometries_to_wkb(moved)


def system(crs: Any, what: str, path: str) -> CRS | None:
    """The CRS that `what` names, None where it is longitude and latitude of WGS84 already."""
    try:
        found = read_crs(crs)
    except CrsError as error:
        raise CrsError(f"{path}: {what}: {error}") from None
    return None if is_lonlat(found) else found


def missing_crs(path: str, what: str) -> CrsError:
    """The error for coordinates of which nobody says what they are."""
    return CrsError(
        f"{path}: {what} without a coordinate reference system: say which with --crs, such as --crs EPSG:25830, "
        "or --crs OGC:CRS84 for longitude and latitude"
    )


def _parse(column: pa.Array, parser: Any, form: str, name: str, path: str, first: int) -> NDArray[Any]:
    values = np.asarray(column.to_numpy(zero_copy_only=False), dtype=object)
    found: NDArray[Any] = np.asarray(parser(values, on_invalid="ignore"), dtype=object)
    bad = shapely.is_missing(found) & np.asarray(column.is_valid())
    if bad.any():
        row = int(np.argmax(bad))
        shown = repr(values[row]) if len(values[row]) <= 60 else f"{values[row][:57]!r}…"
        raise FormatError(
            f"{path}: the column {name!r} is not {form}: row {first + row} holds {shown}; name another column with "
            "--geometry, or --lon and --lat"
        )
    return found


def _numbers(column: pa.Array, name: str, path: str) -> NDArray[np.float64]:
    try:
        cast = column.cast(pa.float64())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        raise SchemaError(f"{path}: the column {name!r} holds no numbers (it is {column.type})") from None
    return np.asarray(cast.to_numpy(zero_copy_only=False), dtype=np.float64)


def _renumbered(message: str, rows: NDArray[np.int64]) -> str:
    return re.sub(r"^row (\d+)", lambda match: f"row {rows[int(match[1])]}", message)


def _moved(message: str, first: int) -> str:
    return re.sub(r"^row (\d+)", lambda match: f"row {int(match[1]) + first}", message)
