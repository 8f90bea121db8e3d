"""Trips that a feed describes by how often they run, written out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from placevec.errors import DataError
from placevec.sources.gtfs.archive import Archive
from placevec.sources.gtfs.feed import Feed
from placevec.sources.gtfs.times import UNTIMED, seconds_of

MOST_CALLS = 200_000_000
"""Written out, a feed may have so many calls: ten times those of the Netherlands."""

Ints = NDArray[np.int64]


def expand(feed: Feed, archive: Archive) -> tuple[Feed, Ints]:
    """A feed with a trip for each departure that frequencies.txt describes, instead of the pattern it describes.

    Returns:
        the feed, and of each of its trips the row that it had, or that its pattern had.

    Raises:
        DataError: there would be more calls than MOST_CALLS.
    """
    same = np.arange(len(feed.trip_id))
    if not archive.has("frequencies.txt"):
        return feed, same
    patterns, starts = _departures(feed, archive)
    if len(patterns) == 0:
        return feed, same
    first = np.searchsorted(feed.trip, np.arange(len(feed.trip_id) + 1))
    length = np.diff(first)[patterns]
    kept = np.ones(len(feed.trip_id), dtype=bool)
    kept[patterns] = False
    stay = kept[feed.trip]
    calls = np.repeat(first[patterns], length) + np.arange(length.sum()) - np.repeat(np.cumsum(length) - length, length)
    copy = np.repeat(np.arange(len(patterns)), length)
    offset = starts[copy] - feed.departure[first[patterns]][copy]
    timed = feed.departure[calls] != UNTIMED

    def shifted(times: NDArray[np.int32]) -> NDArray[np.int32]:
        moved = np.where(timed, times[calls] + offset, UNTIMED).astype(np.int32)
        return np.concatenate([times[stay], moved])

    template = np.concatenate([same[kept], patterns])
    row = np.cumsum(kept) - 1
    names = [
        f"{feed.trip_id[pattern]}@{at // 3600:02d}:{at // 60 % 60:02d}:{at % 60:02d}"
        for pattern, at in zip(patterns.tolist(), starts.tolist(), strict=True)
    ]
    whole = replace(
        feed,
        trip_id=np.concatenate([feed.trip_id[kept], np.array(names, dtype=object)]),
        trip_route=feed.trip_route[template],
        runs=feed.runs[template],
        trip=np.concatenate([row[feed.trip[stay]], kept.sum() + copy]).astype(np.int64),
        stop=np.concatenate([feed.stop[stay], feed.stop[calls]]),
        arrival=shifted(feed.arrival),
        departure=shifted(feed.departure),
        stated=np.concatenate([feed.stated[stay], feed.stated[calls]]),
    )
    return whole, template


def _departures(feed: Feed, archive: Archive) -> tuple[Ints, Ints]:
    """The pattern and the start of every departure that is described."""
    counts = archive.counts
    row = {name: i for i, name in enumerate(feed.trip_id)}
    begins = np.full(len(feed.trip_id), UNTIMED)
    head = np.append(True, feed.trip[1:] != feed.trip[:-1])[: len(feed.trip)]
    begins[feed.trip[head]] = feed.departure[head]
    sheet = archive.table("frequencies.txt", ["trip_id", "start_time", "end_time", "headway_secs"])
    patterns: list[Ints] = []
    starts: list[Ints] = []
    length, total = np.bincount(feed.trip, minlength=len(feed.trip_id)), 0
    for name, start, end, headway in zip(*(sheet[c].to_pylist() for c in sheet.schema.names), strict=True):
        trip, first, last = row.get(name, -1), seconds_of(start), seconds_of(end)
        every = int(headway) if headway.isascii() and headway.isdigit() and len(headway) < 10 else 0
        if trip < 0 or begins[trip] == UNTIMED or first is None or last is None or every <= 0:
            counts["rows of frequencies.txt without a known trip, times and headway"] += 1
            continue
        departures = np.arange(first, last, every, dtype=np.int64)
        # Counted as they come: many rows of a second each would fill the memory before they are counted at the end.
        total += len(departures) * int(length[trip])
        if total > MOST_CALLS:
            many = f"over {MOST_CALLS:,} calls"
            raise DataError(f"{archive.path}: frequencies.txt stands for {many}; is a headway wrong?")
        patterns.append(np.full(len(departures), trip, dtype=np.int64))
        starts.append(departures)
    if not patterns:
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    return np.concatenate(patterns), np.concatenate(starts)
