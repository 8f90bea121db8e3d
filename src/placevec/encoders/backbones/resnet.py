"""Residual networks under torchvision's names as backbones, ResNet-50 of Places365 first."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from placevec.encoders.backbones.base import Backbone, Parts
from placevec.nn import configs
from placevec.nn.vision.prepare import Preparation
from placevec.nn.vision.resnet import ResNet


class ResNetBackbone(Backbone):
    """The mean of the last map of a residual network.

    Args:
        net: without its classes (`ResNetConfig.classes` = 0), so that nothing is kept that is never read.
        preparation: of its images.
    """

    kind = "resnet50"

    def __init__(self, net: ResNet, preparation: Preparation) -> None:
        super().__init__()
        self.net = net
        self.preparation = preparation
        self.width, self.pixels, self.bands = net.config.channels, preparation.resize, net.config.bands

    def look(self, image: Tensor) -> Tensor:
        """See `Backbone.look`."""
        return self.net.pooled(self.preparation(image))

    def parts(self) -> Parts:
        """See `Backbone.parts`: the stem, and each stage."""
        return (("net.conv1", "net.bn1"), *((f"net.{stage}",) for stage in self.net.stages))

    def describe(self) -> dict[str, Any]:
        """See `Backbone.describe`."""
        return {"kind": self.kind, "net": configs.to_json(self.net.config), "preparation": self.preparation.to_json()}
