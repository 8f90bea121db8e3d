import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from placevec.features.retrieval.harmonics import Frame, real_harmonics, smooth, spectrum
from placevec.geo.sphere import LonLat, destination


def points(n: int = 200, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.uniform(-np.pi, np.pi, n), np.arcsin(rng.uniform(-1, 1, n))


def test_they_are_scipys_spherical_harmonics() -> None:
    from scipy.special import sph_harm_y

    lon, lat = points()
    got = real_harmonics(lon, lat, 13)
    for degree in range(13):
        for order in range(degree + 1):
            y = sph_harm_y(degree, order, np.pi / 2 - lat, lon)
            factor = 1.0 if order == 0 else np.sqrt(2.0)
            assert np.allclose(got[:, degree**2 + degree + order], factor * y.real, atol=1e-12)
            if order:
                assert np.allclose(got[:, degree**2 + degree - order], factor * y.imag, atol=1e-12)


def test_they_are_orthonormal() -> None:
    degrees = 12
    x, weight = np.polynomial.legendre.leggauss(2 * degrees)
    lon = np.arange(4 * degrees) * 2 * np.pi / (4 * degrees)
    y = real_harmonics(np.tile(lon, len(x)), np.repeat(np.arcsin(x), len(lon)), degrees)
    area = np.repeat(weight, len(lon)) * 2 * np.pi / len(lon)
    assert np.allclose(y.T @ (y * area[:, None]), np.eye(degrees**2), atol=1e-12)


@given(st.integers(1, 40), st.integers(0, 1000))
def test_of_one_degree_the_squares_add_up_to_a_constant(degrees: int, seed: int) -> None:
    y = real_harmonics(*points(20, seed), degrees)[:, (degrees - 1) ** 2 :]
    assert np.allclose(np.square(y).sum(axis=1), (2 * degrees - 1) / (4 * np.pi), rtol=1e-11)


def test_at_the_poles_they_are_finite() -> None:
    y = real_harmonics(np.array([0.3, 2.0]), np.array([np.pi / 2, -np.pi / 2]), 30)
    assert np.isfinite(y).all()


def test_the_spectrum_falls_with_the_degree() -> None:
    factors = spectrum(3, 2.0)
    assert np.allclose(factors, [1 / 4] * 3 + [1 / 9] * 5)


@pytest.mark.parametrize("centre", [(0.0, 0.0), (179.9, -16.5), (30.0, 89.5), (-8.0, 40.0)])
def test_a_region_reaches_to_45_degrees_wherever_it_lies(centre: tuple[float, float]) -> None:
    ring = destination(LonLat.of(*centre), np.arange(0, 360, 10), np.full(36, 200e3))
    frame = Frame.around(ring)
    lon, lat = np.degrees(frame.apply(ring))
    assert max(np.abs(lon).max(), np.abs(lat).max()) == pytest.approx(45.0, abs=1e-6)
    assert frame.stretch == pytest.approx(45.0 / np.degrees(200e3 / 6371008.8), rel=1e-3)
    # A shape is the same at the equator and at a pole.
    there = Frame.around(destination(LonLat.of(0.0, 0.0), np.arange(0, 360, 10), np.full(36, 200e3)))
    assert there.stretch == pytest.approx(frame.stretch, rel=1e-6)


def test_all_over_the_earth_the_sphere_stays_as_it_is() -> None:
    lon, lat = points(500)
    assert Frame.around(LonLat(np.degrees(lon), np.degrees(lat))) == Frame()
    assert Frame.around(LonLat(np.array([0.0, 180.0]), np.zeros(2))) == Frame()


def test_one_place_has_a_frame() -> None:
    frame = Frame.around(LonLat.of(5.0, 5.0))
    assert np.isfinite(smooth(LonLat.of(6.0, 7.0), frame, 4, 1.5)).all()


def test_near_places_have_near_columns() -> None:
    frame = Frame.around(LonLat(np.array([0.0, 10.0]), np.array([40.0, 45.0])))
    y = smooth(LonLat(np.array([5.0, 5.001]), np.array([42.0, 42.0])), frame, 12, 1.5)
    assert y.shape == (2, 143)
    assert np.abs(y[0] - y[1]).max() < 0.01
