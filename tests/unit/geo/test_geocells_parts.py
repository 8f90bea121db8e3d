"""The steps of building geocells against slow and obvious ones: nearest centres, means, splits, clusters, levels."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import shapely

from placevec.geo.geocells.config import GeoCellConfig
from placevec.geo.geocells.density import density_labels, seeds
from placevec.geo.geocells.levels import group_levels
from placevec.geo.geocells.points import Centres, Division, Points, metres_of, middles
from placevec.geo.geocells.split import bisect
from placevec.geo.regions import Regions
from placevec.geo.sphere import LonLat, distance_m, pairwise_m, spherical_mean

EARTH = Regions.whole_earth()


def scattered(n: int, seed: int = 0) -> LonLat:
    rng = np.random.default_rng(seed)
    return LonLat(rng.uniform(-180, 180, n), np.degrees(np.arcsin(rng.uniform(-1, 1, n))))


def test_nearest_centres_are_those_of_the_region() -> None:
    points, centres = scattered(400), scattered(30, 1)
    rng = np.random.default_rng(2)
    region, own = rng.integers(0, 4, 400), rng.integers(0, 4, 30)
    own[own == 3] = 2  # region 3 has no centre
    own[0] = 1
    own[1:][own[1:] == 1] = 0  # region 1 has one
    rows, away = Centres(centres.unit(), own).nearest(points.unit(), region, 3)
    every = np.where(region[:, None] == own, pairwise_m(points, centres), np.inf)
    slow = np.argsort(every, axis=1, kind="stable")[:, :3]
    metres = np.take_along_axis(every, slow, axis=1)
    np.testing.assert_array_equal(rows, np.where(np.isinf(metres), -1, slow))
    np.testing.assert_allclose(away, metres, rtol=1e-9)


def test_metres_of_chords() -> None:
    one, two = scattered(50), scattered(50, 1)
    chord = np.linalg.norm(one.unit() - two.unit(), axis=1)
    np.testing.assert_allclose(metres_of(chord), distance_m(one, two), rtol=1e-7)
    assert np.isinf(metres_of(np.array([np.inf]))).all()
    assert metres_of(np.array([0.0]))[0] == 0.0


def test_points_are_sorted_and_those_outside_left_out() -> None:
    p = scattered(50)
    region = np.random.default_rng(3).integers(-1, 3, 50)
    points = Points.of(p, region, EARTH)
    assert len(points) == (region >= 0).sum()
    assert (np.diff(points.region) >= 0).all()
    again = np.random.default_rng(4).permutation(50)
    other = Points.of(p[again], region[again], EARTH)
    np.testing.assert_array_equal(points.unit, other.unit)


def test_middles_are_spherical_means_or_the_member_nearest_to_it() -> None:
    ring = shapely.difference(shapely.Point(0, 0).buffer(10), shapely.Point(0, 0).buffer(5))
    regions = Regions.single(ring)
    angle = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    p = LonLat(7 * np.cos(angle), 7 * np.sin(angle))
    points = Points.of(p, np.zeros(40, dtype=np.int64), regions)
    lonlat = LonLat.from_unit(points.unit)
    quadrant = (lonlat.lon > 0) * 2 + (lonlat.lat > 0)
    unit, region = middles(points, np.unique(quadrant, return_inverse=True)[1])
    for label in range(4):
        mean = spherical_mean(lonlat[quadrant == label])
        np.testing.assert_allclose(unit[label], mean.unit()[0], atol=1e-12)
    assert (region == 0).all()
    # All together they have their mean in the hole: a point of the ring it is.
    unit, _ = middles(points, np.zeros(40, dtype=np.int64))
    assert (np.abs(points.unit - unit).sum(axis=1) == 0.0).any()


def test_a_division_gives_each_point_to_the_nearest_and_drops_what_is_nobodys() -> None:
    points = Points.of(scattered(200), np.zeros(200, dtype=np.int64), EARTH)
    centres = scattered(20, 1).unit()
    doubled = Centres(np.concatenate([centres, centres]), np.zeros(40, dtype=np.int64))
    found = Division.by_nearest(points, doubled)
    assert found.count.sum() == 200
    assert (found.count > 0).all()
    assert len(found.centres) <= 20
    every = pairwise_m(LonLat.from_unit(points.unit), LonLat.from_unit(found.centres.unit))
    np.testing.assert_array_equal(found.label, every.argmin(axis=1))
    np.testing.assert_allclose(found.away_m, every.min(axis=1), rtol=1e-9)


def test_bisecting_splits_what_is_asked_into_halves_by_the_nearer_mean() -> None:
    p = scattered(600)
    unit = p.unit()
    label = np.random.default_rng(5).integers(0, 6, 600)
    split = np.array([True, False, True, True, False, False])
    found = bisect(unit, label, split)
    np.testing.assert_array_equal(np.unique(found), np.arange(9))
    np.testing.assert_array_equal(found[~split[label]], label[~split[label]])
    for old, new in zip([0, 2, 3], [6, 7, 8], strict=True):
        assert set(np.unique(found[label == old])) == {old, new}
    # Slowly, one by one, the same.
    alone = bisect(unit[label == 2], np.zeros((label == 2).sum(), dtype=np.int64), np.array([True]))
    np.testing.assert_array_equal(alone == 1, found[label == 2] == 7)


def test_bisecting_finds_two_far_groups_however_small_they_are() -> None:
    for metres in (1.0, 1e3, 1e6):
        degrees = metres / 111_195
        rng = np.random.default_rng(6)
        near = 0.05 * degrees * rng.standard_normal((40, 2))
        p = LonLat(10 + near[:, 0] + np.repeat([0, degrees], 20), 50 + near[:, 1])
        found = bisect(p.unit(), np.zeros(40, dtype=np.int64), np.array([True]))
        assert len(np.unique(found[:20])) == len(np.unique(found[20:])) == 1
        assert found[0] != found[20]


def test_points_that_coincide_cannot_be_split() -> None:
    unit = np.repeat(scattered(1).unit(), 9, axis=0)
    np.testing.assert_array_equal(bisect(unit, np.zeros(9, dtype=np.int64), np.array([True])), np.zeros(9))


@pytest.mark.real
def test_clusters_are_those_of_scikit_learn(data_dir: Path) -> None:
    pytest.importorskip("hdbscan")
    from sklearn.cluster import HDBSCAN
    from sklearn.metrics import adjusted_rand_score

    table = np.loadtxt(data_dir / "photos" / "coordinates_100K.csv", delimiter=",", skiprows=1, max_rows=3000)
    unit = LonLat(table[:, 1], table[:, 0]).unit()
    ours = density_labels(unit, GeoCellConfig(min_points=20, min_samples=5))
    # Theirs counts a point as its own first neighbour.
    theirs = HDBSCAN(min_cluster_size=20, min_samples=6, algorithm="kd_tree", copy=True).fit_predict(unit)
    assert adjusted_rand_score(ours, theirs) > 0.9
    assert abs((ours < 0).mean() - (theirs < 0).mean()) < 0.03


def test_few_points_are_one_cluster() -> None:
    config = GeoCellConfig()
    np.testing.assert_array_equal(density_labels(scattered(39).unit(), config), np.zeros(39))


def test_noise_goes_to_the_nearest_cluster_of_its_region() -> None:
    pytest.importorskip("hdbscan")
    rng = np.random.default_rng(7)
    town = 0.02 * rng.standard_normal((150, 2))
    towns = np.concatenate(
        [town[:50] + np.array([1, 1]), town[50:100] + np.array([3, 1]), town[100:] + np.array([8, 1])]
    )
    stray = rng.uniform((0, 0), (10, 2), (30, 2))
    xy = np.concatenate([towns, stray])
    regions = Regions.of({"a": shapely.box(-1, -1, 5, 3), "b": shapely.box(5, -1, 11, 3)})
    p = LonLat(xy[:, 0], xy[:, 1])
    points = Points.of(p, regions.assign(p), regions)
    config = GeoCellConfig(min_points=20, min_samples=5)
    label = seeds(points, config)
    np.testing.assert_array_equal(np.unique(label), np.arange(3))
    lonlat = LonLat.from_unit(points.unit)
    assert (label[points.region == 1] == 2).all()
    left = lonlat.lon < 1.6
    assert len(np.unique(label[left & (points.region == 0)])) == 1


def test_levels_are_nested_and_within_their_radius() -> None:
    p = scattered(300)
    region = np.sort(np.random.default_rng(8).integers(0, 5, 300)) * 2  # regions 1, 3 ... have no cells
    radius = np.full(300, 10_000.0)
    config = GeoCellConfig(levels_km=(500.0, 2000.0, 6000.0))
    levels = group_levels(p.unit(), region, radius, config)
    assert levels.shape == (4, 300)
    np.testing.assert_array_equal(levels[-1], region // 2)
    sizes = [len(np.unique(level)) for level in levels]
    assert sizes == sorted(sizes, reverse=True)
    for fine, coarse in itertools.pairwise(levels):
        for group in np.unique(fine):
            assert len(np.unique(coarse[fine == group])) == 1
    for level, km in zip(levels, config.levels_km, strict=False):
        np.testing.assert_array_equal(np.unique(level), np.arange(level.max() + 1))
        for group in np.unique(level):
            own = p[level == group]
            if len(own) > 1:
                reach = distance_m(own, spherical_mean(own)).max() + 10_000.0
                assert reach <= 1000.0 * km * (1 + 1e-9)
    only = group_levels(p.unit(), region, radius, GeoCellConfig(levels_km=()))
    np.testing.assert_array_equal(only, levels[-1:])
