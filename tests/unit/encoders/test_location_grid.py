"""Vectors of whole rows of pixels against those of points, for every position encoding and network."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from placevec.encoders.location import PIXELS, LocationConfig, LocationEncoder
from placevec.nn.capsules import CapsulesConfig
from placevec.nn.fcnet import FCNetConfig
from placevec.nn.position import Harmonics, Local, RandomFourier, Scales, Sphere2VecMPlus, Wrap
from placevec.nn.siren import SirenConfig

SMALL = SirenConfig(capacity=24, layers=2)
SHAPES = [
    LocationConfig(Harmonics(12), SMALL, 8),
    LocationConfig(Harmonics(12), SMALL, 8, normalize=False),
    LocationConfig(Harmonics(6), SirenConfig(capacity=16, layers=1, first_activation="h-sine"), 5),
    LocationConfig(Local(Harmonics(10), lon=-3.0, lat=40.0, radius=6.0), SMALL, 8),
    LocationConfig(Sphere2VecMPlus(4), FCNetConfig(capacity=16), 4),
    LocationConfig(Wrap(), SMALL, 4),
    LocationConfig(RandomFourier(), CapsulesConfig(capacity=8, layers=1), 6),
]


def both(encoder: LocationEncoder, lons: np.ndarray, lats: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    lon, lat = np.meshgrid(lons, lats)
    points = encoder.encode({"lonlat": np.column_stack([lon.ravel(), lat.ravel()])})
    return encoder.encode_grid(lons, lats), points.reshape(*lon.shape, -1)


@pytest.mark.parametrize("config", SHAPES, ids=lambda config: f"{config.position.kind}-{config.nn.kind}")
def test_rows_are_the_points(config: LocationConfig) -> None:
    encoder = LocationEncoder.untrained(config)
    rows, points = both(encoder, np.linspace(-9.5, 3.5, 37), np.linspace(44, 36, 11))
    assert rows.shape == (11, 37, config.dims)
    assert rows.dtype == np.float32
    assert encoder.rows_at(np.zeros(1)).separable
    np.testing.assert_allclose(rows, points, atol=2e-5 * np.abs(points).max())


def test_several_scales_add_up() -> None:
    local = Local(Harmonics(5), lon=2.0, lat=41.0, radius=1.0)
    encoder = LocationEncoder.untrained(LocationConfig(Scales((Harmonics(6), local)), SMALL, 8))
    rows, points = both(encoder, np.linspace(1, 3, 20), np.linspace(42, 40, 7))
    np.testing.assert_allclose(rows, points, atol=2e-5)


def test_strips_and_blocks_do_not_matter() -> None:
    encoder = LocationEncoder.untrained(SHAPES[0])
    lons, lats = np.linspace(-180, 179, 700), np.linspace(90, -90, 40)  # more pixels than go together
    assert len(lons) * len(lats) > PIXELS
    whole, ready = encoder.encode_grid(lons, lats), encoder.rows_at(lons)
    strips = np.concatenate([ready(lats[start : start + 7]) for start in range(0, 40, 7)])
    np.testing.assert_allclose(whole, strips, atol=1e-6)
    assert ready(lats[:0]).shape == (0, 700, 8)
    assert ready(lats[:1]).shape == (1, 700, 8)


def test_a_network_without_a_first_layer_goes_by_points() -> None:
    encoder = LocationEncoder.untrained(SHAPES[0])
    encoder.net.nn = torch.nn.Sequential(encoder.net.nn)  # hides `first` and `rest`
    assert not encoder.rows_at(np.zeros(1)).separable
    rows, points = both(encoder, np.linspace(-9.5, 3.5, 9), np.linspace(44, 36, 4))
    np.testing.assert_array_equal(rows, points)


def test_the_encoder_is_unchanged_by_a_grid() -> None:
    encoder = LocationEncoder.untrained(SHAPES[0])
    before = {name: value.clone() for name, value in encoder.net.state_dict().items()}
    rows, _ = both(encoder, np.linspace(0, 1, 5), np.linspace(1, 0, 5))
    np.testing.assert_array_equal(rows, encoder.encode_grid(np.linspace(0, 1, 5), np.linspace(1, 0, 5)))
    assert all(torch.equal(before[name], value) for name, value in encoder.net.state_dict().items())
