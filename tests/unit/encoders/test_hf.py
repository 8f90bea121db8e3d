"""Vision models of transformers: tiny ones with random weights, in the real format."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from placevec.encoders.base import Encoder
from placevec.encoders.hf import HfImageEncoder
from placevec.encoders.model import load_encoder
from placevec.errors import CheckpointError, DataError, UsageError

transformers = pytest.importorskip("transformers")

SMALL = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}


@pytest.fixture(scope="module")
def dinov2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hf") / "tiny-dinov2"
    config = transformers.Dinov2Config(**SMALL, image_size=28, patch_size=14)
    transformers.Dinov2Model(config).save_pretrained(folder)
    size = {"shortest_edge": 28}
    transformers.BitImageProcessor(size=size, crop_size={"height": 28, "width": 28}).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def vit_without_pooler(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hf") / "tiny-vit"
    config = transformers.ViTConfig(**SMALL, intermediate_size=32, image_size=32, patch_size=16)
    transformers.ViTModel(config, add_pooling_layer=False).save_pretrained(folder)
    transformers.ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


def chips(n: int = 20, bands: int = 3) -> dict[str, np.ndarray]:
    return {"image": np.random.default_rng(0).integers(0, 255, (n, bands, 16, 16), dtype=np.uint8)}


def test_dinov2_from_a_folder(dinov2: Path, tmp_path: Path) -> None:
    encoder = HfImageEncoder.open(f"hf:{dinov2}")
    assert isinstance(encoder, Encoder)
    assert (encoder.dims, encoder.card.config["pooling"]) == (16, "pooler")
    assert encoder.space.origin == "published"
    vectors = encoder.encode(chips())
    assert vectors.dtype == np.float32
    assert vectors.shape == (20, 16)
    np.testing.assert_allclose(encoder.encode(chips(3)), vectors[:3], atol=1e-5)
    assert encoder.encode(chips(0)).shape == (0, 16)
    assert encoder.space == HfImageEncoder.open(str(dinov2)).space

    encoder.save(tmp_path / "model")
    loaded = load_encoder(tmp_path / "model")
    assert loaded.space == encoder.space
    assert loaded.card.weights_sha256 == encoder.card.weights_sha256 != ""
    np.testing.assert_array_equal(loaded.encode(chips()), vectors)


def test_it_equals_the_model_called_directly(dinov2: Path) -> None:
    import torch

    model = transformers.Dinov2Model.from_pretrained(dinov2).eval()
    processor = transformers.AutoImageProcessor.from_pretrained(dinov2)
    images = list(chips(4)["image"].transpose(0, 2, 3, 1))
    with torch.no_grad():
        out = model(**processor(images=images, return_tensors="pt"))
    for pooling, expected in (
        ("pooler", out.pooler_output),
        ("cls", out.last_hidden_state[:, 0]),
        ("mean", out.last_hidden_state.mean(dim=1)),
    ):
        encoder = HfImageEncoder.open(str(dinov2), pooling=pooling)
        np.testing.assert_allclose(encoder.encode(chips(4)), expected.numpy(), atol=1e-5)


def test_another_pooling_is_another_space(dinov2: Path) -> None:
    assert HfImageEncoder.open(str(dinov2)).space != HfImageEncoder.open(str(dinov2), pooling="cls").space


def test_a_pooler_without_weights_is_not_used(vit_without_pooler: Path) -> None:
    # transformers fills it with random numbers: two loads would give two different vectors.
    encoder = HfImageEncoder.open(str(vit_without_pooler))
    assert encoder.card.config["pooling"] == "cls"
    again = HfImageEncoder.open(str(vit_without_pooler))
    np.testing.assert_array_equal(again.encode(chips()), encoder.encode(chips()))
    with pytest.raises(CheckpointError, match="no weights of a pooler"):
        HfImageEncoder.open(str(vit_without_pooler), pooling="pooler")


def test_bands_can_be_chosen(dinov2: Path) -> None:
    four = chips(5, bands=4)
    encoder = HfImageEncoder.open(str(dinov2), bands=(2, 1, 0))
    turned = HfImageEncoder.open(str(dinov2)).encode({"image": four["image"][:, [2, 1, 0]]})
    np.testing.assert_array_equal(encoder.encode(four), turned)


def test_what_is_refused(dinov2: Path, tmp_path: Path) -> None:
    encoder = HfImageEncoder.open(str(dinov2))
    with pytest.raises(DataError, match="reads uint8"):
        encoder.encode({"image": np.zeros((2, 3, 8, 8), dtype=np.float32)})
    with pytest.raises(DataError, match="bands"):
        encoder.encode(chips(2, bands=2))
    with pytest.raises(UsageError, match="pooling"):
        HfImageEncoder.open(str(dinov2), pooling="max")
    with pytest.raises(CheckpointError, match="not a folder"):
        HfImageEncoder.open("./nowhere")
    with pytest.raises(CheckpointError, match=r"has no model\.safetensors"):
        HfImageEncoder.open(str(tmp_path))


def test_nothing_is_downloaded_without_consent(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import socket

    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))

    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    with pytest.raises(CheckpointError, match="not on this machine.*fetch it with .hf download"):
        HfImageEncoder.open("placevec-tests/there-is-no-such-model")


def test_a_damaged_folder(dinov2: Path, tmp_path: Path) -> None:
    for name in ("config.json", "preprocessor_config.json", "model.safetensors"):
        data = (dinov2 / name).read_bytes()
        (tmp_path / name).write_bytes(data[: len(data) // 2] if name == "model.safetensors" else data)
    with pytest.raises(CheckpointError, match="cannot be loaded") as caught:
        HfImageEncoder.open(str(tmp_path))
    assert "\n" not in str(caught.value)


def test_changed_weights_are_noticed(dinov2: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in dinov2.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    HfImageEncoder.open(str(copy)).save(tmp_path / "model")
    config = transformers.Dinov2Config(**SMALL, image_size=28, patch_size=14)
    transformers.Dinov2Model(config).save_pretrained(copy)
    with pytest.raises(CheckpointError, match="have changed"):
        load_encoder(tmp_path / "model")
