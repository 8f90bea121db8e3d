import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from placevec.measure.everyday import EVERYDAY
from placevec.measure.query_words import FUNCTION_WORDS, content_words, kept_words, said_by, short_queries

WORD = st.sampled_from(["river", "rivers", "trees", "tree", "a", "the", "boat", "grass", "many", "Two"])
TEXT = st.lists(WORD, min_size=1, max_size=5).map(" ".join)


@given(st.lists(TEXT, min_size=1, max_size=6), st.lists(st.tuples(TEXT, st.integers(0, 3)), min_size=1, max_size=8))
def test_what_fits_against_sets(texts, captions) -> None:
    said = [text for text, _ in captions]
    own = np.array([row for _, row in captions])
    fits = said_by(texts, said, own, 4)
    for row, text in enumerate(texts):
        for image in range(4):
            words = {word for caption, at in captions if at == image for word in content_words(caption)}
            assert fits[row, image] == (set(content_words(text)) <= words)


def test_a_caption_fits_its_image_and_those_with_an_equal_one() -> None:
    captions = ["There are two tennis courts .", "two tennis court", "A river in a city.", "boats"]
    fits = said_by([*captions, "river", "courts"], captions, np.array([0, 1, 2, 2]), 3)
    assert fits.tolist() == [
        [True, True, False],
        [True, True, False],
        [False, False, True],
        [False, False, True],
        [False, False, True],
        [True, True, False],
    ]


def test_words() -> None:
    assert content_words("There are many Rivers, and the GRASS") == ["river", "grass"]
    assert kept_words("There are many Rivers") == ["rivers"]
    assert content_words("it is the") == ["it", "is", "the"]
    assert content_words("!!") == []
    assert content_words("ein Fluß") == ["ein", "fluss"]


def test_short_queries_are_words_of_the_image_in_order() -> None:
    captions = ["there is a long river with green trees and small boats", "the", "two tennis courts"]
    queries, rows = short_queries(captions, np.array([0, 1, 2]), seed=3)
    assert rows.tolist() == [0, 1, 2]
    for query, row in zip(queries, rows, strict=True):
        at = [kept_words(captions[row]).index(word) for word in query.split()]
        assert at == sorted(at)
        assert 1 <= len(at) <= 4
    assert short_queries(captions, np.array([0, 1, 2]), seed=3)[0] == queries
    assert short_queries(["..."], np.array([0])) == ([], pytest.approx(np.array([])))


def test_everyday_phrases_stand_once() -> None:
    phrases = [phrase for topic in EVERYDAY.values() for phrase in topic]
    assert len(EVERYDAY) >= 5
    assert len(phrases) == len(set(phrases)) >= 150
    assert all(set(content_words(phrase)) - FUNCTION_WORDS for phrase in phrases)
