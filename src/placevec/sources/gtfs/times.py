"""Times of a timetable: read, put in order, and interpolated where only some stops of a trip have one."""

from __future__ import annotations

import re
from collections import Counter
from itertools import pairwise

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

UNTIMED = -1
"""The time of a stop of which none is known: before the first stated one of a trip, or after its last."""

DAY_S = 86_400
_BLOCK = 1 << 19
_CLOCK = re.compile(r"(\d{1,3}):(\d{2}):(\d{2})")

Ints = NDArray[np.int64]


def seconds_of(text: str) -> int | None:
    """Seconds since midnight of "H:MM:SS", beyond 24 hours too; None if it is no time."""
    match = _CLOCK.fullmatch(text)
    if match is None or int(match[2]) > 59 or int(match[3]) > 59:
        return None
    return int(match[1]) * 3600 + int(match[2]) * 60 + int(match[3])


def clock(seconds: int) -> str:
    """Seconds since midnight as "HH:MM"."""
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}"


def parse_times(column: pa.Array, counts: Counter[str]) -> NDArray[np.int32]:
    """The seconds (n,) of texts; UNTIMED where they are blank, or no time (counted)."""
    coded = column.dictionary_encode()
    known = []
    bad = []
    for text in coded.dictionary.to_pylist():
        value = seconds_of(text)
        known.append(UNTIMED if value is None else value)
        bad.append(value is None and text != "")
    codes = np.asarray(coded.indices, dtype=np.int64)
    wrong = np.array(bad, dtype=bool)
    if wrong.any():
        counts["times that are no time"] += int(wrong[codes].sum())
    return np.array(known, dtype=np.int32)[codes] if len(codes) else np.zeros(0, dtype=np.int32)


def ordered_times(
    trip: Ints, arrival: NDArray[np.int32], departure: NDArray[np.int32], counts: Counter[str]
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Times of stops (k,), sorted by trip, that never run backwards within a trip.

    One that is half a day or more before the one before it is of the next day: some feeds write 00:10 for 24:10. Any
    other that runs backwards is raised to the one before it. Both are counted.
    """
    heads = np.flatnonzero(np.append(True, trip[1:] != trip[:-1])[: len(trip)])
    cuts = np.unique(heads[np.searchsorted(heads, np.arange(_BLOCK, len(trip), _BLOCK), side="right") - 1])
    blocks = [0, *cuts[cuts > 0].tolist(), len(trip)]
    parts = [
        _ordered(trip[i:j], arrival[i:j], departure[i:j], counts) for i, j in pairwise(blocks)
    ]  # whole trips, some at a time: what is needed on the way takes ten times the memory of the times
    return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])


def _ordered(
    trip: Ints, arrival: NDArray[np.int32], departure: NDArray[np.int32], counts: Counter[str]
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    a = np.where(arrival == UNTIMED, departure, arrival).astype(np.int64)
    d = np.where(departure == UNTIMED, arrival, departure).astype(np.int64)
    stated = np.flatnonzero(a != UNTIMED)
    # Arrivals and departures in one row, as they follow each other.
    flat = np.stack([a[stated], d[stated]], axis=1).reshape(-1)
    owner = np.repeat(trip[stated], 2)
    if len(flat) == 0:
        return a.astype(np.int32), d.astype(np.int32)
    same = np.concatenate([[False], owner[1:] == owner[:-1]])
    wrapped = same & (np.diff(flat, prepend=flat[0]) <= -DAY_S // 2)
    counts["times after midnight written as those of the same day"] += int(wrapped.sum())
    turns = np.cumsum(wrapped)
    first = np.flatnonzero(~same)
    flat += DAY_S * (turns - np.repeat(turns[first], np.diff(np.append(first, len(flat)))))
    back = same & (np.diff(flat, prepend=flat[0]) < 0)
    counts["times before those of the stop before"] += int(back.sum())
    # Each trip on a floor of its own, so that the running maximum starts anew with it.
    storey = np.cumsum(~same) * (int(flat.max()) + 1)
    flat = np.maximum.accumulate(flat + storey) - storey
    a[stated], d[stated] = flat[0::2], flat[1::2]
    return a.astype(np.int32), d.astype(np.int32)


def interpolated(
    trip: Ints, metres: NDArray[np.float64], arrival: NDArray[np.int32], departure: NDArray[np.int32]
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Times for the stops (k,) between two timed ones of a trip, as if it ran at one speed from one to the other.

    Args:
        trip: (k,) rows of trips, sorted.
        metres: (k,) from the stop before in the same trip; 0 at the first.
        arrival: (k,) seconds, UNTIMED where unknown.
        departure: (k,) likewise.

    Returns:
        arrivals and departures; still UNTIMED before the first timed stop of a trip and after its last.
    """
    stated = arrival != UNTIMED
    if stated.all() or not stated.any():
        return arrival, departure
    k = np.arange(len(trip))
    before = np.maximum.accumulate(np.where(stated, k, -1))
    after = np.minimum.accumulate(np.where(stated, k, len(trip))[::-1])[::-1]
    gap = np.flatnonzero(~stated & (before >= 0) & (after < len(trip)))
    lo, hi = before[gap], after[gap]
    within = (trip[lo] == trip[gap]) & (trip[hi] == trip[gap])
    gap, lo, hi = gap[within], lo[within], hi[within]
    # A metre a stop settles stops in one place.
    way = np.cumsum(metres + 1.0)
    share = (way[gap] - way[lo]) / (way[hi] - way[lo])
    at = np.rint(departure[lo] + share * (arrival[hi] - departure[lo])).astype(np.int32)
    arrival, departure = arrival.copy(), departure.copy()
    arrival[gap] = departure[gap] = at
    return arrival, departure
