"""Closed forms against all orders, one by one."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from placevec.measure.retrieval.chances import expected_rank, expected_reciprocal, found_within, median_of


def first_ranks(own: int, others: int, ahead: int = 0) -> list[int]:
    """The rank of the first own item in each order of own and others, behind `ahead` further items."""
    items = [True] * own + [False] * others
    return [ahead + 1 + order.index(True) for order in permutations(items)]


@pytest.mark.parametrize("own", [1, 2, 3])
@pytest.mark.parametrize("others", [0, 1, 2, 4])
@pytest.mark.parametrize("ahead", [0, 2])
def test_closed_forms_are_means_over_all_orders(own: int, others: int, ahead: int) -> None:
    ranks = np.array(first_ranks(own, others, ahead))
    for k in range(9):
        assert found_within(own, others, k - ahead) == pytest.approx((ranks <= k).mean())
    assert expected_reciprocal([own], [others], [ahead])[0] == pytest.approx((1 / ranks).mean())
    assert expected_rank(own, others, ahead) == pytest.approx(ranks.mean())


def test_nothing_is_found_where_nothing_counts() -> None:
    assert found_within(0, 5, 5) == 0.0
    assert found_within(3, 0, 0) == 0.0
    assert found_within([1, 2], [3, 3], [-1, 99]).tolist() == [0.0, 1.0]


@given(st.integers(1, 40), st.integers(0, 3000), st.integers(0, 3100))
def test_both_products_agree_with_the_sum_of_logarithms(own: int, others: int, places: int) -> None:
    from scipy.special import gammaln

    r = min(places, own + others)
    if r > others:
        expected = 1.0
    else:
        logs = gammaln(others + 1) - gammaln(others - r + 1) + gammaln(own + others - r + 1) - gammaln(own + others + 1)
        expected = 1.0 - np.exp(logs)
    assert found_within(own, others, places) == pytest.approx(expected, abs=1e-9)


def test_reciprocals_of_a_large_gallery_are_harmonic_numbers() -> None:
    n = 100_000
    assert expected_reciprocal([1], [n - 1])[0] == pytest.approx(np.sum(1.0 / np.arange(1, n + 1)) / n)


def test_the_median_is_the_first_rank_that_serves_half() -> None:
    ranks = np.array([1, 4, 4, 9])
    assert median_of(lambda r: float((ranks <= r).mean()), 20) == 4.0
    assert median_of(lambda r: 1.0, 20) == 1.0
    assert median_of(lambda r: 0.0, 20) == 20.0
