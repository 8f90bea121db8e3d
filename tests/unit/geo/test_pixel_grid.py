"""Pixels of a box at a resolution."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from placevec.errors import CoordinateError, UsageError
from placevec.geo.pixel_grid import PixelGrid
from placevec.geo.sphere import LonLat, distance_m

IBERIA = (-9.6, 36.0, 3.3, 43.8)


def test_a_length_holds_at_the_middle_latitude() -> None:
    grid = PixelGrid.of(IBERIA, "5km")
    assert grid.metres == pytest.approx((5000, 5000), rel=0.01)
    middle, (wide, tall) = np.array([39.9, 39.9]), grid.step
    east = distance_m(LonLat(np.array([0.0]), middle[:1]), LonLat(np.array([wide]), middle[:1]))
    north = distance_m(LonLat(np.array([0.0]), middle[:1]), LonLat(np.array([0.0]), middle[:1] + tall))
    assert (float(east[0]), float(north[0])) == pytest.approx(grid.metres, rel=1e-3)
    assert PixelGrid.of(IBERIA, "5000 m") == grid


@given(st.floats(-180, 180), st.floats(0.1, 359.0), st.floats(-90, 89), st.floats(0.1, 1.0), st.floats(0.01, 5.0))
def test_the_pixels_fill_the_box(west: float, across: float, south: float, up: float, size: float) -> None:
    east = west + across - (360.0 if west + across > 180.0 else 0.0)
    grid = PixelGrid.of((west, south, east, south + up), f"{size:.4f}deg")
    left, bottom, right, top = grid.bounds
    assert (right - left, top - bottom) == pytest.approx((across, up), abs=1e-6)
    assert grid.width == max(1, round((right - left) / float(f"{size:.4f}")))
    assert (grid.lons >= -180).all()
    assert (grid.lons < 180).all()
    assert ((grid.lats > bottom) & (grid.lats < top)).all()
    assert (np.diff(grid.lats) < 0).all()


def test_the_antimeridian_and_the_globe() -> None:
    grid = PixelGrid.of((170.0, -20.0, -170.0, -10.0), "4x2")
    assert grid.bounds == (170.0, -20.0, 190.0, -10.0)
    assert grid.lons.tolist() == [172.5, 177.5, -177.5, -172.5]
    assert grid.lats.tolist() == [-12.5, -17.5]
    assert PixelGrid.of((-180.0, -90.0, 180.0, 90.0), "1deg").lons[[0, -1]].tolist() == [-179.5, 179.5]


@pytest.mark.parametrize("text", ["6", "1", "km", "1 mile", "0km", "0x5", "-1km", "1e3m", "", "5x", "nan deg"])
def test_what_is_no_resolution(text: str) -> None:
    with pytest.raises(UsageError, match="resolution|pixels"):
        PixelGrid.of(IBERIA, text)


def test_what_is_no_box() -> None:
    with pytest.raises(UsageError, match="no width or no height"):
        PixelGrid.of((1.0, 2.0, 1.0, 3.0), "1km")
    with pytest.raises(CoordinateError):
        PixelGrid.of((1.0, 91.0, 2.0, 92.0), "1km")
