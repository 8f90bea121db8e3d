"""A timetable as a graph of waits and rides: no clock, but what a traveller may expect in a part of the day."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from placevec.errors import DataError, UsageError
from placevec.sources.gtfs import Feed
from placevec.sources.gtfs.times import clock, seconds_of

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Rides:
    """Legs (l): a route between two stops that follow each other; and how legs follow each other on board."""

    route: Ints  # (l,) row of the route
    start: Ints  # (l,) row of the stop at which it begins
    end: Ints  # (l,) row of the next stop
    seconds: Floats  # (l,) median time in the vehicle
    wait: Floats  # (l,) expected wait for boarding, infinite where nothing departs within the window
    before: Ints  # (q,) row of a leg
    after: Ints  # (q,) row of one on which some vehicle goes on
    dwell: Floats  # (q,) median seconds in which it stands between the two


def window(text: str) -> tuple[int, int]:
    """Seconds since midnight of a part of the day, such as "07:00-09:00". Raises UsageError."""
    match = re.fullmatch(r"\s*(\d{1,2}:\d{2})\s*-\s*(\d{1,2}:\d{2})\s*", text)
    times = [] if match is None else [seconds_of(f"{part}:00") for part in match.groups()]
    start, end = (times[0], times[1]) if times else (None, None)
    if start is None or end is None or end <= start:
        raise UsageError(f"--depart {text!r}: write a part of the day as 07:00-09:00")
    return start, end


def rides(feed: Feed, start: int, end: int, *, longest_wait: float = 1800.0) -> Rides:
    """The legs of all trips that depart anywhere within a part of the day.

    An approximation without a clock: one boards a leg after half the mean gap between its departures in the window, at
    most `longest_wait`; rides take the median of the timetable; on board, one goes on to any leg on which some vehicle
    of the route goes on, without waiting. Where a route branches, or several routes share a street, a traveller who
    watches the clock does a little worse or better.

    Args:
        feed: one service day: `Feed.of_day()`.
        start: of the window, seconds since midnight.
        end: of the window.
        longest_wait: seconds.

    Raises:
        DataError: nothing departs within the window; the message says when there is service.
    """
    calls = _timed(feed)
    trip, stop, departure = feed.trip[calls], feed.stop[calls], feed.departure[calls].astype(np.int64)
    arrival = feed.arrival[calls].astype(np.int64)
    leaves = np.append(trip[1:] == trip[:-1], False)[: len(trip)]
    inside = leaves & (departure >= start) & (departure < end)
    if not inside.any():
        served = departure[leaves]
        when = f"from {clock(int(served.min()))} to {clock(int(served.max()))}" if len(served) else "at no time"
        raise DataError(f"nothing departs from {clock(start)} to {clock(end)}; there is service {when}: see --depart")
    used = np.zeros(len(feed.trip_id), dtype=bool)
    used[trip[inside]] = True
    i = np.flatnonzero(leaves & used[trip])
    stops = len(feed.stop_id)
    key = (feed.trip_route[trip[i]] * stops + stop[i]) * stops + stop[i + 1]
    legs, leg = np.unique(key, return_inverse=True)
    departures = np.bincount(leg[inside[i]], minlength=len(legs))
    with np.errstate(divide="ignore"):
        wait = np.where(departures > 0, np.minimum((end - start) / departures / 2.0, longest_wait), np.inf)
    follows = np.flatnonzero((np.diff(i) == 1) & (trip[i[1:]] == trip[i[:-1]]))
    pair = leg[follows] * len(legs) + leg[follows + 1]
    pairs, which = np.unique(pair, return_inverse=True)
    at = i[follows] + 1
    return Rides(
        route=legs // stops // stops,
        start=legs // stops % stops,
        end=legs % stops,
        seconds=medians(leg, (arrival[i + 1] - departure[i]).astype(np.float64), len(legs)),
        wait=wait,
        before=pairs // len(legs),
        after=pairs % len(legs),
        dwell=medians(which, (departure[at] - arrival[at]).astype(np.float64), len(pairs)),
    )


def medians(group: Ints, values: Floats, count: int) -> Floats:
    """The median (count,) of the values of each group; each has at least one."""
    order = np.lexsort((values, group))
    size = np.bincount(group, minlength=count)
    first = np.cumsum(size) - size
    ordered = values[order]
    found: Floats = (ordered[first + (size - 1) // 2] + ordered[first + size // 2]) / 2.0
    return found


def _timed(feed: Feed) -> Ints:
    """The calls that have a time, of several in a row at one stop the last."""
    rows = np.flatnonzero(feed.timed)
    again = (feed.trip[rows[1:]] == feed.trip[rows[:-1]]) & (feed.stop[rows[1:]] == feed.stop[rows[:-1]])
    last: Ints = rows[~np.append(again, False)[: len(rows)]]
    return last
