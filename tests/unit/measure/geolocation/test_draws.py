"""Intervals over blocks, and what beats what: against resamples that are really laid out."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from placevec.errors import DataError
from placevec.measure.geolocation import Method, error_figures, method_rows
from placevec.measure.geolocation.draws import figure_draws, mid_quantiles
from placevec.measure.intervals import group_codes, resample_counts


@given(st.integers(0, 300), st.integers(1, 4))
def test_draws_are_the_figures_of_the_resample_itself(seed, answers):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 30))
    km = rng.exponential(100, (n, answers))
    blocks = rng.integers(0, 5, n)
    extra = np.where(rng.random(n) < 0.3, np.nan, rng.random(n))
    codes = group_codes(blocks, n)
    counts = resample_counts(int(codes.max()) + 1, 12, seed)
    found = figure_draws(Method("one", "learned", km, {"cell": extra}), codes, counts)
    for draw in range(len(counts)):
        rows = np.repeat(np.arange(n), counts[draw][codes])
        slow = error_figures(km[rows].ravel())
        for name, value in slow.items():
            assert found[name][draw] == pytest.approx(value), name
        own = extra[rows]
        own = own[np.isfinite(own)]
        if len(own):
            assert found["cell"][draw] == pytest.approx(own.mean())
        else:
            assert np.isnan(found["cell"][draw])


def test_a_win_has_to_be_earned_and_a_loss_is_admitted():
    rng = np.random.default_rng(0)
    km = rng.exponential(50, 300)
    rows = method_rows(
        [
            Method("ours", "learned", km),
            Method("far", "baseline", km + 60),
            Method("near", "baseline", km + rng.normal(0.4, 30, 300).clip(-km)),
            Method("better", "baseline", 0.98 * km),
            Method("idle", "untrained", km + 500),
            Method("told", "diagnostic", 0.1 * km),
            Method("other point", "decoder", 1.5 * km),
        ],
        np.arange(300) // 10,
        draws=200,
    )
    ours = {one.baseline: one for one in rows[0].against["median_km"]}
    assert set(ours) == {"far", "near", "better", "idle"}
    assert ours["far"].outcome == ours["idle"].outcome == "beats"
    assert ours["better"].outcome == "loses"
    assert ours["far"].difference == pytest.approx(60, abs=1e-6)
    # The strongest stands first; a decoder stands against the learned method, a diagnostic against none.
    assert next(one.baseline for one in rows[0].against["median_km"]) in ("better", "near")
    assert rows[6].against["median_km"][0].baseline == "ours"
    assert rows[6].against["median_km"][0].outcome == "loses"
    assert not rows[5].against
    assert not rows[1].against
    assert rows[0].low["median_km"] <= rows[0].values["median_km"] <= rows[0].high["median_km"]


def test_coverage_is_no_contest():
    even = np.ones(20)
    methods = [
        Method("ours", "learned", 5 * even, {"nll": even, "coverage_80": even}),
        Method("prior", "baseline", 9 * even, {"nll": 2 * even, "coverage_80": 0 * even}),
    ]
    against = method_rows(methods, draws=20)[0].against
    assert against["nll"][0].outcome == "beats"
    assert "coverage_80" not in against


def test_blocks_widen_the_interval():
    rng = np.random.default_rng(1)
    blocks = np.repeat(np.arange(12), 25)
    km = 100 + 40 * rng.standard_normal(12)[blocks] + rng.standard_normal(300)
    one = Method("ours", "learned", np.abs(km))
    alone, together = method_rows([one], draws=300)[0], method_rows([one], blocks, draws=300)[0]
    assert together.high["mean_km"] - together.low["mean_km"] > 3 * (alone.high["mean_km"] - alone.low["mean_km"])


def test_methods_that_do_not_fit_are_refused():
    km = np.ones(3)
    with pytest.raises(DataError, match="two methods are called 'a'"):
        method_rows([Method("a", "learned", km), Method("a", "baseline", km)])
    with pytest.raises(DataError, match="answer the same"):
        method_rows([Method("a", "learned", km), Method("b", "baseline", np.ones(4))])
    with pytest.raises(DataError, match="one or more for each"):
        Method("a", "learned", np.ones(0))
    with pytest.raises(DataError, match="cell has 2 values"):
        Method("a", "learned", km, {"cell": np.ones(2)})


def test_middles_of_equal_parts():
    values = np.arange(12.0)[None]
    assert mid_quantiles(values, 12).tolist() == values.tolist()
    # Of three equal parts 0..3, 4..7 and 8..11 the medians.
    assert mid_quantiles(values, 3)[0] == pytest.approx([1.5, 5.5, 9.5])
