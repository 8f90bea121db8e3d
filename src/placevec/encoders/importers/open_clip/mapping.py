"""Every weight of an open_clip checkpoint in its place in the CLIP of transformers.

The two differ in names, in the weights of queries, keys and values (one matrix of three parts here, three there), and
in the projections, which open_clip multiplies from the right and transformers holds as linear layers, transposed.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from placevec.encoders.importers.base import Weights
from placevec.encoders.importers.open_clip.layout import Layout, Tower

_QKV = ("q_proj", "k_proj", "v_proj")


def mapped(weights: Weights, layout: Layout) -> dict[str, Tensor]:
    """The state dict of `transformers.CLIPModel`, in float32.

    Args:
        weights: those of the checkpoint; all are taken.
        layout: their shape.

    Raises:
        CheckpointError: a weight is missing, unknown, or of another shape than the others say.
    """
    found: dict[str, Tensor] = {}
    width, size = layout.vision.width, layout.patch
    places = (layout.pixels // size) ** 2 + 1
    plain = {
        "visual.conv1.weight": ("vision_model.embeddings.patch_embedding.weight", (width, 3, size, size)),
        "visual.class_embedding": ("vision_model.embeddings.class_embedding", (width,)),
        "visual.positional_embedding": ("vision_model.embeddings.position_embedding.weight", (places, width)),
        "token_embedding.weight": (
            "text_model.embeddings.token_embedding.weight",
            (layout.vocabulary, layout.text.width),
        ),
        "positional_embedding": (
            "text_model.embeddings.position_embedding.weight",
            (layout.context, layout.text.width),
        ),
        "logit_scale": ("logit_scale", ()),
    }
    for name, (goal, shape) in plain.items():
        found[goal] = weights.take(name, *shape).float()
    for name, goal, wide in (
        # The name without a y is transformers' own.
        ("visual.ln_pre", "vision_model.pre_layrnorm", width),
        ("visual.ln_post", "vision_model.post_layernorm", width),
        ("ln_final", "text_model.final_layer_norm", layout.text.width),
    ):
        _linear(found, weights, name, goal, (wide,))
    for name, goal, wide in (
        ("visual.proj", "visual_projection", width),
        ("text_projection", "text_projection", layout.text.width),
    ):
        found[f"{goal}.weight"] = weights.take(name, wide, layout.dims).T.float().contiguous()
    _blocks(found, weights, "visual.transformer", "vision_model", layout.vision)
    _blocks(found, weights, "transformer", "text_model", layout.text)
    weights.finish()
    return found


def settings(layout: Layout, activation: str, logit_scale: float) -> dict[str, Any]:
    """The settings of `transformers.CLIPConfig` for a CLIP of this shape; `logit_scale` is the logarithm."""
    return {
        "text_config": {
            **_settings(layout.text, activation),
            "vocab_size": layout.vocabulary,
            "max_position_embeddings": layout.context,
            "projection_dim": layout.dims,
            "bos_token_id": layout.vocabulary - 2,
            "eos_token_id": layout.vocabulary - 1,
            "pad_token_id": layout.vocabulary - 1,
        },
        "vision_config": {
            **_settings(layout.vision, activation),
            "image_size": layout.pixels,
            "patch_size": layout.patch,
            "projection_dim": layout.dims,
        },
        "projection_dim": layout.dims,
        "logit_scale_init_value": logit_scale,
    }


def _settings(tower: Tower, activation: str) -> dict[str, Any]:
    return {
        "hidden_size": tower.width,
        "intermediate_size": tower.hidden,
        "num_hidden_layers": tower.layers,
        "num_attention_heads": tower.heads,
        "hidden_act": activation,
        "layer_norm_eps": 1e-5,
    }


def _blocks(found: dict[str, Tensor], weights: Weights, name: str, goal: str, tower: Tower) -> None:
    wide, hidden = tower.width, tower.hidden
    for number in range(tower.layers):
        old, new = f"{name}.resblocks.{number}", f"{goal}.encoder.layers.{number}"
        _linear(found, weights, f"{old}.ln_1", f"{new}.layer_norm1", (wide,))
        _linear(found, weights, f"{old}.ln_2", f"{new}.layer_norm2", (wide,))
        _linear(found, weights, f"{old}.attn.out_proj", f"{new}.self_attn.out_proj", (wide, wide))
        _linear(found, weights, f"{old}.mlp.c_fc", f"{new}.mlp.fc1", (hidden, wide))
        _linear(found, weights, f"{old}.mlp.c_proj", f"{new}.mlp.fc2", (wide, hidden))
        for kind, shape in (("weight", (3 * wide, wide)), ("bias", (3 * wide,))):
            whole = weights.take(f"{old}.attn.in_proj_{kind}", *shape).float()
            for part, value in zip(_QKV, whole.chunk(3), strict=True):
                found[f"{new}.self_attn.{part}.{kind}"] = value.clone()


def _linear(found: dict[str, Tensor], weights: Weights, name: str, goal: str, shape: tuple[int, ...]) -> None:
    """The weight of the shape given and the bias of a linear layer or a layer norm."""
    found[f"{goal}.weight"] = weights.take(f"{name}.weight", *shape).float()
    found[f"{goal}.bias"] = weights.take(f"{name}.bias", shape[0]).float()
