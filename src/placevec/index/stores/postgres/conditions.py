"""A Filter as SQL over a stored table, and what of it placevec has to look at itself.

Boxes, circles, cells, attributes and ids are decided by the server. A polygon is narrowed down by its box and then
looked at by placevec, for PostgreSQL's own polygons know neither holes nor an exact border.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from placevec.geo.boxes import Box, circle_box, split_box, unwrap_polygon
from placevec.geo.sphere import EARTH_RADIUS_M, LonLat
from placevec.index.stores.postgres.driver import sql
from placevec.index.stores.postgres.layout import POINT, Layout, resolutions
from placevec.index.stores.postgres.where import Clause, where_clause
from placevec.table import Filter

# Up to so many cells are looked up as ranges in the index of cells; more are compared with each row's ancestor.
_RANGES = 64
_RESOLUTION_AT = 52  # the bit at which H3 keeps the resolution of a cell


@dataclass(frozen=True)
class Pushed:
    """What of a filter the server applies, and what is left."""

    clause: Clause | None  # None: all rows
    left: Filter | None  # to be applied by placevec to the rows that pass


def pushed(filter: Filter | None, layout: Layout) -> Pushed:
    """The condition that all rows passing `filter` meet; UsageError for a column that is not there."""
    if filter is None or filter.empty:
        return Pushed(None, None)
    parts: list[Clause] = []
    left = Filter()
    if filter.geographic:
        parts.append(Clause(sql.SQL("{} is not null").format(_POINT)))
    if filter.ids is not None:
        parts.append(Clause(sql.SQL("id = any(%s::text[])"), [list(dict.fromkeys(filter.ids))]))
    if filter.bbox is not None:
        parts.append(in_box(filter.bbox))
    if filter.near is not None:
        parts.append(in_circle(*filter.near))
    if filter.within is not None:
        parts.append(in_box(unwrap_polygon(filter.within).bounds))
        left = replace(left, within=filter.within)
    if filter.h3 is not None:
        clause = in_cells(np.asarray(filter.h3, dtype=np.uint64), layout)
        if clause is None:
            left = replace(left, h3=filter.h3)
        else:
            parts.append(clause)
    if filter.where is not None:
        parts.append(where_clause(filter.where, layout))
    total = parts[0]
    for part in parts[1:]:
        total = total & part
    return Pushed(total, None if left.empty else left)


_POINT = sql.Identifier(POINT)


def in_box(box: Box) -> Clause:
    """Rows in a box, its border included; the antimeridian is at 180 as much as at -180."""
    parts = []
    for west, south, east, north in split_box(box):
        parts.append(_rectangle(west, south, east, north))
        if east == 180.0 and west > -180.0:
            # Points are kept in [-180, 180).
            parts.append(_rectangle(-180.0, south, -180.0, north))
    total = parts[0]
    for part in parts[1:]:
        total = total | part
    return total


def _rectangle(west: float, south: float, east: float, north: float) -> Clause:
    return Clause(sql.SQL("{} <@ box(point(%s, %s), point(%s, %s))").format(_POINT), [west, south, east, north])


def in_circle(lon: float, lat: float, metres: float) -> Clause:
    """Rows within `metres` of a point along the sphere: a box for the index, then the haversine formula."""
    centre = LonLat.of(lon, lat)
    found = in_box(circle_box(lon, lat, metres))
    angle = metres / EARTH_RADIUS_M
    if angle >= math.pi:
        return found
    distance = Clause(
        sql.SQL(
            "power(sind(({point}[1] - %s) / 2), 2)"
            " + cosd(%s) * cosd({point}[1]) * power(sind(({point}[0] - %s) / 2), 2) <= %s"
        ).format(point=_POINT),
        [float(centre.lat[0]), float(centre.lat[0]), float(centre.lon[0]), math.sin(angle / 2) ** 2],
    )
    return found & distance


def in_cells(cells: NDArray[np.uint64], layout: Layout) -> Clause | None:
    """Rows in H3 cells or in descendants of them; None where the stored cells are too coarse, or absent, to tell."""
    own = layout.level
    if not len(cells):
        return Clause(sql.SQL("false"))
    levels = resolutions(cells)
    if own is None or int(levels.max()) > own:
        return None
    column = sql.Identifier(layout.column("h3"))
    if len(cells) <= _RANGES:
        ranges = [cell_range(int(cell), own) for cell in cells.tolist()]
        text = sql.SQL(" or ").join(sql.SQL("{} between %s and %s").format(column) for _ in ranges)
        return Clause(sql.SQL("({})").format(text), [end for pair in ranges for end in pair])
    parts: list[Clause] = []
    for level in np.unique(levels).tolist():
        # The ancestor of a cell: its resolution exchanged, the digits below it all 7.
        keep, fill = ~(0xF << _RESOLUTION_AT), (level << _RESOLUTION_AT) | _unused(level)
        wanted = np.unique(cells[levels == level]).astype(np.int64).tolist()
        text = sql.SQL("(({} & %s::bigint) | %s::bigint) = any(%s::bigint[])").format(column)
        parts.append(Clause(text, [keep, fill, wanted]))
    total = parts[0]
    for part in parts[1:]:
        total = total | part
    return total


def cell_range(cell: int, level: int) -> tuple[int, int]:
    """The first and the last number that a descendant of `cell` at resolution `level` can have."""
    own = cell >> _RESOLUTION_AT & 0xF
    there = cell & ~(0xF << _RESOLUTION_AT) | level << _RESOLUTION_AT
    free = _unused(own) & ~_unused(level)
    return there & ~free, there


def _unused(level: int) -> int:
    """The bits of the digits below a resolution, which are all set."""
    return (1 << 3 * (15 - level)) - 1
