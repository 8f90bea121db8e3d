"""Position encodings against the formulas of their papers, in loops over points and scales in float64."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from placevec.errors import UsageError
from placevec.nn.position import (
    Cartesian,
    Direct,
    Harmonics,
    PositionConfig,
    RandomFourier,
    Space2VecGrid,
    Space2VecTheory,
    Sphere2VecC,
    Sphere2VecCPlus,
    Sphere2VecDFS,
    Sphere2VecM,
    Sphere2VecMPlus,
    Wrap,
    position_config,
)
from position_examples import EXAMPLES, NEAR_EDGES

sin, cos = math.sin, math.cos
S, LOW, HIGH = 4, 0.3, 57.0


def radii() -> list[float]:
    return [LOW * (HIGH / LOW) ** (s / (S - 1)) for s in range(S)]


def grid(lon: float, lat: float) -> list[float]:
    return [v for r in radii() for v in (cos(lon / r), sin(lon / r), cos(lat / r), sin(lat / r))]


def theory(lon: float, lat: float) -> list[float]:
    row = []
    for r in radii():
        for a in ((1.0, 0.0), (-0.5, math.sqrt(3) / 2), (-0.5, -math.sqrt(3) / 2)):
            angle = (lon * a[0] + lat * a[1]) / r
            row += [cos(angle), sin(angle)]
    return row


def sphere(lon: float, lat: float, r: float, *, mixed: bool, plus: bool) -> list[float]:
    x, y = lon / r, lat / r
    lam, phi = math.radians(lon), math.radians(lat)
    if mixed:
        row = [sin(y), cos(y) * cos(lam), cos(phi) * cos(x), cos(y) * sin(lam), cos(phi) * sin(x)]
    else:
        row = [sin(y), cos(y) * cos(x), cos(y) * sin(x)]
    return row + ([cos(x), sin(x), cos(y)] if plus else [])


def all_scales(*, mixed: bool, plus: bool) -> Callable[[float, float], list[float]]:
    return lambda lon, lat: [v for r in radii() for v in sphere(lon, lat, r, mixed=mixed, plus=plus)]


def dfs(lon: float, lat: float) -> list[float]:
    row = []
    for r in radii():
        row += [cos(lon / r), sin(lon / r), cos(lat / r), sin(lat / r)]
    for s in radii():
        for t in radii():
            y, x = lat / s, lon / t
            row += [cos(y) * cos(x), cos(y) * sin(x), sin(y) * cos(x), sin(y) * sin(x)]
    return row


def cartesian(lon: float, lat: float) -> list[float]:
    lam, phi = math.radians(lon), math.radians(lat)
    return [cos(phi) * cos(lam), cos(phi) * sin(lam), sin(phi)]


def wrap(lon: float, lat: float) -> list[float]:
    return [sin(math.pi * lon / 180), cos(math.pi * lon / 180), sin(math.pi * lat / 90), cos(math.pi * lat / 90)]


ORACLES: list[tuple[PositionConfig, Callable[[float, float], list[float]]]] = [
    (Direct(), lambda lon, lat: [lon / 180, lat / 90]),
    (Cartesian(), cartesian),
    (Wrap(180.0), wrap),
    (Wrap(), lambda lon, lat: [f(math.radians(v)) for v in (lon, lat) for f in (sin, cos)]),
    (Space2VecGrid(S, LOW, HIGH), grid),
    (Space2VecTheory(S, LOW, HIGH), theory),
    (Sphere2VecC(S, LOW, HIGH), all_scales(mixed=False, plus=False)),
    (Sphere2VecCPlus(S, LOW, HIGH), all_scales(mixed=False, plus=True)),
    (Sphere2VecM(S, LOW, HIGH), all_scales(mixed=True, plus=False)),
    (Sphere2VecMPlus(S, LOW, HIGH), all_scales(mixed=True, plus=True)),
    (Sphere2VecDFS(S, LOW, HIGH), dfs),
]


def cases(n: int = 40) -> torch.Tensor:
    rng = np.random.default_rng(0)
    some = np.stack([rng.uniform(-180, 180, n), rng.uniform(-90, 90, n)], axis=1)
    return torch.cat([torch.from_numpy(some), NEAR_EDGES])


@pytest.mark.parametrize(("config", "oracle"), ORACLES, ids=lambda case: getattr(case, "kind", ""))
def test_equals_the_formula(config: PositionConfig, oracle: Callable[[float, float], list[float]]) -> None:
    points = cases()
    got = config.build()(points)
    want = np.array([oracle(lon, lat) for lon, lat in points.tolist()])
    assert got.shape == want.shape == (len(points), config.dims)
    np.testing.assert_allclose(got.numpy(), want, atol=1e-6, rtol=0)


@pytest.mark.parametrize("config", EXAMPLES, ids=lambda config: str(config.kind))
def test_no_points_and_the_edges(config: PositionConfig) -> None:
    encoding = config.build()
    assert encoding(torch.empty((0, 2), dtype=torch.float64)).shape == (0, config.dims)
    assert encoding.dims == config.dims
    assert encoding(NEAR_EDGES).isfinite().all()


@pytest.mark.parametrize(
    "config", [Harmonics(8), Cartesian(), Wrap(), Wrap(180.0), Sphere2VecM(1), Sphere2VecC(1, 57.29577951308232)]
)
@given(lat=st.floats(-90, 90))
def test_no_seam_at_the_antimeridian(config: PositionConfig, lat: float) -> None:
    points = torch.tensor([[180.0, lat], [-180.0, lat], [179.9999999, lat], [-179.9999999, lat]], dtype=torch.float64)
    out = config.build()(points)
    if config == Sphere2VecM(1):  # of radius 0.5: the waves along longitude have a seam, those of latitude none
        out = out[:, [0, 1, 3]]
    assert (out - out[:1]).abs().max() < 1e-6


@pytest.mark.parametrize("config", [Harmonics(8), Cartesian(), Sphere2VecC(1, 57.29577951308232)])
@pytest.mark.parametrize("lat", [90.0, -90.0])
def test_a_pole_is_one_place(config: PositionConfig, lat: float) -> None:
    lon = torch.linspace(-180, 180, 9, dtype=torch.float64)
    out = config.build()(torch.stack([lon, torch.full_like(lon, lat)], dim=1))
    assert (out - out[:1]).abs().max() < 1e-6


def test_one_scale_takes_the_finest_radius() -> None:
    out = Space2VecGrid(1, 2.0, 50.0).build()(torch.tensor([[3.0, 4.0]], dtype=torch.float64))
    np.testing.assert_allclose(out.numpy()[0], [cos(1.5), sin(1.5), cos(2.0), sin(2.0)], atol=1e-6)


def test_fine_waves_keep_their_phase() -> None:
    # 1e-4 degrees is a wave of 70 m: 573 thousand radians at 57 degrees, where a float32 angle is wrong by 0.03.
    out = Space2VecGrid(1, 1e-4, 1.0).build()(torch.tensor([[57.3, -33.1]], dtype=torch.float64))
    want = [cos(57.3e4), sin(57.3e4), cos(-33.1e4), sin(-33.1e4)]
    np.testing.assert_allclose(out.numpy()[0], want, atol=1e-6)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"kind": "harmonics", "degrees": 0}, "give a number from 1"),
        ({"kind": "space2vec-grid", "frequencies": 0}, "frequencies = 0: give a number"),
        ({"kind": "space2vec-theory", "min_radius": 0.0}, "min_radius = 0.0"),
        ({"kind": "sphere2vec-c", "min_radius": 5.0, "max_radius": 1.0}, "the smaller first"),
        ({"kind": "sphere2vec-m+", "max_radius": math.inf}, "max_radius = inf"),
        ({"kind": "wrap", "lat_wave": 90.0}, "lat_wave = 90.0: give at least 180"),
        ({"kind": "fourier", "sigmas": []}, "give at least one number"),
        ({"kind": "fourier", "sigmas": [1.0, -2.0]}, "above 0"),
        ({"kind": "fourier", "frequencies": 0}, "frequencies = 0"),
        ({"kind": "fourier", "seed": -1}, "seed = -1"),
        ({"kind": "scales", "parts": []}, "parts is empty"),
        ({"kind": "cartesian", "radius": 1}, "has no setting 'radius'"),
        ({"degrees": 3}, "no position is called ''"),
    ],
)
def test_refuses_in_one_line(value: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message) as refused:
        position_config(value)
    assert "\n" not in str(refused.value)


def test_plain_encodings_have_nothing_to_fit() -> None:
    lon, lat = np.array([1.0, 2.0]), np.array([3.0, 4.0])
    for config in (Harmonics(3), Direct(), Space2VecGrid(), RandomFourier()):
        assert config.fitted(lon, lat) is config
        assert isinstance(config, PositionConfig)
