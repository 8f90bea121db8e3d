"""Rough positions are as far from the truth as they say."""

from __future__ import annotations

import numpy as np
import pytest

from placevec.errors import UsageError
from placevec.geo.sphere import LonLat, distance_m
from placevec.nn.locator import rough_positions


def test_errors_are_of_the_size_that_is_told() -> None:
    truth = LonLat(np.full(4000, 179.9), np.full(4000, -17.0))
    got = rough_positions(truth, np.random.default_rng(0), error_m=(500.0, 50_000.0), known=0.6, told=0.5)
    there = np.isfinite(got[:, 0])
    assert there.mean() == pytest.approx(0.6, abs=0.03)
    np.testing.assert_array_equal(there, np.isfinite(got[:, 1]))
    assert np.isnan(got[~there]).all()
    told = np.isfinite(got[:, 2])
    assert told.sum() / there.sum() == pytest.approx(0.5, abs=0.04)
    away = distance_m(LonLat(got[told, 0], got[told, 1]), truth[told])
    # Of a normal law in two directions half of the errors are below 1.177 s.
    assert np.mean(away < 1.1774 * got[told, 2]) == pytest.approx(0.5, abs=0.04)
    assert got[told, 2].min() >= 500.0
    assert got[told, 2].max() <= 50_000.0


@pytest.mark.parametrize("error_m", [(0.0, 1.0), (5.0, 1.0), (1.0, float("inf"))])
def test_impossible_errors(error_m: tuple[float, float]) -> None:
    with pytest.raises(UsageError, match="error_m"):
        rough_positions(LonLat.of(0, 0), np.random.default_rng(0), error_m=error_m)
