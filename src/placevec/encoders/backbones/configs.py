"""Which backbone a recipe asks for: one commented dataclass for each kind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol, runtime_checkable

from placevec.encoders.backbones.hf import Feature
from placevec.nn import configs
from placevec.nn.vision import DEFAULT_KIND, VISION_NETS, SmallCNNConfig, VisionConfig
from placevec.nn.vision.resnet import ResNetConfig


@runtime_checkable
class BackboneConfig(Protocol):
    """The description of a backbone that is to be opened: a frozen dataclass with a `kind` of its own."""

    kind: ClassVar[str]


@dataclass(frozen=True)
class NetBackboneConfig:
    """A network of `nn.vision` from scratch."""

    kind: ClassVar[str] = "net"

    net: VisionConfig = field(  # the network; bands and pixels are its settings
        default_factory=SmallCNNConfig, metadata=configs.one_of(VISION_NETS, default=DEFAULT_KIND)
    )


@dataclass(frozen=True)
class HfBackboneConfig:
    """A vision model of transformers."""

    kind: ClassVar[str] = "hf"

    model: str  # a folder that `save_pretrained` wrote, or a name of the hub such as openai/clip-vit-base-patch16
    features: Feature = "cls"  # which vector: cls (of a CLIP before its last norm), pooler, projection, mean
    revision: str | None = None  # of a model of the hub
    allow_download: bool = False  # may the network be used


@dataclass(frozen=True)
class ResNetBackboneConfig:
    """A residual network under torchvision's names."""

    kind: ClassVar[str] = "resnet50"

    folder: str = ""  # what `placevec import --as places365` wrote; "": random weights
    pixels: int = 224  # side to which images are resized
    net: ResNetConfig = field(default_factory=ResNetConfig)  # its shape, where there is no folder


@dataclass(frozen=True)
class ModelBackboneConfig:
    """The image tower of a model folder of placevec: an image encoder, a pair, scenes, or a model of transformers."""

    kind: ClassVar[str] = "model"

    folder: str  # the model folder


BACKBONES: dict[str, type[Any]] = {
    config.kind: config for config in (NetBackboneConfig, HfBackboneConfig, ResNetBackboneConfig, ModelBackboneConfig)
}
"""Every kind of backbone that can be opened."""


def backbone_config(value: Mapping[str, Any]) -> BackboneConfig:
    """The config that a JSON object describes, such as ``{"kind": "hf", "model": "openai/clip-vit-base-patch16"}``.

    Raises:
        UsageError: an unknown kind or setting.
    """
    kind = str(value.get("kind", ""))
    config: BackboneConfig = configs.from_json(configs.pick(BACKBONES, kind, "backbone"), value)
    return config
