"""Vision models of transformers as backbones, CLIP first.

Only the image tower is kept, and of that only what the chosen vector is made of: what is never read would be weights
that get no gradient.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from placevec.encoders.backbones.base import Backbone, Parts, parts_by_blocks
from placevec.encoders.hf.loading import Opened, open_image_processor, open_model, quiet
from placevec.errors import CheckpointError, UsageError
from placevec.nn.vision.prepare import Preparation
from placevec.registry import need

Feature = Literal["cls", "pooler", "projection", "mean"]
CONFIG, PROCESSOR = "config.json", "preprocessor_config.json"


class HfBackbone(Backbone):
    """One vector of a vision model of transformers.

    Args:
        vision: the image tower.
        feature: which vector, see `open_hf`.
        projection: the linear layer after the tower, for the feature "projection".
        settings: of its image processor, what stands in ``preprocessor_config.json``.
        source: name of the model and hash of the weights it began with, for people.
    """

    kind = "hf"

    def __init__(
        self,
        vision: Any,
        feature: Feature,
        projection: nn.Module | None,
        settings: Mapping[str, Any],
        source: str,
    ) -> None:
        super().__init__()
        self.feature = feature
        self.settings = dict(settings)
        self.source = source
        self.preparation = Preparation.of_processor(settings, source)
        self.vision = _trimmed(vision, feature)
        self.projection = projection
        self.pixels = self.preparation.resize
        self.width = self._probed()

    def look(self, image: Tensor) -> Tensor:
        """See `Backbone.look`."""
        out = self.vision(pixel_values=self.preparation(image))
        if self.feature == "projection":
            assert self.projection is not None
            found: Tensor = self.projection(out.pooler_output)
            return found
        if self.feature == "pooler":
            return _flat(out.pooler_output)
        hidden: Tensor = out.last_hidden_state
        if hidden.ndim == 4:  # the map of a convolutional network
            return hidden.mean(dim=(2, 3))
        return hidden[:, 0] if self.feature == "cls" else hidden.mean(dim=1)

    def parts(self) -> Parts:
        """See `Backbone.parts`: the embeddings, each layer, and what follows the last one where it is read."""
        found = parts_by_blocks(self.vision, "vision")
        if self.projection is None:
            return found
        rest = () if _is_block(found[-1]) else found[-1]
        return (*(found[:-1] if rest else found), (*rest, "projection"))

    def describe(self) -> dict[str, Any]:
        """See `Backbone.describe`."""
        projected = None if self.projection is None else list(_shape(self.projection))
        return {"kind": self.kind, "feature": self.feature, "projection": projected, "source": self.source}

    def assets(self) -> dict[str, bytes]:
        """The settings of the tower and of its image processor, as transformers writes them."""
        config = {key: value for key, value in self.vision.config.to_dict().items() if not key.startswith("_")}
        return {CONFIG: _bytes(config), PROCESSOR: _bytes(self.settings)}

    def _probed(self) -> int:
        was = self.training
        self.eval()
        with torch.no_grad():
            image = torch.zeros((1, 3, self.pixels, self.pixels), dtype=torch.uint8)
            width = int(self.look(image.to(next(self.vision.parameters()).device)).shape[1])
        self.train(was)
        return width


def open_hf(
    name: str, feature: Feature = "cls", *, revision: str | None = None, allow_download: bool = False
) -> HfBackbone:
    """The image tower of the model `name`.

    Args:
        name: a folder that `save_pretrained` wrote, or a name of the hub such as ``openai/clip-vit-base-patch16``; a
            leading ``hf:`` is taken off.
        feature: "cls" (the first token of the last layer; of a CLIP before its last norm), "pooler" (what the model
            makes of it), "projection" (what a CLIP compares with texts), "mean" (of all tokens, or of the map).
        revision: of a model of the hub.
        allow_download: may the network be used.

    Raises:
        CheckpointError: the model is not on this machine, is damaged, is no vision model, or has other inputs.
        UsageError: it has no such feature.
    """
    if feature not in get_args(Feature):
        raise UsageError(f"features = {feature!r}: give {', '.join(get_args(Feature))}")
    opened = open_model(name, revision, allow_download=allow_download)
    processor = open_image_processor(opened.folder)
    return of_model(opened, processor, feature)


def of_model(opened: Opened, processor: Any, feature: Feature) -> HfBackbone:
    """The backbone of a model that is open; see `open_hf`."""
    model = opened.model
    vision = _tower(model)
    if getattr(vision, "main_input_name", "") != "pixel_values":
        raise CheckpointError(f"{opened.name} is no vision model: give one that reads images, such as a CLIP")
    opened.check_complete(but="pooler")
    if feature == "pooler" and any("pooler" in key for key in opened.missing):
        raise CheckpointError(f"the model {opened.name} has no weights of a pooler: choose the feature cls or mean")
    settings = json.loads(processor.to_json_string())
    backbone = HfBackbone(vision, feature, _projection(model, feature, opened.name), settings, opened.identity)
    backbone.preparation.check(processor, opened.name)
    return backbone


def build_hf(description: Mapping[str, Any], assets: Mapping[str, bytes]) -> HfBackbone:
    """The module that `describe` and `assets` tell of, with random weights.

    Raises:
        CheckpointError: a file is missing or damaged, or this transformers knows no such model.
    """
    transformers = need("transformers", extra="torch", purpose="a vision model")
    try:
        config, settings = (dict(json.loads(assets[name])) for name in (CONFIG, PROCESSOR))
        feature, shape, source = description["feature"], description["projection"], str(description["source"])
        kind = str(config.pop("model_type"))
        projection = None if shape is None else nn.Linear(int(shape[1]), int(shape[0]), bias=bool(shape[2]))
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise CheckpointError(f"the description of a backbone of transformers is damaged: {error!r}") from None
    if feature not in get_args(Feature):
        raise CheckpointError(f"the description of a backbone of transformers has the feature {feature!r}")
    try:
        with quiet():
            model = transformers.AutoModel.from_config(
                transformers.AutoConfig.for_model(kind, **config), dtype=torch.float32
            )
    except Exception as error:
        # transformers raises ValueError, KeyError, TypeError and its own for settings that it does not know.
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise CheckpointError(f"this transformers cannot build the backbone {source} ({kind}): {reason}") from error
    return HfBackbone(_tower(model), feature, projection, settings, source)


def _tower(model: Any) -> Any:
    """The module that reads pixels; releases of transformers differ in how deep it lies within a model."""
    while hasattr(model, "vision_model"):
        model = model.vision_model
    return model


def _projection(model: Any, feature: Feature, name: str) -> nn.Module | None:
    kind = str(getattr(model.config, "model_type", "?"))
    if feature == "cls" and kind.startswith("siglip"):
        raise UsageError(f"{name} ({kind}) has no class token: choose the feature pooler or mean")
    if feature != "projection":
        return None
    found: nn.Module | None = getattr(model, "visual_projection", None)
    if found is None:
        raise UsageError(
            f"{name} ({kind}) has no projection: choose the feature cls or pooler, or give the folder of a whole CLIP"
        )
    return found


def _trimmed(vision: Any, feature: Feature) -> Any:
    """The tower without what comes after the vector that is read."""
    if feature in ("cls", "mean"):
        if "clip" in str(vision.config.model_type).replace("siglip", ""):
            # A CLIP norms its class token after the last layer; SigLIP, ViT and DINOv2 norm all tokens.
            vision.post_layernorm = nn.Identity()
        if isinstance(getattr(vision, "pooler", None), nn.Module):
            vision.pooler = _NoPooler() if _parameters(vision.pooler) else vision.pooler
        if hasattr(vision, "head") and hasattr(vision, "use_head"):
            vision.use_head = False
            del vision.head
    return vision


class _NoPooler(nn.Module):
    """Stands where a model has a pooler that is not read."""

    def forward(self, hidden: Tensor) -> Tensor:
        """The first token as it is."""
        return hidden[:, 0]


def _parameters(module: nn.Module) -> bool:
    return any(True for _ in module.parameters())


def _is_block(part: tuple[str, ...]) -> bool:
    return len(part) == 1 and part[0].rsplit(".", 1)[-1].isdigit()


def _flat(found: Tensor | None) -> Tensor:
    if found is None:
        raise UsageError("the model has no pooler: choose the feature cls or mean")
    return found.flatten(1)


def _shape(projection: nn.Module) -> tuple[int, int, bool]:
    assert isinstance(projection, nn.Linear)
    return projection.out_features, projection.in_features, projection.bias is not None


def _bytes(value: Mapping[str, Any]) -> bytes:
    return (json.dumps(value, indent=1, sort_keys=True) + "\n").encode()
