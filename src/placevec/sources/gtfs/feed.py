"""A timetable in memory, as arrays."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from placevec.geo.sphere import LonLat
from placevec.sources.gtfs.times import UNTIMED

Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Feed:
    """Stops (s), routes (r), trips (t), and the calls (k) of trips at stops, sorted by trip and along each trip."""

    stop_id: NDArray[np.object_]  # (s,) the feed's own; "FEED:ID" where there are several feeds
    stop_name: NDArray[np.object_]  # (s,)
    lon: NDArray[np.float64]  # (s,) degrees
    lat: NDArray[np.float64]  # (s,) degrees
    route_id: NDArray[np.object_]  # (r,)
    route_name: NDArray[np.object_]  # (r,) short name, else long name
    mode: NDArray[np.uint8]  # (r,) index into MODES
    trip_id: NDArray[np.object_]  # (t,) "ID@HH:MM:SS" of the trips that frequencies.txt stands for
    trip_route: Ints  # (t,) row of the route
    runs: NDArray[np.bool_]  # (t,) whether it runs on the service day
    trip: Ints  # (k,) row of the trip, ascending
    stop: Ints  # (k,) row of the stop
    arrival: NDArray[np.int32]  # (k,) seconds since midnight of the service day, beyond 24 h too; UNTIMED unknown
    departure: NDArray[np.int32]  # (k,) likewise
    stated: NDArray[np.bool_]  # (k,) whether the feed states the time; else it is interpolated
    days: tuple[str, ...]  # the service day of each feed, ISO 8601
    counts: Mapping[str, int]  # how many rows were left out or mended, for which reason
    notes: tuple[str, ...]  # what was chosen and found, for people

    def __len__(self) -> int:
        return len(self.trip)

    @property
    def where(self) -> LonLat:
        """Where the stops (s) are."""
        return LonLat(self.lon, self.lat)

    @property
    def last(self) -> NDArray[np.bool_]:
        """Which calls (k,) are the last of their trip: one can leave the vehicle there, not board it."""
        return np.append(self.trip[1:] != self.trip[:-1], True)[: len(self.trip)]

    @property
    def timed(self) -> NDArray[np.bool_]:
        """Which calls (k,) have a time."""
        found: NDArray[np.bool_] = self.departure != UNTIMED
        return found

    @property
    def told(self) -> tuple[str, ...]:
        """Notes and counts, for people."""
        return (*self.notes, *(f"{count:,} {what}" for what, count in self.counts.items() if count))

    def of_day(self) -> Feed:
        """The trips of the service day, and their calls; stops and routes stay."""
        return self.take(self.runs)

    def take(self, trips: ArrayLike) -> Feed:
        """The trips of a mask (t,), and their calls; stops and routes stay."""
        mask = np.asarray(trips, dtype=bool)
        calls = mask[self.trip]
        row = np.cumsum(mask) - 1
        changes: dict[str, Any] = {name: getattr(self, name)[mask] for name in ("trip_id", "trip_route", "runs")}
        for name in ("stop", "arrival", "departure", "stated"):
            changes[name] = getattr(self, name)[calls]
        return self._with(trip=row[self.trip[calls]].astype(np.int64), **changes)

    def _with(self, **changes: Any) -> Feed:
        return Feed(**{one.name: changes.get(one.name, getattr(self, one.name)) for one in fields(self)})


def joined(feeds: Sequence[Feed], names: Sequence[str], notes: Sequence[str]) -> Feed:
    """Several feeds as one; ids get the name of their feed before them where there are several."""
    several = len(feeds) > 1

    def ids(column: str) -> NDArray[np.object_]:
        parts = [getattr(feed, column) for feed in feeds]
        if several:
            parts = [
                np.array([f"{name}:{own}" for own in part], dtype=object)
                for name, part in zip(names, parts, strict=True)
            ]
        return np.concatenate(parts)

    def plain(column: str) -> NDArray[Any]:
        return np.concatenate([getattr(feed, column) for feed in feeds])

    def shifted(column: str, of: str) -> Ints:
        starts = np.cumsum([0, *(len(getattr(feed, of)) for feed in feeds)])
        parts = [getattr(feed, column) + start for feed, start in zip(feeds, starts, strict=False)]
        return np.concatenate(parts).astype(np.int64)

    counts: Counter[str] = Counter()
    for feed in feeds:
        counts.update(feed.counts)
    return Feed(
        stop_id=ids("stop_id"),
        stop_name=plain("stop_name"),
        lon=plain("lon"),
        lat=plain("lat"),
        route_id=ids("route_id"),
        route_name=plain("route_name"),
        mode=plain("mode"),
        trip_id=ids("trip_id"),
        trip_route=shifted("trip_route", "route_id"),
        runs=plain("runs"),
        trip=shifted("trip", "trip_id"),
        stop=shifted("stop", "stop_id"),
        arrival=plain("arrival"),
        departure=plain("departure"),
        stated=plain("stated"),
        days=tuple(day for feed in feeds for day in feed.days),
        counts={what: count for what, count in counts.items() if count},
        notes=(*notes, *(note for feed in feeds for note in feed.notes)),
    )
