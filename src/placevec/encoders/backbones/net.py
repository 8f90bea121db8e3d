"""Networks of `nn.vision` as backbones: from scratch, or with the weights of a trained image encoder."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray
from torch import Tensor

from placevec.encoders.backbones.base import Backbone, Parts, parts_by_blocks
from placevec.encoders.image import ImageConfig, ImageNet, fit_statistics


class NetBackbone(Backbone):
    """A network of `nn.vision`, with the statistics of its bands and of its vectors.

    Args:
        config: its shape.
        net: the network of that shape.
    """

    kind = "net"
    floats = True

    def __init__(self, config: ImageConfig, net: ImageNet) -> None:
        super().__init__()
        self.config = config
        self.image = net
        self.width, self.pixels, self.bands = config.net.dims, config.net.pixels, config.net.bands

    def look(self, image: Tensor) -> Tensor:
        """See `Backbone.look`; bands are in the units of the training images."""
        found: Tensor = self.image(image)
        return found

    def learn_statistics(self, chips: NDArray[Any], seed: int = 0) -> None:
        """See `Backbone.learn_statistics`: of the bands, of the vectors, and what the network learns without labels."""
        fit_statistics(self.image, chips, seed)
        self.train(self.training)

    def parts(self) -> Parts:
        """See `Backbone.parts`: what comes before the blocks, each block, and the head."""
        return parts_by_blocks(self.image.net, "image.net")

    def describe(self) -> dict[str, Any]:
        """See `Backbone.describe`."""
        return {"kind": self.kind, "config": self.config.to_json()}
