import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit, logit

from placevec.errors import DataError
from placevec.measure.calibration import expected_calibration_error
from placevec.measure.geo_calibration import ConfidenceMap, fit_confidence
from placevec.measure.geo_calibration.confidence import EDGE

ROWS = st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=60)


@given(ROWS, st.sampled_from(["identity", "logistic", "isotonic", None]))
def test_maps_rise_and_are_never_certain(rows, kind) -> None:
    p, y = (np.array(column) for column in zip(*rows, strict=True))
    found = fit_confidence(p.astype(float), y, np.arange(len(p)) % 3, kind)
    said = found(np.linspace(0, 1, 101))
    assert (np.diff(said) >= 0).all()
    assert (said >= EDGE).all()
    assert (said <= 1 - EDGE).all()
    assert ConfidenceMap.from_json(json.loads(json.dumps(found.to_json()))) == found


def over_sure(n, seed=0):
    rng = np.random.default_rng(seed)
    said = rng.uniform(0.01, 0.99, n)
    return said, rng.uniform(size=n) < expit(0.4 * logit(said) - 0.5), rng.integers(0, 5, n)


@pytest.mark.parametrize("kind", ["logistic", "isotonic", None])
def test_confidence_that_is_too_sure_is_mended(kind) -> None:
    found = fit_confidence(*over_sure(3000), kind)
    said, true, _ = over_sure(3000, seed=1)
    assert expected_calibration_error(said, true) > 0.1
    assert expected_calibration_error(found(said), true) < 0.03


def test_the_logistic_map_is_recovered_and_chosen() -> None:
    found = fit_confidence(*over_sure(8000))
    assert found.kind == "logistic"
    assert found.slope == pytest.approx(0.4, abs=0.05)
    assert found.shift == pytest.approx(-0.5, abs=0.1)


def test_what_no_line_fits_is_isotonic() -> None:
    rng = np.random.default_rng(0)
    said = rng.uniform(0, 1, 3000)
    assert (
        fit_confidence(said, rng.uniform(size=3000) < np.where(said > 0.6, 0.7, 0.3), rng.integers(0, 5, 3000)).kind
        == "isotonic"
    )


def test_calibrated_confidence_and_few_places_are_left_alone() -> None:
    rng = np.random.default_rng(3)
    said = rng.uniform(0, 1, 500)
    mended = fit_confidence(said, rng.uniform(size=500) < said, rng.integers(0, 5, 500))
    assert np.abs(mended(said) - said).max() < 0.1
    assert fit_confidence(said[:19], said[:19] > 0.5, np.arange(19)).kind == "identity"
    assert fit_confidence(said, np.ones(500), rng.integers(0, 5, 500)).kind == "identity"
    assert fit_confidence(said, said > 0.5, np.zeros(500)).kind == "identity"


def test_isotonic_against_the_definition() -> None:
    """Pools of violators, each with its mean, drawn towards the mean of all by one place."""
    found = fit_confidence([0.1, 0.2, 0.2, 0.4, 0.9], [0, 1, 0, 0, 1], np.zeros(5), "isotonic")
    assert found.said == pytest.approx((0.1, (0.2 + 0.2 + 0.4) / 3, 0.9))
    assert found.true == pytest.approx((0.4 / 2, (1 + 0.4) / 4, (1 + 0.4) / 2))


@pytest.mark.parametrize(
    "value",
    [
        {"kind": "none"},
        {"kind": "logistic", "slope": -1.0, "shift": 0.0},
        {"kind": "logistic", "slope": 1.0},
        {"kind": "logistic", "slope": "x", "shift": 0.0},
        {"kind": "isotonic", "said": [0.1, 0.2], "true": [0.2, 0.1]},
        {"kind": "isotonic", "said": [], "true": []},
        {"kind": "isotonic", "said": [0.1], "true": [0.1, 0.2]},
        {},
    ],
)
def test_damaged_maps(value) -> None:
    with pytest.raises(DataError, match="fit"):
        ConfidenceMap.from_json(value)


def test_what_is_no_probability() -> None:
    for p, y, fold in (([1.2], [1], [0]), ([0.5], [1, 0], [0]), ([np.nan], [1], [0])):
        with pytest.raises(DataError):
            fit_confidence(p, y, fold)
