import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from mixture_oracle import AREA_M2, density, draw, grid_around, mixture_at, random_mixture
from placevec.errors import DataError
from placevec.geo.mixture import credible_level, even_points, log_density, mass_radii, mass_radius, within_mass
from placevec.geo.mixture.levels import profile, spread_samples
from placevec.geo.sphere import LonLat

CASES = [
    mixture_at([(10, 2)], [1.0], [40e3]),
    mixture_at([(10, 2), (10.5, 2), (11, 3)], [0.6, 0.3, 0.1], [40e3, 15e3, 60e3]),
    mixture_at([(10, 2), (10, 2), (13, -1)], [0.5, 0.2, 0.3], [12e3, 90e3, 20e3]),
    mixture_at([(10 + np.cos(a), np.sin(a)) for a in np.linspace(0, 6, 10)], [0.1] * 10, [25e3] * 10),
]


@pytest.mark.parametrize("case", range(len(CASES)))
@pytest.mark.parametrize("floor", [0.0, 0.08])
def test_levels_against_a_fine_grid(case, floor) -> None:
    """The mass of all grid cells at least as dense as the point; the floor by the area of these cells."""
    law = CASES[case]
    law = type(law).of(law.unit, law.weights, law.spread_m, area_m2=AREA_M2, floor=floor)
    x, area = grid_around(law, side=700)
    dense = density(law, x)
    places = draw(law, 60, seed=case)
    found = credible_level(law, LonLat.from_unit(places))
    for at, own in enumerate(density(law, places)):
        inside = dense >= own
        wanted = (dense * area)[inside].sum() + floor * min(area[inside].sum() / AREA_M2, 1.0)
        assert found[at] == pytest.approx(wanted, abs=0.01)


def test_levels_of_places_drawn_from_the_law_are_uniform() -> None:
    mixture = random_mixture(40, 6, floor=0.0)
    levels = np.concatenate(
        [credible_level(mixture[row], LonLat.from_unit(draw(mixture[row], 50, row))) for row in range(40)]
    )
    for level in (0.1, 0.5, 0.8, 0.95):
        assert (levels <= level).mean() == pytest.approx(level, abs=3 * np.sqrt(level * (1 - level) / 2000))


def test_the_ground_makes_the_floor_uniform_too() -> None:
    """Places drawn evenly from the area, far from the hypothesis: their levels fill what the hypothesis leaves."""
    domain = shapely.box(60, 24, 75, 36)
    law = mixture_at([(62, 25)], [1.0], [20e3], floor=0.6, area_m2=1.9e12, ground=even_points(domain))
    places = LonLat.from_unit(even_points(domain, 900)[512:])
    levels = np.sort(credible_level(law, places))
    assert levels[0] > 0.38
    assert np.abs((levels - 0.4) / 0.6 - (np.arange(len(levels)) + 0.5) / len(levels)).max() < 0.05


@given(st.integers(0, 10_000))
@settings(max_examples=20)
def test_a_denser_point_has_a_lower_level(seed) -> None:
    law = random_mixture(1, 5, seed=seed, floor=0.1)
    places = LonLat.from_unit(draw(law, 40, seed))
    level, dense = credible_level(law, places), log_density(law, places)
    assert (np.diff(level[np.argsort(-dense)]) >= -1e-9).all()
    assert ((level >= 0) & (level <= 1)).all()


def test_one_law_for_many_points_is_that_law_for_each() -> None:
    law = random_mixture(1, 4)
    places = LonLat.from_unit(draw(law, 5))
    rows = credible_level(law[np.zeros(5, dtype=int)], places)
    assert credible_level(law, places) == pytest.approx(rows)
    mixture = random_mixture(3, 4)
    one_by_one = [credible_level(mixture[row], places[0])[0] for row in range(3)]
    assert credible_level(mixture, places[0]) == pytest.approx(one_by_one)
    with pytest.raises(DataError, match="one for each"):
        credible_level(random_mixture(3, 4), places)


def test_the_profile_rises_and_thresholds_invert_it() -> None:
    above = profile(random_mixture(5, 4))
    assert (np.diff(above.mass, axis=1) >= -1e-12).all()
    assert (np.diff(above.log_density, axis=1) <= 0).all()
    half = above.thresholds(0.5)
    for row in range(5):
        share = np.interp(-half[row], -above.log_density[row], above.mass[row])
        assert share == pytest.approx(0.5, abs=1e-9)


def test_without_a_hypothesis_everything_is_floor() -> None:
    law = mixture_at([(0, 0)], [0.0], [1e3])
    assert credible_level(law, LonLat.of(3, 3)) == pytest.approx([1.0])
    assert np.isnan(profile(law).thresholds(0.5)).all()


def test_the_other_side_of_the_earth_has_level_one() -> None:
    law = mixture_at([(0, 0)], [1.0], [1e3], floor=0.1)
    assert credible_level(law, LonLat.of(180, 0)) == pytest.approx([1.0])
    assert credible_level(law, LonLat.of(0, 0))[0] < 0.01


def test_samples_have_the_weights_of_their_hypotheses() -> None:
    mixture = random_mixture(3, 4)
    for even in (False, True):
        drawn = spread_samples(mixture, 64, even=even)
        each = drawn.weights.reshape(3, 4, -1).sum(axis=2)
        assert each == pytest.approx(mixture.weights)
        assert np.linalg.norm(drawn.unit, axis=2) == pytest.approx(1.0)
    with pytest.raises(DataError, match="at least 8"):
        spread_samples(mixture, 4)


def test_radii_hold_their_mass() -> None:
    mixture = random_mixture(30, 5, floor=0.0)
    centre = mixture.lonlat[np.arange(30) * 5]
    radii = mass_radii(mixture, centre, (0.3, 0.8, 0.95))
    for at, level in enumerate((0.3, 0.8, 0.95)):
        assert within_mass(mixture, centre, radii[:, at]) == pytest.approx(level, abs=0.015)
    assert mass_radius(mixture, centre, 0.8).tolist() == radii[:, 1].tolist()
    assert mass_radii(mixture[:0], centre[:0], (0.5,)).shape == (0, 1)
    assert credible_level(mixture[:0], centre[:0]).shape == (0,)
