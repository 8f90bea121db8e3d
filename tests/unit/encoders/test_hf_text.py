"""Text towers of transformers: tiny CLIP, SigLIP and SigLIP 2 models with random weights, in the real format."""

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
from placevec.encoders.hf import text as module
from placevec.encoders.model import load_encoder
from placevec.errors import CheckpointError, DataError, UsageError
from placevec.testing import check_encoder

transformers = pytest.importorskip("transformers")

WRITERS: dict[str, Callable[[Path], Path]] = {
    "clip": tiny.write_clip,
    "siglip": tiny.write_siglip,
    "naflex": tiny.write_naflex,
}
LONG = "the river " * 40
TEXTS = np.array([*tiny.CAPTIONS, LONG], dtype=object)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("models")
    return {name: write(root / name) for name, write in WRITERS.items()}


@pytest.fixture(params=WRITERS)
def folder(request: pytest.FixtureRequest, folders: dict[str, Path]) -> Path:
    return folders[request.param]


def test_the_contract_of_an_encoder(folder: Path) -> None:
    encoder = HfTextEncoder.open(f"hf:{folder}")
    check_encoder(encoder, {"text": TEXTS}, tolerance=0)
    check_encoder(HfImageEncoder.open(str(folder)), {"image": tiny.chips()}, tolerance=0)


def test_images_and_texts_share_one_space(folder: Path) -> None:
    image, text = HfImageEncoder.open(str(folder)), HfTextEncoder.open(str(folder))
    assert image.card.config["pooling"] == "pooler"
    assert (text.space, text.dims) == (image.space, image.dims)
    assert (text.tower, image.tower) == ("text", "image")
    assert text.card.weights_sha256 == image.card.weights_sha256 != ""
    beside = HfTextEncoder.beside(image)
    assert beside.card == text.card
    assert beside.model is image.model
    np.testing.assert_array_equal(beside.encode({"text": TEXTS}), text.encode({"text": TEXTS}))


def test_a_clip_equals_the_model_called_directly(folders: dict[str, Path]) -> None:
    model = transformers.CLIPModel.from_pretrained(folders["clip"]).eval()
    tokenizer = transformers.CLIPTokenizer.from_pretrained(folders["clip"])
    inputs = tokenizer(list(TEXTS), padding=True, truncation=True, max_length=24, return_tensors="pt")
    processor = transformers.CLIPImageProcessorPil.from_pretrained(folders["clip"])
    chips = tiny.chips()
    images = processor(images=list(chips.transpose(0, 2, 3, 1)), return_tensors="pt")
    with torch.no_grad():
        out = model(**inputs, **images)  # its own way: a mask, and the length of the longest
    for found, expected in (
        (HfTextEncoder.open(str(folders["clip"])).encode({"text": TEXTS}), out.text_embeds),
        (HfImageEncoder.open(str(folders["clip"])).encode({"image": chips}), out.image_embeds),
    ):
        found /= np.linalg.norm(found, axis=1, keepdims=True)
        np.testing.assert_allclose(found, expected.numpy(), atol=1e-5)


@pytest.mark.parametrize("kind", ["siglip", "naflex"])
def test_a_siglip_is_read_as_it_was_trained(folders: dict[str, Path], kind: str) -> None:
    model = transformers.AutoModel.from_pretrained(folders[kind]).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folders[kind])
    small = [text.lower() for text in TEXTS]
    ids = tokenizer(small, padding="max_length", truncation=True, max_length=12, return_tensors="pt")["input_ids"]
    assert ids.shape == (5, 12)
    with torch.no_grad():
        expected = model.get_text_features(input_ids=ids).pooler_output.numpy()
    encoder = HfTextEncoder.open(str(folders[kind]))
    np.testing.assert_allclose(encoder.encode({"text": TEXTS}), expected, atol=1e-5)
    both = encoder.encode({"text": np.array(["The RIVER", "the river"])})
    np.testing.assert_array_equal(both[0], both[1])


def test_naflex_images_of_any_shape(folders: dict[str, Path]) -> None:
    encoder = HfImageEncoder.open(str(folders["naflex"]))
    wide = tiny.chips(2)[:, :, :20]
    assert np.isfinite(encoder.encode({"image": wide})).all()
    with pytest.raises(UsageError, match="the pooling 'mean'"):
        HfImageEncoder.open(str(folders["naflex"]), pooling="mean")


def test_long_texts_are_cut_and_counted(folder: Path) -> None:
    encoder = HfTextEncoder.open(str(folder))
    vectors = encoder.encode({"text": TEXTS})
    assert encoder.truncated == 1
    longer = encoder.encode({"text": np.array([LONG, LONG + " and two tennis courts", tiny.CAPTIONS[0]])})
    assert encoder.truncated == 2
    np.testing.assert_array_equal(longer[0], vectors[4])
    np.testing.assert_array_equal(longer[1], vectors[4])
    encoder.encode({"text": TEXTS[:4]})
    assert encoder.truncated == 0


def test_short_texts_cost_less_and_mean_the_same(folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = HfTextEncoder.open(str(folders["clip"]))
    assert encoder.prepare(tiny.CAPTIONS)["input_ids"].shape == (4, 16)
    assert encoder.prepare([LONG])["input_ids"].shape == (1, encoder.context) == (1, 24)
    found = encoder.encode({"text": TEXTS})
    monkeypatch.setattr(module, "LENGTHS", ())
    np.testing.assert_allclose(encoder.encode({"text": TEXTS}), found, atol=1e-5)


def test_many_texts_go_in_chunks(folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = HfTextEncoder.open(str(folders["clip"]))
    rng = np.random.default_rng(0)
    texts = np.array([" ".join(rng.choice(tiny.WORDS, rng.integers(1, 40))) for _ in range(150)], dtype=object)
    found, cut = encoder.encode({"text": texts}), encoder.truncated
    monkeypatch.setattr(module, "CHUNK", 70)
    np.testing.assert_array_equal(encoder.encode({"text": texts}), found)
    assert encoder.truncated == cut > 0


def test_what_is_no_text(folders: dict[str, Path]) -> None:
    encoder = HfTextEncoder.open(str(folders["clip"]))
    for texts, words in (
        (np.array(["a river", "  "]), "the text of row 1 is empty"),
        (np.array(["a river", None], dtype=object), "row 1 holds NoneType"),
        (np.array([["a river"]]), "shape"),
    ):
        with pytest.raises(DataError, match=words):
            encoder.encode({"text": texts})


def test_what_has_no_text_tower(folders: dict[str, Path], tmp_path: Path) -> None:
    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    transformers.Dinov2Model(transformers.Dinov2Config(**small, image_size=28, patch_size=14)).save_pretrained(tmp_path)
    transformers.BitImageProcessorPil().save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="dinov2.*has no text tower"):
        HfTextEncoder.open(str(tmp_path))
    with pytest.raises(CheckpointError, match="has no text tower"):
        HfTextEncoder.beside(HfImageEncoder.open(str(tmp_path)))
    with pytest.raises(CheckpointError, match="pooling 'cls'"):
        HfTextEncoder.beside(HfImageEncoder.open(str(folders["clip"]), pooling="cls"))


def test_a_folder_that_is_not_complete(folders: dict[str, Path], tmp_path: Path) -> None:
    copy = shutil.copytree(folders["clip"], tmp_path / "copy")
    for path in copy.iterdir():
        if path.name.startswith(("token", "vocab", "merges")):
            path.unlink()
    with pytest.raises(CheckpointError, match="has no tokenizer: add") as caught:
        HfTextEncoder.open(str(copy))
    assert "\n" not in str(caught.value)
    from safetensors.torch import load_file, save_file

    copy = shutil.copytree(folders["clip"], tmp_path / "another")
    state = load_file(copy / "model.safetensors")
    del state["text_projection.weight"]
    save_file(state, copy / "model.safetensors", metadata={"format": "pt"})
    for kind in (HfTextEncoder, HfImageEncoder):
        with pytest.raises(CheckpointError, match=r"lacks the weights 'text_projection\.weight'"):
            kind.open(str(copy))


def test_a_tokenizer_whose_class_needs_an_absent_package(folders: dict[str, Path], tmp_path: Path) -> None:
    """SigLIP's own class is one of sentencepiece; the same tokens stand in tokenizer.json."""
    copy = shutil.copytree(folders["siglip"], tmp_path / "copy")
    path = copy / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"tokenizer_class": "SiglipTokenizer"}))
    found = HfTextEncoder.open(str(copy)).encode({"text": TEXTS})
    np.testing.assert_array_equal(found, HfTextEncoder.open(str(folders["siglip"])).encode({"text": TEXTS}))


def test_weights_in_half_precision_are_computed_with_in_full(folders: dict[str, Path], tmp_path: Path) -> None:
    copy = shutil.copytree(folders["clip"], tmp_path / "half")
    transformers.CLIPModel.from_pretrained(copy).half().save_pretrained(copy)
    encoder = HfTextEncoder.open(str(copy))
    assert encoder.model.dtype == torch.float32
    whole = HfTextEncoder.open(str(folders["clip"])).encode({"text": TEXTS})
    np.testing.assert_allclose(encoder.encode({"text": TEXTS}), whole, atol=0.05)


def test_prepared_inputs_have_gradients(folder: Path) -> None:
    text = HfTextEncoder.open(str(folder))
    image = HfImageEncoder.open(str(folder))
    for vectors in (text.features(text.prepare(tiny.CAPTIONS)), image.features(image.prepare(tiny.chips()))):
        vectors.sum().backward()
    for encoder, part in ((text, "text_model"), (image, "vision_model")):
        assert all(weight.grad is not None for weight in getattr(encoder.model, part).encoder.parameters())
    np.testing.assert_allclose(
        image.features(image.prepare(tiny.chips())).detach().numpy(), image.encode({"image": tiny.chips()}), atol=1e-5
    )


@pytest.mark.parametrize("count", [1, 15, 16, 17, 33])
def test_any_number_of_chips(folders: dict[str, Path], count: int) -> None:
    encoder = HfImageEncoder.open(str(folders["clip"]))
    chips = tiny.chips(33)
    np.testing.assert_array_equal(encoder.encode({"image": chips[:count]}), encoder.encode({"image": chips})[:count])


def test_a_model_folder_names_the_model(folder: Path, tmp_path: Path) -> None:
    encoder = HfTextEncoder.open(str(folder))
    saved = encoder.save(tmp_path / "model")
    loaded = load_encoder(tmp_path / "model")
    assert loaded.card == saved.card
    np.testing.assert_array_equal(loaded.encode({"text": TEXTS}), encoder.encode({"text": TEXTS}))
    encoder.with_card(replace(encoder.card, config={"revision": None})).save(tmp_path / "model")
    with pytest.raises(CheckpointError, match="does not describe a transformers model"):
        load_encoder(tmp_path / "model")
