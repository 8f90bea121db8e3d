"""The first layer on rows of pixels against the same layer at points, in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from placevec.nn import harmonics_grid
from placevec.nn.harmonics import spherical_harmonics
from placevec.nn.harmonics_grid import HarmonicsGrid, legendre_by_order


def exact(weight: torch.Tensor, degrees: int, lons: np.ndarray, lats: np.ndarray) -> np.ndarray:
    lon, lat = (torch.from_numpy(part.ravel()) for part in np.meshgrid(lons, lats))
    values = spherical_harmonics(lon, lat, degrees, torch.float64) @ weight.T.double()
    return values.numpy().reshape(len(lats), len(lons), len(weight))


def weight_of(units: int, degrees: int) -> torch.Tensor:
    return torch.randn((units, degrees**2), generator=torch.Generator().manual_seed(degrees))


@pytest.mark.parametrize("degrees", [1, 2, 13, 40, 100])
@pytest.mark.parametrize(("west", "east"), [(-180.0, 180.0), (-9.6, 3.3), (179.0, 180.0)])
def test_rows_equal_points(degrees: int, west: float, east: float) -> None:
    lons, lats = np.linspace(west, east, 150), np.array([90.0, 89.9999, 40.0, 0.0, -73.2, -90.0])
    weight = weight_of(6, degrees)
    wanted = exact(weight, degrees, lons, lats)
    found = HarmonicsGrid(weight, degrees, torch.from_numpy(lons))(torch.from_numpy(lats)).numpy()
    assert found.dtype == np.float32
    assert np.abs(found - wanted).max() < 5e-6 * np.abs(wanted).max()


@given(st.integers(1, 24), st.integers(1, 300), st.integers(0, 9), st.integers(0, 10_000))
def test_any_columns_in_any_order(degrees: int, width: int, height: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    lons, lats = rng.uniform(-180, 360, width), rng.uniform(-90, 90, height)
    weight = weight_of(3, degrees)
    found = HarmonicsGrid(weight, degrees, torch.from_numpy(lons))(torch.from_numpy(lats)).numpy()
    wanted = exact(weight, degrees, lons, lats)
    assert found.shape == (height, width, 3)
    assert np.abs(found - wanted).max(initial=0.0) <= 5e-6 * np.abs(weight.numpy()).max() * degrees


def test_a_narrow_panel_sums_few_directions() -> None:
    layer = HarmonicsGrid(weight_of(2, 40), 40, torch.linspace(2.0, 3.0, 128, dtype=torch.float64))
    ((_, basis, directions),) = layer._panels
    assert directions is not None
    assert basis.shape[1] == len(directions) < 10


def test_legendre_tables_are_cut_at_the_diagonal() -> None:
    tables = legendre_by_order(torch.tensor([10.0, 50.0], dtype=torch.float64), 5)
    assert [tuple(table.shape) for table in tables] == [(2, 5), (2, 4), (2, 3), (2, 2), (2, 1)]


@given(st.integers(1, 60), st.lists(st.floats(-90, 90), max_size=5))
def test_legendre_tables_by_series_and_by_recurrence(degrees: int, lats: list[float]) -> None:
    at = torch.tensor(lats, dtype=torch.float64)
    by_series = legendre_by_order(at, degrees)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(harmonics_grid, "TABLE_DEGREES", 0)
        by_recurrence = legendre_by_order(at, degrees)
    for one, two in zip(by_series, by_recurrence, strict=True):
        torch.testing.assert_close(one, two, atol=5e-6, rtol=0.0)


def test_a_weight_of_another_width_is_refused() -> None:
    with pytest.raises(ValueError, match="needs 25 columns"):
        HarmonicsGrid(torch.zeros(3, 24), 5, torch.zeros(1, dtype=torch.float64))
