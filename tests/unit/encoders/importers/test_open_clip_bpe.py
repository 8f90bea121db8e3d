"""OpenAI's list of merges as a tokenizer, against the rule written out slowly."""

from __future__ import annotations

import gzip
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tiny_transformers as tiny
from placevec.encoders.importers.open_clip.bpe import (
    FIXED,
    byte_characters,
    read_merges,
    vocabulary,
    write_tokenizer,
)
from placevec.errors import DataError

transformers = pytest.importorskip("transformers")

MERGES = tiny.bpe_merges()
SIZE = FIXED + len(MERGES)


def test_bytes_have_the_characters_of_openai() -> None:
    found = byte_characters()
    assert found == tiny.byte_symbols()
    assert len(set(found)) == 256
    # Known places of the published vocabulary.
    assert (found.index("!"), found.index("a"), found.index("¡"), found.index("Ġ")) == (0, 64, 94, 220)


def test_the_order_of_the_vocabulary() -> None:
    found = vocabulary(MERGES)
    assert found == tiny.bpe_vocabulary()
    assert sorted(found.values()) == list(range(SIZE))
    assert (found["!"], found["!</w>"], found["a</w>"]) == (0, 256, 320)
    assert found[MERGES[0].replace(" ", "")] == 512
    assert (found["<|startoftext|>"], found["<|endoftext|>"]) == (SIZE - 2, SIZE - 1)


@pytest.mark.parametrize("packed", [True, False])
def test_a_list_with_more_merges_than_are_needed(tmp_path: Path, packed: bool) -> None:
    lines = ['"bpe_simple_vocab_16e6.txt#version: 0.2', *MERGES, "qq qq", "zz zz</w>"]
    data = ("\n".join(lines) + "\n").encode()
    path = tmp_path / "bpe_simple_vocab_16e6.txt.gz"
    path.write_bytes(gzip.compress(data) if packed else data)
    assert read_merges(path, SIZE) == MERGES
    assert read_merges(path, SIZE - 3) == MERGES[:-3]
    with pytest.raises(DataError, match=f"has {len(MERGES) + 2} merges.*the checkpoint has {SIZE + 3}"):
        read_merges(path, SIZE + 3)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "has 0 merges"),
        (b"one two three\n" * 200, "is no list of merges: a line of it is 'one two three'"),
        (gzip.compress(b"#version: 0.2\na b\n", mtime=0)[:-9], "cannot be read as a list of merges"),
        (b"\xff\xfe\x00", "cannot be read as a list of merges"),
    ],
)
def test_what_is_no_list_of_merges(tmp_path: Path, data: bytes, words: str) -> None:
    (tmp_path / "merges.txt").write_bytes(data)
    with pytest.raises(DataError, match=words):
        read_merges(tmp_path / "merges.txt", SIZE)


def slow_tokens(word: str) -> list[int]:
    """The tokens of one word: again and again the earliest merge of the list that applies, at every place."""
    numbers = vocabulary(MERGES)
    ranks = {tuple(line.split(" ")): rank for rank, line in enumerate(MERGES)}
    shown = byte_characters()
    order = [*range(33, 127), *range(161, 173), *range(174, 256)]
    order += [byte for byte in range(256) if byte not in order]
    symbols = [shown[order.index(byte)] for byte in word.encode()]
    symbols[-1] += "</w>"
    while True:
        found = [pair for pair in pairwise(symbols) if pair in ranks]
        if not found:
            return [numbers[symbol] for symbol in symbols]
        best = min(found, key=ranks.__getitem__)
        joined: list[str] = []
        for symbol in symbols:
            if joined and (joined[-1], symbol) == best:
                joined[-1] += symbol
            else:
                joined.append(symbol)
        symbols = joined


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> object:
    folder = tmp_path_factory.mktemp("bpe")
    write_tokenizer(folder, MERGES)
    return transformers.CLIPTokenizer.from_pretrained(folder)


@given(words=st.lists(st.one_of(st.sampled_from(tiny.WORDS), st.text("abehinorstvéñ", min_size=1, max_size=8))))
def test_the_tokens_follow_the_rule(tokenizer: object, words: list[str]) -> None:
    expected = [SIZE - 2, *(number for word in words for number in slow_tokens(word)), SIZE - 1]
    assert tokenizer(" ".join(words))["input_ids"] == expected
