"""A small residual network for chips of any number of bands and any size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from placevec.errors import UsageError
from placevec.nn.vision.base import VisionNet


@dataclass(frozen=True)
class SmallCNNConfig:
    """The shape of the small image encoder."""

    kind: ClassVar[str] = "small-cnn"

    bands: int = 3  # channels of a chip
    width: int = 16  # channels of the first stage; each further stage has twice as many and half the side
    stages: int = 3  # the side of the last map is side / stride / 2^(stages - 1)
    dims: int = 64  # components of the vector
    blocks: int = 1  # residual blocks of a stage
    stride: int = 1  # step of the first convolution; 2 makes all that follows four times cheaper
    pixels: int = 0  # side to which chips are resized within; 0: they are read as they come

    def __post_init__(self) -> None:
        if min(self.bands, self.width, self.stages, self.dims, self.blocks, self.stride) < 1:
            raise UsageError(f"{self}: every number but pixels must be at least 1")
        if self.pixels < 0:
            raise UsageError(f"pixels = {self.pixels}: give 0 (as they come) or a side in pixels")

    def build(self) -> SmallCNN:
        """The network, with identity normalisation until `set_statistics`."""
        return SmallCNN(self)


class Block(nn.Module):
    """A residual block of two 3x3 convolutions (He et al. 2016, basic block)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.second = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.short: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.short = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        """(n, inputs, h, w) to (n, outputs, ceil(h / stride), ceil(w / stride))."""
        inner = F.relu(self.norm1(self.first(x)))
        return F.relu(self.norm2(self.second(inner)) + self.short(x))


class SmallCNN(VisionNet):
    """A stem and stages of residual blocks; see `VisionNet`.

    The head reads the maps of all stages, so that plain colour reaches it beside shapes: with the last map alone, a
    trained network was at times worse than an untrained one.
    """

    def __init__(self, config: SmallCNNConfig) -> None:
        super().__init__(config)
        self.stem = nn.Sequential(
            nn.Conv2d(config.bands, config.width, 3, stride=config.stride, padding=1, bias=False),
            nn.BatchNorm2d(config.width),
            nn.ReLU(),
        )
        blocks: list[nn.Module] = []
        width = channels = config.width
        for stage in range(config.stages):
            outputs = config.width * 2**stage
            for number in range(config.blocks):
                blocks.append(Block(width, outputs, stride=2 if stage and not number else 1))
                width = outputs
            channels += outputs
        self.per_stage = config.blocks
        self.blocks = nn.ModuleList(blocks)
        self.head = nn.Linear(channels, config.dims)

    def features(self, normalised: Tensor) -> Tensor:
        """Normalised chips (n, bands, h, w) to the map (n, channels, h', w') of all stages, at the size of the last."""
        x: Tensor = self.stem(normalised)
        every = x
        for number, block in enumerate(self.blocks, start=1):
            x = block(x)
            if number % self.per_stage:
                continue
            if x.shape[2:] != every.shape[2:]:
                every = F.avg_pool2d(every, 2, ceil_mode=True, count_include_pad=False)
            every = torch.cat([every, x], dim=1)
        return every
