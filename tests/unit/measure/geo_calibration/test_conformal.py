import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from placevec.errors import DataError
from placevec.measure.geo_calibration import conformal_quantile, coverage, quantile_interval

SCORES = st.lists(st.floats(0, 1), min_size=1, max_size=60)


@given(SCORES, st.floats(0.01, 0.99))
def test_rows_against_the_textbook(scores, level) -> None:
    rank = math.ceil((len(scores) + 1) * level - 1e-9)
    wanted = sorted(scores)[rank - 1] if rank <= len(scores) else math.inf
    assert conformal_quantile(scores, level) == wanted


@given(st.lists(st.lists(st.floats(0, 1), min_size=1, max_size=8), min_size=1, max_size=12), st.floats(0.01, 0.99))
def test_groups_against_loops(groups, level) -> None:
    pairs = sorted((score, 1 / ((len(groups) + 1) * len(own))) for own in groups for score in own)
    total, wanted = 0.0, math.inf
    for score, weight in pairs:
        total += weight
        if total >= level - 1e-9:
            wanted = score
            break
    scores = [score for own in groups for score in own]
    names = [at for at, own in enumerate(groups) for _ in own]
    assert conformal_quantile(scores, level, names) == wanted


@given(SCORES, st.floats(0.01, 0.98), st.floats(0.0, 0.01))
def test_a_higher_level_has_a_higher_bound(scores, level, more) -> None:
    assert conformal_quantile(scores, level) <= conformal_quantile(scores, level + more)


@pytest.mark.parametrize("level", [0.5, 0.8, 0.95])
@pytest.mark.parametrize("n", [19, 200])
def test_coverage_on_exchangeable_rows(level, n) -> None:
    """Over many draws of n scores and one more: at least the level, and at most 1 / (n + 1) above it."""
    rng = np.random.default_rng(0)
    inside = [rng.exponential() <= conformal_quantile(rng.exponential(size=n), level) for _ in range(2000)]
    noise = 3 * np.sqrt(level * (1 - level) / 2000)
    assert level - noise <= np.mean(inside) <= level + 1 / (n + 1) + noise


def test_coverage_in_a_new_block() -> None:
    """Blocks differ, so that pooled rows promise too much of a new block, and blocks do not."""
    rng = np.random.default_rng(1)
    pooled, by_block = [], []
    for _ in range(800):
        blocks = np.exp(rng.normal(size=13))
        sizes = np.where(rng.uniform(size=12) < 0.2, 60, 5)
        names = np.repeat(np.arange(12), sizes)
        scores = blocks[names] * rng.exponential(size=len(names))
        new = blocks[12] * rng.exponential()
        pooled.append(new <= conformal_quantile(scores, 0.8))
        by_block.append(new <= conformal_quantile(scores, 0.8, names))
    assert np.mean(by_block) >= 0.8 - 0.042
    assert np.mean(pooled) < np.mean(by_block)


def test_too_few_blocks_have_no_bound() -> None:
    assert conformal_quantile(np.arange(100.0), 0.95, np.arange(100) % 18) == math.inf
    assert conformal_quantile(np.arange(100.0), 0.95, np.arange(100) % 19) < math.inf


def test_intervals_are_wider_where_neighbours_are_alike() -> None:
    rng = np.random.default_rng(2)
    names = np.repeat(np.arange(20), 30)
    scores = np.exp(rng.normal(size=20))[names] + 0.01 * rng.uniform(size=600)
    low, high = quantile_interval(scores, 0.8, names)
    alone_low, alone_high = quantile_interval(scores, 0.8)
    assert low <= conformal_quantile(scores, 0.8) <= high
    assert high - low > 2 * (alone_high - alone_low)


def test_shares_below_a_bound() -> None:
    assert coverage([0.1, 0.2, 0.3, 0.9], [0.25]).tolist() == [0.5]
    assert coverage([0.1, 0.2, 0.3, 0.9], [0.25, 1.0], ["a", "a", "a", "b"]) == pytest.approx([1 / 3, 1.0])


def test_what_has_no_quantile() -> None:
    for scores, level, groups in (([], 0.5, None), ([np.nan], 0.5, None), ([1.0], 1.5, None), ([1.0], 0.5, [1, 2])):
        with pytest.raises(DataError):
            conformal_quantile(scores, level, groups)
