"""Times, modes and calendars by themselves."""

from __future__ import annotations

import datetime
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from placevec.sources.gtfs.calendar import Services, choose_days
from placevec.sources.gtfs.modes import MODES, mode_of
from placevec.sources.gtfs.times import UNTIMED, clock, interpolated, ordered_times, parse_times, seconds_of


@pytest.mark.parametrize(
    ("text", "mode"),
    [("0", "tram"), ("1", "metro"), ("2", "rail"), ("3", "bus"), ("4", "ferry"), ("7", "lift"), ("11", "bus"),
     ("106", "rail"), ("202", "bus"), ("401", "metro"), ("717", "bus"), ("900", "tram"), ("1300", "lift")],
)  # fmt: skip
def test_modes(text: str, mode: str) -> None:
    assert mode_of(text) == (MODES.index(mode), True)


@pytest.mark.parametrize("text", ["", "8", "99", "-1", "1800", "bus", "3.5"])
def test_unknown_modes(text: str) -> None:
    assert mode_of(text) == (MODES.index("other"), False)


def test_times_as_texts() -> None:
    assert [seconds_of(text) for text in ("0:00:00", "7:05:09", "25:10:00", "7:5:9", "12:60:00", "", "12:30")] == [
        0, 25509, 90600, None, None, None, None,
    ]  # fmt: skip
    assert clock(90600) == "25:10"
    counts: Counter[str] = Counter()
    assert parse_times(pa.array(["1:00:00", "", "x", "x"]), counts).tolist() == [3600, UNTIMED, UNTIMED, UNTIMED]
    assert counts == {"times that are no time": 2}


@st.composite
def timetables(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    sizes = draw(st.lists(st.integers(1, 6), min_size=1, max_size=4))
    trip = np.repeat(np.arange(len(sizes)), sizes)
    times = st.one_of(st.just(UNTIMED), st.integers(0, 100_000))
    values = draw(st.lists(times, min_size=len(trip), max_size=len(trip)))
    metres = draw(st.lists(st.floats(0, 5000), min_size=len(trip), max_size=len(trip)))
    return trip, np.array(values, dtype=np.int32), np.where(np.append(True, trip[1:] != trip[:-1]), 0.0, metres)


@given(timetables())
def test_ordered_and_interpolated_times_run_forwards(case: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    trip, times, metres = case
    arrival, departure = ordered_times(trip, times, times, Counter())
    assert ((arrival == UNTIMED) == (times == UNTIMED)).all()
    a, d = interpolated(trip, metres, arrival, departure)
    for t in np.unique(trip):
        own = trip == t
        stated = np.flatnonzero(times[own] != UNTIMED)
        filled = np.flatnonzero(a[own] != UNTIMED)
        if len(stated):
            assert filled.tolist() == list(range(stated[0], stated[-1] + 1))
            assert (a[own][stated] == arrival[own][stated]).all()
        else:
            assert len(filled) == 0
        rows = np.stack([a[own][filled], d[own][filled]], axis=1).ravel()
        assert (np.diff(rows) >= 0).all()


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    trip = np.repeat(np.arange(40), rng.integers(1, 9, 40))
    times = rng.integers(0, 90_000, len(trip)).astype(np.int32)
    whole, told = Counter[str](), Counter[str]()
    expected = ordered_times(trip, times, times, whole)
    monkeypatch.setattr("placevec.sources.gtfs.times._BLOCK", 7)
    found = ordered_times(trip, times, times, told)
    assert np.array_equal(found[0], expected[0])
    assert np.array_equal(found[1], expected[1])
    assert told == whole


def plain_busy(services: Services, trips: np.ndarray, first: int, last: int) -> dict[int, int]:
    return {day: n for day in range(first, last) if (n := int(trips[services.on(day)].sum())) > 0}


@given(st.integers(0, 10_000))
def test_busy_days_against_asking_each_day(seed: int) -> None:
    rng = np.random.default_rng(seed)
    v, x = int(rng.integers(1, 5)), int(rng.integers(0, 6))
    start = rng.integers(700_000, 700_020, v)
    keys = np.unique(np.stack([rng.integers(0, v, x), rng.integers(699_995, 700_040, x)], axis=1), axis=0)
    services = Services(
        np.array([str(i) for i in range(v)], dtype=object),
        rng.random((v, 7)) < 0.5,
        start,
        start + rng.integers(-1, 25, v),
        keys[:, 0],
        keys[:, 1],
        rng.random(len(keys)) < 0.5,
    )
    trips = rng.integers(0, 4, v)
    days, counts = services.busy(trips)
    assert dict(zip(days.tolist(), counts.tolist(), strict=True)) == plain_busy(services, trips, 699_990, 700_060)


def test_the_busiest_day_is_in_the_middle_of_a_week() -> None:
    monday = datetime.date(2024, 5, 13).toordinal()
    days = monday + np.arange(7)
    assert choose_days("busiest", ["x"], [(days, np.array([9, 1, 2, 2, 9, 9, 9]))], []) == [monday + 2]
    # Without a Tuesday, Wednesday or Thursday any day will do.
    assert choose_days("busiest", ["x"], [(days[4:], np.array([1, 5, 3]))], []) == [monday + 5]
    notes: list[str] = []
    assert (
        choose_days(datetime.date(2024, 5, 14), ["x", "y"], [(days, days), (days[3:], days[3:])], notes)
        == [monday + 1] * 2
    )
    assert notes == ["y has no trip on 2024-05-14", "service day 2024-05-14"]
