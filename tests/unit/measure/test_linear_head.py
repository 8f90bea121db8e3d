from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from placevec.errors import DataError
from placevec.measure.asking import ask_next, entropy, margin
from placevec.measure.linear_head import DEFAULT_C, Scaling, dealt_folds, fit_head, fit_softmax


def blobs(n: int, classes: int = 3, d: int = 5, spread: float = 1.0, seed: int = 0) -> tuple[NDArray, NDArray]:
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).standard_normal((classes, d)) * 1.5
    y = np.arange(n) % classes
    return centres[y] + spread * rng.standard_normal((n, d)), y


@pytest.mark.parametrize("c", [0.1, 1.0, 100.0])
def test_the_head_is_that_of_scikit_learn(c: float) -> None:
    x, y = blobs(90)
    ours = fit_softmax(x, y, 3, c)
    theirs = LogisticRegression(C=c, max_iter=5000, tol=1e-8).fit(x, y)
    logits = x @ ours[:-1] + ours[-1]
    said = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(said, theirs.predict_proba(x), atol=2e-3)


def test_strength_and_temperature_are_chosen_on_rows_that_did_not_train() -> None:
    x, y = blobs(300, spread=2.0)
    test_x, test_y = blobs(3000, spread=2.0, seed=1)
    scaling = Scaling.of(x)
    head = fit_head(scaling(x), y, 3, dealt_folds(y, 5))
    said = head.probabilities(scaling(test_x))
    np.testing.assert_allclose(said.sum(axis=1), 1)
    right = said.argmax(axis=1) == test_y
    assert head.calibrated
    assert abs(said.max(axis=1).mean() - right.mean()) < 0.05
    plain = fit_head(scaling(x), y, 3, [])
    assert (plain.c, plain.temperature, plain.calibrated) == (DEFAULT_C, 1.0, False)


def test_noise_is_told_as_noise() -> None:
    x = np.random.default_rng(0).standard_normal((120, 30))
    y = np.random.default_rng(1).integers(0, 2, 120)
    head = fit_head(Scaling.of(x)(x), y, 2, dealt_folds(y, 5))
    assert head.probabilities(Scaling.of(x)(np.random.default_rng(2).standard_normal((50, 30)))).max() < 0.75


def test_one_class_is_refused_and_an_absent_one_is_unlikely() -> None:
    x, y = blobs(20, 2)
    with pytest.raises(DataError, match="two or more"):
        fit_head(x, np.zeros(20, dtype=np.int64), 2, [])
    weights = fit_softmax(x, y, 3, 1.0)
    logits = x @ weights[:-1] + weights[-1]
    assert (logits.argmax(axis=1) < 2).all()


def test_cards_are_dealt_by_class() -> None:
    y = np.array([0] * 7 + [1] * 3 + [2] * 3)
    folds = dealt_folds(y, 5)
    assert len(folds) == 3
    assert sorted(np.concatenate([test for _, test in folds]).tolist()) == list(range(13))
    for train, test in folds:
        assert set(y[train]) == {0, 1, 2}
        assert not set(train) & set(test)
    assert dealt_folds(np.array([0, 0, 1]), 5) == []
    assert len(dealt_folds(np.array([0, 0, 1, 1]), 5)) == 2


def test_components_that_do_not_vary_say_nothing() -> None:
    x, _ = blobs(50)
    wide = np.column_stack([x, np.full(50, 7.0), 5 + 1e-12 * np.arange(50)])
    scaled = Scaling.of(wide)(wide)
    assert np.isfinite(scaled).all()
    assert (scaled[:, 5:] == 0).all()
    np.testing.assert_allclose((scaled**2).sum(axis=1).mean(), 1)


def test_entropy_and_margin() -> None:
    p = np.array([[1.0, 0.0, 0.0], [1 / 3, 1 / 3, 1 / 3], [0.5, 0.3, 0.2]])
    np.testing.assert_allclose(entropy(p)[:2], [0, 1], atol=1e-12)
    np.testing.assert_allclose(margin(p), [1, 0, 0.2], atol=1e-12)


def test_uncertain_rows_that_differ_are_asked_about_and_known_ones_are_not() -> None:
    rng = np.random.default_rng(0)
    # Three bunches of near-copies; the first is known, the second and third are uncertain, the second more so.
    bunch = np.repeat(np.eye(3), 100, axis=0) + 0.01 * rng.standard_normal((300, 3))
    unsure = np.repeat([0.9, 1.0, 0.8], 100)
    rows, worth = ask_next(bunch, unsure, np.arange(100), 2)
    assert {int(row) // 100 for row in rows} == {1, 2}
    assert worth[0] >= worth[1] > 0
    rows, _ = ask_next(bunch, unsure, np.arange(299), 5)
    assert rows.tolist() == [299]
    assert len(ask_next(bunch, unsure, np.arange(300), 5)[0]) == 0
    assert len(ask_next(bunch, unsure, np.arange(3), 0)[0]) == 0
    # Copies of what is known are worth nothing.
    assert len(ask_next(np.ones((50, 2)), np.ones(50), np.array([0]), 5)[0]) == 0
