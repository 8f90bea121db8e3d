"""On which days which services run, and which day stands for all."""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from placevec.errors import DataError, UsageError
from placevec.sources.gtfs.archive import Archive

_DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_MIDWEEK = (1, 2, 3)

Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Services:
    """The v services of a feed; days are counted as `datetime.date.toordinal` does."""

    id: NDArray[np.object_]  # (v,)
    weekday: NDArray[np.bool_]  # (v, 7) on which it runs, Monday first
    start: Ints  # (v,) first day
    end: Ints  # (v,) last day, before `start` for a service of single days only
    extra_of: Ints  # (x,) rows of the services of exceptions
    extra_day: Ints  # (x,) their days
    extra_runs: NDArray[np.bool_]  # (x,) whether the service runs then, which it else does not, or the other way

    def on(self, day: int) -> NDArray[np.bool_]:
        """Which services (v,) run on a day."""
        runs = self._regular(np.arange(len(self.id)), np.full(len(self.id), day))
        today = self.extra_day == day
        runs[self.extra_of[today]] = self.extra_runs[today]
        return runs

    def busy(self, trips: Ints) -> tuple[Ints, Ints]:
        """The days with any trip, and how many trips each has, where the services have so many `trips` (v,) a day."""
        lasting = self.end >= self.start
        edges = [self.extra_day, self.start[lasting], self.end[lasting]]
        if not sum(len(edge) for edge in edges):
            return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
        low, high = int(min(edge.min() for edge in edges if len(edge))), int(max(e.max() for e in edges if len(e)))
        days = np.arange(low, high + 1)
        counts = np.zeros(len(days), dtype=np.int64)
        for weekday in range(7):
            steps = np.zeros(len(days) + 1, dtype=np.int64)
            here = lasting & self.weekday[:, weekday]
            np.add.at(steps, self.start[here] - low, trips[here])
            np.add.at(steps, self.end[here] - low + 1, -trips[here])
            own = slice((weekday - (low - 1)) % 7, None, 7)
            counts[own] = np.cumsum(steps[:-1])[own]
        regular = self._regular(self.extra_of, self.extra_day)
        change = np.where(self.extra_runs & ~regular, 1, np.where(~self.extra_runs & regular, -1, 0))
        np.add.at(counts, self.extra_day - low, change * trips[self.extra_of])
        return days[counts > 0], counts[counts > 0]

    def _regular(self, service: Ints, day: Ints) -> NDArray[np.bool_]:
        # Ordinal 1 is a Monday.
        inside = (self.start[service] <= day) & (day <= self.end[service])
        found: NDArray[np.bool_] = inside & self.weekday[service, (day - 1) % 7]
        return found


def read_services(archive: Archive) -> Services:
    """The services of calendar.txt and calendar_dates.txt. Raises FormatError if a feed has neither."""
    counts = archive.counts
    if not archive.has("calendar_dates.txt"):
        archive.require("calendar.txt")
    regular = _calendar(archive, counts)
    ids = list(regular)
    row = {name: i for i, name in enumerate(ids)}
    extra: dict[tuple[int, int], bool] = {}
    if archive.has("calendar_dates.txt"):
        sheet = archive.table("calendar_dates.txt", ["service_id", "date", "exception_type"])
        for name, text, kind in zip(*(sheet[c].to_pylist() for c in sheet.schema.names), strict=True):
            day = _ordinal(text)
            if day is None or kind not in ("1", "2"):
                counts["rows of calendar_dates.txt without a day or a type"] += 1
                continue
            if name not in row:
                row[name] = len(ids)
                ids.append(name)
            extra[row[name], day] = kind == "1"
    none = ([False] * 7, 1, 0)
    flags, start, end = zip(*(regular.get(name, none) for name in ids), strict=True) if ids else ((), (), ())
    keys = np.array(list(extra), dtype=np.int64).reshape(-1, 2)
    return Services(
        np.array(ids, dtype=object),
        np.array(flags, dtype=bool).reshape(-1, 7),
        np.array(start, dtype=np.int64),
        np.array(end, dtype=np.int64),
        keys[:, 0],
        keys[:, 1],
        np.array(list(extra.values()), dtype=bool),
    )


def choose_days(
    wanted: str | datetime.date, names: Sequence[str], busy: Sequence[tuple[Ints, Ints]], notes: list[str]
) -> list[int]:
    """The day that each feed stands for: one for all where there is one, as the notes say.

    Args:
        wanted: "busiest", or a date.
        names: of the feeds.
        busy: of each feed its days, and how many trips they have.
        notes: added to.

    Raises:
        UsageError: `wanted` is no date, or no feed has a trip on it.
        DataError: a feed has no day with a trip.
    """
    for name, (days, _) in zip(names, busy, strict=True):
        if len(days) == 0:
            raise DataError(f"{name}: on no day of its calendar does any trip run")
    if wanted != "busiest":
        return [_given(wanted, names, busy, notes)] * len(names)
    common = busy[0][0]
    for days, _ in busy[1:]:
        common = np.intersect1d(common, days)
    if len(common):
        total = sum(counts[np.searchsorted(days, common)] for days, counts in busy)
        day = _busiest(common, np.asarray(total, dtype=np.int64))
        notes.append(f"service day {_iso(day)}, the busiest from Tuesday to Thursday")
        return [day] * len(names)
    chosen = [_busiest(days, counts) for days, counts in busy]
    told = ", ".join(f"{name} {_iso(day)}" for name, day in zip(names, chosen, strict=True))
    notes.append(f"no day is in the calendars of all feeds: each is of its own busiest day, {told}")
    return chosen


def _given(
    wanted: str | datetime.date, names: Sequence[str], busy: Sequence[tuple[Ints, Ints]], notes: list[str]
) -> int:
    day = wanted.toordinal() if isinstance(wanted, datetime.date) else _ordinal(wanted.replace("-", ""))
    if day is None:
        raise UsageError(f"{wanted!r} is no date: write it as 2024-05-14, or busiest")
    idle = [name for name, (days, _) in zip(names, busy, strict=True) if day not in days]
    if len(idle) == len(names):
        low, high = min(int(days[0]) for days, _ in busy), max(int(days[-1]) for days, _ in busy)
        raise UsageError(f"no trip runs on {_iso(day)}: choose a day from {_iso(low)} to {_iso(high)}, or busiest")
    notes += [f"{name} has no trip on {_iso(day)}" for name in idle]
    notes.append(f"service day {_iso(day)}")
    return day


def _busiest(days: Ints, counts: Ints) -> int:
    """The day with most trips from Tuesday to Thursday, else of any; of equal ones the first."""
    midweek = np.isin((days - 1) % 7, _MIDWEEK)
    if midweek.any():
        days, counts = days[midweek], counts[midweek]
    return int(days[np.argmax(counts)])


def _calendar(archive: Archive, counts: Counter[str]) -> dict[str, tuple[list[bool], int, int]]:
    if not archive.has("calendar.txt"):
        return {}
    sheet: pa.Table = archive.table("calendar.txt", ["service_id", *_DAYS, "start_date", "end_date"])
    found: dict[str, tuple[list[bool], int, int]] = {}
    for name, *flags, first, last in zip(*(sheet[c].to_pylist() for c in sheet.schema.names), strict=True):
        start, end = _ordinal(first), _ordinal(last)
        if start is None or end is None:
            counts["rows of calendar.txt without a first or a last day"] += 1
        elif name in found:
            counts["service ids that stand twice in calendar.txt"] += 1
        else:
            found[name] = ([flag == "1" for flag in flags], start, end)
    return found


def _ordinal(text: str) -> int | None:
    try:
        return datetime.datetime.strptime(text, "%Y%m%d").toordinal()
    except ValueError:
        return None


def _iso(day: int) -> str:
    return datetime.date.fromordinal(day).isoformat()
