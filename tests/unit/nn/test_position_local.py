"""The local frame and concatenated scales: centre and radius, edges of the world, and what is refused."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from placevec.errors import UsageError
from placevec.nn.position import Direct, Harmonics, Local, PositionConfig, Scales, Sphere2VecC, Wrap, position_config
from placevec.nn.position.local import LocalEncoding


def tensor(*points: tuple[float, float]) -> torch.Tensor:
    return torch.tensor(points, dtype=torch.float64)


def framed(config: Local, *points: tuple[float, float]) -> np.ndarray:
    """lon', lat' in a loop-free but other way: what `Direct` sees, in degrees of the frame."""
    return Local(Direct(), config.lon, config.lat, config.radius).build()(tensor(*points)).double().numpy() * [180, 90]


def test_the_frame_by_hand() -> None:
    config = Local(Direct(), lon=-3.0, lat=40.0, radius=5.0)
    k = 90.0 / 5.0
    points = [(-3.0, 40.0), (-1.0, 41.5), (1.0, 38.0)]
    want = [[k * (lon + 3.0) * math.cos(math.radians(40)), k * (lat - 40.0)] for lon, lat in points]
    np.testing.assert_allclose(framed(config, *points), want, atol=1e-5)


def test_the_encoding_sees_the_frame() -> None:
    config = Local(Harmonics(6), lon=10.0, lat=-20.0, radius=2.0)
    k, c = 45.0 / 2.0, math.cos(math.radians(-20.0))
    inner = tensor((k * 1.0 * c, k * 0.5), (k * -1.5 * c, k * -2.0))
    torch.testing.assert_close(config.build()(tensor((11.0, -19.5), (8.5, -22.0))), Harmonics(6).build()(inner))


def test_resolution_follows_the_region() -> None:
    near = tensor((2.0, 48.0), (2.05, 48.0))
    world = Harmonics(20).build()(near)
    city = Local(Harmonics(20), lon=2.0, lat=48.0, radius=0.2).build()(near)
    cosine = torch.nn.functional.cosine_similarity
    assert float(cosine(world[:1], world[1:])) > 0.9999
    assert float(cosine(city[:1], city[1:])) < 0.9


@given(
    lon=st.floats(-180, 180),
    lat=st.floats(-80, 80),
    width=st.floats(0.0, 60.0),
    height=st.floats(0.0, 9.0),
    seed=st.integers(0, 99),
)
def test_fitted_places_fill_the_frame(lon: float, lat: float, width: float, height: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    lons = (lon + rng.uniform(-width, width, 20) + 180) % 360 - 180
    lats = lat + rng.uniform(-height, height, 20)
    config = Local(Harmonics(3)).fitted(lons, lats)
    assert config.lon is not None
    assert config.lat is not None
    assert config.radius is not None
    assert -180 <= config.lon < 180
    module = config.build()
    assert isinstance(module, LocalEncoding)
    x, y = module.frame_lon(torch.from_numpy(lons)), module.frame_lat(torch.from_numpy(lats))
    reach = max(float(x.abs().max()), float(y.abs().max()))
    assert reach <= 45.0 + 1e-6
    assert config.radius == 0.01 or reach == pytest.approx(45.0)
    assert float(x.max() + x.min()) == pytest.approx(0.0, abs=1e-6)  # in the middle, wherever the antimeridian is
    assert float(y.max() + y.min()) == pytest.approx(0.0, abs=1e-6)
    assert config.fitted(lons, lats) == config


def test_fitted_across_the_antimeridian() -> None:
    config = Local(Direct()).fitted(np.array([179.0, -179.0, 178.0]), np.array([-17.0, -18.0, -19.0]))
    assert config.lon == pytest.approx(179.5)
    assert config.lat == -18.0
    assert config.radius == pytest.approx(1.5 * math.cos(math.radians(18)))
    got = framed(config, (179.9999, -18.0), (-179.9999, -18.0))
    assert abs(got[0, 0] - got[1, 0]) < 0.02


def test_fitted_to_one_place_and_to_the_world() -> None:
    one = Local(Direct()).fitted(np.array([7.0]), np.array([46.0]))
    assert (one.lon, one.lat, one.radius) == (pytest.approx(7.0), 46.0, 0.01)
    pole = Local(Harmonics(4)).fitted(np.array([0.0]), np.array([90.0]))
    assert pole.build()(tensor((0.0, 90.0), (50.0, 89.0), (0.0, -90.0))).isfinite().all()
    world = Local(Direct()).fitted(np.arange(-180.0, 180.0, 10.0), np.linspace(-90.0, 90.0, 36))
    assert world.radius == pytest.approx(175.0)
    with pytest.raises(UsageError, match="give at least one"):
        Local(Direct()).fitted(np.array([]), np.array([]))
    with pytest.raises(UsageError, match="finite"):
        Local(Direct()).fitted(np.array([np.nan]), np.array([1.0]))


def test_what_is_given_stays() -> None:
    lon, lat = np.array([0.0, 4.0]), np.array([50.0, 50.0])
    assert Local(Direct(), radius=9.0).fitted(lon, lat) == Local(Direct(), 2.0, 50.0, 9.0)
    centred = Local(Direct(), lon=0.0, lat=0.0).fitted(lon, lat)
    assert (centred.lon, centred.lat, centred.radius) == (0.0, 0.0, 50.0)


def test_places_outside_are_clamped() -> None:
    module = Local(Harmonics(3), lon=0.0, lat=0.0, radius=1.0).build()
    far = torch.tensor([-170.0, -3.0, 2.0, 90.0], dtype=torch.float64)
    assert module.frame_lat(far).tolist() == [-90.0, -90.0, 90.0, 90.0]
    assert module.frame_lon(far).tolist() == [-180.0, -135.0, 90.0, 180.0]
    plane = Local(Direct(), lon=0.0, lat=0.0, radius=1.0).build()
    assert plane.frame_lat(far).tolist() == [-180.0, -180.0, 180.0, 180.0]


@pytest.mark.parametrize("parts", [(Direct(), Wrap()), (Direct(), Harmonics(4)), (Harmonics(2), Sphere2VecC(3))])
def test_scales_keep_the_order_of_parts_whatever_their_memory(parts: tuple[PositionConfig, ...]) -> None:
    points = tensor((5.2, 45.1), (170.0, -80.0), (-3.0, 0.0))
    whole = Scales(parts).build()(points)
    torch.testing.assert_close(whole, torch.cat([part.build()(points) for part in parts], dim=1))


def test_scales_put_parts_side_by_side_and_fit_each() -> None:
    config = Scales((Wrap(), Local(Sphere2VecC(2)), Local(Harmonics(3), radius=0.5)))
    lon, lat = np.array([5.0, 6.0]), np.array([45.0, 45.5])
    fitted = config.fitted(lon, lat)
    assert fitted.parts[0] is config.parts[0]
    assert fitted.parts[1] == Local(Sphere2VecC(2)).fitted(lon, lat)
    assert fitted.parts[2] == Local(Harmonics(3), radius=0.5).fitted(lon, lat)
    points = tensor((5.2, 45.1), (170.0, -80.0))
    whole = fitted.build()(points)
    assert whole.shape == (2, config.dims) == (2, 4 + 6 + 9)
    torch.testing.assert_close(whole, torch.cat([part.build()(points) for part in fitted.parts], dim=1))


@pytest.mark.parametrize("config", [Local(Wrap()), Local(Wrap(), lon=1.0, lat=2.0), Scales((Direct(), Local(Wrap())))])
def test_an_unfitted_frame_is_refused(config: Local | Scales) -> None:
    with pytest.raises(UsageError, match="train the encoder, or give its lon, lat and radius"):
        config.build()


WRAP = {"kind": "wrap"}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"kind": "local", "encoding": {"kind": "local", "encoding": WRAP}}, "holds one plain encoding"),
        ({"kind": "local", "encoding": {"kind": "scales", "parts": [WRAP]}}, "write scales of local ones"),
        ({"kind": "scales", "parts": [{"kind": "scales", "parts": [WRAP]}]}, "write all parts in one list"),
        ({"kind": "local", "encoding": WRAP, "lon": 181.0}, "lon = 181.0: give degrees from -180"),
        ({"kind": "local", "encoding": WRAP, "lat": -91.0}, "lat = -91.0"),
        ({"kind": "local", "encoding": WRAP, "radius": 0.0}, "radius = 0.0: give degrees from 0.01"),
        ({"kind": "local", "encoding": WRAP, "radius": float("nan")}, "radius = nan"),
    ],
)
def test_refuses_in_one_line(value: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message) as refused:
        position_config(value)
    assert "\n" not in str(refused.value)


def test_python_values_that_are_no_encoding() -> None:
    with pytest.raises(UsageError, match="give a table with the kind"):
        Local("wrap")
    with pytest.raises(UsageError, match="give tables"):
        Scales(("wrap",))
