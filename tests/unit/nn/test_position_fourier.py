"""Equal Earth against pyproj, and random Fourier features against their formula."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from pyproj import CRS, Transformer

from placevec.nn.position import RandomFourier, equal_earth
from placevec.nn.position.fourier import TO_UNIT


def points(n: int = 500) -> torch.Tensor:
    rng = np.random.default_rng(1)
    some = np.stack([rng.uniform(-180, 180, n), rng.uniform(-90, 90, n)], axis=1)
    edges = [[0.0, 0.0], [180.0, 0.0], [-180.0, 45.0], [30.0, 90.0], [-30.0, -90.0]]
    return torch.from_numpy(np.r_[some, edges])


def test_equal_earth_is_projs_on_a_sphere() -> None:
    lonlat = points()
    x, y = equal_earth(lonlat[:, 0], lonlat[:, 1])
    proj = Transformer.from_crs("+proj=lonlat +R=1", "+proj=eqearth +R=1", always_xy=True)
    east, north = proj.transform(lonlat[:, 0].numpy(), lonlat[:, 1].numpy())
    np.testing.assert_allclose(x.numpy(), east, atol=1e-12)
    np.testing.assert_allclose(y.numpy(), north, atol=1e-12)


def test_the_ellipsoid_differs_by_the_authalic_latitude() -> None:
    # EPSG:8857 is the map that GeoCLIP does not use: at 45 degrees it is 0.128 degrees of latitude away.
    lat = torch.tensor([45.0], dtype=torch.float64)
    _, y = equal_earth(torch.zeros_like(lat), lat)
    _, north = Transformer.from_crs("EPSG:4326", "EPSG:8857", always_xy=True).transform(0.0, 45.0)
    authalic_radius = 6371007.181
    assert abs(float(y) - north / authalic_radius) > 1e-3
    geodetic = CRS("EPSG:4326").ellipsoid
    assert geodetic is not None
    f = 1 / geodetic.inverse_flattening
    e = math.sqrt(f * (2 - f))

    def q(phi: float) -> float:
        s = math.sin(phi)
        return (1 - e * e) * (s / (1 - (e * s) ** 2) - math.log((1 - e * s) / (1 + e * s)) / (2 * e))

    authalic = math.degrees(math.asin(q(math.pi / 4) / q(math.pi / 2)))
    _, again = equal_earth(torch.zeros(1, dtype=torch.float64), torch.tensor([authalic], dtype=torch.float64))
    assert float(again) == pytest.approx(north / authalic_radius, abs=1e-8)


def test_the_map_is_scaled_to_one() -> None:
    x, y = equal_earth(torch.tensor([180.0, 0.0]).double(), torch.tensor([0.0, 90.0]).double())
    assert float(x[0]) * TO_UNIT == pytest.approx(1.0, abs=1e-6)
    assert float(y[1]) * TO_UNIT == pytest.approx(0.487, abs=1e-3)


def test_features_equal_their_formula() -> None:
    config = RandomFourier((1.0, 16.0, 256.0), frequencies=7, seed=5)
    encoding = config.build()
    lonlat = points(50)
    x, y = (v.numpy() * 66.50336 / 180 for v in equal_earth(lonlat[:, 0], lonlat[:, 1]))
    want = []
    for scale in encoding.scales:
        b = scale.b.double().numpy()
        angle = 2 * np.pi * (x[:, None] * b[:, 0] + y[:, None] * b[:, 1])
        want += [np.cos(angle), np.sin(angle)]
    np.testing.assert_allclose(encoding(lonlat).numpy(), np.concatenate(want, axis=1), atol=1e-6)


def test_the_matrices_follow_the_seed_and_can_be_replaced() -> None:
    config = RandomFourier((1.0, 256.0), frequencies=4000, seed=1)
    torch.manual_seed(0)
    before = torch.get_rng_state()
    one, two = config.build(), config.build()
    assert torch.equal(torch.get_rng_state(), before)
    assert list(one.state_dict()) == ["scales.0.b", "scales.1.b"]
    for mine, yours, sigma in zip(one.buffers(), two.buffers(), config.sigmas, strict=True):
        assert torch.equal(mine, yours)
        assert float(mine.std()) == pytest.approx(sigma, rel=0.05)
    other = RandomFourier((1.0, 256.0), frequencies=4000, seed=2).build()
    assert not torch.equal(one.scales[0].b, other.scales[0].b)
    assert not torch.equal(one.scales[0].b, one.scales[1].b / 256.0)
    other.load_state_dict(one.state_dict())
    assert torch.equal(other(points(5)), one(points(5)))
