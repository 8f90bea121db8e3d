"""Towers that were trained before: a pair of ours, or a CLIP or SigLIP of transformers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from placevec.encoders.hf import HfImageEncoder, HfTextEncoder
from placevec.encoders.hf.tower import pooled
from placevec.encoders.image import ImageEncoder
from placevec.encoders.pair import PairModel
from placevec.encoders.text import TextEncoder
from placevec.errors import UsageError
from placevec.nn.lora import CLIP_LAYERS
from placevec.nn.text import tokens
from placevec.provenance import Space
from placevec.train.pairs.config import PairTraining
from placevec.train.pairs.towers import ImageTower, OwnImage, OwnText, Tower, Towers, is_locked, parts_of
from placevec.train.pairs.tuning import fold, tune

FAMILIES = ("clip", "siglip")  # of transformers, whose modules are known here


class HfImage(ImageTower):
    """The image tower of a CLIP or SigLIP; its modules are those of the model, not copies."""

    layers = CLIP_LAYERS
    mean: Tensor
    std: Tensor

    def __init__(self, encoder: HfImageEncoder) -> None:
        super().__init__()
        model = encoder.model
        self.vision: Any = model.vision_model
        self.projection: nn.Module = getattr(model, "visual_projection", None) or nn.Identity()
        self.bands = list(encoder.card.config["bands"])
        self.side = int(model.config.vision_config.image_size)
        mean, std = _statistics(encoder.processor)
        # Not in the state: they are the image processor's.
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("std", std, persistent=False)

    def normalise(self, chips: Tensor) -> Tensor:
        """See `ImageTower`; images of another size than the model's are resized (bilinear, antialiased)."""
        scaled = (chips[:, self.bands].float() - self.mean[:, None, None]) / self.std[:, None, None]
        if scaled.shape[2:] == (self.side, self.side):
            return scaled
        return F.interpolate(scaled, size=(self.side, self.side), mode="bilinear", align_corners=False, antialias=True)

    def project(self, normalised: Tensor) -> Tensor:
        """See `ImageTower`."""
        vectors: Tensor = self.projection(pooled(self.vision(pixel_values=normalised)))
        return vectors

    def blocks(self) -> list[nn.Module]:
        """See `Tower`."""
        return list(self.vision.encoder.layers)

    def after(self) -> list[nn.Module]:
        """See `Tower`."""
        return [*parts_of(self.vision, "post_layernorm"), *parts_of(self.vision, "head"), self.projection]


class HfText(Tower):
    """The text tower of a CLIP or SigLIP; its modules are those of the model, not copies."""

    layers = CLIP_LAYERS

    def __init__(self, encoder: HfTextEncoder) -> None:
        super().__init__()
        self.reader: Any = encoder.model.text_model
        self.projection: nn.Module = getattr(encoder.model, "text_projection", None) or nn.Identity()

    def forward(self, ids: Tensor) -> Tensor:
        """Token ids (n, length) to vectors (n, dims) of any length."""
        vectors: Tensor = self.projection(pooled(self.reader(input_ids=ids)))
        return vectors

    def blocks(self) -> list[nn.Module]:
        """See `Tower`."""
        return list(self.reader.encoder.layers)

    def after(self) -> list[nn.Module]:
        """See `Tower`."""
        return [*parts_of(self.reader, "final_layer_norm"), *parts_of(self.reader, "head"), self.projection]


def tuned_towers(pair: PairModel, config: PairTraining) -> Towers:
    """The towers of `pair`, of which what `config.tune` says is trained.

    Raises:
        UsageError: a tower of another kind, or settings that do not fit one, or nothing that would be trained.
    """
    image = _image_tower(pair.image)
    text, read = _text_tower(pair.text)
    tune(image, config.tune.image, "image", config.loop.seed)
    tune(text, config.tune.text, "text", config.loop.seed + 1)
    if is_locked(image) and is_locked(text):
        raise UsageError("tune.image.mode and tune.text.mode are both 'locked': nothing would be learned")

    def finish(space: Space, logit_scale: float, card: Mapping[str, Any]) -> PairModel:
        fold(image)
        fold(text)
        for encoder in (pair.image, pair.text):
            own = getattr(getattr(encoder, "model", None), "logit_scale", None)
            if own is not None:
                own.data.fill_(math.log(logit_scale))
        towers = [_moved(encoder, space, card) for encoder in (pair.image, pair.text)]
        return PairModel.of(*towers, config={**pair.card.config, "logit_scale": logit_scale}, **card)

    scale = pair.logit_scale
    return Towers(
        image=image,
        text=text,
        tokens=read,
        dims=pair.dims,
        temperature=config.temperature if scale is None else min(1.0, max(0.01, 1.0 / scale)),
        finish=finish,
        rates={"image": config.tune.image.rate, "text": config.tune.text.rate},
        identity={"space": pair.space.id, "weights": [e.card.weights_sha256 for e in (pair.image, pair.text)]},
    )


def image_side(pair: PairModel) -> int:
    """The side in pixels at which the image tower reads; 0: images as they come."""
    if isinstance(pair.image, HfImageEncoder):
        return int(pair.image.model.config.vision_config.image_size)
    return int(pair.image.config.net.pixels) if isinstance(pair.image, ImageEncoder) else 0


def _image_tower(encoder: Any) -> ImageTower:
    if isinstance(encoder, HfImageEncoder):
        _check_family(encoder)
        return HfImage(encoder)
    if isinstance(encoder, ImageEncoder):
        return OwnImage(encoder.net)
    raise UsageError(f"an image tower of kind {encoder.card.kind!r} cannot be trained further: give one of ours or hf:")


def _text_tower(encoder: Any) -> tuple[Tower, Callable[[Sequence[str]], Tensor]]:
    if isinstance(encoder, HfTextEncoder):
        _check_family(encoder)
        return HfText(encoder), lambda texts: encoder.prepare(texts)["input_ids"]
    if isinstance(encoder, TextEncoder):
        shape, vocabulary = encoder.config.net, encoder.vocabulary
        return OwnText(encoder.net), lambda texts: tokens(texts, shape, vocabulary)
    raise UsageError(f"a text tower of kind {encoder.card.kind!r} cannot be trained further: give one of ours or hf:")


def _check_family(encoder: HfImageEncoder | HfTextEncoder) -> None:
    family = str(encoder.model.config.model_type)
    if family not in FAMILIES:
        raise UsageError(f"{encoder.card.name} is a {family}: fine-tuning knows {' and '.join(FAMILIES)}")


def _statistics(processor: Any) -> tuple[Tensor, Tensor]:
    """Mean and deviation of the bands in the units of uint8, as the image processor takes them."""
    factor = float(processor.rescale_factor) if processor.do_rescale else 1.0
    mean = torch.tensor(processor.image_mean if processor.do_normalize else [0.0] * 3) / factor
    std = torch.tensor(processor.image_std if processor.do_normalize else [1.0] * 3) / factor
    return mean, std


def _moved(encoder: Any, space: Space, card: Mapping[str, Any]) -> Any:
    """A tower with its new weights in the Space of the training."""
    own = {**card, "name": f"{encoder.card.tower} tower of {card['name']}"}
    new = replace(encoder.card, space=space, **own)
    if isinstance(encoder, HfImageEncoder | HfTextEncoder):
        return encoder.with_card(new)
    if isinstance(encoder, TextEncoder):
        return TextEncoder(encoder.config, encoder.net, new, vocabulary=encoder.vocabulary)
    return ImageEncoder(encoder.config, encoder.net, new)
