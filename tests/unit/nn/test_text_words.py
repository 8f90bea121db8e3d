"""Words with a vocabulary: which number a word has, and what the network makes of the numbers."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from placevec.errors import CheckpointError, DataError, UsageError
from placevec.nn.configs import to_json
from placevec.nn.text import PADDING, TEXT_NETS, TextConfig, Vocabulary, WordsConfig, text_config, tokens, words
from placevec.nn.text.vocabulary import BEGIN, END, SPECIALS, UNKNOWN

CAPTIONS = ["Two tennis courts beside the trees.", "the river, the trees", "a harbour", "the harbour"]
VOCABULARY = Vocabulary.of(CAPTIONS)
SMALL = WordsConfig(width=8, layers=2, heads=2, context=6, dropout=0.0, word_dropout=0.0)
SHAPES = [SMALL, WordsConfig(width=8, layers=0, heads=1, context=6, hidden=5), WordsConfig(width=8, pooling="end")]


def number(word: str) -> int:
    return SPECIALS + VOCABULARY.words.index(word)


def test_the_numbers_of_words_by_hand() -> None:
    assert VOCABULARY.words == ("the", "harbour", "trees", "a", "beside", "courts", "river", "tennis", "two")
    assert len(VOCABULARY) == 13
    assert VOCABULARY.numbers(["the", "crane", "two"]) == [4, UNKNOWN, 12]
    assert "trees" in VOCABULARY
    assert "crane" not in VOCABULARY
    assert VOCABULARY.known("TREES, trees and a crane") == 0.6
    assert VOCABULARY.known("… !") == 0.0
    found = tokens(["The crane", "two trees beside the harbour, a river"], SMALL, VOCABULARY)
    assert found.tolist() == [[2, 4, 1, 3, 0, 0, 0, 0], [2, 12, 6, 8, 4, 5, 7, 3]]
    assert (PADDING, UNKNOWN, BEGIN, END) == (0, 1, 2, 3)  # saved models read their rows by these numbers


@given(st.lists(st.text("ab cü", max_size=12), min_size=1), st.integers(1, 3), st.integers(0, 4))
def test_any_captions(captions: list[str], least: int, limit: int) -> None:
    counts = Counter(word for caption in captions for word in words(caption))
    kept = {word for word, count in counts.items() if count >= least}
    if not kept:
        with pytest.raises(DataError, match=f"no word stands {least} times"):
            Vocabulary.of(captions, least, limit)
        return
    found = Vocabulary.of(captions, least, limit)
    assert len(found.words) == (min(limit, len(kept)) if limit else len(kept))
    assert set(found.words) <= kept
    left = kept - set(found.words)
    assert all((-counts[a], a) < (-counts[b], b) for a in found.words for b in left)
    assert Vocabulary.of(reversed(captions), least, limit) == found  # the order of captions says nothing
    assert Vocabulary.from_bytes(found.to_bytes(), "here") == found


def test_a_vocabulary_that_is_not_one() -> None:
    for content, said in (
        (b"{", "damaged"),
        (b"[]", "damaged"),
        (b'{"version": 1}', "damaged"),
        (b'{"version": 1, "words": ["a", "a"]}', "distinct"),
        (b'{"version": 1, "words": [3]}', "distinct"),
        (b'{"version": 9, "words": []}', "version 9"),
        (b"\xff", "damaged"),
    ):
        with pytest.raises(CheckpointError, match=f"vocabulary.json.*{said}"):
            Vocabulary.from_bytes(content, "m/vocabulary.json")
    with pytest.raises(UsageError, match="min_count = 0"):
        Vocabulary.of(CAPTIONS, 0)


@pytest.mark.parametrize("config", SHAPES)
def test_what_stands_after_the_end_says_nothing(config: WordsConfig) -> None:
    torch.manual_seed(0)
    net = config.build(5, VOCABULARY).eval()
    found = tokens(["the river", "a harbour beside the trees"], config, VOCABULARY)
    assert torch.allclose(net(found), net(found[:, :8]), atol=1e-6)
    assert torch.allclose(net(found)[:1], net(found[:1]), atol=1e-6)
    assert net(torch.zeros(2, 4, dtype=torch.int64)).isfinite().all()  # padding alone is not NaN
    assert net(found[:0]).shape == (0, 5)


def test_a_bag_is_the_mean_of_its_words() -> None:
    config = SHAPES[1]
    net = config.build(5, VOCABULARY).eval()
    row = tokens(["two tennis courts"], config, VOCABULARY)
    mean = net.embed.weight[[number("two"), number("tennis"), number("courts")]].mean(dim=0)
    torch.testing.assert_close(net(row)[0], net.head(net.norm(mean)))
    again = tokens(["courts tennis two"], config, VOCABULARY)
    torch.testing.assert_close(net(again), net(row))
    assert config.build(5, VOCABULARY).positions is None


def test_blocks_read_the_order() -> None:
    net = WordsConfig(width=8, layers=1, heads=2, context=6).build(5, VOCABULARY).eval()
    with torch.no_grad():
        net.positions.normal_()  # as large as after training
    one, other = tokens(["river beside trees", "trees beside river"], SMALL, VOCABULARY)
    assert not torch.allclose(net(one[None]), net(other[None]), atol=1e-3)


def test_word_dropout_reads_words_as_unknown_and_leaves_the_marks() -> None:
    torch.manual_seed(0)
    config = WordsConfig(width=8, layers=0, word_dropout=0.5, heads=1)
    net = config.build(5, VOCABULARY).train()
    found = tokens(["the river beside the harbour"] * 400, config, VOCABULARY)
    shown = net._shown(found)
    assert shown.shape == (400, 7)  # columns of padding alone are left out
    assert (shown[:, 0] == BEGIN).all()
    assert (shown[:, 6] == END).all()
    lost = shown[:, 1:6] == UNKNOWN
    assert 0.4 < float(lost.float().mean()) < 0.6
    assert torch.equal(shown[:, 1:6][~lost], found[:, 1:6][~lost])
    assert torch.equal(net.embed.weight[UNKNOWN], torch.zeros(8))
    net(found).square().sum().backward()
    assert net.embed.weight.grad[UNKNOWN].abs().sum() > 0
    assert net.embed.weight.grad[PADDING].abs().sum() == 0


@pytest.mark.parametrize("config", SHAPES)
def test_it_learns_to_tell_captions_apart(config: WordsConfig) -> None:
    torch.manual_seed(0)
    kinds = ["forest with old trees", "harbour and fishing boats", "dry fields of wheat"]
    texts = [f"{kind} number {i}" for i in range(20) for kind in kinds]
    goal = torch.arange(len(texts)) % 3
    vocabulary = config.learn(texts)
    net = config.build(3, vocabulary)
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-2)
    found = tokens(texts, config, vocabulary)
    for _ in range(30):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(net(found), goal).backward()
        optimizer.step()
    assert all(value.grad.isfinite().all() for value in net.parameters())
    net.eval()
    unseen = tokens(["boats in the harbour", "wheat", "an OLD forest"], config, vocabulary)
    assert net(unseen).argmax(dim=1).tolist() == [1, 2, 0]


def test_every_kind_reads_texts_the_same_way() -> None:
    for kind in TEXT_NETS:
        config = text_config({"kind": kind, "width": 8})
        vocabulary = config.learn(CAPTIONS)
        assert set(vocabulary.words) == set(VOCABULARY.words)
        found = tokens(CAPTIONS, config, vocabulary)
        assert found.dtype == torch.int64
        assert config.build(4, vocabulary).eval()(found).shape == (4, 4)
        assert text_config(to_json(config)) == config
        assert config.longest_text > 1
        assert tokens([], config, vocabulary).shape == (0, found.shape[1])
    assert text_config({"buckets": 50}) == TextConfig(buckets=50)  # as it was written before there were kinds
    assert to_json(TextConfig())["kind"] == "hashed"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"kind": "bpe"}, "no text network is called 'bpe'; known: hashed, words"),
        ({"kind": "words", "buckets": 3}, "WordsConfig has no setting 'buckets'"),
        ({"kind": "words", "context": 0}, "context = 0"),
        ({"kind": "words", "layers": -1}, "layers = -1"),
        ({"kind": "words", "word_dropout": 1.0}, "word_dropout = 1.0"),
        ({"kind": "words", "pooling": "max"}, "pooling is 'max'; known: mean, end"),
        ({"kind": "words", "pooling": "end", "layers": 0}, "pooling = 'end' with layers = 0"),
        ({"kind": "words", "width": 10, "heads": 4}, "width = 10, heads = 4"),
        ({"kind": "words", "ratio": 0.0}, "ratio = 0.0"),
    ],
)
def test_settings_out_of_range_are_refused(value: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message) as refused:
        text_config(value)
    assert "\n" not in str(refused.value)


def test_words_need_their_vocabulary() -> None:
    for act in (lambda: SMALL.build(3), lambda: tokens(["a"], SMALL)):
        with pytest.raises(UsageError, match="needs the vocabulary of its training"):
            act()
    with pytest.raises(UsageError, match="dims = 0"):
        SMALL.build(0, VOCABULARY)
    with pytest.raises(DataError, match=r"row 1 is 3\.0, not a text"):
        tokens(["a", 3.0], SMALL, VOCABULARY)
