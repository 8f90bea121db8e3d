"""Geometries as they stand in a table: WKB in longitude, latitude (OGC:CRS84), null where there is none."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import shapely
from numpy.typing import NDArray

from placevec.errors import FormatError
from placevec.geo.sphere import LonLat

# Little-endian WKB of a 2-D point: one byte of order, four of type, two doubles.
_POINT_BYTES = 21
_POINT_HEAD = np.array([1, 1, 0, 0, 0], dtype=np.uint8)

# -0.0 + 0.0 is 0.0: one place has one spelling, and text, which has no -0, brings the same fingerprint back.
_PLUS = 0.0

BBOX_TYPE = pa.struct([(name, pa.float32()) for name in ("xmin", "ymin", "xmax", "ymax")])


def points_to_wkb(points: LonLat, located: NDArray[np.bool_] | None = None) -> pa.BinaryArray:
    """WKB points; `located` (n,) places `points` among rows of which some have no geometry."""
    n = len(points)
    flat = np.empty((n, _POINT_BYTES), dtype=np.uint8)
    flat[:, :5] = _POINT_HEAD
    flat[:, 5:] = (np.column_stack([points.lon, points.lat]) + _PLUS).astype("<f8").view(np.uint8)
    present = np.ones(n, dtype=bool) if located is None else located
    lengths = np.where(present, _POINT_BYTES, 0)
    offsets = np.concatenate(([0], np.cumsum(lengths))).astype(np.int32)
    valid = None if present.all() else pa.py_buffer(np.packbits(present, bitorder="little").tobytes())
    return pa.Array.from_buffers(
        pa.binary(), len(present), [valid, pa.py_buffer(offsets), pa.py_buffer(flat.tobytes())]
    )


def geometries_to_wkb(geometries: NDArray[Any]) -> pa.Array:
    """WKB of an array of shapely geometries; None and empty geometries become null."""
    missing = shapely.is_missing(geometries) | shapely.is_empty(geometries)
    present = geometries.copy()
    present[missing] = None
    xy = shapely.get_coordinates(present)
    if ((xy == 0.0) & np.signbit(xy)).any():
        present = shapely.transform(present, lambda pairs: pairs + _PLUS)
    wkb: NDArray[Any] = np.asarray(shapely.to_wkb(present, output_dimension=2, byte_order=1), dtype=object)
    return pa.array(wkb, type=pa.binary())


def wkb_to_geometries(column: pa.Array | pa.ChunkedArray) -> NDArray[Any]:
    """Shapely geometries of a WKB column, None where it is null; FormatError if it is not WKB."""
    values = column.to_numpy(zero_copy_only=False)
    try:
        return np.asarray(shapely.from_wkb(values), dtype=object)
    except shapely.errors.ShapelyError as error:
        raise FormatError(f"the geometry column does not hold WKB: {str(error).splitlines()[0]}") from error


def points_of_wkb(
    column: pa.Array | pa.ChunkedArray,
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Longitudes and latitudes (NaN where null) if the column holds nothing but points, else None."""
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if isinstance(array, pa.ChunkedArray):
        array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], column.type)
    n = len(array)
    present = np.asarray(array.is_valid())
    lon, lat = np.full(n, np.nan), np.full(n, np.nan)
    if not present.any():
        return lon, lat
    wide = array.cast(pa.large_binary()) if pa.types.is_binary(array.type) else array
    _, offsets_buffer, data = wide.buffers()
    offsets = np.frombuffer(offsets_buffer, dtype=np.int64)[wide.offset : wide.offset + n + 1]
    starts, lengths = offsets[:-1][present], np.diff(offsets)[present]
    if (lengths != _POINT_BYTES).any():
        return None
    flat = np.frombuffer(data, dtype=np.uint8)
    if np.array_equal(starts, starts[0] + _POINT_BYTES * np.arange(len(starts))):
        rows = flat[starts[0] : starts[0] + _POINT_BYTES * len(starts)].reshape(-1, _POINT_BYTES)
    else:
        rows = flat[starts[:, None] + np.arange(_POINT_BYTES)]
    if (rows[:, :5] != _POINT_HEAD).any():
        return None
    xy = np.ascontiguousarray(rows[:, 5:]).view("<f8")
    lon[present], lat[present] = xy[:, 0], xy[:, 1]
    return lon, lat


def centres(column: pa.Array | pa.ChunkedArray) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """A representative longitude and latitude for each geometry: the point itself, else the centroid; NaN if null."""
    points = points_of_wkb(column)
    if points is not None:
        return points
    geometries = wkb_to_geometries(column)
    bounds = shapely.bounds(geometries)
    # A geometry split at the antimeridian spans the whole Earth in plain numbers: bring its halves together first.
    crossing = (bounds[:, 2] - bounds[:, 0]) > 180.0
    if crossing.any():
        geometries = geometries.copy()
        geometries[crossing] = shapely.transform(geometries[crossing], _east_of_greenwich)
    centroid = shapely.centroid(geometries)
    lon, lat = shapely.get_x(centroid), shapely.get_y(centroid)
    return (lon + 180.0) % 360.0 - 180.0, lat


def _east_of_greenwich(xy: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.column_stack([xy[:, 0] % 360.0, xy[:, 1]])


def covering(column: pa.Array | pa.ChunkedArray) -> pa.StructArray:
    """The `bbox` covering column of GeoParquet 1.1 in float32, rounded outwards; null where geometry is."""
    points = points_of_wkb(column)
    if points is not None:
        lon, lat = points
        bounds = np.column_stack([lon, lat, lon, lat])
    else:
        bounds = shapely.bounds(wkb_to_geometries(column))
    missing = np.isnan(bounds[:, 0])
    bounds = np.where(missing[:, None], 0.0, bounds)
    sides = []
    for axis, outward in enumerate((-np.inf, -np.inf, np.inf, np.inf)):
        side = bounds[:, axis].astype(np.float32)
        inward = side > bounds[:, axis] if outward < 0 else side < bounds[:, axis]
        side[inward] = np.nextafter(side[inward], np.float32(outward))
        sides.append(pa.array(side))
    return pa.StructArray.from_arrays(sides, fields=list(BBOX_TYPE), mask=pa.array(missing))


def geometry_types(column: pa.Array | pa.ChunkedArray) -> set[str]:
    """The names of the geometry types of a column, as GeoParquet spells them."""
    if points_of_wkb(column) is not None:
        return {"Point"} if len(column) > column.null_count else set()
    kinds = np.unique(shapely.get_type_id(wkb_to_geometries(column)))
    return {_TYPE_NAMES[int(kind)] for kind in kinds if kind >= 0}


_TYPE_NAMES = {
    0: "Point",
    1: "LineString",
    2: "LineString",
    3: "Polygon",
    4: "MultiPoint",
    5: "MultiLineString",
    6: "MultiPolygon",
    7: "GeometryCollection",
}
