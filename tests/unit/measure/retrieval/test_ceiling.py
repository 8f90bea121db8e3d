"""Ceiling and chance against rankers that are run, and against the published figures of real captions."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from placevec.measure.retrieval import DEFINITIONS, DIRECTIONS, Pairing, ceiling, chance, normalised, rank_vectors

TEXTS = ["A field .", "a  field", "b", "b.", "c", "a field", "B", "d", "d", "e", "f", "g", "a field", "h", "i"]
OWNER = np.repeat(np.arange(5), 3)


def pairing() -> Pairing:
    return Pairing.of(OWNER, 5, TEXTS)


def test_case_spaces_and_a_full_stop_make_no_difference() -> None:
    assert normalised("  There is  a Field . ") == normalised("there is a field") == "there is a field"
    assert normalised("a field, green") != normalised("a field green")
    assert len(set(pairing().words.tolist())) == len({normalised(text) for text in TEXTS})


@pytest.mark.parametrize("definition", DEFINITIONS)
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_chance_is_what_equal_vectors_give(direction, definition) -> None:
    # All items level: by the mean over all orders that is a random ranker.
    ranking = rank_vectors(np.ones((5, 3)), np.ones((15, 3)), pairing())
    bound = chance(pairing(), direction, definition)
    found = ranking.standing(direction, definition)
    for k in (1, 2, 5, 10):
        assert bound.recall(k) == pytest.approx(found.found(k).mean())
    assert bound.mrr == pytest.approx(found.reciprocals().mean())
    counting = found.counting
    assert found.own.tolist() == counting.tolist()


def test_text_to_image_ceiling_is_that_of_an_ideal_ranker_with_shuffled_duplicates() -> None:
    p = pairing()
    rng = np.random.default_rng(0)
    carriers = [{int(OWNER[t]) for t in range(15) if p.words[t] == p.words[q]} for q in range(15)]
    hits = {1: 0, 2: 0}
    reciprocal = 0.0
    runs = 4000
    for _ in range(runs):
        for q in range(15):
            order = rng.permutation(sorted(carriers[q])).tolist()
            rank = 1 + order.index(OWNER[q])
            reciprocal += 1 / rank
            for k in hits:
                hits[k] += rank <= k
    bound = ceiling(p, "text to image", "official")
    assert bound.recall(1) == pytest.approx(hits[1] / runs / 15, abs=0.01)
    assert bound.recall(2) == pytest.approx(hits[2] / runs / 15, abs=0.01)
    assert bound.mrr == pytest.approx(reciprocal / runs / 15, abs=0.01)


def test_image_to_text_ceiling_begins_with_the_caption_that_fewest_others_share() -> None:
    bound = ceiling(pairing(), "image to text", "official")
    # 0: "a field" twice of four, "b" once of three; 1: "c" is its own; 2: "d" twice of two; 3 and 4 have their own.
    assert bound.found(1).tolist() == pytest.approx([2 / 4, 1.0, 1.0, 1.0, 1.0])
    # Behind both of its own copies stand at most two others: within three one is found.
    assert bound.found(3).tolist() == pytest.approx([1.0] * 5)
    assert bound.recall(2) == pytest.approx((5 / 6 + 4) / 5)


def test_nobody_who_sees_only_words_exceeds_the_ceiling() -> None:
    p = pairing()
    rng = np.random.default_rng(1)
    codes = rng.standard_normal((p.words.max() + 1, 24))
    for seed in range(20):
        own = np.random.default_rng(seed).standard_normal((5, 24)) * 0.1
        images = np.stack([codes[p.words[i == OWNER]].mean(axis=0) for i in range(5)]) + own
        ranking = rank_vectors(images, codes[p.words], p)
        for k in (1, 3):
            found = ranking.standing("image to text", "official").found(k)
            assert (found <= ceiling(p, "image to text", "official").found(k) + 1e-9).all()


def test_duplicate_aware_has_no_ceiling() -> None:
    for direction in DIRECTIONS:
        bound = ceiling(pairing(), direction, "duplicate-aware")
        assert (bound.recall(1), bound.mrr, bound.median_rank) == (1.0, 1.0, 1.0)


@pytest.mark.real
def test_ceilings_of_the_ucm_captions(data_dir: Path) -> None:
    path = data_dir / "ucm" / "captions.json"
    if not path.is_file():
        pytest.skip("needs the UCM captions")
    rows = [one for one in json.loads(path.read_text()) if one["split"] == "test"]
    texts = [text for one in rows for text in one["sentences"]]
    p = Pairing.of(np.repeat(np.arange(len(rows)), [len(one["sentences"]) for one in rows]), len(rows), texts)
    assert (p.images, p.captions) == (210, 1050)
    bound = ceiling(p, "text to image", "official")
    assert [round(100 * bound.recall(k), 1) for k in (1, 5, 10)] == [38.1, 84.6, 100.0]
    assert 100 * chance(p, "text to image", "official").recall(1) == pytest.approx(100 / 210)
    assert chance(p, "text to image", "official").median_rank == 105
