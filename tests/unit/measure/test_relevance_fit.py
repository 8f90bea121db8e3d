import json
from dataclasses import replace

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from placevec.errors import DataError
from placevec.measure.calibration import expected_calibration_error
from placevec.measure.relevance import Relevance, unit
from placevec.measure.relevance_fit import Captioned, OffDomain, fit, monotone_logistic

DIMS = 24


def world(n: int = 80, seed: int = 0) -> tuple[Captioned, OffDomain]:
    """Images of one of ten things, two captions each; what fits is of the same thing. Phrases lie elsewhere."""
    rng = np.random.default_rng(seed)
    things = np.eye(DIMS)[:10]
    kind = rng.integers(0, 10, n)
    own = np.repeat(np.arange(n), 2)
    images = things[kind] + 0.25 * rng.standard_normal((n, DIMS))
    texts = things[kind[own]] + 0.2 * rng.standard_normal((2 * n, DIMS))
    captioned = Captioned(
        images.astype(np.float32),
        texts.astype(np.float32),
        own,
        kind[own][:, None] == kind,
        np.arange(2 * n) % 2 == 0,
        np.ones(2 * n),
    )
    elsewhere = np.eye(DIMS)[10:20].repeat(8, axis=0) + 0.3 * rng.standard_normal((80, DIMS))
    return captioned, OffDomain(elsewhere.astype(np.float32), np.arange(80) // 8, np.ones(80))


def test_probabilities_come_true_on_what_was_not_fitted() -> None:
    captioned, off = world()
    found = fit(captioned, off, space="trained:x")
    assert found.space == "trained:x"
    assert found.report["ece"] < 0.08
    assert found.report["brier"] < 0.7 * found.report["brier_of_the_base_rate"]
    assert found.report["passed"] >= 0.95
    assert found.report["refused"] > 0.8
    assert (found.weights >= 0).all()
    # Another draw of the same world, with other phrases.
    fresh, others = world(seed=1)
    said = found.probability(fresh.texts, fresh.images)
    first = np.argsort(-(unit(fresh.texts) @ unit(fresh.images).T), axis=1)[:, :10]
    said, true = (np.take_along_axis(of, first, axis=1) for of in (said, fresh.fits))
    assert expected_calibration_error(said.ravel(), true.ravel()) < 0.1
    assert (said.max(axis=1) >= found.no_match).mean() > 0.85
    assert (found.probability(others.texts, fresh.images).max(axis=1) < found.no_match).mean() > 0.8


def test_words_that_are_not_known_speak_against_a_match() -> None:
    captioned, off = world()
    found = fit(captioned, replace(off, known=np.zeros(80)))
    text = captioned.texts[:1]
    said = found.probability(text, captioned.images, np.array([1.0]))
    unknown = found.probability(text, captioned.images, np.array([0.0]))
    assert (unknown < said).all()
    assert found.report["refused"] == 1.0


def test_a_bank_of_other_images_and_the_same_seed() -> None:
    captioned, off = world()
    bank = world(200, seed=2)[0].images
    found = fit(captioned, off, bank=bank, seed=4)
    assert found.report["ece"] < 0.08
    kept = {tuple(row) for row in found.backgrounds.bank}
    assert kept <= {tuple(row) for row in unit(bank).astype(np.float16).astype(np.float32)}
    again = fit(captioned, off, bank=bank, seed=4)
    assert again.to_json() == found.to_json()
    assert Relevance.from_json(json.loads(json.dumps(found.to_json()))).to_json() == found.to_json()


def test_it_is_below_a_megabyte_whatever_the_dims() -> None:
    captioned, off = world(40)
    for dims in (512, 1152):
        wide = [np.pad(v, [(0, 0), (0, dims - DIMS)]) for v in (captioned.images, captioned.texts, off.texts)]
        many = np.random.default_rng(0).standard_normal((2000, dims)).astype(np.float32)
        found = fit(replace(captioned, images=wide[0], texts=wide[1]), replace(off, texts=wide[2]), bank=many).to_json()
        assert len(json.dumps(found)) < 1_000_000


def test_a_monotone_regression_is_the_usual_one_where_that_is_monotone() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((500, 3))
    weight = rng.uniform(0.5, 2, 500)
    y = (rng.uniform(0, 1, 500) < 1 / (1 + np.exp(-(x @ [1.0, 0.5, 0.8] - 0.3)))).astype(float)
    weights, bias = monotone_logistic(x, y, weight)
    usual = LogisticRegression(C=1.0, tol=1e-8).fit(x, y, sample_weight=weight)
    assert weights == pytest.approx(usual.coef_[0], abs=1e-3)
    assert bias == pytest.approx(usual.intercept_[0], abs=1e-3)
    # What would speak against a match does not speak at all, and the rest is fitted without it.
    flipped, _ = monotone_logistic(x * [1, -1, 1], y, weight)
    assert flipped[1] == 0
    alone = LogisticRegression(C=1.0, tol=1e-8).fit(x[:, [0, 2]], y, sample_weight=weight)
    assert flipped[[0, 2]] == pytest.approx(alone.coef_[0], abs=1e-3)


def test_too_little() -> None:
    captioned, off = world(8)
    with pytest.raises(DataError, match="8 images"):
        fit(captioned, off)
    captioned, off = world(20)
    with pytest.raises(DataError, match="topics"):
        fit(captioned, replace(off, topics=np.zeros(80, dtype=np.int64)))
    with pytest.raises(DataError, match="hits fit their query"):
        fit(replace(captioned, fits=np.zeros_like(captioned.fits)), off)
    with pytest.raises(DataError, match="do not go with"):
        replace(captioned, own=captioned.own[:-1])
    with pytest.raises(DataError, match="number from 0"):
        replace(captioned, own=captioned.own + 1)
