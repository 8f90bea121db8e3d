import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from placevec.errors import DataError
from placevec.measure.calibration import brier_score, expected_calibration_error, reliability

PAIRS = st.lists(st.tuples(st.floats(0, 1), st.booleans(), st.floats(0.1, 5)), min_size=1, max_size=60)


@given(PAIRS)
def test_against_loops(rows) -> None:
    p, y, w = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
    ece, total = 0.0, w.sum()
    for step in range(10):
        inside = [at for at in range(len(p)) if min(int(p[at] * 10), 9) == step]
        if inside:
            said = sum(w[at] * p[at] for at in inside)
            true = sum(w[at] * y[at] for at in inside)
            ece += abs(said - true) / total
    assert expected_calibration_error(p, y, weights=w) == pytest.approx(ece, abs=1e-9)
    steps = reliability(p, y, weights=w)
    assert sum(step.share for step in steps) == pytest.approx(1)
    assert brier_score(p, y, weights=w) == pytest.approx(sum(w * (p - y) ** 2) / total)


def test_what_is_said_comes_true_or_not() -> None:
    rng = np.random.default_rng(0)
    p = rng.uniform(0, 1, 20_000)
    y = rng.uniform(0, 1, 20_000) < p
    assert expected_calibration_error(p, y) < 0.02
    assert expected_calibration_error(np.full(10, 0.5), np.ones(10)) == pytest.approx(0.5)
    assert brier_score([0.0, 1.0], [0, 1]) == 0
    assert reliability([1.0, 1.0], [1, 0]) == [(1.0, 0.5, 1.0)]


def test_what_is_no_probability() -> None:
    for p, y in (([1.2], [1]), ([np.nan], [1]), ([], []), ([0.5], [1, 0])):
        with pytest.raises(DataError):
            reliability(p, y)
