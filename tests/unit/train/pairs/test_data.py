"""Captions by image: which are equal, and which are drawn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from placevec.errors import DataError
from placevec.train.pairs import Captions

TEXTS = st.sampled_from(["a river", "A river .", "two ships", "trees", "A  RIVER"])


def test_texts_are_kept_once_and_equal_ones_share_a_key() -> None:
    found = Captions.of([["a river", "A river ."], ["two ships"], ["a  RIVER", "trees", "trees"]])
    assert found.texts == ("a river", "A river .", "two ships", "a  RIVER", "trees")
    assert found.keys.tolist() == [0, 0, 1, 0, 2]
    assert found.counts.tolist() == [2, 1, 3]
    assert found.own.tolist() == [[0, 1, 0], [2, 2, 2], [3, 4, 4]]
    assert found.said.tolist() == [[0, 0, -1], [1, -1, -1], [0, 2, 2]]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ([["a"], []], "image 1 has the captions"),
        ([["a"], "b"], "image 1 has the captions 'b': give a list"),
        ([["a", " ... "]], "image 0 has the caption ' ... ', which has no word"),
        ([["a", None]], "image 0 has the caption None"),
        ([], "there are no captions"),
    ],
)
def test_what_is_refused(wrong: list[list[str]], said: str) -> None:
    with pytest.raises(DataError, match=said):
        Captions.of(wrong)


@given(st.lists(st.lists(TEXTS, min_size=1, max_size=4), min_size=1, max_size=6), st.integers(0, 6), st.integers(0, 9))
def test_drawn_captions_are_the_images_own(captions: list[list[str]], count: int, seed: int) -> None:
    found = Captions.of(captions)
    rows = np.arange(len(captions))[::-1].copy()
    torch.manual_seed(seed)
    drawn = found.drawn(rows, count)
    most = max(map(len, captions))
    assert drawn.shape == (len(captions), count or most)
    for row, own in zip(rows.tolist(), drawn.tolist(), strict=True):
        texts = [found.texts[k] for k in own]
        assert set(texts) <= set(captions[row])
        if len(texts) >= most:
            assert set(texts) == set(captions[row])  # nothing is left out where all have room
    torch.manual_seed(seed)
    assert torch.equal(found.drawn(rows, count), drawn)


def test_each_caption_is_drawn_as_often_as_the_others() -> None:
    found = Captions.of([["a", "b", "c"], ["d", "e"]] * 3000)
    torch.manual_seed(0)
    drawn = found.drawn(np.arange(6000), 1)[:, 0]
    counts = torch.bincount(drawn, minlength=5).tolist()
    assert all(abs(count - 1000) < 120 for count in counts[:3])
    assert all(abs(count - 1500) < 120 for count in counts[3:])
    pairs = found.drawn(np.arange(6000), 2)
    assert (pairs[:, 0] != pairs[:, 1]).all()
