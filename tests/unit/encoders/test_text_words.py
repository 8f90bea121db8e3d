"""The text encoder of whole words: its vocabulary travels with it, and what it cannot read is said."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from placevec.encoders.model import CARD, load_encoder
from placevec.encoders.text import BATCH, VOCABULARY, TextEncoder, TextEncoderConfig
from placevec.errors import CheckpointError, DataError, UsageError
from placevec.nn.text import TextConfig, Vocabulary, WordsConfig, tokens
from placevec.provenance import Space, sha256_file
from placevec.testing import check_encoder

CAPTIONS = [f"{i} houses beside the {'river' if i % 2 else 'sea'}" for i in range(20)]
WORDS = TextEncoderConfig(net=WordsConfig(width=8, layers=2, heads=2, context=6), dims=5)
BAG = TextEncoderConfig(net=WordsConfig(width=8, layers=0, heads=1, hidden=6), dims=5, normalize=False)
HASHED = TextEncoderConfig(net=TextConfig(buckets=300, width=8, capacity=8, max_tokens=6), dims=5)
KINDS = [WORDS, BAG, HASHED]


def encoder_of(config: TextEncoderConfig) -> TextEncoder:
    return TextEncoder.untrained(config, 1, config.net.learn(CAPTIONS))


def batch(texts: list[str]) -> dict[str, np.ndarray]:
    return {"text": np.array(texts)}


@pytest.mark.parametrize("config", KINDS)
def test_every_kind_keeps_the_contract_and_comes_back_from_its_folder(
    config: TextEncoderConfig, tmp_path: Path
) -> None:
    encoder = encoder_of(config)
    check_encoder(encoder, batch(CAPTIONS))
    saved = encoder.save(tmp_path / "text")
    assert saved.card.assets == {VOCABULARY: sha256_file(tmp_path / "text" / VOCABULARY)}
    again = load_encoder(tmp_path / "text")
    assert isinstance(again, TextEncoder)
    assert again.card == saved.card
    assert again.config == config
    assert again.vocabulary == encoder.vocabulary
    assert np.array_equal(again.encode(batch(CAPTIONS)), encoder.encode(batch(CAPTIONS)))
    many = CAPTIONS * (BATCH // 20 + 1)
    assert np.array_equal(again.encode(batch(many))[-20:], encoder.encode(batch(CAPTIONS)))


@pytest.mark.parametrize("config", KINDS)
def test_long_texts_are_cut_and_counted(config: TextEncoderConfig) -> None:
    encoder = encoder_of(config)
    longest = config.net.longest_text
    long = " ".join(["river"] * (longest + 1))
    short = " ".join(["river"] * longest)
    vectors = encoder.encode(batch([short, long, f"{long} sea", "the sea"]))
    assert encoder.truncated == 2
    np.testing.assert_allclose(vectors[1], vectors[2], atol=1e-6)
    encoder.encode(batch([short]))
    assert encoder.truncated == 0  # of the last call alone
    encoder.encode(batch([long] * (BATCH + 3)))
    assert encoder.truncated == BATCH + 3


@pytest.mark.parametrize("config", KINDS)
def test_known_words(config: TextEncoderConfig, tmp_path: Path) -> None:
    encoder = encoder_of(config)
    assert encoder.known_words("An avocado beside the SEA.") == 0.6
    assert encoder.known_words("") == 0.0
    encoder.save(tmp_path / "text")
    assert load_encoder(tmp_path / "text").known_words("the avocado") == 0.5


def test_hashed_features_without_a_vocabulary(tmp_path: Path) -> None:
    encoder = TextEncoder.untrained(HASHED).save(tmp_path / "text")
    assert encoder.card.assets == {}
    again = load_encoder(tmp_path / "text")
    assert again.known_words("an avocado") == 1.0
    assert again.known_words("…") == 0.0
    assert again.encode(batch([""])).shape == (1, 5)  # as it always was


def test_a_text_without_words_is_refused_by_its_row() -> None:
    encoder = encoder_of(WORDS)
    for empty in ("", "  ", "…!"):
        texts = [*CAPTIONS * (BATCH // 20 + 1), empty]
        with pytest.raises(DataError, match=rf"row {len(texts) - 1} is '{empty}', a text without words"):
            encoder.encode(batch(texts))
    with pytest.raises(DataError, match=rf"row {BATCH + 1} is None, not a text"):
        encoder.encode({"text": np.array([*["the sea"] * (BATCH + 1), None], dtype=object)})
    unknown = encoder.encode(batch(["zeppelin", "avocado"]))
    assert np.array_equal(unknown[0], unknown[1])  # one vector for all that training never saw


def test_a_trained_network_is_wrapped_with_its_vocabulary(tmp_path: Path) -> None:
    vocabulary = Vocabulary.of(CAPTIONS)
    net = WORDS.net.build(WORDS.dims, vocabulary).eval()
    encoder = TextEncoder.trained(net, WORDS, Space.mint(5), vocabulary=vocabulary, name="captions").save(
        tmp_path / "t"
    )
    with torch.no_grad():
        expected = torch.nn.functional.normalize(net(tokens(CAPTIONS, WORDS.net, vocabulary)), dim=1).numpy()
    np.testing.assert_allclose(encoder.encode(batch(CAPTIONS)), expected, atol=1e-6)
    assert encoder.card.name == "captions"
    with pytest.raises(UsageError, match="needs the vocabulary"):
        TextEncoder.untrained(WORDS)


def test_a_folder_from_before_there_were_kinds(tmp_path: Path) -> None:
    encoder = TextEncoder.untrained(HASHED).save(tmp_path / "text")
    path = tmp_path / "text" / CARD
    card = json.loads(path.read_text())
    del card["config"]["net"]["kind"]
    path.write_text(json.dumps(card))
    again = load_encoder(tmp_path / "text")
    assert np.array_equal(again.encode(batch(CAPTIONS)), encoder.encode(batch(CAPTIONS)))


def test_a_folder_with_another_vocabulary_is_refused(tmp_path: Path) -> None:
    encoder = encoder_of(WORDS).save(tmp_path / "text")
    path = tmp_path / "text" / VOCABULARY
    card = json.loads((tmp_path / "text" / CARD).read_text())

    def said(content: bytes | None, message: str) -> None:
        assets = {}
        if content is not None:
            path.write_bytes(content)
            assets = {VOCABULARY: sha256_file(path)}
        (tmp_path / "text" / CARD).write_text(json.dumps({**card, "assets": assets}))
        with pytest.raises(CheckpointError, match=message) as refused:
            load_encoder(tmp_path / "text")
        assert "\n" not in str(refused.value)

    said(Vocabulary.of(["the sea"]).to_bytes(), "embed.weight is")
    said(b'{"words": ["a"', f"{VOCABULARY} is damaged")
    said(None, "cannot be built: a network of words needs the vocabulary")
    path.write_bytes(Vocabulary(encoder.vocabulary.words[::-1]).to_bytes())
    (tmp_path / "text" / CARD).write_text(json.dumps(card))
    with pytest.raises(CheckpointError, match="sha256 differs"):
        load_encoder(tmp_path / "text")
