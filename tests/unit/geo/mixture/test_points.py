import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize

from mixture_oracle import mixture_at, random_mixture
from placevec.errors import UsageError
from placevec.geo.mixture import POINTS, Mixture, points
from placevec.geo.mixture.points import SCORE_M
from placevec.geo.sphere import LonLat, distance_m, spherical_mean

KARACHI, LAHORE = (67.0, 24.9), (74.3, 31.5)


def slow_mode(law, reach):
    lonlat, w = law.lonlat, law.weights[0]
    best = None
    for at in range(len(w)):
        near = distance_m(lonlat[at], lonlat) <= reach
        key = (round(w[near].sum(), 12), w[at], -at)
        if w[at] > 0 and (best is None or key > best[0]):
            best = (key, near)
    return spherical_mean(lonlat[best[1]], w[best[1]])


def test_mode_against_loops() -> None:
    mixture = random_mixture(200, 8, apart=0.01)
    found = points(mixture)
    for row in range(200):
        assert distance_m(found[row], slow_mode(mixture[row], 50e3))[0] < 0.01


@pytest.mark.parametrize(("how", "loss"), [("median", lambda d: d), ("geoscore", lambda d: -np.exp(-d / SCORE_M))])
@pytest.mark.parametrize("apart", [0.02, 0.3])
def test_minima_against_an_optimiser(how, loss, apart) -> None:
    mixture = random_mixture(10, 6, seed=3, apart=apart)
    found = points(mixture, how)
    for row in range(10):
        law = mixture[row]

        def expected(xyz, law=law):
            p = LonLat.from_unit(np.atleast_2d(xyz))
            return float((law.weights[0] * loss(distance_m(p, law.lonlat))).sum())

        starts = [found[row].unit()[0], *law.unit[0]]
        least = min(minimize(expected, start, method="Nelder-Mead").fun for start in starts[:3])
        scale = abs(least)
        # Of the geoscore another top may be higher: 1 in 1000 of the score at most.
        assert expected(found[row].unit()) <= least + (1e-5 if how == "median" else 1e-3) * scale


@given(st.integers(0, 10_000), st.sampled_from(["mode", "median", "geoscore", "argmax"]))
def test_the_order_of_hypotheses_does_not_matter(seed, how) -> None:
    mixture = random_mixture(3, 6, seed=seed, apart=0.02)
    turn = np.random.default_rng(seed).permutation(6)
    other = Mixture(mixture.unit[:, turn], mixture.weights[:, turn], mixture.spread_m, mixture.floor, mixture.area_m2)
    assert (distance_m(points(mixture, how), points(other, how)) < 1.0).all()


@given(st.integers(0, 10_000), st.floats(-180, 180), st.sampled_from(["mode", "median", "geoscore", "argmax"]))
def test_turning_the_earth_turns_the_point(seed, angle, how) -> None:
    """So the antimeridian is a meridian like any other."""
    mixture = random_mixture(3, 5, seed=seed, apart=0.02)
    c, s = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    turn = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    other = Mixture(mixture.unit @ turn.T, mixture.weights, mixture.spread_m, mixture.floor, mixture.area_m2)
    turned = LonLat.from_unit(points(mixture, how).unit() @ turn.T)
    assert (distance_m(turned, points(other, how)) < 1.0).all()


@pytest.mark.parametrize("how", ["mode", "median", "geoscore"])
def test_across_the_antimeridian_and_over_the_pole(how) -> None:
    law = mixture_at([(179.9, 10), (-179.9, 10), (180, 10.1)], [0.34, 0.33, 0.33], [1e3] * 3)
    assert distance_m(points(law, how), LonLat.of(180, 10.03))[0] < 12e3
    assert distance_m(points(law, "flat"), LonLat.of(180, 10.03))[0] > 4e6
    law = mixture_at([(0, 89.9), (120, 89.9), (-120, 89.9)], [1 / 3] * 3, [1e3] * 3)
    assert distance_m(points(law, how), LonLat.of(0, 90))[0] < (1.0 if how == "mode" else 12e3)


def test_between_two_cities_lies_neither() -> None:
    law = mixture_at([KARACHI, LAHORE], [0.55, 0.45], [10e3, 10e3])
    for how in ("mode", "argmax", "median", "geoscore"):
        assert distance_m(points(law, how), LonLat.of(*KARACHI))[0] < 1.0
    assert points(law, "flat").lon == pytest.approx([0.55 * 67.0 + 0.45 * 74.3])
    assert distance_m(points(law, "flat"), LonLat.of(*KARACHI))[0] > 200e3


def test_the_heaviest_ball_beats_the_heaviest_hypothesis() -> None:
    law = mixture_at([(0, 0), (10, 0), (10.1, 0), (10, 0.1)], [0.4, 0.2, 0.2, 0.2], [1e3] * 4)
    assert points(law).lon[0] == pytest.approx(10.033, abs=0.001)
    assert points(law, "argmax").lon[0] == 0
    assert points(law, reach_m=1_000.0).lon[0] == pytest.approx(0.0)


def test_ties_coincidence_and_nothing() -> None:
    same = mixture_at([(5, 5)] * 4, [0.25] * 4, [1e3] * 4)
    equal = mixture_at([(0, 0), (20, 0)], [0.5, 0.5], [1e3] * 2)
    empty = mixture_at([(7, 7), (7, 7)], [0.0, 0.0], [1e3] * 2)
    for how in POINTS:
        assert distance_m(points(same, how), LonLat.of(5, 5))[0] < 0.1
        assert distance_m(points(empty, how), LonLat.of(7, 7))[0] < 0.1
        assert len(points(random_mixture(3, 2)[:0], how)) == 0
    assert points(equal).lon[0] == points(equal, "argmax").lon[0] == 0


def test_fillers_found_no_mode_and_antipodes_cancel_nothing() -> None:
    law = mixture_at([(0, 0), (40, 0), (40, 0)], [1.0, 0.0, 0.0], [1e3] * 3)
    assert points(law).lon[0] == 0
    law = mixture_at([(0, 0), (180, 0)], [0.5, 0.5], [1e3] * 2)
    assert points(law, reach_m=3e7).lon[0] == 0


def test_what_cannot_be_chosen() -> None:
    with pytest.raises(UsageError, match="mean.*mode, argmax"):
        points(random_mixture(1, 2), "mean")
    with pytest.raises(UsageError, match="reach"):
        points(random_mixture(1, 2), reach_m=0)
