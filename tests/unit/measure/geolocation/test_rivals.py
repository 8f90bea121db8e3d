"""What costs nothing: random places, the middle of them, the most similar photos, the density of places."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from placevec.errors import DataError
from placevec.geo.sphere import EARTH_RADIUS_M, LonLat, distance_m, pairwise_m, spherical_mean
from placevec.measure.geolocation import PlaceDensity, alike, chance_km, fit_density, fold_numbers, middle_of
from placevec.measure.geolocation.density import kernel_logs
from placevec.measure.geolocation.rivals import _means, held_out


def some_points(n, seed, lon=70.0, lat=30.0, wide=3.0):
    rng = np.random.default_rng(seed)
    return LonLat(lon + rng.normal(0, wide, n), np.clip(lat + rng.normal(0, wide, n), -89, 89))


def mean_km(at, train):
    return float(distance_m(at, train).mean()) / 1000


@given(st.integers(0, 500), st.sampled_from([(70.0, 30.0), (180.0, -10.0), (0.0, 88.0)]))
def test_the_middle_is_no_farther_than_any_point_nearby(seed, centre):
    train = some_points(30, seed, *centre)
    middle = middle_of(train)
    least = mean_km(middle, train)
    rng = np.random.default_rng(seed)
    for other in [spherical_mean(train), *(train[i] for i in range(len(train)))]:
        assert least <= mean_km(other, train) + 1e-6
    for metres in (10.0, 1000.0, 50_000.0):
        angle = rng.uniform(0, 2 * math.pi)
        moved = middle.unit()[0] + metres / EARTH_RADIUS_M * np.array([math.cos(angle), math.sin(angle), 0.3])
        assert least <= mean_km(LonLat.from_unit(moved[None]), train) + 1e-4


def test_the_middle_of_known_places():
    # More than half at one place: the median is that place.
    heavy = LonLat(np.array([10.0, 10.0, 10.0, 60.0, 20.0]), np.array([5.0, 5.0, 5.0, 40.0, -20.0]))
    assert float(distance_m(middle_of(heavy), heavy[0])[0]) < 1.0
    pair = LonLat(np.array([179.0, -179.0]), np.zeros(2))
    assert mean_km(middle_of(pair), pair) == pytest.approx(111.19, abs=0.1)
    assert middle_of(LonLat.of(1, 2)).lon[0] == pytest.approx(1)
    opposite = LonLat(np.array([0.0, 180.0]), np.zeros(2))
    assert mean_km(middle_of(opposite), opposite) == pytest.approx(math.pi * 6371.0088 / 2, rel=1e-3)
    with pytest.raises(DataError, match="no training places"):
        middle_of(LonLat(np.zeros(0), np.zeros(0)))


def test_chance_is_all_places_and_nothing_is_drawn():
    truth, train = some_points(20, 0), some_points(50, 1)
    found = chance_km(truth, train)
    assert found.shape == (20, 50)
    assert np.sort(found, axis=1) == pytest.approx(np.sort(pairwise_m(truth, train), axis=1) / 1000)


def test_chance_of_many_places_keeps_their_law(monkeypatch):
    truth, train = some_points(3, 0), some_points(4000, 1)
    whole = chance_km(truth, train)
    monkeypatch.setattr("placevec.measure.geolocation.rivals._ERRORS_AT_MOST", 600)
    some = chance_km(truth, train)
    assert some.shape == (3, 200)
    assert np.median(some, axis=1) == pytest.approx(np.median(whole, axis=1), rel=0.01)
    assert some.mean(axis=1) == pytest.approx(whole.mean(axis=1), rel=0.01)


def test_the_most_similar_photo_and_the_best_number_of_them():
    rng = np.random.default_rng(0)
    train, test = some_points(300, 1), some_points(40, 2)

    # Vectors say the place with noise: the mean of several is better than one.
    def looks(p):
        plain = np.column_stack([(p.lon - 70) / 3, (p.lat - 30) / 3, np.full(len(p), 3.0)])
        return plain + rng.normal(0, 0.15, plain.shape)

    gallery, queries = looks(train), looks(test)
    folds = fold_numbers(np.floor(train.lon))
    for metric in ("cosine", "euclidean"):
        found = alike(queries, gallery, train, folds, metric=metric)
        if metric == "cosine":
            unit = [v / np.linalg.norm(v, axis=1, keepdims=True) for v in (queries, gallery)]
            slow = np.argmax(unit[0] @ unit[1].T, axis=1)
        else:
            mean, sd = gallery.mean(axis=0), gallery.std(axis=0)
            slow = np.argmin(np.linalg.norm(((queries - gallery[:, None]) / sd), axis=2), axis=0)
            assert len(mean) == 3
        assert found.nearest.tolist() == slow.tolist()
        assert found.k > 1
        assert found.inside_km[found.k] == min(found.inside_km.values())


def test_inside_the_training_nobody_asks_its_own_block():
    # Within a block all look alike; so the blocks' own places are never an answer.
    train = LonLat(np.repeat([60.0, 70.0], 20), np.full(40, 30.0))
    vectors = np.repeat(np.eye(2), 20, axis=0)
    found = alike(vectors[:1], vectors, train, np.repeat([0, 1], 20), ks=(1, 5))
    assert min(found.inside_km.values()) > 900
    assert found.k == 1
    only = alike(vectors[:1], vectors, train, np.zeros(40), ks=(1, 5))
    assert only.inside_km == {}
    assert only.k == 1


def test_neighbours_that_cancel_each_other_give_the_nearest():
    unit = LonLat(np.array([0.0, 180.0, 90.0]), np.zeros(3)).unit()
    assert _means(unit, np.array([[0, 1]]))[0] == pytest.approx(unit[0])
    assert _means(unit, np.array([[0, 2]]))[0] == pytest.approx([math.sqrt(0.5), math.sqrt(0.5), 0])


def test_folds_keep_blocks_whole():
    blocks = np.array([5, 5, 9, 9, 1, 2, 3, 4])
    folds = fold_numbers(blocks, 3)
    assert folds[0] == folds[1]
    assert folds[2] == folds[3]
    assert sorted(set(folds.tolist())) == [0, 1, 2]
    assert fold_numbers(np.zeros(4)).tolist() == [0, 0, 0, 0]


def test_a_kernel_adds_up_to_one_on_the_sphere():
    places = LonLat(np.array([0.0, 179.9]), np.array([0.0, 80.0]))
    rng = np.random.default_rng(0)
    xyz = rng.normal(size=(400_000, 3))
    points = LonLat.from_unit(xyz)
    mass = np.exp(kernel_logs(points, places, 1500.0)).mean() * 4 * math.pi * 6371.0088**2
    assert mass == pytest.approx(1.0, abs=0.02)


def test_the_density_against_a_loop():
    places, points = some_points(40, 0), some_points(7, 1)
    density = PlaceDensity(places, 60.0, 0.05, 1e6)
    gap = pairwise_m(points, places) / 1000
    chord = 2 * 6371.0088 * np.sin(gap / 2 / 6371.0088)
    slow = (np.exp(-((chord / 60) ** 2) / 2) / (2 * math.pi * 60**2)).mean(axis=1)
    assert density.log_density(points) == pytest.approx(np.log(0.95 * slow + 0.05 / 1e6), rel=1e-6)


def test_a_region_of_the_density_holds_what_it_says():
    places = some_points(60, 3)
    area = 3e6
    density = PlaceDensity(places, 80.0, 0.05, area)
    rng = np.random.default_rng(9)
    rows = rng.integers(0, 60, 40_000)
    from placevec.geo.sphere import from_tangent

    drawn = from_tangent(places[rows], *rng.normal(0, 80_000, (2, 40_000)))
    law = density.law(drawn)
    for level in (0.5, 0.8, 0.95):
        # What is drawn are the kernels; the floor's share of the mass is that of the area.
        held = law.covered[level].mean() * 0.95 + 0.05 * law.area_km2[level][0] / area
        assert held == pytest.approx(level, abs=0.02)
    assert law.area_km2[0.5][0] < law.area_km2[0.8][0] < law.area_km2[0.95][0] <= area


def test_kernels_are_cut_at_the_border():
    places = LonLat(np.full(50, 70.0), np.linspace(25, 30, 50))
    density = PlaceDensity(places, 100.0, 0.01, 1e6, lambda p: p.lon >= 70.0)
    free = PlaceDensity(places, 100.0, 0.01, 1e6)
    # Half of the mass lay beyond it.
    assert density.log_density(places) - free.log_density(places) == pytest.approx(math.log(2), abs=0.03)
    with pytest.raises(DataError, match="no training place lies near"):
        PlaceDensity(places, 1.0, 0.01, 1e6, lambda p: np.zeros(len(p), dtype=bool)).log_density(places)


def test_the_bandwidth_is_that_which_fits_held_out_blocks():
    towns = LonLat(np.repeat(np.linspace(60, 75, 12), 30), np.full(360, 30.0))
    rng = np.random.default_rng(0)
    near = LonLat(towns.lon + rng.normal(0, 0.03, 360), towns.lat + rng.normal(0, 0.03, 360))
    folds = np.tile(np.arange(3), 120)
    assert fit_density(near, folds, 1e6).bandwidth_km <= 5
    alone = fit_density(near, np.zeros(360), 1e6)
    assert alone.bandwidth_km == 400.0
    with pytest.raises(DataError, match="folds for 360 places"):
        fit_density(near, folds[:3], 1e6)


def test_a_density_of_nothing_is_refused():
    with pytest.raises(DataError, match="a density of 0 places"):
        PlaceDensity(LonLat(np.zeros(0), np.zeros(0)), 10.0, 0.1, 1e6)
    with pytest.raises(DataError, match="needs a bandwidth"):
        PlaceDensity(LonLat.of(0, 0), 10.0, 0.0, 1e6)


def test_a_level_beyond_the_kernels_is_the_whole_area():
    density = PlaceDensity(LonLat.of(70, 30), 5.0, 0.5, 1e6)
    law = density.law(LonLat.of(75, 35), (0.8,))
    assert law.covered[0.8].all()
    assert law.area_km2[0.8][0] == 1e6


def test_a_parameter_is_chosen_by_so_many_places_and_the_buffer_is_around_all() -> None:
    """The cost of a choice is the judged places times all of them: for 100,000 it must not be their square."""
    rng = np.random.default_rng(5)
    places = LonLat(rng.uniform(60, 64, 600), rng.uniform(24, 28, 600))
    folds = rng.integers(0, 5, 600)
    every = held_out(places.unit(), folds, 20_000.0, most=600)
    some = held_out(places.unit(), folds, 20_000.0, most=100)
    assert [len(held) for held, _ in every] == np.bincount(folds).tolist()
    assert sum(len(held) for held, _ in some) == 100
    for (held, rest), (all_held, all_rest) in zip(some, every, strict=True):
        assert np.isin(held, all_held).all()
        np.testing.assert_array_equal(rest, all_rest)


@given(st.integers(0, 200), st.sampled_from([0.0, 20_000.0, 60_000.0]))
def test_what_is_chosen_with_lies_beyond_the_buffer(seed, buffer_m):
    places = some_points(120, seed, wide=1.0)
    folds = fold_numbers(np.floor(places.lon * 2) + 1000 * np.floor(places.lat * 2))
    pairs = held_out(places.unit(), folds, buffer_m)
    for held, rest in pairs:
        gap = pairwise_m(places[rest], places[held]).min(axis=1)
        assert (gap > buffer_m * (1 - 1e-9)).all()
        others = np.flatnonzero(folds != folds[held[0]])
        dropped = np.setdiff1d(others, rest)
        if len(dropped):  # and nothing farther is left out
            assert (pairwise_m(places[dropped], places[held]).min(axis=1) <= buffer_m * (1 + 1e-9)).all()
    if buffer_m == 0.0:
        assert sum(len(held) for held, _ in pairs) == len(places)
