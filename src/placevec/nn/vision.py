"""A small residual network for chips of any number of bands and any size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from placevec.errors import UsageError


@dataclass(frozen=True)
class SmallCNNConfig:
    """The shape of the small image encoder."""

    kind: ClassVar[str] = "small-cnn"

    bands: int = 3  # channels of a chip
    width: int = 16  # channels of the first stage; each further stage has twice as many and half the side
    stages: int = 3  # one residual block each; the side of the last map is side / 2^(stages - 1)
    dims: int = 64  # components of the vector

    def __post_init__(self) -> None:
        if min(self.bands, self.width, self.stages, self.dims) < 1:
            raise UsageError(f"{self}: every number must be at least 1")

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


class SmallCNN(nn.Module):
    """Chips (n, bands, h, w), uint8 or float, to vectors (n, dims).

    The head reads the maps of all stages, so that plain colour reaches it beside shapes: with the last map alone, a
    trained network was at times worse than an untrained one. It is linear and comes after the mean over the map, so
    that it can be applied at every pixel of the map as well: the mean of those vectors is the vector of the chip.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, config: SmallCNNConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("mean", torch.zeros(config.bands))
        self.register_buffer("std", torch.ones(config.bands))
        self.stem = nn.Sequential(
            nn.Conv2d(config.bands, config.width, 3, padding=1, bias=False), nn.BatchNorm2d(config.width), nn.ReLU()
        )
        blocks: list[nn.Module] = []
        width = config.width
        for stage in range(config.stages):
            outputs = config.width * 2**stage
            blocks.append(Block(width, outputs, stride=1 if stage == 0 else 2))
            width = outputs
        self.blocks = nn.ModuleList(blocks)
        self.channels = config.width + sum(config.width * 2**stage for stage in range(config.stages))
        self.head = nn.Linear(self.channels, config.dims)

    def set_statistics(self, mean: Tensor, std: Tensor) -> None:
        """Keep the per-band mean and standard deviation (bands,) of the chips, in their own units."""
        self.mean.copy_(mean)
        self.std.copy_(std.clamp_min(1e-6))

    def normalise(self, chips: Tensor) -> Tensor:
        """Chips in their own units to float32 of mean 0 and deviation 1 per band; what is not finite becomes 0."""
        scaled = (chips.float() - self.mean[:, None, None]) / self.std[:, None, None]
        return torch.nan_to_num(scaled, nan=0.0, posinf=0.0, neginf=0.0)

    def features(self, normalised: Tensor) -> Tensor:
        """Normalised chips (n, bands, h, w) to the map (n, channels, h', w') of all stages, at the size of the last."""
        x: Tensor = self.stem(normalised)
        every = x
        for block in self.blocks:
            x = block(x)
            if x.shape[2:] != every.shape[2:]:
                every = F.avg_pool2d(every, 2, ceil_mode=True, count_include_pad=False)
            every = torch.cat([every, x], dim=1)
        return every

    def project(self, normalised: Tensor) -> Tensor:
        """Normalised chips (n, bands, h, w) to vectors (n, dims)."""
        out: Tensor = self.head(self.features(normalised).mean(dim=(2, 3)))
        return out

    def forward(self, chips: Tensor) -> Tensor:
        """Chips in their own units (n, bands, h, w), uint8 or float, to vectors (n, dims)."""
        return self.project(self.normalise(chips))
