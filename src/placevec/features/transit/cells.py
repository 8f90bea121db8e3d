"""Stops, departures, routes and modes of each cell."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from placevec.errors import DataError
from placevec.features.access.nearest import nearest
from placevec.features.roads.placing import CellRows
from placevec.features.roads.tally import sums
from placevec.sources.gtfs import MODES, Feed
from placevec.sources.gtfs.times import DAY_S

DAY_PARTS = {"night": (0, 6), "am_peak": (6, 9), "midday": (9, 16), "pm_peak": (16, 19), "evening": (19, 24)}
"""Parts of the day, from one full hour to another; what departs after 24:00 counts by the clock: 25:10 is at night."""

MORNING = (7, 10)
"""The hours 7, 8 and 9, in which `calls_7_to_10` counts."""

PLAIN = ("span_h",)
"""Columns that are no counts or lengths without a bound."""

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class TransitCells:
    """What a timetable says of n cells."""

    names: tuple[str, ...]  # (d) of the columns
    values: Floats  # (n, d) counts, hours, metres: no logarithms
    present: NDArray[np.bool_]  # (n,) whether a stop is within reach: else the feed may not be of this place
    outside: int  # stops in none of the cells
    notes: tuple[str, ...]  # for people


def transit_cells(
    feed: Feed, cells: NDArray[np.uint64], *, reach_m: float = 5000.0, stated: bool = False
) -> TransitCells:
    """The public transport of each cell.

    The columns: `stops` of the feed; `calls` of vehicles, those at the end of a line too, and `calls_7_to_10`, those
    before ten and not before seven; `departures_PART_per_h` for the parts of the day, without the ends of lines;
    `routes` that call in the cell, `routes_at_best_stop`, and the routes of each mode; `span_h`, hours from the first
    departure to the last; `headway_min`, the mean gap between departures of one route from one stop, a whole day where
    nothing departs twice; `nearest_stop_m`, from the cell's centre to the nearest stop at which a vehicle calls.

    Args:
        feed: whose trips are all counted: give `feed.of_day()` for one day.
        cells: (n,) distinct H3 cells of one resolution.
        reach_m: cells farther than this from every stop at which a vehicle calls are not present.
        stated: count by the clock only calls whose time the feed states, not those between.

    Raises:
        DataError: no vehicle calls anywhere.
    """
    own = CellRows(cells)
    n, routes = len(own), max(1, len(feed.route_id))
    served = np.unique(feed.stop)
    if len(served) == 0:
        raise DataError("no trip of the timetable calls at any stop: choose another day, or all services")
    where = feed.where
    cell_of = own.at(where.lon, where.lat)  # of each stop, -1 outside
    cell, route = cell_of[feed.stop], feed.trip_route[feed.trip]
    inside = cell >= 0
    counted = feed.timed & (feed.stated if stated else True)
    columns: dict[str, Floats] = {
        "stops": sums(cell_of[cell_of >= 0], n),
        "calls": sums(cell[inside], n),
    }
    hour = (feed.departure % DAY_S) / 3600.0
    morning = inside & counted & (hour >= MORNING[0]) & (hour < MORNING[1])
    columns["calls_7_to_10"] = sums(cell[morning], n)
    leaving = inside & counted & ~feed.last
    for part, (start, end) in DAY_PARTS.items():
        during = leaving & (hour >= start) & (hour < end)
        columns[f"departures_{part}_per_h"] = sums(cell[during], n) / (end - start)
    columns |= _routes(cell_of, cell, feed.stop, route, inside, feed.mode, n, routes)
    columns |= _rhythm(cell, feed.stop * routes + route, feed.departure.astype(np.int64), leaving, n)
    _, metres = nearest(own.system.centre(own.cells), where[served])
    columns["nearest_stop_m"] = metres
    present = metres <= reach_m
    outside = int((cell_of < 0).sum())
    notes = [f"{len(feed.stop_id):,} stops, {outside:,} of them in none of the cells"] if outside else []
    untimed = int((~feed.timed).sum())
    if untimed:
        notes.append(f"{untimed:,} of {len(feed):,} calls have no time: they are in no part of the day")
    values = np.stack(list(columns.values()), axis=1) if columns else np.zeros((n, 0))
    return TransitCells(tuple(columns), values, present, outside, tuple(notes))


def _routes(
    cell_of: Ints,
    cell: Ints,
    stop: Ints,
    route: Ints,
    inside: NDArray[np.bool_],
    mode: NDArray[np.uint8],
    n: int,
    routes: int,
) -> dict[str, Floats]:
    pairs = np.unique(cell[inside] * routes + route[inside])
    at, of = pairs // routes, pairs % routes
    columns = {"routes": sums(at, n)}
    each = np.unique(stop[inside] * routes + route[inside]) // routes
    of_stop = sums(each, len(cell_of))
    best = np.zeros(n)
    here = np.flatnonzero(cell_of >= 0)
    np.maximum.at(best, cell_of[here], of_stop[here])
    columns["routes_at_best_stop"] = best
    for number, name in enumerate(MODES):
        columns[f"routes_{name}"] = sums(at[mode[of] == number], n)
    return columns


def _rhythm(cell: Ints, line: Ints, departure: Ints, leaving: NDArray[np.bool_], n: int) -> dict[str, Floats]:
    """How long a cell is served, and how often: `line` is a route at a stop."""
    rows = np.flatnonzero(leaving)
    rows = rows[np.lexsort((departure[rows], line[rows]))]
    first, last = np.full(n, np.inf), np.full(n, -np.inf)
    np.minimum.at(first, cell[rows], departure[rows])
    np.maximum.at(last, cell[rows], departure[rows])
    served = np.isfinite(first)
    span = np.zeros(n)
    span[served] = (last[served] - first[served]) / 3600.0
    follows = np.flatnonzero(line[rows[1:]] == line[rows[:-1]]) + 1
    at = cell[rows[follows]]
    gaps, count = sums(at, n, departure[rows[follows]] - departure[rows[follows - 1]]), sums(at, n)
    day = DAY_S / 60.0
    headway = np.where(count > 0, gaps / np.maximum(count, 1.0) / 60.0, day)
    return {"span_h": span, "headway_min": headway}
