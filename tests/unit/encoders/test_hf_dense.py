"""Dense vectors of CLIP and SigLIP against loops over tokens and heads, written from the weights alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from placevec.encoders.hf import HfImageEncoder
from placevec.encoders.hf_dense import encode_dense, side
from placevec.errors import DataError, UsageError

transformers = pytest.importorskip("transformers")

HEADS, WIDTH, PATCH, PIXELS = 2, 16, 8, 24
VISION = {
    "hidden_size": WIDTH,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": HEADS,
    "image_size": PIXELS,
    "patch_size": PATCH,
}
TEXT = {"hidden_size": WIDTH, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": HEADS}


@pytest.fixture(scope="module", params=["clip", "siglip"])
def folder(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch

    torch.manual_seed(0)
    where: Path = tmp_path_factory.mktemp("hf") / str(request.param)
    square = {"height": PIXELS, "width": PIXELS}
    words = {"vocab_size": 50, "max_position_embeddings": 8, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1}
    if request.param == "clip":
        config = transformers.CLIPConfig(
            text_config={**TEXT, **words}, vision_config={**VISION, "hidden_act": "quick_gelu"}, projection_dim=12
        )
        model = transformers.CLIPModel(config)
        processor = transformers.CLIPImageProcessor(size={"shortest_edge": PIXELS}, crop_size=square)
    else:
        config = transformers.SiglipConfig(text_config={**TEXT, **words}, vision_config=VISION)
        model = transformers.SiglipModel(config)
        processor = transformers.SiglipImageProcessor(size=square)
    with torch.no_grad():  # far from zero, so that a part left out is seen
        for weight in model.parameters():
            weight.add_(torch.randn(weight.shape) * 0.3)
    model.save_pretrained(where)
    processor.save_pretrained(where)
    return where


@pytest.fixture(scope="module")
def encoder(folder: Path) -> HfImageEncoder:
    return HfImageEncoder.open(f"hf:{folder}")


@pytest.fixture(scope="module")
def chips() -> dict[str, np.ndarray]:
    return {"image": np.random.default_rng(0).integers(0, 255, (3, 3, PIXELS, PIXELS), dtype=np.uint8)}


class Slow:
    """The vision model in float64 numpy, one token and one head at a time."""

    def __init__(self, encoder: HfImageEncoder) -> None:
        state = encoder.model.state_dict()
        self.w = {key.removeprefix("vision_model."): value.double().numpy() for key, value in state.items()}
        self.kind = encoder.model.config.model_type
        self.vision = encoder.model.config.vision_config

    def linear(self, name: str, x: np.ndarray) -> np.ndarray:
        out = self.w[f"{name}.weight"] @ x
        return out + self.w[f"{name}.bias"] if f"{name}.bias" in self.w else out

    def norm(self, name: str, x: np.ndarray) -> np.ndarray:
        scaled = (x - x.mean()) / np.sqrt(x.var() + self.vision.layer_norm_eps)
        return scaled * self.w[f"{name}.weight"] + self.w[f"{name}.bias"]

    def act(self, x: np.ndarray) -> np.ndarray:
        if self.vision.hidden_act == "quick_gelu":
            return x / (1 + np.exp(-1.702 * x))
        return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))  # gelu_pytorch_tanh

    def mlp(self, name: str, x: np.ndarray) -> np.ndarray:
        return self.linear(f"{name}.fc2", self.act(self.linear(f"{name}.fc1", x)))

    def embed(self, pixels: np.ndarray) -> list[np.ndarray]:
        kernel, tokens = self.w["embeddings.patch_embedding.weight"], []
        for row in range(PIXELS // PATCH):
            for column in range(PIXELS // PATCH):
                part = pixels[:, row * PATCH : (row + 1) * PATCH, column * PATCH : (column + 1) * PATCH]
                tokens.append((kernel * part).sum(axis=(1, 2, 3)))
        if self.kind == "siglip":
            tokens = [token + self.w["embeddings.patch_embedding.bias"] for token in tokens]
        else:
            tokens = [self.w["embeddings.class_embedding"], *tokens]
        positions = self.w["embeddings.position_embedding.weight"]
        tokens = [token + place for token, place in zip(tokens, positions, strict=True)]
        return [self.norm("pre_layrnorm", token) for token in tokens] if self.kind == "clip" else tokens

    def layer(self, at: int, tokens: list[np.ndarray], attention: str) -> list[np.ndarray]:
        name, size = f"encoder.layers.{at}", WIDTH // HEADS
        normed = [self.norm(f"{name}.layer_norm1", token) for token in tokens]
        q, k, v = ([self.linear(f"{name}.self_attn.{part}_proj", x) for x in normed] for part in "qkv")
        out = []
        for i in range(len(tokens)):
            mixed = []
            for head in range(HEADS):
                cut = slice(head * size, (head + 1) * size)
                pairs = {"plain": [(q, k)], "self": [(q, q), (k, k)], "value": []}[attention]
                total = np.zeros(size) if pairs else v[i][cut]
                for a, b in pairs:
                    weights = np.array([np.exp(a[i][cut] @ other[cut] / np.sqrt(size)) for other in b])
                    total = total + sum(w * x[cut] for w, x in zip(weights / weights.sum(), v, strict=True))
                mixed.append(total)
            mid = tokens[i] + self.linear(f"{name}.self_attn.out_proj", np.concatenate(mixed))
            out.append(mid + self.mlp(f"{name}.mlp", self.norm(f"{name}.layer_norm2", mid)))
        return out

    def final(self, token: np.ndarray) -> np.ndarray:
        normed = self.norm("post_layernorm", token)
        if self.kind == "clip":
            return self.linear("visual_projection", normed)
        weight, bias = (self.w[f"head.attention.in_proj_{part}"] for part in ("weight", "bias"))
        mid = self.linear("head.attention.out_proj", weight[2 * WIDTH :] @ normed + bias[2 * WIDTH :])
        return mid + self.mlp("head.mlp", self.norm("head.layernorm", mid))

    def dense(self, pixels: np.ndarray, attention: str) -> np.ndarray:
        tokens = self.layer(0, self.embed(pixels), "plain")
        # SigLIP's value path is that of its pooling head: the last layer stays as it is.
        last = "plain" if self.kind == "siglip" and attention == "value" else attention
        tokens = self.layer(1, tokens, last)[1 if self.kind == "clip" else 0 :]
        rows = PIXELS // PATCH
        return np.stack([self.final(token) for token in tokens]).reshape(rows, rows, -1)


@pytest.mark.parametrize("attention", ["value", "self"])
def test_it_equals_the_slow_loop(encoder: HfImageEncoder, chips: dict[str, np.ndarray], attention: Any) -> None:
    slow = Slow(encoder)
    pixels = encoder.prepare(chips["image"])["pixel_values"].double().numpy()
    found = encode_dense(encoder, chips, attention=attention)
    assert found.positions.shape == (3, 3, 3, encoder.dims)
    assert found.positions.dtype == np.float32
    for image, expected in zip(found.positions, (slow.dense(one, attention) for one in pixels), strict=True):
        np.testing.assert_allclose(image, expected, atol=2e-4)


def test_the_vector_of_the_image_is_that_of_encode(encoder: HfImageEncoder, chips: dict[str, np.ndarray]) -> None:
    np.testing.assert_allclose(encode_dense(encoder, chips).whole, encoder.encode(chips), atol=1e-4)


def test_the_two_attentions_differ_and_do_not_depend_on_the_batch(
    encoder: HfImageEncoder, chips: dict[str, np.ndarray]
) -> None:
    value, own = (encode_dense(encoder, chips, attention=kind).positions for kind in ("value", "self"))
    assert np.abs(value - own).max() > 1e-2
    many = {"image": np.concatenate([chips["image"]] * 7)}
    np.testing.assert_allclose(encode_dense(encoder, many).positions[18:], value, atol=1e-4)


def test_any_size_is_squashed_and_nothing_is_cropped_away(encoder: HfImageEncoder) -> None:
    wide = np.zeros((1, 3, 30, 90), dtype=np.uint8)
    painted = wide.copy()
    painted[:, :, :, :10] = 255  # a centre crop would not show it
    a, b = (encode_dense(encoder, {"image": one}).positions for one in (wide, painted))
    assert a.shape == (1, 3, 3, encoder.dims)
    assert np.abs(a - b).max() > 1e-2
    assert side(encoder) == PIXELS


def test_what_is_refused(encoder: HfImageEncoder, folder: Path, tmp_path: Path) -> None:
    chip = {"image": np.zeros((1, 3, 8, 8), dtype=np.uint8)}
    with pytest.raises(UsageError, match="give value or self"):
        encode_dense(encoder, chip, attention="nonsense")
    with pytest.raises(DataError, match="reads uint8"):
        encode_dense(encoder, {"image": np.zeros((1, 3, 8, 8), dtype=np.float32)})
    with pytest.raises(UsageError, match="take the method crops"):
        encode_dense(HfImageEncoder.open(str(folder), pooling="mean"), chip)
    config = transformers.Dinov2Config(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=28, patch_size=14
    )
    transformers.Dinov2Model(config).save_pretrained(tmp_path / "dino")
    transformers.BitImageProcessor().save_pretrained(tmp_path / "dino")
    with pytest.raises(UsageError, match="take the method crops"):
        encode_dense(HfImageEncoder.open(str(tmp_path / "dino")), chip)
