import numpy as np
import pytest
from scipy.stats import ncx2

from mixture_oracle import draw, mixture_at, random_mixture
from placevec.errors import DataError
from placevec.geo.mixture import points, within_mass
from placevec.geo.sphere import EARTH_RADIUS_M, LonLat, chord_of, destination


@pytest.mark.parametrize("radius", [1e3, 25e3, 300e3, 5e6])
def test_against_random_places(radius) -> None:
    mixture = random_mixture(12, 5, floor=0.0)
    for row in range(12):
        law, x = mixture[row], draw(mixture[row], 100_000, seed=row)
        centre = LonLat.from_unit(x[:1])
        share = (np.linalg.norm(x - x[0], axis=1) <= chord_of(radius)).mean()
        assert within_mass(law, centre, radius)[0] == pytest.approx(share, abs=0.006)


@pytest.mark.parametrize("away", [0.0, 0.5, 2.0, 6.0])
@pytest.mark.parametrize("radius", [0.1, 1.0, 3.0, 7.0])
def test_a_small_kernel_is_a_normal_law(away, radius) -> None:
    """On a plane the squared distance follows the noncentral χ² law of two degrees of freedom."""
    law = mixture_at([(30, 40)], [1.0], [100.0])
    centre = destination(law.lonlat, 77.0, 100.0 * away)
    wanted = ncx2.cdf(radius**2, 2, away**2) if away else -np.expm1(-(radius**2) / 2)
    assert within_mass(law, centre, 100.0 * radius)[0] == pytest.approx(wanted, abs=1e-6)


@pytest.mark.parametrize("spread", [1e6, 1e7])
def test_wide_kernels_and_caps_that_reach_around(spread) -> None:
    law = mixture_at([(0, 60)], [1.0], [spread])
    x = draw(law, 200_000)
    for lon, lat, radius in ((0, 60, 1e7), (100, -20, 1.2e7), (180, -60, 1.5e7), (10, 60, 1.95e7)):
        centre = LonLat.of(lon, lat)
        share = (np.linalg.norm(x - centre.unit(), axis=1) <= chord_of(radius)).mean()
        assert within_mass(law, centre, radius)[0] == pytest.approx(share, abs=0.005)
    assert within_mass(law, LonLat.of(3, 3), np.pi * EARTH_RADIUS_M)[0] == pytest.approx(1.0)


def test_it_rises_with_the_radius_and_counts_the_floor() -> None:
    mixture = random_mixture(50, 4, floor=0.2)
    centre = points(mixture)
    radii = [0.0, 1e3, 5e3, 2e4, 1e5, 3e5, 1e6, 2e7]
    found = np.stack([within_mass(mixture, centre, radius) for radius in radii])
    assert (np.diff(found, axis=0) >= -1e-12).all()
    assert found[0] == pytest.approx(0.0)
    assert found[-1] == pytest.approx(1.0)
    law = mixture_at([(0, 0)], [1.0], [1e3], floor=0.5)
    cap = 2 * np.pi * EARTH_RADIUS_M**2 * (1 - np.cos(2e5 / EARTH_RADIUS_M))
    assert within_mass(law, LonLat.of(0, 0), 2e5)[0] == pytest.approx(0.5 + 0.5 * cap / law.area_m2)


def test_each_row_its_radius() -> None:
    mixture = random_mixture(3, 4)
    centre, radii = points(mixture), np.array([1e4, 1e5, 1e6])
    one_by_one = [within_mass(mixture[row], centre[row], radii[row])[0] for row in range(3)]
    assert within_mass(mixture, centre, radii) == pytest.approx(one_by_one)
    for radius in (-1.0, np.inf, np.array([1.0, 2.0])):
        with pytest.raises(DataError):
            within_mass(mixture, centre, radius)
    with pytest.raises(DataError, match="give one each"):
        within_mass(mixture, centre[:2], 1.0)
