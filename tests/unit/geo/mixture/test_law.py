import numpy as np
import pytest

from mixture_oracle import AREA_M2, density, draw, grid_around, mixture_at, random_mixture
from placevec.errors import DataError
from placevec.geo.mixture import Mixture, log_density
from placevec.geo.mixture.law import LEAST_SPREAD_M, log_kernel
from placevec.geo.sphere import EARTH_RADIUS_M, LonLat, destination


def test_density_term_by_term() -> None:
    mixture = random_mixture(5, 6)
    for row in range(5):
        law = mixture[row]
        x = draw(law, 50, seed=row)
        wanted = density(law, x) + law.floor[0] / law.area_m2
        assert np.exp(log_density(law, x[None])[0]) == pytest.approx(wanted, rel=1e-9)
        assert np.exp(log_density(law, LonLat.from_unit(x))) == pytest.approx(wanted, rel=1e-6)


@pytest.mark.parametrize("spread", [30e3, 300e3])
def test_density_adds_up_to_one(spread) -> None:
    law = mixture_at([(10, 3), (12, 1)], [0.7, 0.3], [spread, 2 * spread])
    x, area = grid_around(law, side=400)
    assert (np.exp(log_density(law, x[None])[0]) * area).sum() == pytest.approx(1.0, abs=2e-3)


def test_a_kernel_as_wide_as_the_earth_is_even() -> None:
    law = mixture_at([(0, 0)], [1.0], [1e10])
    found = np.exp(log_density(law, LonLat(np.array([0.0, 90.0, 180.0]), np.array([0.0, 45.0, 0.0]))))
    assert found == pytest.approx(1.0 / (4 * np.pi * EARTH_RADIUS_M**2), rel=1e-5)


@pytest.mark.parametrize(("km", "error"), [(0.2, 0.1), (1.0, 0.02), (20.0, 0.002)])
def test_float32_keeps_its_digits(km, error) -> None:
    """Half a spread from the centre the chord form is right; that with the dot product is up to 60 nats off."""
    lonlat = LonLat(np.linspace(60, 75, 200), np.linspace(24, 36, 200))
    p, q = lonlat.unit(), destination(lonlat, np.linspace(0, 350, 200), 500.0 * km).unit()
    p32, q32 = p.astype(np.float32), q.astype(np.float32)
    exact = log_kernel(((p - q) ** 2).sum(axis=1), np.float64(1000 * km))
    single = log_kernel(((p32 - q32) ** 2).sum(axis=1), np.float32(1000 * km))
    assert single.dtype == np.float32
    assert np.median(np.abs(single - exact)) < error
    kappa = np.float32((EARTH_RADIUS_M / (1000 * km)) ** 2)
    dot_form = kappa * ((p32 * q32).sum(axis=1) - np.float32(1))
    if km < 1:
        assert np.abs(dot_form + 0.125).max() > 50


def test_one_law_or_one_point_goes_with_all() -> None:
    mixture, p = random_mixture(4, 3), LonLat(np.arange(4.0), np.arange(4.0))
    assert log_density(mixture[2], p)[1] == pytest.approx(log_density(mixture[2], p[1])[0])
    assert log_density(mixture, p[0])[3] == pytest.approx(log_density(mixture[3], p[0])[0])
    with pytest.raises(DataError, match="one for each"):
        log_density(mixture, p[:3])


def test_floor_and_tail() -> None:
    unit = LonLat(np.zeros(2), np.arange(2.0)).unit()[None]
    law = Mixture.of(unit, [[0.5, 0.1]], 1000.0, area_m2=1e9, floor=0.1, tail=0.5)
    assert law.floor == pytest.approx([0.1 + 0.9 * 0.5 * 0.4])
    assert law.weights[0] == pytest.approx((1 - law.floor[0]) * np.array([5, 1]) / 6)
    nothing = Mixture.of(unit, [[0.0, 0.0]], 0.0, area_m2=1e9)
    assert nothing.floor == [1.0]
    assert (nothing.spread_m == LEAST_SPREAD_M).all()
    assert log_density(nothing, LonLat.of(5, 5)) == pytest.approx(-np.log(1e9))


def test_parts_and_joined() -> None:
    mixture = random_mixture(6, 3, ground=np.eye(3))
    again = Mixture.joined([mixture[:2], mixture[2:5], mixture[-1]])
    assert (again.unit == mixture.unit).all()
    assert again.area_m2 == AREA_M2
    assert again.ground is mixture.ground
    assert len(mixture[np.array([0, 0, 1])]) == 3
    assert len(Mixture.joined([mixture[:0]])) == 0
    with pytest.raises(IndexError):
        mixture[6]
    for parts in ([], [mixture, random_mixture(2, 4)]):
        with pytest.raises(DataError, match="joined"):
            Mixture.joined(parts)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weights": np.array([[0.5, 0.2]])}, "add up to 1"),
        ({"weights": np.array([[1.5, -0.5]])}, "add up to 1"),
        ({"unit": np.zeros((1, 2, 3))}, "unit vector"),
        ({"unit": np.full((1, 2, 3), np.nan)}, "unit vector"),
        ({"spread_m": np.array([[1.0, 0.0]])}, "spread"),
        ({"floor": np.zeros(3)}, "a floor"),
        ({"area_m2": 0.0}, "area"),
        ({"ground": np.zeros(3)}, "ground"),
    ],
)
def test_what_is_no_mixture(change, message) -> None:
    fine = {
        "unit": np.tile([1.0, 0.0, 0.0], (1, 2, 1)),
        "weights": np.array([[0.5, 0.5]]),
        "spread_m": np.ones((1, 2)),
        "floor": np.zeros(1),
        "area_m2": 1.0,
    }
    Mixture(**fine)
    with pytest.raises(DataError, match=message):
        Mixture(**{**fine, **change})


def test_what_is_shared_out_must_be_probabilities() -> None:
    unit = np.tile([1.0, 0.0, 0.0], (1, 2, 1))
    for weights, more in (([[0.9, 0.9]], {}), ([[0.5, np.nan]], {}), ([[0.5, 0.5]], {"floor": 1.5}), ([0.5, 0.5], {})):
        with pytest.raises(DataError):
            Mixture.of(unit, weights, 1.0, area_m2=1.0, **more)
