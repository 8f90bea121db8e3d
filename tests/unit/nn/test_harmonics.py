"""Spherical harmonics against scipy, and against the theorems that define them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.special import sph_harm_y

from placevec.nn.harmonics import SERIES_DEGREES, column, legendre, legendre_series, spherical_harmonics, waves
from placevec.nn.position import Harmonics, position_config


def points(n: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(seed)
    lon = np.r_[rng.uniform(-180, 180, n), 0.0, 180.0, -180.0, 12.0, -75.0]
    lat = np.r_[np.rad2deg(np.arcsin(rng.uniform(-1, 1, n))), 0.0, 0.0, 45.0, 90.0, -90.0]
    return torch.from_numpy(lon), torch.from_numpy(lat)


def reference(lon: torch.Tensor, lat: torch.Tensor, degrees: int) -> np.ndarray:
    """By scipy's complex harmonics, one degree and order at a time."""
    theta, phi = np.deg2rad(90.0 - lat.numpy()), np.deg2rad(lon.numpy())
    out = np.empty((len(lon), degrees * degrees))
    for degree in range(degrees):
        for order in range(-degree, degree + 1):
            wave = sph_harm_y(degree, abs(order), theta, phi)
            value = wave.real if order == 0 else math.sqrt(2) * (wave.real if order > 0 else wave.imag)
            out[:, column(degree, order)] = value
    return out


def test_equals_scipy() -> None:
    lon, lat = points(60)
    got = spherical_harmonics(lon, lat, 40, torch.float64).numpy()
    np.testing.assert_allclose(got, reference(lon, lat, 40), atol=1e-12, rtol=0)


def test_float32_is_right_to_1e_5_at_100_at_all_latitudes() -> None:
    lon, lat = points(2000)
    near = 90.0 - np.geomspace(1e-8, 30.0, 500)  # 89.9999 is among them: a float32 sine is 1 there
    lat = torch.cat([lat, torch.from_numpy(np.r_[near, -near, 89.9999, -89.9999])])
    lon = torch.cat([lon, torch.linspace(-180, 180, len(lat) - len(lon), dtype=torch.float64)])
    exact = spherical_harmonics(lon, lat, 100, torch.float64)
    fast = spherical_harmonics(lon, lat, 100, torch.float32)
    assert fast.dtype == torch.float32
    assert fast.isfinite().all()
    assert (fast.double() - exact).abs().max() < 1e-5


def test_the_series_gives_the_legendre_functions_back() -> None:
    lat = torch.linspace(-90, 90, 37, dtype=torch.float64)
    turns = waves(90.0 - lat, 30)
    pairs = zip(legendre(lat, 30), legendre_series(30, lat.device), strict=True)
    for degree, (row, (even, odd)) in enumerate(pairs):
        k = slice(degree % 2, degree + 1, 2)
        torch.testing.assert_close(even.double() @ turns.real[k], row[0::2], rtol=0, atol=2e-6)
        torch.testing.assert_close(odd.double() @ turns.imag[k], row[1::2], rtol=0, atol=2e-6)


def test_beyond_the_series_float32_goes_by_the_recurrence() -> None:
    lon, lat = points(3)
    degrees = SERIES_DEGREES + 1
    exact = spherical_harmonics(lon, lat, degrees, torch.float64)
    assert (spherical_harmonics(lon, lat, degrees).double() - exact).abs().max() < 1e-6


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 63, 200])
def test_waves_by_doubling(count: int) -> None:
    angle = torch.tensor([0.0, 33.3, -180.0, 359.9], dtype=torch.float64)
    wanted = np.exp(1j * np.outer(np.arange(count), np.deg2rad(angle.numpy())))
    np.testing.assert_allclose(waves(angle, count).numpy(), wanted, atol=1e-12)


def test_orthonormal_by_gauss_legendre() -> None:
    degrees = 24
    x, weight = np.polynomial.legendre.leggauss(degrees)
    lon = np.arange(2 * degrees) * 180.0 / degrees
    grid_lon, grid_lat = np.meshgrid(lon, np.rad2deg(np.arcsin(x)))
    area = np.repeat(weight, len(lon)) * (2 * math.pi / len(lon))
    y = spherical_harmonics(
        torch.from_numpy(grid_lon.ravel()), torch.from_numpy(grid_lat.ravel()), degrees, torch.float64
    ).numpy()
    np.testing.assert_allclose((y * area[:, None]).T @ y, np.eye(degrees * degrees), atol=1e-12)


@pytest.mark.parametrize("degrees", [100, 200])
def test_addition_theorem(degrees: int) -> None:
    lon, lat = points(50)
    y = spherical_harmonics(lon, lat, degrees, torch.float64)
    for degree in (0, 1, degrees // 2, degrees - 1):
        total = y[:, degree**2 : (degree + 1) ** 2].square().sum(dim=1) * (4 * math.pi / (2 * degree + 1))
        np.testing.assert_allclose(total.numpy(), 1.0, atol=1e-11)


def test_points_do_not_depend_on_their_neighbours() -> None:
    lon, lat = points(5000)  # more than a block
    whole = spherical_harmonics(lon, lat, 12)
    part = spherical_harmonics(lon[4050:4150], lat[4050:4150], 12)
    torch.testing.assert_close(whole[4050:4150], part, rtol=0, atol=1e-6)


def test_the_poles_have_one_value_for_all_longitudes() -> None:
    lon = torch.linspace(-180, 180, 9, dtype=torch.float64)
    y = spherical_harmonics(lon, torch.full_like(lon, 90.0), 30, torch.float64)
    assert (y - y[:1]).abs().max() < 1e-13


def test_no_points_and_one_degree() -> None:
    none = torch.empty(0, dtype=torch.float64)
    assert spherical_harmonics(none, none, 5).shape == (0, 25)
    assert [row.shape for row in legendre(none, 3)] == [(1, 0), (2, 0), (3, 0)]
    one = spherical_harmonics(*points(3), 1, torch.float64)
    np.testing.assert_allclose(one.numpy(), 1 / math.sqrt(4 * math.pi))
    with pytest.raises(ValueError, match="at least 1"):
        spherical_harmonics(none, none, 0)


def test_the_encoding_is_built_from_json() -> None:
    config = position_config({"kind": "harmonics", "degrees": 7})
    assert config == Harmonics(7)
    lon, lat = points(4)
    out = config.build()(torch.stack([lon, lat], dim=1))
    assert out.shape == (len(lon), 49) == (len(lon), config.dims)
