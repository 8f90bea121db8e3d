"""The modules that a locator looks with: image in, vector out, of several kinds; see `base.Backbone`.

A new kind is one commented dataclass in `configs`, one subclass of `Backbone`, and a line in `opening`.
"""

from placevec.encoders.backbones.base import Backbone
from placevec.encoders.backbones.configs import (
    BACKBONES,
    BackboneConfig,
    HfBackboneConfig,
    ModelBackboneConfig,
    NetBackboneConfig,
    ResNetBackboneConfig,
    backbone_config,
)
from placevec.encoders.backbones.opening import open_backbone, restore_backbone
from placevec.nn.vision.prepare import Preparation

__all__ = [
    "BACKBONES",
    "Backbone",
    "BackboneConfig",
    "HfBackboneConfig",
    "ModelBackboneConfig",
    "NetBackboneConfig",
    "Preparation",
    "ResNetBackboneConfig",
    "backbone_config",
    "open_backbone",
    "restore_backbone",
]
