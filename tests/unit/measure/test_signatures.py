from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from placevec.errors import DataError
from placevec.measure.signatures import jensen_shannon, probabilities


def shares(n: int, d: int, seed: int = 0, empty: float = 0.6) -> NDArray[np.float64]:
    rng = np.random.default_rng(seed)
    values = rng.uniform(0, 1, (n, d)) * (rng.uniform(0, 1, (n, d)) > empty)
    values[:, 0] += values.sum(axis=1) == 0
    return np.asarray(values / values.sum(axis=1, keepdims=True))


def slow(p: NDArray[np.float64], q: NDArray[np.float64]) -> float:
    """In bits, by the definition: the mean of both relative entropies to the middle."""
    total = 0.0
    for a, b in zip(p.tolist(), q.tolist(), strict=True):
        middle = (a + b) / 2
        total += 0.5 * a * math.log2(a / middle) if a else 0.0
        total += 0.5 * b * math.log2(b / middle) if b else 0.0
    return total


@given(st.integers(1, 8), st.integers(1, 8), st.integers(1, 12), st.integers(0, 99))
def test_it_is_the_definition(n: int, m: int, d: int, seed: int) -> None:
    p, q = shares(n, d, seed), shares(m, d, seed + 1)
    found = jensen_shannon(p, q)
    wanted = [[slow(a, b) for b in q] for a in p]
    np.testing.assert_allclose(found, wanted, atol=1e-12)
    np.testing.assert_allclose(jensen_shannon(q, p), found.T, atol=1e-12)
    root = np.sqrt(jensen_shannon(p, p))
    assert np.allclose(np.diag(root), 0, atol=1e-7)
    # Its root is a metric.
    assert (root[:, None, :] <= root[:, :, None] + root[None, :, :] + 1e-7).all()


def test_it_goes_from_0_to_1_and_blocks_do_not_matter() -> None:
    assert jensen_shannon(np.array([[1.0, 0.0]]), np.array([[0.0, 1.0], [1.0, 0.0]])).tolist() == [[1.0, 0.0]]
    p = shares(300, 20)
    whole = jensen_shannon(p, p)
    np.testing.assert_array_equal(whole[100:101], jensen_shannon(p[100:101], p))
    assert jensen_shannon(p[:0], p).shape == (0, 300)
    assert jensen_shannon(p, p[:0]).shape == (300, 0)


def test_stored_signatures_are_roots_of_probabilities() -> None:
    p = shares(50, 12)
    back = probabilities(np.sqrt(p).astype(np.float16))
    np.testing.assert_allclose(back, p, atol=2e-3)
    np.testing.assert_allclose(back.sum(axis=1), 1)
    for bad in (np.array([[-1.0, 0.0]]), np.array([[0.5, 0.5]]), np.array([[np.nan, 1.0]])):
        with pytest.raises(DataError, match="row 0 is no signature"):
            probabilities(bad)


def test_what_does_not_compare_is_refused() -> None:
    with pytest.raises(DataError, match="2 and of 3 components"):
        jensen_shannon(np.eye(2), np.eye(3))
    with pytest.raises(DataError, match="table: row 1"):
        jensen_shannon(np.eye(2), np.array([[0.5, 0.5], [0.5, 0.4]]))
    with pytest.raises(DataError, match="shape"):
        jensen_shannon(np.ones(2), np.eye(2))
