"""Which rows are meant: by box, polygon, circle, H3 cells, attributes or ids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from placevec.errors import UsageError
from placevec.geo.boxes import Box, circle_box, in_box, in_circle, in_polygon, unwrap_polygon
from placevec.geo.sphere import LonLat
from placevec.table.where import parse_where

if TYPE_CHECKING:
    from placevec.table.places import Places


@dataclass(frozen=True)
class Filter:
    """Rows that meet every condition given; without a condition, all rows.

    A row without geometry meets no geographic condition. A geometry counts by its representative point.

    Attributes:
        bbox: (west, south, east, north) in degrees; west > east means across the antimeridian.
        within: a polygon in lon, lat degrees.
        near: (lon, lat, metres), a circle on the sphere.
        h3: H3 cells (uint64) of one or several resolutions; rows in them or in their descendants.
        where: a filter on attributes, see `table.where`.
        ids: the ids wanted.
    """

    bbox: Box | None = None
    within: BaseGeometry | None = None
    near: tuple[float, float, float] | None = None
    h3: NDArray[np.uint64] | None = None
    where: str | None = None
    ids: Sequence[str] | None = None

    @property
    def geographic(self) -> bool:
        """Whether a condition on the location is given."""
        return self.bbox is not None or self.within is not None or self.near is not None or self.h3 is not None

    @property
    def empty(self) -> bool:
        """Whether no condition is given."""
        return not self.geographic and self.where is None and self.ids is None

    @cached_property
    def expression(self) -> tuple[pc.Expression, tuple[str, ...]] | None:
        """The attribute filter as an Arrow expression, and the columns it reads."""
        return None if self.where is None else parse_where(self.where)

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of a table that are needed to decide, geometry and h3 apart."""
        named = () if self.expression is None else self.expression[1]
        return tuple(dict.fromkeys((*named, *(("id",) if self.ids is not None else ()))))

    @cached_property
    def boxes(self) -> list[Box]:
        """Boxes of which each must be touched by whatever passes the geographic conditions (for pruning)."""
        found: list[Box] = []
        if self.bbox is not None:
            found.append(self.bbox)
        if self.near is not None:
            found.append(circle_box(*self.near))
        if self.area is not None:
            found.append(self.area.bounds)
        return found

    @cached_property
    def area(self) -> BaseGeometry | None:
        """`within` as a valid polygon in [-180, 180], see `unwrap_polygon`."""
        return None if self.within is None else unwrap_polygon(self.within)

    def mask(self, places: Places) -> NDArray[np.bool_]:
        """Which rows of `places` pass, as booleans (n,). UsageError if a column does not exist."""
        keep = np.ones(len(places), dtype=bool)
        if self.ids is not None:
            keep &= np.asarray(pc.is_in(places.data["id"], value_set=pa.array(list(self.ids), pa.string())))
        if self.expression is not None:
            keep &= self.attributes(places)
        if self.geographic:
            keep &= places.located
            for box in self.boxes:
                keep &= places.about(box)
            rows = np.flatnonzero(keep)
            keep[rows] = self._located(places, rows)
        return keep

    def _located(self, places: Places, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        lon, lat = places.lon[rows], places.lat[rows]
        keep = np.ones(len(rows), dtype=bool)
        if self.bbox is not None:
            keep &= in_box(lon, lat, self.bbox)
        if self.near is not None:
            keep[keep] = in_circle(lon[keep], lat[keep], LonLat.of(*self.near[:2]), self.near[2])
        if self.within is not None:
            keep[keep] = in_polygon(lon[keep], lat[keep], self.within)
        if self.h3 is not None:
            keep[keep] = self._in_cells(places, rows[keep], self.h3)
        return keep

    @staticmethod
    def _in_cells(places: Places, rows: NDArray[np.int64], wanted: NDArray[np.uint64]) -> NDArray[np.bool_]:
        keep = np.zeros(len(rows), dtype=bool)
        wanted = np.asarray(wanted, dtype=np.uint64)
        resolutions = wanted >> np.uint64(52) & np.uint64(0xF)  # where H3 keeps the resolution of a cell
        for resolution in np.unique(resolutions):
            cells = places.cells(int(resolution), rows)
            keep |= np.isin(cells, wanted[resolutions == resolution])
        return keep

    def attributes(self, places: Places) -> NDArray[np.bool_]:
        """Which rows of `places` pass the attribute filter alone, as booleans (n,); all where there is none.

        Raises:
            UsageError: a column does not exist, or does not compare with what the filter says.
        """
        if self.expression is None:
            return np.ones(len(places), dtype=bool)
        expression, names = self.expression
        for name in names:
            if name not in places.data.schema.names:
                raise UsageError(f"the filter names the column {name!r}, which the table lacks")
        row = "__row"
        table = places.data.select(list(names)).append_column(row, pa.array(np.arange(len(places))))
        keep = np.zeros(len(places), dtype=bool)
        try:
            keep[table.filter(expression)[row].to_numpy()] = True
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError) as error:
            reason = str(error).splitlines()[0]
            raise UsageError(f"the filter {self.where!r} does not fit the columns' types: {reason}") from error
        return keep


def filter_of(**conditions: Any) -> Filter | None:
    """A Filter of the conditions that are not None, or None if there is none."""
    given = {name: value for name, value in conditions.items() if value is not None}
    return Filter(**given) if given else None
