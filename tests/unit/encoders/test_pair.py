"""Pairs of towers: saved, moved, damaged, mixed, and opened by their names."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import tiny_transformers as tiny
from placevec.encoders.hf import HfImageEncoder, HfTextEncoder
from placevec.encoders.image import ImageConfig, ImageEncoder
from placevec.encoders.model import load_encoder, read_card
from placevec.encoders.pair import PairModel, open_pair, open_text_tower, pair_card
from placevec.encoders.text import TextEncoder, TextEncoderConfig
from placevec.errors import CheckpointError, SpaceMismatch, UsageError
from placevec.nn.vision import SmallCNNConfig
from placevec.provenance import Space
from placevec.tasks.encoders import build_encoder, encoder_spec
from placevec.testing import check_encoder

transformers = pytest.importorskip("transformers")

TEXTS = np.array(tiny.CAPTIONS, dtype=object)
CHIPS = tiny.chips(4, size=20)
RELEVANCE = {"version": 1, "weights": [0.5, -1.25], "words": "día"}


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_clip(tmp_path_factory.mktemp("models") / "clip")


def own_pair(relevance: dict[str, object] | None = None) -> PairModel:
    """Our own towers, untrained, put into one Space."""
    text = TextEncoder.untrained(TextEncoderConfig(dims=8))
    image = ImageEncoder.untrained(ImageConfig(SmallCNNConfig(dims=8)), chips=CHIPS)
    moved = ImageEncoder(image.config, image.net, replace(image.card, space=text.space))
    return PairModel.of(moved, text, relevance=relevance, name="mine")


def same(one: PairModel, other: PairModel) -> None:
    np.testing.assert_array_equal(one.encode({"image": CHIPS}), other.encode({"image": CHIPS}))
    np.testing.assert_array_equal(one.text.encode({"text": TEXTS}), other.text.encode({"text": TEXTS}))
    assert one.card == other.card
    assert one.relevance == other.relevance


def test_our_own_towers(tmp_path: Path) -> None:
    pair = own_pair(RELEVANCE)
    check_encoder(pair, {"image": CHIPS})
    assert (pair.tower, pair.inputs, pair.dims, pair.card.normalized) == ("image", ("image",), 8, True)
    saved = pair.save(tmp_path / "pair")
    assert sorted(path.name for path in (tmp_path / "pair").iterdir()) == [
        "card.json",
        "image",
        "relevance.json",
        "text",
    ]
    shutil.move(tmp_path / "pair", tmp_path / "elsewhere")
    loaded = load_encoder(tmp_path / "elsewhere")
    assert isinstance(loaded, PairModel)
    same(loaded, saved)
    np.testing.assert_array_equal(loaded.encode({"image": CHIPS}), pair.encode({"image": CHIPS}))
    assert loaded.card.weights_sha256 == read_card(tmp_path / "elsewhere" / "image").weights_sha256 != ""
    assert len(loaded.modules()) == 2


@pytest.mark.parametrize("write", [tiny.write_clip, tiny.write_siglip, tiny.write_naflex])
def test_towers_of_transformers(tmp_path: Path, write: Callable[[Path], Path]) -> None:
    pair = open_pair(f"hf:{write(tmp_path / 'model')}")
    assert pair.space.id.startswith("published:model@")
    assert str(tmp_path) not in pair.card.text()
    saved = pair.save(tmp_path / "pair")
    shutil.rmtree(tmp_path / "model")
    shutil.move(tmp_path / "pair", tmp_path / "elsewhere")
    assert not any(str(tmp_path) in path.read_text() for path in (tmp_path / "elsewhere").rglob("*.json"))
    loaded = open_pair(tmp_path / "elsewhere")
    same(loaded, saved)
    np.testing.assert_array_equal(loaded.encode({"image": CHIPS}), pair.encode({"image": CHIPS}))
    assert loaded.text.model is loaded.image.model, "the model is held once"
    assert len(loaded.modules()) == 1
    assert loaded.logit_scale == pytest.approx(float(pair.image.model.logit_scale.detach().exp()), rel=1e-4)


def test_a_trained_clip_is_one_for_transformers_too(clip: Path, tmp_path: Path) -> None:
    pair = open_pair(f"hf:{clip}")
    before = pair.encode({"image": CHIPS})
    with torch.no_grad():
        for weight in pair.image.model.vision_model.parameters():
            weight.mul_(1.1)
    space = Space.mint(tiny.DIMS, note="fine-tuned")
    tuned = PairModel.of(pair.image, pair.text, space=space, name="tuned", recipe={"epochs": 1})
    assert tuned.text.space == tuned.image.space == space != pair.space
    tuned.save(tmp_path / "tuned")
    loaded = open_pair(tmp_path / "tuned")
    assert (loaded.space, loaded.card.name, loaded.card.recipe) == (space, "tuned", {"epochs": 1})
    assert not np.allclose(loaded.encode({"image": CHIPS}), before)
    assert loaded.card.weights_sha256 != pair.card.weights_sha256
    model = transformers.CLIPModel.from_pretrained(tmp_path / "tuned" / "transformers")
    processor = transformers.CLIPProcessor.from_pretrained(tmp_path / "tuned" / "transformers")
    inputs = processor(text=list(TEXTS), images=list(CHIPS), padding=True, return_tensors="pt")
    with torch.no_grad():
        out = model(**inputs)
    for found, expected in (
        (loaded.encode({"image": CHIPS}), out.image_embeds),
        (loaded.text.encode({"text": TEXTS}), out.text_embeds),
    ):
        found /= np.linalg.norm(found, axis=1, keepdims=True)
        np.testing.assert_allclose(found, expected.numpy(), atol=1e-5)


def test_towers_of_two_kinds(clip: Path, tmp_path: Path) -> None:
    """A locked image tower with a text tower of our own; two modules of transformers that were trained apart."""
    image = HfImageEncoder.open(str(clip))
    text = TextEncoder.untrained(TextEncoderConfig(dims=tiny.DIMS))
    mixed = PairModel.of(image, text, space=text.space)
    saved = mixed.save(tmp_path / "mixed")
    same(open_pair(tmp_path / "mixed"), saved)
    apart = PairModel.of(image, HfTextEncoder.open(str(clip)))
    with torch.no_grad():
        apart.text.model.text_projection.weight.mul_(2)
    apart.save(tmp_path / "apart")
    loaded = open_pair(tmp_path / "apart")
    np.testing.assert_array_equal(loaded.encode({"image": CHIPS}), image.encode({"image": CHIPS}))
    np.testing.assert_array_equal(loaded.text.encode({"text": TEXTS}), apart.text.encode({"text": TEXTS}))
    assert (tmp_path / "apart" / "transformers-text").is_dir()


def test_what_does_not_fit_together(clip: Path) -> None:
    image, text = HfImageEncoder.open(str(clip)), HfTextEncoder.open(str(clip))
    stranger = TextEncoder.untrained(TextEncoderConfig(dims=tiny.DIMS))
    with pytest.raises(SpaceMismatch, match="joining the text tower"):
        PairModel.of(image, stranger)
    with pytest.raises(SpaceMismatch, match="joining the image tower"):
        PairModel(image, text, replace(pair_card(image), space=stranger.space))
    with pytest.raises(UsageError, match="the image tower of a pair reads 'image', not text"):
        PairModel.of(text, image)


@pytest.mark.parametrize(
    ("name", "damage", "words"),
    [
        ("relevance.json", b"{}", r"relevance\.json is not the file that the card names"),
        ("text/card.json", b"{}", r"card\.json is not the file"),
        ("transformers/tokenizer.json", None, r"tokenizer\.json is missing"),
        ("transformers/model.safetensors", b"x" * 100, "cannot be loaded|have changed"),
    ],
)
def test_a_damaged_folder(clip: Path, tmp_path: Path, name: str, damage: bytes | None, words: str) -> None:
    pair = open_pair(f"hf:{clip}")
    PairModel(pair.image, pair.text, pair.card, RELEVANCE).save(tmp_path / "pair")
    path = tmp_path / "pair" / name
    if damage is None:
        path.unlink()
    else:
        path.write_bytes(damage)
    with pytest.raises(CheckpointError, match=words) as caught:
        open_pair(tmp_path / "pair")
    assert "\n" not in str(caught.value)


def test_weights_of_another_model_are_noticed(clip: Path, tmp_path: Path) -> None:
    open_pair(f"hf:{clip}").save(tmp_path / "pair")
    other = tiny.write_clip(tmp_path / "other", seed=1)
    shutil.copy(other / "model.safetensors", tmp_path / "pair" / "transformers" / "model.safetensors")
    with pytest.raises(CheckpointError, match="have changed since the card was written"):
        open_pair(tmp_path / "pair")
    with pytest.raises(CheckpointError, match="have changed since the card was written"):
        open_text_tower(tmp_path / "pair")


def test_a_tower_without_its_model(clip: Path, tmp_path: Path) -> None:
    saved = open_pair(f"hf:{clip}").save(tmp_path / "pair")
    shutil.copytree(tmp_path / "pair" / "text", tmp_path / "alone" / "text")
    with pytest.raises(CheckpointError, match="transformers is missing: the tower is part of a pair"):
        load_encoder(tmp_path / "alone" / "text")
    loaded = open_pair(tmp_path / "pair")
    loaded.save(tmp_path / "pair")  # over the files that its weights were read from
    same(open_pair(tmp_path / "pair"), saved)


def test_a_relevance_that_is_no_object(tmp_path: Path) -> None:
    own_pair(RELEVANCE).save(tmp_path / "pair")
    for text, words in (("[1]", "holds list, not an object"), ("{", "is damaged")):
        (tmp_path / "pair" / "relevance.json").write_text(text)
        card = read_card(tmp_path / "pair")
        with pytest.raises(CheckpointError, match=words):
            PairModel.from_card(card, {}, tmp_path / "pair")


def test_a_failed_save_leaves_what_was_there(tmp_path: Path) -> None:
    pair = own_pair()
    pair.save(tmp_path / "pair")

    class Unsaved:
        """An encoder that cannot be written."""

        card, space, tower, dims, inputs = pair.text.card, pair.space, "text", pair.dims, ("text",)

        def encode(self, data: object) -> object:
            return pair.text.encode(data)

    with pytest.raises(UsageError, match="cannot be saved"):
        PairModel.of(pair.image, Unsaved()).save(tmp_path / "pair")
    with pytest.raises(ValueError, match="JSON compliant"):
        PairModel(pair.image, pair.text, pair.card, {"a": float("nan")}).save(tmp_path / "pair")
    assert [path.name for path in tmp_path.iterdir()] == ["pair"]
    np.testing.assert_array_equal(open_pair(tmp_path / "pair").encode({"image": CHIPS}), pair.encode({"image": CHIPS}))


def test_names_that_are_no_pair(clip: Path, tmp_path: Path) -> None:
    own_pair().image.save(tmp_path / "image")
    for name, kind, words in (
        (str(clip), UsageError, f"say hf:{clip}"),
        (tmp_path / "nothing", UsageError, "is no folder"),
        (tmp_path / "image", UsageError, r"holds one encoder \(image\)"),
        (tmp_path, CheckpointError, "is not a model folder"),
        ("hf:./nothing", CheckpointError, "is not a folder"),
    ):
        with pytest.raises(kind, match=words):
            open_pair(name)
    with pytest.raises(CheckpointError, match="is no pair"):
        open_text_tower(tmp_path / "image")


def test_encoders_by_what_they_read(clip: Path, tmp_path: Path) -> None:
    pair = open_pair(f"hf:{clip}")
    pair.save(tmp_path / "pair")
    wanted = {"image": pair.encode({"image": CHIPS}), "text": pair.text.encode({"text": TEXTS})}
    for name in (f"hf:{clip}", str(tmp_path / "pair")):
        for reads in ("image", "text"):
            encoder = encoder_spec(name, reads=reads).build()
            assert (encoder.inputs, encoder.space) == ((reads,), pair.space)
            found = encoder.encode({"image": CHIPS, "text": TEXTS})
            np.testing.assert_array_equal(found, wanted[reads])
    assert isinstance(build_encoder(str(tmp_path / "pair")), PairModel)
    for name in ("features:pixels", str(tmp_path / "pair" / "image")):
        with pytest.raises(UsageError, match="reads image, not text"):
            build_encoder(name, reads="text")
    assert "reads" not in encoder_spec("features:pixels").args


def test_the_text_tower_alone(tmp_path: Path) -> None:
    pair = own_pair()
    pair.save(tmp_path / "pair")
    shutil.rmtree(tmp_path / "pair" / "image")
    tower = open_text_tower(tmp_path / "pair")
    np.testing.assert_array_equal(tower.encode({"text": TEXTS}), pair.text.encode({"text": TEXTS}))
    card = json.loads((tmp_path / "pair" / "card.json").read_text())
    card["space"]["id"] = "trained:another"
    (tmp_path / "pair" / "card.json").write_text(json.dumps(card))
    with pytest.raises(SpaceMismatch, match="reading the text tower"):
        open_text_tower(tmp_path / "pair")
