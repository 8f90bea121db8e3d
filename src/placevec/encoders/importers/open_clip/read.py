"""From an open_clip checkpoint to a pair of towers."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from placevec.encoders.base import ModelCard
from placevec.encoders.hf import HfImageEncoder, HfTextEncoder
from placevec.encoders.hf.loading import loaded, quiet
from placevec.encoders.importers.base import Weights, plain, published, read_torch, source, tensors
from placevec.encoders.importers.open_clip.layout import ACTIVATIONS, WHAT, Layout, layout_of
from placevec.encoders.importers.open_clip.mapping import mapped, settings
from placevec.encoders.importers.open_clip.tokens import tokenizer_for
from placevec.encoders.pair import PairModel
from placevec.errors import CheckpointError, UsageError
from placevec.registry import need

# What wrappers of torch put before every name: DistributedDataParallel, and torch.compile.
_WRAPPED = re.compile(r"^(?:module\.|_orig_mod\.)+")

# No weights: the mask of the text tower and sizes, which old releases stored, and a bias of the loss alone.
_NO_WEIGHTS = ("attn_mask", "input_resolution", "context_length", "vocab_size", "logit_bias")


@dataclass(frozen=True)
class ImportedPair:
    """What the importer has made; see `importers.base.ImportedModel`.

    Attributes:
        encoder: the pair of towers.
        notes: what people should know, a line each.
    """

    encoder: PairModel
    notes: list[str] = field(default_factory=list)


def read_open_clip(
    paths: Sequence[str | Path], tokenizer: str | Path | None = None, activation: str | None = None
) -> ImportedPair:
    """The two towers of a CLIP in open_clip's layout.

    Args:
        paths: one file of torch (.pt, .pth, .bin) or of safetensors: a state dict, or a training checkpoint that holds
            one as "state_dict".
        tokenizer: a folder with a CLIP tokenizer, or OpenAI's list of merges; None looks for that of
            openai/clip-vit-base-patch32 on this machine.
        activation: quick_gelu (weights that descend from OpenAI's) or gelu (from LAION's); the file does not tell.
            None takes quick_gelu for image towers of OpenAI's widths (ViT-B, ViT-L), gelu for others (ViT-H, ViT-g).

    Raises:
        CheckpointError: the file is damaged, of another architecture, or has weights that are missing or unknown.
        UsageError: several files, an unknown activation, or no tokenizer that fits.
    """
    if activation is not None and activation not in ACTIVATIONS:
        raise UsageError(f"--activation {activation}: give {' or '.join(ACTIVATIONS)}")
    if len(paths) != 1:
        raise UsageError(f"a checkpoint of open_clip is one file, not {len(paths)}: give one")
    path = Path(paths[0])
    state, epoch = _state(read_torch(path), path)
    layout = layout_of(state, path)
    chosen = activation or layout.activation
    found, told = tokenizer_for(layout, tokenizer)
    weights = Weights(state, path, WHAT)
    state.clear()  # so that each of its tensors is let go of as it is mapped
    model, scale = _model(weights, layout, chosen)
    origin = source(path, "", "")
    card = ModelCard(
        kind="hf",
        space=published(f"open-clip/{layout.name}-{chosen}", origin, layout.dims),
        tower="image",
        config={"model": path.stem, "revision": None, "pooling": "pooler", "bands": [0, 1, 2], "sha256": origin.sha256},
        inputs=("image",),
        name=path.stem,
        weights_sha256=origin.sha256,
    )
    image = HfImageEncoder(model, _processor(layout), card)
    recipe = {"import": "open-clip", "architecture": layout.name, "activation": chosen, "tokenizer": told}
    pair = PairModel.of(
        image,
        HfTextEncoder.beside(image, found),
        config={"logit_scale": round(math.exp(scale), 6)},
        recipe=recipe if epoch is None else {**recipe, "epoch": plain(epoch)},
        parents=(origin.sha256,),
        sources=(origin,),
    )
    return ImportedPair(pair, _notes(layout, chosen, activation is None, told))


def _state(content: Any, path: Path) -> tuple[dict[str, Tensor], Any]:
    """The weights by their plain names, and the epoch of a training checkpoint."""
    epoch = None
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content, epoch = content["state_dict"], content.get("epoch")
    found = {_WRAPPED.sub("", name): value for name, value in tensors(content, path, WHAT).items()}
    return {name: value for name, value in found.items() if name not in _NO_WEIGHTS}, epoch


def _model(weights: Weights, layout: Layout, activation: str) -> tuple[Any, float]:
    """The CLIP of transformers with these weights, and the logarithm of its scale of logits."""
    transformers = need("transformers", extra="torch", purpose="a CLIP")
    state = mapped(weights, layout)
    scale = float(state["logit_scale"])
    config = transformers.CLIPConfig(**settings(layout, activation, scale))

    def build() -> tuple[Any, dict[str, Any]]:
        model, info = transformers.CLIPModel.from_pretrained(
            None, config=config, state_dict=state, output_loading_info=True, dtype="float32"
        )
        return model, info

    model, info = loaded(build, weights.where, "a CLIP")
    for key in sorted(key for kind in ("missing_keys", "unexpected_keys") for key in info[kind]):
        raise CheckpointError(f"{weights.where}: the CLIP of this transformers has no place for {key!r}: update it")
    return model, scale


def _processor(layout: Layout) -> Any:
    """The preprocessing that open_clip has by default: the short side to the model's size, bicubic, and its centre."""
    transformers = need("transformers", extra="torch", purpose="a CLIP")
    side = {"height": layout.pixels, "width": layout.pixels}
    with quiet():  # without torchvision it falls back to Pillow, and says so
        return transformers.CLIPImageProcessor(size={"shortest_edge": layout.pixels}, crop_size=side)


def _notes(layout: Layout, activation: str, by_default: bool, tokenizer: str) -> list[str]:
    why = ""
    if by_default:
        other = next(name for name in ACTIVATIONS if name != activation)
        known = " (SkyCLIP ViT-B-32)" if other == "gelu" else ""
        why = (
            f", as most of {layout.name} have it; the file does not tell: where its makers used {other}{known}, say "
            f"--activation {other}"
        )
    return [
        f"{layout.name}: {layout.pixels} pixels, {layout.context} tokens, {layout.dims} dims; tokenizer {tokenizer}",
        f"activation {activation}{why}",
        "the licence of the weights does not stand in the file: see where it comes from",
    ]
