"""Vectors at the positions of an image from the CLIP and SigLIP of transformers, which were trained for whole images.

The last attention of such a model gathers what the whole image is about into every token. Evidence has to stay where
it is, so that attention is replaced, and the rest of the last layer kept:

- ``value``: each token attends to itself alone, so that only values and output projection are left (Zhou, Loy & Dai
  2022, MaskCLIP).
- ``self``: tokens attend to those with like queries and like keys, softmax(q·qᵀ) + softmax(k·kᵀ) (Wang, Mei & Yuille
  2023, SCLIP); smoother than ``value``.

SigLIP gathers its tokens by one more attention, of a learned probe. Its pooling head is applied to every token as if
the probe attended to that token alone: again values and output projection, then the head's own block.

What is left of the whole image in the tokens is taken away by `features.evidence.token_field` (Li et al. 2024,
SegEarth-OV).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from placevec.encoders.base import Vectors
from placevec.encoders.hf import BATCH, HfImageEncoder
from placevec.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

Attention = Literal["value", "self"]
KINDS = ("clip", "siglip")


class Dense(NamedTuple):
    """Vectors of images by position, and of the images as such."""

    positions: Vectors  # (n, h, w, dims), not normalised
    whole: Vectors  # (n, dims), what `encode` gives


def side(encoder: HfImageEncoder) -> int:
    """The side in pixels of the square images that the model was trained on; UsageError for models that have none."""
    return int(_vision(encoder).config.image_size)


def encode_dense(encoder: HfImageEncoder, data: Mapping[str, NDArray[Any]], *, attention: Attention = "value") -> Dense:
    """The vectors at the patches of `image` (n, bands, h, w) uint8, each image squashed to the model's square.

    Larger images are read by windows (`features.evidence.slide_field`), so that the model only ever sees the number of
    patches it was trained with: nothing of its position embeddings is interpolated.

    Args:
        encoder: a CLIP or SigLIP.
        data: the batch.
        attention: what stands for the last attention, see above.

    Raises:
        UsageError: another model, another pooling than its own, or another attention.
        DataError: chips of another type, or without the bands that are red, green and blue.
    """
    import torch

    if attention not in get_args(Attention):
        raise UsageError(f"attention = {attention!r}: give value or self")
    vision, pixels = _vision(encoder), side(encoder)
    chips = encoder.checked(data)
    rows = pixels // int(vision.config.patch_size)
    places = np.empty((len(chips), rows, rows, encoder.dims), dtype=np.float32)
    whole = np.empty((len(chips), encoder.dims), dtype=np.float32)
    for start in range(0, len(chips), BATCH):
        part = slice(start, start + BATCH)
        with torch.inference_mode():
            found, image = _tokens(encoder, vision, _pixels(encoder, chips[part], pixels), attention)
        places[part] = found.float().cpu().numpy().reshape(-1, rows, rows, encoder.dims)
        whole[part] = image.float().cpu().numpy()
    return Dense(places, whole)


def _vision(encoder: HfImageEncoder) -> Any:
    """The vision module of a CLIP or SigLIP whose own pooling makes its vectors."""
    config = encoder.model.config
    kind, pooling = str(getattr(config, "model_type", "?")), encoder.card.config["pooling"]
    if kind not in KINDS or pooling != "pooler":
        raise UsageError(
            f"{encoder.card.name} ({kind}, pooling {pooling}) has no dense evidence: CLIP and SigLIP have; for others "
            "take the method crops"
        )
    return encoder.model.vision_model


def _pixels(encoder: HfImageEncoder, chips: NDArray[np.uint8], pixels: int) -> Tensor:
    """Pixels as the model reads them: squashed to its square, as no part of an image may be cropped away here."""
    square = {"height": pixels, "width": pixels}
    found = encoder.processor(
        images=list(chips),
        return_tensors="pt",
        input_data_format="channels_first",
        do_resize=True,
        size=square,
        do_center_crop=False,
    )
    out: Tensor = found["pixel_values"].to(encoder.model.device)
    return out


def _tokens(encoder: HfImageEncoder, vision: Any, pixels: Tensor, attention: Attention) -> tuple[Tensor, Tensor]:
    """Vectors of the patches (n, patches, dims) and of the images (n, dims)."""
    out = vision(pixel_values=pixels, output_hidden_states=True)
    last = vision.encoder.layers[-1]
    if encoder.model.config.model_type == "clip":
        tokens = _layer(last, out.hidden_states[-2], attention)[:, 1:]  # the first one is the class token
        projected = encoder.model.visual_projection
        return projected(vision.post_layernorm(tokens)), projected(out.pooler_output)
    tokens = out.hidden_states[-1] if attention == "value" else _layer(last, out.hidden_states[-2], attention)
    return _pooled_alone(vision.head, vision.post_layernorm(tokens)), out.pooler_output


def _layer(layer: Any, hidden: Tensor, attention: Attention) -> Tensor:
    """A layer of the model with its attention replaced; residual connections and MLP stay."""
    own = layer.self_attn
    normed = layer.layer_norm1(hidden)
    values = own.v_proj(normed)
    if attention == "self":
        values = _self_attention(own, normed, values)
    mid = hidden + own.out_proj(values)
    out: Tensor = mid + layer.mlp(layer.layer_norm2(mid))
    return out


def _self_attention(own: Any, normed: Tensor, values: Tensor) -> Tensor:
    n, tokens, width = normed.shape

    def heads(x: Tensor) -> Tensor:
        return x.reshape(n, tokens, own.num_heads, -1).transpose(1, 2)

    q, k, v = heads(own.q_proj(normed)), heads(own.k_proj(normed)), heads(values)
    weights = (q @ q.transpose(2, 3) * own.scale).softmax(dim=-1) + (k @ k.transpose(2, 3) * own.scale).softmax(dim=-1)
    out: Tensor = (weights @ v).transpose(1, 2).reshape(n, tokens, width)
    return out


def _pooled_alone(head: Any, tokens: Tensor) -> Tensor:
    """SigLIP's pooling head for each token as the only one: the softmax over one token is 1."""
    from torch.nn import functional as F

    attention, width = head.attention, tokens.shape[-1]
    # MultiheadAttention keeps the projections of q, k and v below each other in one matrix.
    values = F.linear(tokens, attention.in_proj_weight[2 * width :], attention.in_proj_bias[2 * width :])
    mid = attention.out_proj(values)
    out: Tensor = mid + head.mlp(head.layernorm(mid))
    return out
