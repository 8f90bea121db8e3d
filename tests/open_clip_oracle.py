"""Checkpoints in open_clip's layout with random weights, and what such a model answers, straight from the formulas.

The forward pass is written from the state dict, in float64 and without any module: patches by a loop, attention head
by head, tokens by OpenAI's rule. It is slow and obvious, and shares nothing with what it is held against.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

State = dict[str, Tensor]

MEAN = (0.48145466, 0.4578275, 0.40821073)  # of OpenAI's training images, as open_clip has them
DEVIATION = (0.26862954, 0.26130258, 0.27577711)


def checkpoint(
    *,
    vocabulary: int,
    width: int = 128,
    text_width: int = 64,
    layers: tuple[int, int] = (2, 2),
    patch: int = 8,
    side: int = 4,
    context: int = 16,
    dims: int = 24,
    inner: int = 4,
    seed: int = 0,
) -> State:
    """A state dict as open_clip's CLIP has it: image tower below ``visual.``, text tower at the top.

    Within a block's two linear layers there are `inner` times as many components as in a token.
    """
    made = torch.Generator().manual_seed(seed)

    def normal(*shape: int, scale: float = 0.08) -> Tensor:
        return torch.randn(*shape, generator=made) * scale

    state: State = {
        "positional_embedding": normal(context, text_width),
        "text_projection": normal(text_width, dims, scale=0.2),
        "logit_scale": torch.tensor(math.log(1 / 0.07)),
        "visual.class_embedding": normal(width),
        "visual.positional_embedding": normal(side * side + 1, width),
        "visual.proj": normal(width, dims, scale=0.2),
        "visual.conv1.weight": normal(width, 3, patch, patch),
        "token_embedding.weight": normal(vocabulary, text_width, scale=0.5),
    }
    norms = {"visual.ln_pre": width, "visual.ln_post": width, "ln_final": text_width}
    for prefix, wide, count in (
        ("visual.transformer", width, layers[0]),
        ("transformer", text_width, layers[1]),
    ):
        for number in range(count):
            block = f"{prefix}.resblocks.{number}"
            norms |= {f"{block}.ln_1": wide, f"{block}.ln_2": wide}
            state |= {
                f"{block}.attn.in_proj_weight": normal(3 * wide, wide),
                f"{block}.attn.in_proj_bias": normal(3 * wide),
                f"{block}.attn.out_proj.weight": normal(wide, wide),
                f"{block}.attn.out_proj.bias": normal(wide),
                f"{block}.mlp.c_fc.weight": normal(inner * wide, wide),
                f"{block}.mlp.c_fc.bias": normal(inner * wide),
                f"{block}.mlp.c_proj.weight": normal(wide, inner * wide),
                f"{block}.mlp.c_proj.bias": normal(wide),
            }
    for name, wide in norms.items():
        state |= {f"{name}.weight": 1 + normal(wide), f"{name}.bias": normal(wide)}
    return state


def image_vectors(state: State, chips: Any, activation: str, head: int = 64) -> Tensor:
    """The vectors of images (n, 3, s, s) uint8 that have the model's size, so that nothing is resized."""
    own = _exact(state, "visual.")
    pixels = torch.as_tensor(chips).double() / 255
    pixels = (pixels - torch.tensor(MEAN).double()[:, None, None]) / torch.tensor(DEVIATION).double()[:, None, None]
    kernel = own["conv1.weight"]
    size = kernel.shape[-1]
    rows = []
    for image in pixels:
        tokens = [own["class_embedding"]]
        for top in range(0, image.shape[1], size):
            for left in range(0, image.shape[2], size):
                part = image[:, top : top + size, left : left + size]
                tokens.append((kernel * part).sum(dim=(1, 2, 3)))
        x = torch.stack(tokens) + own["positional_embedding"]
        x = _blocks(own, _norm(own, "ln_pre", x), activation, head, causal=False)
        rows.append(_norm(own, "ln_post", x[0]) @ own["proj"])
    return torch.stack(rows)


def text_vectors(state: State, tokens: list[list[int]], activation: str, head: int = 64) -> Tensor:
    """The vectors of texts as tokens with begin and end; filled up with zeros, as open_clip does."""
    own = _exact(state, "")
    context = len(own["positional_embedding"])
    rows = []
    for ids in tokens:
        full = torch.tensor(ids + [0] * (context - len(ids)))
        x = own["token_embedding.weight"][full] + own["positional_embedding"]
        x = _norm(own, "ln_final", _blocks(own, x, activation, head, causal=True))
        rows.append(x[int(full.argmax())] @ own["text_projection"])
    return torch.stack(rows)


def _exact(state: State, prefix: str) -> State:
    return {name.removeprefix(prefix): value.double() for name, value in state.items() if name.startswith(prefix)}


def _norm(own: State, name: str, x: Tensor) -> Tensor:
    centred = x - x.mean(dim=-1, keepdim=True)
    scaled = centred / (centred.square().mean(dim=-1, keepdim=True) + 1e-5).sqrt()
    return scaled * own[f"{name}.weight"] + own[f"{name}.bias"]


def _blocks(own: State, x: Tensor, activation: str, head: int, *, causal: bool) -> Tensor:
    number = 0
    while f"transformer.resblocks.{number}.ln_1.weight" in own:
        block = f"transformer.resblocks.{number}"
        x = x + _attention(own, f"{block}.attn", _norm(own, f"{block}.ln_1", x), head, causal=causal)
        inner = _norm(own, f"{block}.ln_2", x) @ own[f"{block}.mlp.c_fc.weight"].T + own[f"{block}.mlp.c_fc.bias"]
        inner = inner * torch.sigmoid(1.702 * inner) if activation == "quick_gelu" else F.gelu(inner)
        x = x + inner @ own[f"{block}.mlp.c_proj.weight"].T + own[f"{block}.mlp.c_proj.bias"]
        number += 1
    return x


def _attention(own: State, name: str, x: Tensor, head: int, *, causal: bool) -> Tensor:
    length, width = x.shape
    both = x @ own[f"{name}.in_proj_weight"].T + own[f"{name}.in_proj_bias"]
    q, k, v = both[:, :width], both[:, width : 2 * width], both[:, 2 * width :]
    out = torch.empty_like(x)
    for start in range(0, width, head):
        part = slice(start, start + head)
        scores = q[:, part] @ k[:, part].T / math.sqrt(head)
        if causal:
            scores[torch.ones(length, length).triu(1).bool()] = -math.inf
        out[:, part] = torch.softmax(scores, dim=1) @ v[:, part]
    return out @ own[f"{name}.out_proj.weight"].T + own[f"{name}.out_proj.bias"]
