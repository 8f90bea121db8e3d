import json

import numpy as np
import pytest

from pair_fakes import captions_of, toy_images, toy_pair
from placevec.encoders.pair import PairModel
from placevec.errors import DataError
from placevec.measure.relevance import Relevance
from placevec.tasks.relevance import fit_relevance, known_shares


def fitted(pair: PairModel, **more) -> Relevance:
    images, shown = toy_images(100, seed=1)
    texts = captions_of(shown)
    vectors = pair.image.encode({"image": images})
    return fit_relevance(pair, vectors, None, np.arange(100), texts, **more)


def test_a_pair_knows_what_fits_and_what_is_none_of_its_business() -> None:
    pair = toy_pair()
    found = fitted(pair)
    assert found.space == pair.space.id
    assert found.report["ece"] < 0.1
    assert found.report["refused"] > 0.95
    assert len(json.dumps(found.to_json())) < 1_000_000
    images, shown = toy_images(60, seed=2)
    vectors = pair.image.encode({"image": images})
    asked = pair.text.encode({"text": np.array(["a river", "an avocado armchair"], dtype=object)})
    river, armchair = found.probability(asked, vectors, known_shares(pair.text, ["a river", "an avocado armchair"]))
    shows = np.array(["river" in one for one in shown])
    assert river[shows].mean() > 3 * river[~shows].mean()
    assert river.max() >= found.no_match > armchair.max()


def test_vectors_that_are_there_are_not_made_again() -> None:
    pair = toy_pair()
    images, shown = toy_images(100, seed=1)
    texts = captions_of(shown)
    given = pair.text.encode({"text": np.array(texts, dtype=object)})
    one = fit_relevance(pair, pair.image.encode({"image": images}), given, np.arange(100), texts)
    assert one.to_json() == fitted(pair).to_json()


def test_a_tower_that_cannot_say_what_it_knows() -> None:
    class Silent:
        pass

    assert known_shares(Silent(), ["a river", "qwertz"]).tolist() == [1, 1]
    assert known_shares(toy_pair().text, ["a big river", "the qwertz"]).tolist() == [0.5, 0]


def test_what_does_not_fit_together() -> None:
    pair = toy_pair()
    with pytest.raises(DataError, match="one row for each caption"):
        fit_relevance(pair, np.ones((20, 32)), None, np.arange(20), ["a river"])
    with pytest.raises(DataError, match="number from 0"):
        fit_relevance(pair, np.ones((20, 32)), None, np.array([20]), ["a river"])


def test_of_many_images_a_part_is_fitted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("placevec.measure.relevance_fit.MOST_IMAGES", 60)
    found = fitted(toy_pair())
    assert found.report["images"] == 60
    assert found.report["queries"] == 120
    assert found.report["ece"] < 0.15
