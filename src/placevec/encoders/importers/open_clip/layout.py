"""The shape of a CLIP, read off the weights of an open_clip checkpoint, and the checkpoints that cannot be read."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from placevec.errors import CheckpointError

WHAT = "CLIP of open_clip with a vision transformer"
SUPPORTED = "ViT-B/32, ViT-B/16, ViT-L/14, ViT-H/14, ViT-g/14, ViT-bigG/14 and others of that layout"

# Components of one head where they are not 64; the weights do not tell (open_clip's model_configs: ViT-H-14, ViT-g-14,
# ViT-bigG-14). Text towers have 64 throughout.
_HEADS = {1280: 80, 1408: 88, 1664: 104}
_NAMES = {384: "S", 768: "B", 1024: "L", 1280: "H", 1408: "g", 1664: "bigG"}

# Widths of the image towers that OpenAI published, whose activation is QuickGELU. RemoteCLIP, GeoRSCLIP ViT-B/32 and
# SkyCLIP ViT-L/14 were trained from those; SkyCLIP ViT-B/32 was not, and needs to be told. The larger ones are all of
# LAION, with the exact GELU, which is also what open_clip's own configurations say.
_OPENAI_WIDTHS = (768, 1024)
ACTIVATIONS = ("quick_gelu", "gelu")

_STRANGERS = {
    "visual.attnpool.": "a ResNet as its image tower (RN50 and the like)",
    "visual.layer1.": "a ResNet as its image tower (RN50 and the like)",
    "visual.trunk.": "an image tower of timm",
    "text.": "a text tower of another kind than CLIP's (its weights begin with 'text.')",
}


@dataclass(frozen=True)
class Tower:
    """The shape of one transformer."""

    width: int  # components of a token
    layers: int  # residual blocks
    heads: int  # of the attention
    hidden: int  # components within a block's two linear layers


@dataclass(frozen=True)
class Layout:
    """The shape of a CLIP."""

    vision: Tower  # of the image tower
    text: Tower  # of the text tower
    dims: int  # components of the vectors that both towers end in
    patch: int  # side of a patch in pixels
    pixels: int  # side of an image in pixels
    context: int  # tokens of a text, with begin and end
    vocabulary: int  # different tokens; the last two are begin and end

    @property
    def name(self) -> str:
        """What the image tower is called, such as ViT-B-32."""
        return f"ViT-{_NAMES.get(self.vision.width, self.vision.width)}-{self.patch}"

    @property
    def activation(self) -> str:
        """The activation that checkpoints of this shape have unless their makers say otherwise."""
        return "quick_gelu" if self.vision.width in _OPENAI_WIDTHS else "gelu"


def layout_of(state: Mapping[str, Tensor], where: Path) -> Layout:
    """The shape of the CLIP with the weights `state`.

    Args:
        state: tensors by name, as open_clip has them.
        where: the file, for messages.

    Raises:
        CheckpointError: another architecture, a weight that is missing, or sizes that contradict each other.
    """
    for start, what in _STRANGERS.items():
        if any(name.startswith(start) for name in state):
            raise CheckpointError(f"{where} has {what}, which the CLIP of transformers lacks; supported: {SUPPORTED}")
    patches = _shape(state, "visual.conv1.weight", 4, where)
    positions = _shape(state, "visual.positional_embedding", 2, where)
    side = math.isqrt(positions[0] - 1)
    if side < 1 or side * side != positions[0] - 1:
        raise CheckpointError(f"{where}: {positions[0]} positions are not those of the patches of a square and a class")
    tokens = _shape(state, "token_embedding.weight", 2, where)
    return Layout(
        vision=_tower(state, "visual.transformer.", patches[0], _HEADS.get(patches[0], 64), where),
        text=_tower(state, "transformer.", tokens[1], 64, where),
        dims=_shape(state, "text_projection", 2, where)[1],
        patch=patches[-1],
        pixels=side * patches[-1],
        context=_shape(state, "positional_embedding", 2, where)[0],
        vocabulary=tokens[0],
    )


def _tower(state: Mapping[str, Tensor], prefix: str, width: int, head: int, where: Path) -> Tower:
    if width % head:
        raise CheckpointError(f"{where}: {prefix[:-1]} has the width {width}, which heads of {head} do not fill")
    block = re.compile(re.escape(prefix) + r"resblocks\.(\d+)\.")
    numbers = {int(found.group(1)) for found in map(block.match, state) if found}
    layers = max(numbers, default=-1) + 1
    hidden = _shape(state, f"{prefix}resblocks.0.mlp.c_fc.weight", 2, where)[0]
    return Tower(width=width, layers=layers, heads=width // head, hidden=hidden)


def _shape(state: Mapping[str, Tensor], name: str, axes: int, where: Path) -> tuple[int, ...]:
    if name not in state:
        raise CheckpointError(f"{where} lacks the weight {name!r}: it is no {WHAT}")
    shape = tuple(state[name].shape)
    if len(shape) != axes:
        raise CheckpointError(f"{where}: the weight {name!r} has the shape {shape}: it is no {WHAT}")
    return shape
