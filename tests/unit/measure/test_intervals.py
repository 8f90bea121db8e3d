"""The bootstrap by sums against the bootstrap by rows."""

from __future__ import annotations

import numpy as np
import pytest

from placevec.errors import DataError
from placevec.measure import intervals as iv
from placevec.measure import metrics as m


@pytest.fixture
def sample():
    rng = np.random.default_rng(0)
    y = rng.standard_normal(60) + 500.0
    return y, y + rng.standard_normal((2, 60)), np.repeat([f"g{i}" for i in range(20)], 3)


def rows_of(count: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """The rows of one resample, each as often as its group was drawn."""
    return np.concatenate([np.tile(np.flatnonzero(codes == g), c) for g, c in enumerate(count)])


def test_counts_are_resamples():
    counts = iv.resample_counts(50, 300, seed=1)
    assert counts.shape == (300, 50)
    assert (counts.sum(axis=1) == 50).all()
    assert counts.std() == pytest.approx(1.0, abs=0.05)
    np.testing.assert_array_equal(counts, iv.resample_counts(50, 300, seed=1))
    assert (counts != iv.resample_counts(50, 300, seed=2)).any()
    with pytest.raises(DataError, match="cannot be"):
        iv.resample_counts(0)


def test_regression_draws_are_the_metrics_of_resampled_rows(sample):
    y, p, groups = sample
    codes = iv.group_codes(groups, 60)
    counts = iv.resample_counts(20, 30)
    drawn = iv.regression_draws(y, p, counts, codes)
    for b in range(30):
        rows = rows_of(counts[b], codes)
        for r in range(2):
            for name in ("r2", "mae", "rmse"):
                assert drawn[name][r, b] == pytest.approx(m.REGRESSION[name](y[rows], p[r][rows]), rel=1e-9)
            # Ranks are those of the whole sample: near, not equal.
            assert drawn["spearman"][r, b] == pytest.approx(m.spearman(y[rows], p[r][rows]), abs=0.15)
    whole = iv.regression_draws(y, p, np.ones((1, 60), dtype=np.uint8))
    assert whole["spearman"][1, 0] == pytest.approx(m.spearman(y, p[1]))


def test_rows_that_were_not_tested_do_not_count(sample):
    y, p, _ = sample
    p[0, :20] = np.nan
    drawn = iv.regression_draws(y, p, np.ones((1, 60), dtype=np.uint8))
    for name, metric in m.REGRESSION.items():
        assert drawn[name][0, 0] == pytest.approx(metric(y[20:], p[0, 20:]))
    c, guess = np.arange(60) % 3, (np.arange(60) // 2) % 3
    guess[:20] = -1
    drawn = iv.classification_draws(c, guess, np.ones((1, 60), dtype=np.uint8))
    for name, metric in m.CLASSIFICATION.items():
        assert drawn[name][0, 0] == pytest.approx(metric(c[20:], guess[20:]))


def test_classification_draws_are_the_metrics_of_resampled_rows():
    rng = np.random.default_rng(3)
    y, p = rng.integers(0, 4, 80), rng.integers(0, 5, 80)
    codes = rng.integers(0, 25, 80)
    codes[:25] = np.arange(25)
    counts = iv.resample_counts(25, 20)
    drawn = iv.classification_draws(y, p, counts, codes)
    for b in range(20):
        rows = rows_of(counts[b], codes)
        for name, metric in m.CLASSIFICATION.items():
            assert drawn[name][0, b] == pytest.approx(metric(y[rows], p[rows]), rel=1e-5)


def test_the_interval_covers_as_it_says():
    """Of many samples, about 95 % of the intervals of the mean absolute error hold the true one."""
    rng = np.random.default_rng(4)
    held = 0
    for seed in range(200):
        error = rng.standard_normal(100)
        found = iv.bootstrap(np.zeros(100) + rng.standard_normal(100) * 0, error, "mae", draws=300, seed=seed)
        held += found.low <= np.sqrt(2 / np.pi) <= found.high
    assert 0.88 <= held / 200 <= 0.99


def test_groups_widen_the_interval():
    rng = np.random.default_rng(5)
    y = np.repeat(rng.standard_normal(30), 20)
    p = y + np.repeat(rng.standard_normal(30), 20)
    groups = np.repeat(np.arange(30), 20)
    alone, grouped = iv.bootstrap(y, p, "r2"), iv.bootstrap(y, p, "r2", groups=groups)
    assert grouped.high - grouped.low > 2.5 * (alone.high - alone.low)
    assert alone.mean == grouped.mean == m.r2(y, p)
    classes = iv.bootstrap(y > 0, p > 0, "macro_f1", groups=groups)
    assert classes.low < classes.mean < classes.high
    with pytest.raises(DataError, match="'f2'"):
        iv.bootstrap(y, p, "f2")
    with pytest.raises(DataError, match="one per row"):
        iv.bootstrap(y, p, "r2", groups=[1, 2])


def test_comparisons():
    rng = np.random.default_rng(6)
    noise = rng.standard_normal((3, 500)) * 0.01
    base = np.array([0.50, 0.51, 0.52])
    better = iv.compare(base + 0.1, base, base[:, None] + 0.1 + noise, base[:, None] + noise, "r2")
    assert better.outcome == "beats"
    assert better.difference == pytest.approx(0.1)
    assert better.sd == pytest.approx(0.0, abs=1e-12)
    worse = iv.compare(base + 0.1, base, base[:, None] + 0.1 + noise, base[:, None] + noise, "mae")
    assert worse.outcome == "loses"
    assert worse.high < 0
    equal = iv.compare(base, base, base[:, None] + noise, base[:, None] + noise, "r2")
    assert equal.outcome == "ties"
    # Ahead within the spread of the shuffles is a tie; behind by more than the spread is a loss.
    wild = np.array([0.3, -0.2, 0.05])
    assert iv.compare(base + wild, base, base + 0.1, base, "r2").outcome == "ties"
    assert iv.compare([0.5], [0.4], 0.1 + noise[0], noise[0], "r2").outcome == "beats"


def test_spread():
    mean, sd = iv.mean_sd([1.0, 2.0, 4.0])
    assert (mean, sd) == (pytest.approx(7 / 3), pytest.approx(np.std([1, 2, 4], ddof=1)))
    assert np.isnan(iv.mean_sd([1.0])[1])
    assert all(np.isnan(iv.percentile_interval([np.nan])))
    assert iv.percentile_interval(np.arange(101.0)) == pytest.approx((2.5, 97.5))
