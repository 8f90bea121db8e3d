"""Networks that turn chips into vectors: a map of features, its mean, and a linear head.

Each kind is a commented dataclass that describes and builds it; a new one is one dataclass and one line in
`VISION_NETS`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from placevec.nn import configs
from placevec.nn.vision.base import VisionConfig, VisionNet
from placevec.nn.vision.cnn import SmallCNN, SmallCNNConfig
from placevec.nn.vision.fisher import FisherConfig, FisherNet
from placevec.nn.vision.vit import ViT, ViTConfig

__all__ = [
    "DEFAULT_KIND",
    "VISION_NETS",
    "FisherConfig",
    "FisherNet",
    "SmallCNN",
    "SmallCNNConfig",
    "ViT",
    "ViTConfig",
    "VisionConfig",
    "VisionNet",
    "vision_config",
]

VISION_NETS: dict[str, type[Any]] = {config.kind: config for config in (SmallCNNConfig, ViTConfig, FisherConfig)}
"""Every image network, by its kind."""

DEFAULT_KIND = SmallCNNConfig.kind  # what a description without a kind means: there was one network only at first


def vision_config(value: Mapping[str, Any]) -> VisionConfig:
    """The config that a JSON object describes, such as ``{"kind": "vit", "patch": 8}``.

    Raises:
        UsageError: an unknown kind or setting.
    """
    kind = str(value.get("kind", DEFAULT_KIND))
    config: VisionConfig = configs.from_json(configs.pick(VISION_NETS, kind, "image network"), value)
    return config
