"""Residual networks (He et al. 2016) under torchvision's names, so that weights published for those fit as they are.

ResNet-50 has 320 entries in its state dict: ``conv1.weight``, ``bn1.*``, ``layer1.0.conv1.weight`` ... ``fc.bias``. In
a bottleneck the 3 x 3 convolution takes the step, as in torchvision; in the paper the first one does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from placevec.errors import UsageError

SHAPES: dict[int, tuple[str, tuple[int, ...]]] = {
    18: ("basic", (2, 2, 2, 2)),
    34: ("basic", (3, 4, 6, 3)),
    50: ("bottleneck", (3, 4, 6, 3)),
    101: ("bottleneck", (3, 4, 23, 3)),
    152: ("bottleneck", (3, 8, 36, 3)),
}
"""Blocks and blocks a stage of the depths that have a name."""


@dataclass(frozen=True)
class ResNetConfig:
    """The shape of a residual network; by itself that of ResNet-50 with the classes of Places365."""

    kind: ClassVar[str] = "resnet"

    block: Literal["bottleneck", "basic"] = "bottleneck"  # of 1 x 1, 3 x 3, 1 x 1 convolutions, or of two 3 x 3
    layers: tuple[int, ...] = (3, 4, 6, 3)  # blocks of each stage; each stage but the first halves the side
    width: int = 64  # channels of the stem; a stage has twice those of the one before, a bottleneck ends in 4 x as many
    bands: int = 3  # channels of an image
    classes: int = 365  # of the linear layer after the mean over the map; 0: there is none

    def __post_init__(self) -> None:
        if self.block not in BLOCKS:
            raise UsageError(f"block = {self.block!r}: give bottleneck or basic")
        if not self.layers or min(self.layers) < 1 or min(self.width, self.bands) < 1 or self.classes < 0:
            raise UsageError(f"{self}: layers, width and bands are at least 1, classes at least 0")

    @classmethod
    def of_depth(cls, depth: int, classes: int = 365) -> ResNetConfig:
        """The shape of ResNet-18, 34, 50, 101 or 152; UsageError for another depth."""
        if depth not in SHAPES:
            raise UsageError(
                f"no residual network of depth {depth} is known: give one of {', '.join(map(str, SHAPES))}"
            )
        block, layers = SHAPES[depth]
        return cls(block="basic" if block == "basic" else "bottleneck", layers=layers, classes=classes)

    @property
    def channels(self) -> int:
        """Channels of the last map: the length of a feature vector, 2,048 for ResNet-50."""
        return int(self.width * 2 ** (len(self.layers) - 1) * BLOCKS[self.block].growth)

    def build(self) -> ResNet:
        """The network with random weights."""
        return ResNet(self)


class Basic(nn.Module):
    """Two 3 x 3 convolutions, and what came in added."""

    growth: ClassVar[int] = 1  # channels that go out, as a multiple of `channels`

    def __init__(self, inputs: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = _conv(inputs, channels, 3, stride)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = _conv(channels, channels, 3)
        self.bn2 = nn.BatchNorm2d(channels)
        self.downsample = _short(inputs, channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        """(n, inputs, h, w) to (n, channels, ⌈h / stride⌉, ⌈w / stride⌉)."""
        inner = F.relu(self.bn1(self.conv1(x)))
        short = x if self.downsample is None else self.downsample(x)
        return F.relu(self.bn2(self.conv2(inner)) + short)


class Bottleneck(nn.Module):
    """A 3 x 3 convolution between two of 1 x 1, and what came in added."""

    growth: ClassVar[int] = 4

    def __init__(self, inputs: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = _conv(inputs, channels, 1)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = _conv(channels, channels, 3, stride)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = _conv(channels, channels * self.growth, 1)
        self.bn3 = nn.BatchNorm2d(channels * self.growth)
        self.downsample = _short(inputs, channels * self.growth, stride)

    def forward(self, x: Tensor) -> Tensor:
        """(n, inputs, h, w) to (n, 4 · channels, ⌈h / stride⌉, ⌈w / stride⌉)."""
        inner = F.relu(self.bn1(self.conv1(x)))
        inner = F.relu(self.bn2(self.conv2(inner)))
        short = x if self.downsample is None else self.downsample(x)
        return F.relu(self.bn3(self.conv3(inner)) + short)


BLOCKS: dict[str, type[Basic] | type[Bottleneck]] = {"bottleneck": Bottleneck, "basic": Basic}
"""Every block by its name."""


class ResNet(nn.Module):
    """Normalised images to a map, its mean, and the classes' logits.

    The stages are the attributes ``layer1``, ``layer2`` ...; `stages` lists them.
    """

    def __init__(self, config: ResNetConfig) -> None:
        super().__init__()
        self.config = config
        self.conv1 = nn.Conv2d(config.bands, config.width, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(config.width)
        block, inputs = BLOCKS[config.block], config.width
        for stage, depth in enumerate(config.layers):
            channels = config.width * 2**stage
            blocks: list[nn.Module] = []
            for number in range(depth):
                blocks.append(block(inputs, channels, stride=2 if stage and not number else 1))
                inputs = channels * block.growth
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))
        if config.classes:
            self.fc = nn.Linear(config.channels, config.classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    @property
    def stages(self) -> list[str]:
        """The names of the stages, from input to output."""
        return [f"layer{stage + 1}" for stage in range(len(self.config.layers))]

    def maps(self, normalised: Tensor) -> Tensor:
        """Normalised images (n, bands, h, w) to the last map (n, channels, h', w'), h' = h / 32 for four stages."""
        x = F.relu(self.bn1(self.conv1(normalised)))
        x = F.max_pool2d(x, 3, stride=2, padding=1)
        for stage in self.stages:
            x = self.get_submodule(stage)(x)
        return x

    def pooled(self, normalised: Tensor) -> Tensor:
        """Normalised images (n, bands, h, w) to the mean of the map (n, channels)."""
        return self.maps(normalised).mean(dim=(2, 3))

    def forward(self, normalised: Tensor) -> Tensor:
        """Normalised images (n, bands, h, w) to logits (n, classes), or to the mean of the map where there are none."""
        found = self.pooled(normalised)
        out: Tensor = self.fc(found) if self.config.classes else found
        return out


def shape_of(state: Mapping[str, Tensor]) -> ResNetConfig:
    """The shape of the network that a state dict under torchvision's names belongs to, read off the names.

    Raises:
        UsageError: there is no stem, or no block where one has to be.
    """
    stem = state.get("conv1.weight")
    if stem is None or stem.ndim != 4:
        raise UsageError("there is no conv1.weight of four axes: these are no weights of a residual network")
    layers: list[int] = []
    while f"layer{len(layers) + 1}.0.conv1.weight" in state:
        stage = len(layers) + 1
        layers.append(1)
        while f"layer{stage}.{layers[-1]}.conv1.weight" in state:
            layers[-1] += 1
    if not layers:
        raise UsageError("there is no layer1.0.conv1.weight: these are no weights of a residual network")
    head = state.get("fc.weight", torch.empty(0))
    return ResNetConfig(
        block="bottleneck" if "layer1.0.conv3.weight" in state else "basic",
        layers=tuple(layers),
        width=len(stem),
        bands=stem.shape[1],
        classes=len(head),
    )


def _conv(inputs: int, outputs: int, side: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, side, stride=stride, padding=side // 2, bias=False)


def _short(inputs: int, outputs: int, stride: int) -> nn.Sequential | None:
    """What is added to the block: what came in, brought to the channels and the side that go out."""
    if stride == 1 and inputs == outputs:
        return None
    return nn.Sequential(_conv(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs))
