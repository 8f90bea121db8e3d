"""Places: ids, geometries and attributes, without vectors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from placevec.errors import SchemaError
from placevec.geo.boxes import Box, split_box
from placevec.geo.cells import H3Cells
from placevec.geo.sphere import LonLat
from placevec.table.filter import Filter
from placevec.table.geometry import centres, geometries_to_wkb, points_to_wkb, wkb_to_geometries

# Columns with a meaning of their own; every other scalar column is an attribute.
RESERVED = ("id", "geometry", "embedding", "place", "h3", "time_start", "time_end", "asset", "bbox")


class Places:
    """Observations of places. One row is one observation; `id` is unique, `place` groups rows of one place.

    Attributes:
        data: the Arrow table: `id` string, `geometry` WKB in lon, lat (null where there is none), the optional
            columns `place`, `h3` (uint64), `time_start`, `time_end`, `asset` (``href#xywh=col,row,width,height``
            in pixels), and attributes.
    """

    def __init__(self, data: pa.Table) -> None:
        self.data = data

    @classmethod
    def create(
        cls,
        ids: Sequence[str] | NDArray[Any] | pa.Array,
        lonlat: LonLat | None = None,
        *,
        geometry: NDArray[Any] | None = None,
        place: Any = None,
        h3: NDArray[np.uint64] | None = None,
        time_start: Any = None,
        time_end: Any = None,
        asset: Any = None,
        attributes: Mapping[str, Any] | None = None,
    ) -> Places:
        """Places from arrays of one length n.

        Args:
            ids: n unique strings.
            lonlat: n points; or give `geometry`.
            geometry: n shapely geometries in lon, lat degrees, None where there is none. Without either, no row
                has a geometry.
            place: n keys of the places observed; by default the ids.
            h3: n H3 cells.
            time_start: n timestamps (UTC).
            time_end: n timestamps (UTC).
            asset: n addresses of the pixels.
            attributes: further columns by name.

        Raises:
            SchemaError: duplicate or empty ids, or columns of another length.
        """
        n = len(ids)
        columns: dict[str, Any] = {"id": _strings(ids)}
        if lonlat is not None and geometry is not None:
            raise SchemaError("give points or geometries, not both")
        if lonlat is not None:
            columns["geometry"] = points_to_wkb(lonlat)
        elif geometry is not None:
            columns["geometry"] = geometries_to_wkb(np.asarray(geometry, dtype=object))
        else:
            columns["geometry"] = pa.nulls(n, pa.binary())
        optional = {"place": place, "h3": h3, "time_start": time_start, "time_end": time_end, "asset": asset}
        for name, values in optional.items():
            if values is not None:
                columns[name] = _optional(name, values)
        for name, values in (attributes or {}).items():
            if name in RESERVED:
                raise SchemaError(f"the attribute {name!r} has the name of a column with a meaning of its own")
            columns[name] = _array(values)
        for name, values in columns.items():
            if len(values) != n:
                raise SchemaError(f"column {name!r} has {len(values)} rows, `id` has {n}")
        places = cls(pa.table(columns))
        check_ids(places.data["id"])
        return places

    def __len__(self) -> int:
        return int(self.data.num_rows)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self):,} rows; {', '.join(self.data.schema.names)})"

    @property
    def num_rows(self) -> int:
        """The number of rows."""
        return len(self)

    @cached_property
    def ids(self) -> NDArray[Any]:
        """The ids (n,), as an object array of strings."""
        return np.asarray(self.data["id"].to_numpy(zero_copy_only=False), dtype=object)

    @cached_property
    def keys(self) -> NDArray[Any]:
        """What groups rows of one place (n,): the column `place`, or the id where it is absent."""
        if "place" not in self.data.schema.names:
            return self.ids
        return np.asarray(pc.coalesce(self.data["place"], self.data["id"]).to_numpy(zero_copy_only=False))

    @cached_property
    def located(self) -> NDArray[np.bool_]:
        """Which rows have a geometry (n,)."""
        return np.asarray(self.data["geometry"].is_valid())

    @cached_property
    def _centres(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        return centres(self.data["geometry"])

    @property
    def lon(self) -> NDArray[np.float64]:
        """Longitude (n,) of the point, or of the geometry's centroid, in degrees; NaN without geometry."""
        return self._centres[0]

    @property
    def lat(self) -> NDArray[np.float64]:
        """Latitude (n,), see `lon`."""
        return self._centres[1]

    def about(self, box: Box) -> NDArray[np.bool_]:
        """Which rows (n,) may lie in a box: all that do, and some on the antimeridian that do not. Cheap."""
        lon, lat = self._turned, self.lat
        found = np.zeros(len(self), dtype=bool)
        for west, south, east, north in split_box(box):
            inside = lon >= west
            inside &= lon <= east
            if east == 180.0:
                inside |= lon == -180.0
            inside &= lat >= south
            inside &= lat <= north
            found |= inside
        return found

    @cached_property
    def _turned(self) -> NDArray[np.float64]:
        """Longitudes in [-180, 180): a stored geometry may have others."""
        lon = self.lon
        odd = (lon >= 180.0) | (lon < -180.0)
        return np.where(odd, (lon + 180.0) % 360.0 - 180.0, lon) if odd.any() else lon

    def lonlat(self, rows: NDArray[np.int64] | None = None) -> LonLat:
        """The representative points of all rows or of some; SchemaError if one of them has no geometry."""
        lon, lat = (self.lon, self.lat) if rows is None else (self.lon[rows], self.lat[rows])
        missing = np.isnan(lon)
        if missing.any():
            first = int(np.flatnonzero(missing)[0] if rows is None else rows[np.flatnonzero(missing)[0]])
            raise SchemaError(
                f"{int(missing.sum())} of {len(lon)} rows have no geometry (the first is {self.ids[first]!r}): "
                "leave them out with `places.take(np.flatnonzero(places.located))`"
            )
        return LonLat(lon, lat)

    def geometries(self) -> NDArray[Any]:
        """Shapely geometries (n,) in lon, lat degrees, None where there is none."""
        return wkb_to_geometries(self.data["geometry"])

    def cells(self, resolution: int, rows: NDArray[np.int64] | None = None) -> NDArray[np.uint64]:
        """The H3 cell of each row (all, or `rows`) at `resolution`: from the column `h3` where it is fine enough."""
        if "h3" in self.data.schema.names and self.data["h3"].null_count == 0:
            own = self.data["h3"].to_numpy() if rows is None else self.data["h3"].to_numpy()[rows]
            levels = np.unique(own >> np.uint64(52) & np.uint64(0xF))  # where H3 keeps the resolution of a cell
            if len(levels) == 1 and levels[0] >= resolution:
                return H3Cells(int(levels[0])).parent(own, resolution)
        return H3Cells(resolution).assign(self.lonlat(rows))

    @property
    def attributes(self) -> tuple[str, ...]:
        """The names of the columns that have no meaning of their own."""
        return tuple(name for name in self.data.schema.names if name not in RESERVED)

    def has(self, name: str) -> bool:
        """Whether there is a column `name`."""
        return name in self.data.schema.names

    def column(self, name: str) -> NDArray[Any]:
        """The values of a column (n,) as numpy; SchemaError, naming the columns that exist, if there is none."""
        if not self.has(name):
            known = ", ".join(self.data.schema.names)
            raise SchemaError(f"there is no column {name!r}; the columns are: {known}")
        column = self.data[name]
        if column.null_count and pa.types.is_integer(column.type):
            # Arrow would make doubles of them, which cannot hold a 64-bit cell.
            return np.array(column.to_pylist(), dtype=object)
        return np.asarray(column.to_numpy(zero_copy_only=False))

    def with_column(self, name: str, values: Any) -> Self:
        """A copy with an attribute added or replaced; `values` has one entry for each row."""
        if name in ("id", "geometry", "embedding"):
            raise SchemaError(f"the column {name!r} cannot be replaced")
        array = _optional(name, values) if name in RESERVED else _array(values)
        if len(array) != len(self):
            raise SchemaError(f"column {name!r} has {len(array)} values for {len(self)} rows")
        at = self.data.schema.get_field_index(name)
        data = self.data.append_column(name, array) if at < 0 else self.data.set_column(at, name, array)
        return self._with(data)

    def without(self, *names: str) -> Self:
        """A copy without some attributes."""
        return self._with(self.data.drop_columns([name for name in names if self.has(name)]))

    def take(self, rows: NDArray[np.int64] | Sequence[int]) -> Self:
        """The rows with the numbers given, in their order."""
        return self._with(self.data.take(pa.array(np.asarray(rows, dtype=np.int64))))

    def select(self, filter: Filter) -> Self:
        """The rows that pass `filter`."""
        return self._with(self.data.filter(pa.array(filter.mask(self))))

    def resolve(self, filter: Filter | None) -> tuple[NDArray[np.int64], int]:
        """The numbers of the rows that pass `filter`, and how many a geographic filter left out for want of a place."""
        if filter is None:
            return np.arange(len(self), dtype=np.int64), 0
        unlocated = int((~self.located).sum()) if filter.geographic else 0
        return np.flatnonzero(filter.mask(self)), unlocated

    def rows_of(self, ids: Sequence[str] | NDArray[Any]) -> NDArray[np.int64]:
        """The row numbers of `ids`, -1 where there is none."""
        found = pc.index_in(_strings(ids), value_set=self.data["id"].combine_chunks())
        return np.asarray(pc.fill_null(found, -1).to_numpy(zero_copy_only=False), dtype=np.int64)

    def join(self, other: Places, *, how: str = "left") -> Self:
        """The rows of this table with the attributes of `other`, matched by id.

        `how` is "left" (all rows of this one; absent attributes are null) or "inner" (matched rows only).
        Raises SchemaError if an attribute stands in both.
        """
        if how not in ("left", "inner"):
            raise SchemaError(f"cannot join {how!r}: choose left or inner")
        added = [name for name in other.data.schema.names if name not in ("id", "geometry", "embedding", "bbox")]
        clash = sorted(set(added) & set(self.data.schema.names) - {"place", "h3", "time_start", "time_end", "asset"})
        if clash:
            raise SchemaError(
                f"both tables have the column {clash[0]!r}: drop it from one with `.without({clash[0]!r})`"
            )
        rows = other.rows_of(self.ids)
        matched = self.take(np.flatnonzero(rows >= 0)) if how == "inner" else self
        rows = rows[rows >= 0] if how == "inner" else rows
        index = pa.array(rows, mask=rows < 0)
        data = matched.data
        for name in added:
            if name not in data.schema.names:
                data = data.append_column(name, other.data[name].combine_chunks().take(index))
        return self._with(data)

    def align(self, other: Places) -> Self:
        """The rows of this table in the order of the ids of `other`; SchemaError if one is absent."""
        rows = self.rows_of(other.ids)
        if (rows < 0).any():
            absent = int((rows < 0).sum())
            raise SchemaError(
                f"{absent} of {len(rows)} ids are absent (the first is {other.ids[int(np.argmax(rows < 0))]!r}): "
                "join the tables first"
            )
        return self.take(rows)

    def _with(self, data: pa.Table) -> Self:
        return type(self)(data)


def check_ids(column: pa.ChunkedArray) -> None:
    """SchemaError unless the ids are strings, all present, not empty and unique."""
    if not pa.types.is_string(column.type):
        raise SchemaError(f"the column `id` has the type {column.type}: ids are strings")
    if column.null_count:
        raise SchemaError(f"{column.null_count} rows have no id")
    counts = pc.value_counts(column)
    repeated = pc.greater(counts.field("counts"), 1)
    if pc.any(repeated).as_py():
        first = counts.filter(repeated)[0].as_py()
        raise SchemaError(
            f"the id {first['values']!r} stands {first['counts']} times: ids are unique; "
            "rows of one place share the column `place`"
        )
    if pc.any(pc.equal(column, "")).as_py():
        raise SchemaError("an id is empty: give each row a name of its own")


def _strings(values: Any) -> pa.Array:
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
    if isinstance(values, pa.Array):
        return values.cast(pa.string())
    # A list becomes an object array, not one of numpy's strings, which would lose NULs at the end.
    array = values if isinstance(values, np.ndarray) else np.array(list(values), dtype=object)
    if array.dtype.kind in "iu":
        array = array.astype(str)
    try:
        return pa.array(array.astype(object), type=pa.string())
    except (pa.ArrowTypeError, pa.ArrowInvalid) as error:
        raise SchemaError(f"ids must be strings: {str(error).splitlines()[0]}") from error


def _optional(name: str, values: Any) -> pa.Array:
    array = _array(values)
    wanted = {"place": pa.string(), "asset": pa.string(), "h3": pa.uint64()}.get(name)
    if wanted is None:
        wanted = pa.timestamp("us", "UTC") if name.startswith("time_") else array.type
    try:
        return array.cast(wanted)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise SchemaError(f"column {name!r} does not fit {wanted}: {str(error).splitlines()[0]}") from error


def _array(values: Any) -> pa.Array:
    if isinstance(values, pa.ChunkedArray):
        return values.combine_chunks()
    if isinstance(values, pa.Array):
        return values
    array = np.asarray(values)
    if array.dtype.kind == "U":
        array = array.astype(object)
    if array.ndim != 1:
        raise SchemaError(f"a column has one dimension, this one has the shape {array.shape}")
    return pa.array(array)
