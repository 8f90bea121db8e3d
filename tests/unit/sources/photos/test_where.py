"""Coordinates that cannot be where a photo was taken."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from placevec.geo.regions import Regions
from placevec.sources.photos.found import NO_COORDINATES, objects
from placevec.sources.photos.where import BEYOND, BEYOND_SWAPPED, OUTSIDE, OUTSIDE_SWAPPED, ZERO, check_coordinates

PAKISTAN = Regions(("south", "north"), objects([shapely.box(60, 24, 78, 30), shapely.box(60, 30, 78, 37)]))


@pytest.mark.parametrize(
    ("lon", "lat", "why"),
    [
        (67.0, 25.0, ""),
        (0.0, 0.0, ZERO),
        (0.00005, -0.00005, ZERO),
        (25.0, 67.0, OUTSIDE_SWAPPED),
        (2.35, 48.85, OUTSIDE),
        (-67.0, 25.0, OUTSIDE),
        (67.0, 125.0, BEYOND),
        (32.0, 110.0, BEYOND),
        (32.0, 74.0 + 180, BEYOND),
        (np.inf, 25.0, BEYOND),
        (-200.0, 25.0, BEYOND),
    ],
)
def test_each_fault_has_its_words(lon: float, lat: float, why: str) -> None:
    rows, reasons = check_coordinates(np.array([[lon, lat]]), objects([""]), PAKISTAN)
    assert reasons.tolist() == [why]
    assert (rows[0] >= 0) == (why == "")


def test_a_latitude_beyond_the_pole_that_fits_when_swapped() -> None:
    east = Regions.single(shapely.box(100, 20, 125, 50), "east")
    _, reasons = check_coordinates(np.array([[40.0, 116.4]]), objects([""]), east)
    assert reasons.tolist() == [BEYOND_SWAPPED]


def test_without_an_area_only_the_earth_counts() -> None:
    lonlat = np.array([[2.35, 48.85], [0.0, 0.0], [200.0, 1.0], [180.0, 90.0]])
    rows, reasons = check_coordinates(lonlat, objects([""] * 4), None)
    assert reasons.tolist() == ["", ZERO, BEYOND, ""]
    assert (rows == -1).all()


def test_what_was_said_before_stays() -> None:
    _, reasons = check_coordinates(np.full((1, 2), np.nan), objects([NO_COORDINATES]), PAKISTAN)
    assert reasons.tolist() == [NO_COORDINATES]


@given(st.lists(st.tuples(st.floats(), st.floats()), max_size=20))
def test_whatever_stands_there_each_row_has_a_region_or_a_reason(points: list[tuple[float, float]]) -> None:
    rows, reasons = check_coordinates(np.array(points).reshape(-1, 2), objects([""] * len(points)), PAKISTAN)
    assert all((row >= 0) == (why == "") for row, why in zip(rows, reasons, strict=True))
