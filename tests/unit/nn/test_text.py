"""The text tower: which features a text has, that they are the same everywhere, and what the network makes of them."""

from __future__ import annotations

import os
import subprocess
import sys
import unicodedata
import zlib

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from placevec.errors import DataError, UsageError
from placevec.nn.text import PADDING, TextConfig, tokens, words

WIDE = TextConfig(buckets=2**31 - 1, max_tokens=4000)  # so many buckets that features do not meet
SMALL = TextConfig(buckets=300, width=8, capacity=12, dropout=0.5, max_tokens=40)


def slow_features(text: str, config: TextConfig) -> list[str]:
    """The features as the docstrings name them, written without any cleverness."""
    found = words(text)
    features = [f"w:{word}" for word in found]
    features += [f"p:{found[i]} {found[i + 1]}" for i in range(len(found) - 1)]
    for word in found:
        marked = f"<{word}>"
        for length in range(config.shortest, config.longest + 1):
            if length < len(marked):
                features += [f"c:{marked[i : i + length]}" for i in range(len(marked)) if i + length <= len(marked)]
    return features


def row(text: str, config: TextConfig = WIDE) -> list[int]:
    return [token for token in tokens([text], config)[0].tolist() if token != PADDING]


def test_features_of_a_text_by_hand() -> None:
    expected = ["w:old", "w:mill", "p:old mill", "c:<ol", "c:old", "c:ld>", "c:<old", "c:old>"]
    expected += ["c:<mi", "c:mil", "c:ill", "c:ll>", "c:<mil", "c:mill", "c:ill>", "c:<mill", "c:mill>"]
    assert row("Old mill.") == [1 + zlib.crc32(name.encode()) % WIDE.buckets for name in expected]


@given(st.text(max_size=60))
def test_features_of_any_text(text: str) -> None:
    config = TextConfig(buckets=1000, max_tokens=25)
    expected = [1 + zlib.crc32(f.encode("utf-8", "surrogatepass")) % 1000 for f in slow_features(text, config)][:25]
    assert row(text, config) == expected
    found = tokens([text], config)
    assert found.shape == (1, 25)
    assert found.dtype == torch.int64
    assert int(found.max()) <= config.buckets


@given(st.text(max_size=60))
def test_spelling_does_not_matter(text: str) -> None:
    for form in ("NFC", "NFD", "NFKC"):
        assert row(unicodedata.normalize(form, text)) == row(text)


def test_words_of_many_scripts() -> None:
    assert words("Straße, STRASSE; ﬁeld_42!") == ["strasse", "strasse", "field", "42"]
    assert words("नदी के किनारे") == ["नदी", "के", "किनारे"]  # vowel signs stay in their word
    assert words("😀 …") == []
    assert words("Cafe\u0301") == words("CAFÉ")


def test_tokens_are_the_same_in_every_process() -> None:
    code = "from placevec.nn.text import *; print(tokens(['The river Ebro'], TextConfig(max_tokens=9)).tolist())"
    own = os.environ.get("PYTHONHASHSEED", "random")
    env = {**os.environ, "PYTHONHASHSEED": "2" if own == "1" else "1"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env)
    assert done.stdout == f"{tokens(['The river Ebro'], TextConfig(max_tokens=9)).tolist()}\n"
    # Models that were saved read their buckets by these numbers: they may never change.
    assert tokens(["The river Ebro"], TextConfig(max_tokens=3)).tolist() == [[26612, 1319, 17216]]


def test_a_long_text_is_cut_and_keeps_its_words() -> None:
    long = " ".join(f"word{i}" for i in range(200_000))
    config = TextConfig(max_tokens=30)
    assert row(long, config) == [1 + zlib.crc32(f"w:word{i}".encode()) % config.buckets for i in range(30)]
    assert tokens([], config).shape == (0, 30)


def test_the_mean_leaves_padding_out() -> None:
    net = SMALL.build(5).eval()
    found = tokens(["a small harbour", ""], SMALL)
    count = int((found[0] != PADDING).sum())
    mean = net.bag.weight[found[0, :count]].mean(dim=0)
    assert torch.allclose(net.bag(found)[0], mean, atol=1e-6)
    wider = torch.nn.functional.pad(found, (0, 50))
    assert torch.equal(net(wider), net(found))
    assert torch.isfinite(net(found)).all()


def test_gradients_reach_the_features_of_the_text_alone() -> None:
    net = SMALL.build(5)
    found = tokens(["a small harbour", "", "wide fields"], SMALL)
    net(found).square().sum().backward()
    assert all(torch.isfinite(value.grad).all() for value in net.parameters())
    touched = set(net.bag.weight.grad.abs().sum(dim=1).nonzero().flatten().tolist())
    assert touched == set(found.flatten().tolist()) - {PADDING}


def test_it_learns_to_tell_captions_apart_and_reads_words_it_never_saw() -> None:
    torch.manual_seed(0)
    kinds = ["forest with old trees", "harbour and fishing boats", "dry fields of wheat"]
    texts = [f"{kind} number {i}" for i in range(20) for kind in kinds]
    goal = torch.arange(len(texts)) % 3
    net = TextConfig(buckets=4000, width=16, capacity=32, dropout=0.1).build(3)
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-2)
    found = tokens(texts, config := TextConfig(buckets=4000, width=16))
    for _ in range(40):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(net(found), goal).backward()
        optimizer.step()
    net.eval()
    # Neither "forested" nor "harbours" nor "wheatfield" was in a caption: their n-grams were.
    unseen = tokens(["FORESTED", "harbours", "wheatfield"], config)
    assert net(unseen).argmax(dim=1).tolist() == [0, 1, 2]


def test_settings_out_of_range_are_refused() -> None:
    for wrong in ({"buckets": 0}, {"layers": -1}, {"dropout": 1.0}, {"longest": 2}, {"max_tokens": 0}):
        with pytest.raises(UsageError, match=next(iter(wrong))):
            TextConfig(**wrong)
    with pytest.raises(UsageError, match="dims = 0"):
        TextConfig().build(0)
    with pytest.raises(DataError, match="row 1 is None, not a text"):
        tokens(["here", None], SMALL)
