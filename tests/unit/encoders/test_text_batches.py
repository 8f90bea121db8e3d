"""Texts of all lengths in fixed batches: whom a text is encoded with changes no bit of its vector."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from placevec.encoders import text as module
from placevec.encoders.text import BATCH, CHUNK, WIDTH, TextEncoder, TextEncoderConfig
from placevec.nn.text import TextConfig, TextNetConfig, WordsConfig, tokens

WORDS = ("river", "bridge", "two", "green", "courts", "beside", "a", "harbour", "with", "cranes")
NETS: dict[str, TextNetConfig] = {
    "hashed": TextConfig(buckets=500, width=8, capacity=16),
    "bag": WordsConfig(width=8, heads=2, layers=0),
    "mean": WordsConfig(width=8, heads=2, layers=1),
    "end": WordsConfig(width=8, heads=2, layers=1, pooling="end"),
}


def encoder(kind: str) -> TextEncoder:
    net = NETS[kind]
    return TextEncoder.untrained(TextEncoderConfig(net=net, dims=6), 0, net.learn([" ".join(WORDS)]))


def texts(lengths: list[int]) -> np.ndarray:
    rng = np.random.default_rng(len(lengths))
    return np.array([" ".join(rng.choice(WORDS, length)) for length in lengths], dtype=object)


@pytest.mark.parametrize("kind", NETS)
@settings(deadline=None, max_examples=15)
@given(st.lists(st.integers(1, 60), min_size=1, max_size=3 * BATCH))
def test_alone_and_in_company(kind: str, lengths: list[int]) -> None:
    given_texts, made = texts(lengths), encoder(kind)
    together = made.encode({"text": given_texts})
    alone = [made.encode({"text": given_texts[row : row + 1]})[0] for row in range(len(given_texts))]
    assert np.array_equal(together, alone)


@pytest.mark.parametrize("kind", NETS)
def test_the_whole_width_gives_the_same_vectors(kind: str) -> None:
    made = encoder(kind)
    shown = texts([1, 5, WIDTH - 2, WIDTH - 1, WIDTH, 30, 48, 49, 60])
    every = tokens(shown.tolist(), NETS[kind], made.vocabulary)
    with torch.inference_mode():
        whole = made.net(every).numpy()
    assert np.allclose(made.encode({"text": shown}), whole, atol=1e-6)


@pytest.mark.parametrize("kind", NETS)
def test_a_text_costs_one_small_batch_of_its_own_width(kind: str) -> None:
    made = encoder(kind)
    seen: list[tuple[int, ...]] = []
    made.net.register_forward_pre_hook(lambda _, given: seen.append(tuple(given[0].shape)))
    made.encode({"text": texts([3])})
    (shape,) = seen
    assert shape[0] == BATCH
    assert shape[1] < NETS[kind].rows([["a"]], made.vocabulary).shape[1]


def test_more_texts_than_a_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    made, shown = encoder("mean"), texts([1 + row % 60 for row in range(50)])
    whole = made.encode({"text": shown})
    assert len(shown) < CHUNK
    cut = made.truncated
    monkeypatch.setattr(module, "CHUNK", 7)
    assert np.array_equal(made.encode({"text": shown}), whole)
    assert made.truncated == cut == sum(1 + row % 60 > 48 for row in range(50))


def test_a_text_without_words_on_a_network_that_reads_it() -> None:
    found = encoder("hashed").encode({"text": np.array(["", "a river", "..."], dtype=object)})
    assert np.isfinite(found).all()
    assert np.array_equal(found[0], found[2])
