"""Errors of points, classes named, and the law at the truth: each against a loop that says it plainly."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from placevec.errors import DataError
from placevec.geo.sphere import LonLat, destination, haversine_m
from placevec.measure.geolocation import (
    POINT_FIGURES,
    Law,
    class_ranks,
    confidence_figures,
    distances,
    error_figures,
    geoscores,
    point_figures,
    risk_coverage,
    share_right,
    share_within,
)

errors_km = st.lists(st.floats(0, 20000), min_size=1, max_size=60)


def test_figures_of_known_errors():
    km = [0.5, 10.0, 100.0, 1000.0]
    found = error_figures(km)
    assert list(found) == list(POINT_FIGURES)
    assert found["median_km"] == 55.0
    assert found["mean_km"] == 277.625
    assert found["p90_km"] == pytest.approx(730.0)
    assert [found[f"acc_{d}"] for d in (1, 25, 200, 750, 2500)] == [0.25, 0.5, 0.75, 0.75, 1.0]
    assert found["geoscore"] == pytest.approx(sum(5000 * math.exp(-one / 1492.7) for one in km) / 4)


def test_a_perfect_answer_has_the_whole_geoscore():
    assert geoscores([0.0])[0] == 5000.0
    assert geoscores([1492.7])[0] == pytest.approx(5000 / math.e)


def test_distances_are_great_circles_even_across_the_antimeridian():
    truth = LonLat(np.array([179.9, 0.0, 70.0]), np.array([0.0, 89.9, 30.0]))
    answer = LonLat(np.array([-179.9, 180.0, 70.0]), np.array([0.0, 89.9, 30.0]))
    found = distances(truth, answer)
    assert found == pytest.approx(haversine_m(truth, answer) / 1000)
    assert found[0] == pytest.approx(22.24, abs=0.01)
    assert found[2] == 0.0


@given(errors_km)
def test_figures_against_a_loop(km):
    found = error_figures(km)
    ordered = sorted(km)
    place = 0.9 * (len(km) - 1)
    low = int(place)
    high = min(low + 1, len(km) - 1)
    slow = ordered[low] + (place - low) * (ordered[high] - ordered[low])
    assert found["p90_km"] == pytest.approx(slow)
    for distance in (1, 25, 200, 750, 2500):
        assert found[f"acc_{distance}"] == pytest.approx(sum(one <= distance for one in km) / len(km))
    assert found["median_km"] <= found["p90_km"] + 1e-9


def test_points_that_do_not_fit_are_refused():
    one, two = LonLat.of(0, 0), LonLat(np.zeros(2), np.zeros(2))
    with pytest.raises(DataError, match="2 points for 1 places"):
        point_figures(one, two)
    with pytest.raises(DataError, match="finite distances"):
        error_figures([math.nan])
    with pytest.raises(DataError, match="finite distances"):
        error_figures([])


@given(st.integers(0, 200))
def test_ranks_against_a_sort(seed):
    rng = np.random.default_rng(seed)
    logs = rng.integers(0, 4, (7, 5)).astype(float)
    true = rng.integers(-1, 5, 7)
    for row, rank in enumerate(class_ranks(logs, true)):
        own = true[row]
        slow = 0 if own < 0 else sum(one >= logs[row, own] for one in logs[row])
        assert rank == slow


def test_knowing_nothing_names_nothing():
    ranks = class_ranks(np.zeros((3, 6)), np.array([0, 3, 5]))
    assert ranks.tolist() == [6, 6, 6]
    assert share_within(ranks, np.array([0, 3, 5])).micro == 0.0


def test_micro_counts_photos_and_macro_counts_classes():
    true = np.array([0, 0, 0, 0, 1, -1])
    found = share_right(np.array([1, 1, 1, 0, 0, 1]), true)
    assert found.micro == pytest.approx(3 / 5)
    assert found.macro == pytest.approx((3 / 4 + 0) / 2)
    assert found.n == 5
    assert math.isnan(share_right(np.array([1.0]), np.array([-1])).micro)


def test_a_class_that_is_not_there_is_refused():
    with pytest.raises(DataError, match="class 3 of 3"):
        class_ranks(np.zeros((1, 3)), np.array([3]))
    with pytest.raises(DataError, match="scores of the shape"):
        class_ranks(np.zeros((2, 3)), np.array([0]))


def test_a_law_counts_what_it_covers_and_how_much_ground():
    law = Law(
        np.array([-3.0, -5.0]),
        {0.8: np.array([True, False])},
        {0.8: np.array([100.0, np.nan])},
    )
    assert law.figures() == {
        "nll": 4.0,
        "coverage_80": 0.5,
        "area_80_mean_km2": 100.0,
        "area_80_median_km2": 100.0,
    }
    with pytest.raises(DataError, match="a law of"):
        Law(np.zeros(2), {0.8: np.array([True])})


@given(errors_km, st.integers(0, 50))
def test_risk_coverage_against_all_orders(km, seed):
    rng = np.random.default_rng(seed)
    km = np.array(km)
    sure = rng.integers(0, 3, len(km)) / 4
    found = risk_coverage(sure, km)
    # The expectation over the orders of equals, by drawing many of them.
    curves = []
    for _ in range(200):
        order = np.lexsort((rng.random(len(km)), -sure))
        curves.append(np.cumsum(km[order]) / np.arange(1, len(km) + 1))
    slow = np.mean(curves, axis=0)
    spread = np.ptp(km) + 1e-9
    assert np.abs(found.mean_km - slow).max() <= 0.25 * spread + 1e-9
    assert found.mean_km[-1] == pytest.approx(km.mean())
    assert found.best_km <= found.aurc_km + 1e-6
    assert found.chance_km == pytest.approx(km.mean())


def test_the_best_order_has_the_least_area_and_the_worst_the_most():
    km = np.array([1.0, 10.0, 100.0, 1000.0])
    good, bad = risk_coverage(-km, km), risk_coverage(km, km)
    assert good.aurc_km == pytest.approx(good.best_km)
    assert bad.aurc_km > good.chance_km > good.aurc_km
    assert good.median_km.tolist() == [1.0, 5.5, 10.0, 55.0]
    flat = risk_coverage(np.full(4, 0.3), km)
    assert flat.aurc_km == pytest.approx(flat.chance_km)
    assert flat.median_km.tolist() == [55.0] * 4


def test_the_median_curve_of_many_photos_ends_at_the_median():
    rng = np.random.default_rng(3)
    km = rng.exponential(50, 3000)
    found = risk_coverage(rng.random(3000), km)
    assert found.median_km[-1] == pytest.approx(np.median(km))


def test_confidence_that_knows_the_share_has_the_constant_brier_score():
    right = np.array([1, 0, 0, 0] * 25)
    found = confidence_figures(np.full(100, 0.25), right)
    assert found["ece"] == pytest.approx(0.0)
    assert found["brier"] == pytest.approx(found["brier_constant"]) == pytest.approx(0.1875)
    sharp = confidence_figures(right.astype(float), right)
    assert sharp["brier"] == 0.0
    assert sharp["ece"] == 0.0


def test_confidences_that_are_none_are_refused():
    with pytest.raises(DataError, match="not finite"):
        risk_coverage([math.nan], [1.0])
    with pytest.raises(DataError, match="give n > 0"):
        risk_coverage([], [])
    with pytest.raises(DataError):
        confidence_figures([2.0], [1])


def test_an_answer_at_a_known_distance():
    truth = LonLat(np.array([70.0, 179.99]), np.array([30.0, -10.0]))
    away = destination(truth, 77.0, 25_000.0)
    assert point_figures(truth, away)["median_km"] == pytest.approx(25.0)
