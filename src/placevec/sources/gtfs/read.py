"""Reading GTFS feeds, of which hardly one is without faults: what is wrong is left out, counted and told."""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from placevec.errors import DataError, UsageError
from placevec.geo.sphere import LonLat, distance_m
from placevec.sources.gtfs.archive import Archive
from placevec.sources.gtfs.calendar import Services, choose_days, read_services
from placevec.sources.gtfs.feed import Feed, joined
from placevec.sources.gtfs.frequencies import expand
from placevec.sources.gtfs.modes import mode_of
from placevec.sources.gtfs.times import interpolated, ordered_times, parse_times

Told = Callable[[str, int, int], None]

Ints = NDArray[np.int64]

_DIGITS = 12  # of the number of a call; Python itself refuses some thousands
_SHEETS = ("stops.txt", "routes.txt", "trips.txt", "stop_times.txt")


def read_feed(
    paths: str | Path | Sequence[str | Path],
    *,
    date: str | datetime.date = "busiest",
    told: Told | None = None,
) -> Feed:
    """The timetable of one or several GTFS feeds.

    All trips are read; `Feed.runs` says which of them run on the service day. Times that a feed leaves blank between
    two stated ones are interpolated along the straight lines from stop to stop. Trips that frequencies.txt describes
    are written out, one for each departure.

    Args:
        paths: zips, or folders of .txt files.
        date: the service day: "busiest" is that with most trips from Tuesday to Thursday, of the days on which all
            feeds run; or a date, such as "2024-05-14".
        told: of progress.

    Raises:
        FormatError: no such file, a damaged one, a zip bomb, or a mandatory sheet is missing (the message names it).
        SchemaError: a mandatory column is missing.
        DataError: a feed has no stop with a position, or no day on which anything runs.
        UsageError: no trip runs on `date`.
    """
    listed = [Path(paths)] if isinstance(paths, str | Path) else [Path(path) for path in paths]
    if not listed:
        raise UsageError("no feed is given: name a GTFS zip or folder")
    names = [path.stem for path in listed]
    if len(set(names)) < len(names):
        names = [f"{name}{i}" for i, name in enumerate(names, 1)]
    parts = [_read_one(path, told) for path in listed]
    notes: list[str] = []
    busy = [part.services.busy(part.trips_of_services()) for part in parts]
    days = choose_days(date, names, busy, notes)
    return joined([part.on(day) for part, day in zip(parts, days, strict=True)], names, notes)


@dataclass(frozen=True)
class _Part:
    """One feed before its service day is chosen."""

    feed: Feed
    services: Services
    trip_service: Ints  # (t,) row of the service, -1 of one that no calendar knows

    def trips_of_services(self) -> Ints:
        known = self.trip_service[self.trip_service >= 0]
        return np.bincount(known, minlength=len(self.services.id)).astype(np.int64)

    def on(self, day: int) -> Feed:
        runs = np.append(self.services.on(day), False)[self.trip_service]
        return replace(self.feed, runs=runs, days=(datetime.date.fromordinal(day).isoformat(),))


def _read_one(path: Path, told: Told | None) -> _Part:
    counts: Counter[str] = Counter()
    notes: list[str] = []
    with Archive(path, counts, notes) as archive:
        archive.require(*_SHEETS)
        services = read_services(archive)
        route_id, route_name, mode = _routes(archive)
        trip_id, trip_route, trip_service = _trips(archive, route_id, services)
        stops = _stops(archive)
        calls = _in_order(_calls(archive, trip_id, stops.id, told), counts)
        lost = ~np.isfinite(stops.lon[calls.stop])
        counts["calls at stops without a position"] += int(lost.sum())
        calls = calls.take(np.flatnonzero(~lost)) if lost.any() else calls
        trip, stop = calls.trip, calls.stop
        arrival, departure = ordered_times(trip, calls.arrival, calls.departure, counts)
        stated = arrival >= 0
        if not stated.all():
            metres = _steps(trip, LonLat(stops.lon[stop], stops.lat[stop]))
            arrival, departure = interpolated(trip, metres, arrival, departure)
        counts["calls before the first time of a trip or after its last"] += int((arrival < 0).sum())
        used = np.isfinite(stops.lon) & (stops.platform | (np.bincount(stop, minlength=len(stops.id)) > 0))
        if not used.any():
            raise DataError(f"{path}: no stop has a position: stop_lon and stop_lat are degrees of WGS84")
        feed = Feed(
            stop_id=stops.id[used],
            stop_name=stops.name[used],
            lon=stops.lon[used],
            lat=stops.lat[used],
            route_id=route_id,
            route_name=route_name,
            mode=mode,
            trip_id=trip_id,
            trip_route=trip_route,
            runs=np.zeros(len(trip_id), dtype=bool),
            trip=trip,
            stop=(np.cumsum(used) - 1)[stop],
            arrival=arrival,
            departure=departure,
            stated=stated,
            days=(),
            counts=counts,
            notes=(),
        )
        feed, template = expand(feed, archive)
        _count_short(feed, counts)
    return _Part(replace(feed, notes=tuple(notes)), services, trip_service[template])


@dataclass(frozen=True, eq=False)
class _Stops:
    id: NDArray[np.object_]
    name: NDArray[np.object_]
    lon: NDArray[np.float64]  # NaN where there is none
    lat: NDArray[np.float64]
    platform: NDArray[np.bool_]  # vehicles call there: no station, entrance or node of its inside


def _stops(archive: Archive) -> _Stops:
    counts = archive.counts
    sheet = archive.table(
        "stops.txt", ["stop_id", "stop_lat", "stop_lon"], ["stop_name", "location_type", "parent_station"]
    )
    sheet = _once(sheet, "stop_id", "stops.txt", counts)
    ids = _texts(sheet["stop_id"])
    lon, lat = _degrees(sheet["stop_lon"], 180.0), _degrees(sheet["stop_lat"], 90.0)
    nowhere = ~np.isfinite(lon) | ~np.isfinite(lat) | ((lon == 0.0) & (lat == 0.0))
    lon[nowhere] = lat[nowhere] = np.nan
    # A platform without a position is where its station is.
    parent = _rows(sheet["parent_station"], ids)
    at = np.flatnonzero(nowhere & (parent >= 0))
    lon[at], lat[at] = lon[parent[at]], lat[parent[at]]
    platform = np.isin(_texts(sheet["location_type"]), ["", "0"])
    counts["stops without a position"] += int((platform & ~np.isfinite(lon)).sum())
    return _Stops(ids, _texts(sheet["stop_name"]), lon, lat, platform)


def _routes(archive: Archive) -> tuple[NDArray[np.object_], NDArray[np.object_], NDArray[np.uint8]]:
    counts = archive.counts
    sheet = archive.table("routes.txt", ["route_id", "route_type"], ["route_short_name", "route_long_name"])
    sheet = _once(sheet, "route_id", "routes.txt", counts)
    short, long = _texts(sheet["route_short_name"]), _texts(sheet["route_long_name"])
    modes = [mode_of(text) for text in sheet["route_type"].to_pylist()]
    counts["routes of an unknown type"] += sum(not known for _, known in modes)
    name = np.where(short != "", short, long)
    return _texts(sheet["route_id"]), name, np.array([mode for mode, _ in modes], dtype=np.uint8)


def _trips(
    archive: Archive, route_id: NDArray[np.object_], services: Services
) -> tuple[NDArray[np.object_], Ints, Ints]:
    counts = archive.counts
    sheet = _once(archive.table("trips.txt", ["trip_id", "route_id", "service_id"]), "trip_id", "trips.txt", counts)
    route = _rows(sheet["route_id"], route_id)
    service = _rows(sheet["service_id"], services.id)
    counts["trips of an unknown route"] += int((route < 0).sum())
    counts["trips of a service in no calendar"] += int((service[route >= 0] < 0).sum())
    return _texts(sheet["trip_id"])[route >= 0], route[route >= 0], service[route >= 0]


class _Calls(NamedTuple):
    """Rows of stop_times.txt."""

    trip: Ints  # (k,) rows of trips
    stop: Ints  # (k,) rows of stops
    order: Ints  # (k,) stop_sequence
    arrival: NDArray[np.int32]  # (k,) seconds
    departure: NDArray[np.int32]  # (k,) seconds

    def take(self, rows: Ints) -> _Calls:
        return _Calls(self.trip[rows], self.stop[rows], self.order[rows], self.arrival[rows], self.departure[rows])


def _calls(archive: Archive, trip_id: NDArray[np.object_], stop_id: NDArray[np.object_], told: Told | None) -> _Calls:
    """stop_times.txt as numbers, a block at a time: it is the one sheet that can be large."""
    counts = archive.counts
    trips, stops = pa.array(trip_id, pa.string()), pa.array(stop_id, pa.string())
    columns = ["trip_id", "stop_id", "stop_sequence", "arrival_time", "departure_time"]
    none, untimed = np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int32)
    parts = [_Calls(none, none, none, untimed, untimed)]
    done = 0
    for batch in archive.batches("stop_times.txt", columns):
        found = _Calls(
            _rows(batch.column("trip_id"), trips),
            _rows(batch.column("stop_id"), stops),
            _whole(batch.column("stop_sequence")),
            parse_times(batch.column("arrival_time"), counts),
            parse_times(batch.column("departure_time"), counts),
        )
        trip, stop, order = found.trip >= 0, found.stop >= 0, found.order >= 0
        counts["calls of an unknown trip"] += int((~trip).sum())
        counts["calls at an unknown stop"] += int((trip & ~stop).sum())
        counts["calls without a number in their trip"] += int((trip & stop & ~order).sum())
        good = trip & stop & order
        parts.append(found if good.all() else found.take(np.flatnonzero(good)))
        done += batch.num_rows
        if told is not None:
            told(f"reading {archive.path.name}", done, 0)
    return _Calls(
        np.concatenate([part.trip for part in parts]),
        np.concatenate([part.stop for part in parts]),
        np.concatenate([part.order for part in parts]),
        np.concatenate([part.arrival for part in parts]),
        np.concatenate([part.departure for part in parts]),
    )


def _in_order(calls: _Calls, counts: Counter[str]) -> _Calls:
    """Calls sorted along their trips; of two with one number the first in the file."""
    ahead = np.diff(calls.trip)
    if (ahead < 0).any() or (np.diff(calls.order)[ahead == 0] < 0).any():
        calls = calls.take(np.lexsort((calls.order, calls.trip)))
    twice = np.zeros(len(calls.trip), dtype=bool)
    twice[1:] = (calls.trip[1:] == calls.trip[:-1]) & (calls.order[1:] == calls.order[:-1])
    counts["calls whose number stands twice in their trip"] += int(twice.sum())
    return calls.take(np.flatnonzero(~twice)) if twice.any() else calls


def _steps(trip: Ints, where: LonLat) -> NDArray[np.float64]:
    """Metres (k,) from the call before in the same trip, 0 at the first."""
    metres = np.zeros(len(trip))
    if len(trip) > 1:
        metres[1:] = np.where(trip[1:] == trip[:-1], distance_m(where[:-1], where[1:]), 0.0)
    return metres


def _count_short(feed: Feed, counts: Counter[str]) -> None:
    calls = np.bincount(feed.trip, minlength=len(feed.trip_id))
    counts["trips with fewer than two calls"] += int((calls < 2).sum())


def _once(sheet: pa.Table, key: str, name: str, counts: Counter[str]) -> pa.Table:
    """The rows of a sheet, of those with one key the first."""
    coded = sheet[key].combine_chunks().dictionary_encode() if sheet.num_rows else None
    if coded is None:
        return sheet
    first = np.unique(np.asarray(coded.indices), return_index=True)[1]
    if len(first) == sheet.num_rows:
        return sheet
    counts[f"rows of {name} whose {key} stands there already"] += sheet.num_rows - len(first)
    return sheet.take(pa.array(np.sort(first)))


def _rows(column: pa.Array | pa.ChunkedArray, ids: NDArray[np.object_] | pa.Array) -> Ints:
    """The row (n,) among `ids` of each text, -1 where it is none of them."""
    known = ids if isinstance(ids, pa.Array) else pa.array(ids, pa.string())
    found = pc.fill_null(pc.index_in(column, value_set=known), -1)
    return np.array(found.to_pylist() if isinstance(found, pa.ChunkedArray) else found, dtype=np.int64)


def _texts(column: pa.ChunkedArray) -> NDArray[np.object_]:
    return np.array(column.to_pylist(), dtype=object)


def _degrees(column: pa.ChunkedArray, most: float) -> NDArray[np.float64]:
    """Texts as degrees (n,), NaN where they are none."""

    def number(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            return np.nan
        return value if abs(value) <= most else np.nan

    return np.array([number(text) for text in column.to_pylist()], dtype=np.float64)


def _whole(column: pa.Array) -> Ints:
    """Texts as whole numbers >= 0 (n,), -1 where they are none."""
    coded = column.dictionary_encode()
    texts = coded.dictionary.to_pylist()
    values = [int(text) if text.isascii() and text.isdigit() and len(text) <= _DIGITS else -1 for text in texts]
    return (
        np.array(values, dtype=np.int64)[np.asarray(coded.indices, dtype=np.int64)]
        if len(column)
        else np.zeros(0, dtype=np.int64)
    )
