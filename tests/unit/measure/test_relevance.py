import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from placevec.errors import DataError
from placevec.measure.relevance import EQUAL, FEATURES, Backgrounds, Relevance, logistic, rounded, unit


def vectors(n: int, d: int = 12, seed: int = 0) -> np.ndarray:
    return unit(np.random.default_rng(seed).standard_normal((n, d)) + 0.5)


def grounds(d: int = 12) -> Backgrounds:
    return Backgrounds(rounded(vectors(30, d, 1)), rounded(vectors(20, d, 2)), rounded(vectors(9, d, 3)))


def model(d: int = 12, **more) -> Relevance:
    weights = np.array([0.8, 0.5, 0.3, 0.2, 1.0])
    return Relevance(grounds(d), np.full(5, 0.1), np.full(5, 1.5), weights, -0.7, 0.3, **more)


def slow_features(back: Backgrounds, t, v, known: float) -> list[float]:
    cosine = float(t @ v)
    images = [float(t @ one) for one in back.bank]
    captions = [float(v @ one) for one in back.captions]
    near = [float(t @ one) for one in back.captions if t @ one < EQUAL]
    return [
        (cosine - np.mean(images)) / np.std(images),
        (cosine - np.mean(captions)) / np.std(captions),
        float(np.mean(sorted(images)[-5:])),
        max(near, default=0.0) - max(float(t @ one) for one in back.phrases),
        known,
    ]


def test_features_against_loops() -> None:
    back = grounds()
    texts, images = np.concatenate([vectors(4, seed=5), back.captions[:1]]), vectors(7, seed=6)
    known = np.array([1.0, 0.5, 0.0, 0.25, 1.0])
    found = back.features(texts, images, known)
    assert found.shape == (5, 7, len(FEATURES))
    for row, (text, share) in enumerate(zip(texts, known, strict=True)):
        for column, image in enumerate(images):
            assert found[row, column] == pytest.approx(slow_features(back, text, image, share), abs=2e-5)


def test_what_is_left_out_does_not_count() -> None:
    back = grounds()
    text, image = vectors(1, seed=5), vectors(1, seed=6)
    out = {"bank_out": 30, "captions_out": 20, "own_out": 20}
    masks = {name: np.arange(count)[None, :] < 4 for name, count in out.items()}
    fewer = Backgrounds(back.bank[4:], back.captions[4:], back.phrases)
    assert back.features(text, image, **masks) == pytest.approx(fewer.features(text, image), abs=1e-5)
    everything = np.ones((1, 20), dtype=bool)
    assert np.isfinite(back.features(text, image, captions_out=everything)).all()


def test_of_two_images_the_nearer_is_never_less_relevant_for_it() -> None:
    # Same standing among texts: images that differ in a direction which no background text has.
    back = grounds()
    captions = back.captions.copy()
    captions[:, 0] = 0.0
    back = Backgrounds(back.bank, unit(captions), back.phrases)
    relevance = Relevance(back, np.zeros(5), np.ones(5), np.array([1.0, 0.5, 0, 0, 0]), 0.0, 0.5)
    text = np.zeros((1, 12), dtype=np.float32)
    text[0, 0] = 1.0
    share = np.linspace(-0.5, 0.5, 9)
    images = np.concatenate([share[:, None], np.tile(vectors(1, 11, 8), (9, 1)) * np.sqrt(1 - share**2)[:, None]], 1)
    found = relevance.probability(text, images.astype(np.float32))[0]
    assert (np.diff(found) > 0).all()


@given(st.integers(1, 9), st.floats(0.1, 30))
def test_the_answer_depends_on_the_pair_alone(count: int, length: float) -> None:
    relevance = model()
    texts, images = vectors(3, seed=5), vectors(9, seed=6)
    whole = relevance.probability(texts, images)
    assert ((whole > 0) & (whole < 1)).all()
    part = relevance.probability(np.float32(length) * texts[:1], np.float32(length) * images[:count])
    assert part == pytest.approx(whole[:1, :count], abs=1e-5)


def test_json_there_and_back() -> None:
    relevance = model(space="trained:x", report={"ece": 0.02})
    text = json.dumps(relevance.to_json(), allow_nan=False)
    again = Relevance.from_json(json.loads(text))
    texts, images = vectors(3, seed=5), vectors(9, seed=6)
    assert np.array_equal(again.probability(texts, images), relevance.probability(texts, images))
    assert (again.no_match, again.space, dict(again.report)) == (0.3, "trained:x", {"ece": 0.02})
    assert again.backgrounds.texts.shape == (29, 12)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"version": 9}, "version 9"),
        ({"features": ["cosine"]}, "train the pair again"),
        ({"bank": "???"}, "damaged"),
        ({"bank": "AAAA"}, "damaged"),
        ({"weights": [1, 2]}, "five numbers"),
        ({"sd": [0, 1, 1, 1, 1]}, "above 0"),
        ({"bias": float("nan")}, "not finite"),
        ({"dims": "many"}, "damaged"),
        ({"captions": None}, "damaged"),
    ],
)
def test_what_is_damaged(change: dict, said: str) -> None:
    with pytest.raises(DataError, match=said):
        Relevance.from_json(model().to_json() | change)


def test_what_does_not_fit() -> None:
    with pytest.raises(DataError, match="fitted for"):
        model().probability(vectors(2, 8), vectors(2, 8))
    with pytest.raises(DataError, match="at least 2 vectors"):
        Backgrounds(vectors(1), vectors(4), vectors(4))
    value = model().to_json()
    del value["bias"]
    with pytest.raises(DataError, match="bias"):
        Relevance.from_json(value)


def test_logistic_does_not_overflow() -> None:
    assert logistic(np.array([-1e4, 0.0, 1e4])).tolist() == [0.0, 0.5, 1.0]
