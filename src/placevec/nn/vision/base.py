"""What all image networks have in common: a map of features, their mean, and one linear head after it.

A new kind is one commented dataclass (`VisionConfig`), one subclass of `VisionNet` that makes the map, and one line in
`VISION_NETS`.
"""

from __future__ import annotations

from typing import ClassVar, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@runtime_checkable
class VisionConfig(Protocol):
    """The description of an image network: a frozen dataclass with a `kind` of its own."""

    kind: ClassVar[str]

    @property
    def bands(self) -> int:
        """Channels of a chip."""

    @property
    def dims(self) -> int:
        """Components of the vector."""

    @property
    def pixels(self) -> int:
        """The side to which chips are resized within; 0: they are read as they come."""

    def build(self) -> VisionNet:
        """The network, with identity normalisation until `set_statistics`."""


class VisionNet(nn.Module):
    """Chips (n, bands, h, w), uint8 or float, to vectors (n, dims).

    A subclass makes `features`, and sets `head` to a linear map from its channels to `dims`. The head comes after the
    mean over the map, so that it can be applied at every position of the map as well: the mean of those vectors
    (`dense`) is the vector of the chip. A network whose head is not linear overrides `project` and `dense`, and says
    how far that holds.
    """

    mean: Tensor
    std: Tensor
    head: nn.Linear

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("mean", torch.zeros(config.bands))
        self.register_buffer("std", torch.ones(config.bands))

    def features(self, normalised: Tensor) -> Tensor:
        """Normalised chips (n, bands, h, w) to the map (n, channels, h', w') of which the mean is taken."""
        raise NotImplementedError(f"{type(self).__name__} makes no features")

    @property
    def channels(self) -> int:
        """Channels of the map."""
        return self.head.in_features

    def set_statistics(self, mean: Tensor, std: Tensor) -> None:
        """Keep the per-band mean and standard deviation (bands,) of the chips, in their own units."""
        self.mean.copy_(mean)
        self.std.copy_(std.clamp_min(1e-6))

    def normalise(self, chips: Tensor, size: tuple[int, int] | None = None) -> Tensor:
        """Chips in their own units to float32 of mean 0 and deviation 1 per band, at the size the network works at.

        Args:
            chips: (n, bands, h, w) uint8 or float; what is not finite becomes 0, the mean.
            size: height and width they are resized to (bilinear, antialiased); without it the square of
                `config.pixels`, or as they come where that is 0.
        """
        scaled = (chips.float() - self.mean[:, None, None]).div_(self.std[:, None, None])
        if chips.is_floating_point():
            # Before the resizing, which would spread one missing pixel over its neighbours.
            scaled = torch.nan_to_num(scaled, nan=0.0, posinf=0.0, neginf=0.0)
        side = self.config.pixels
        wanted = size or ((side, side) if side else None)
        if wanted is None or scaled.shape[2:] == wanted:
            return scaled
        return F.interpolate(scaled, size=wanted, mode="bilinear", align_corners=False, antialias=True)

    @property
    def learns_first(self) -> bool:
        """Whether all before the head is learned from chips alone (`learn`), and training changes the head only."""
        return False

    def learn(self, chips: Tensor, seed: int) -> None:
        """Take from chips (n, bands, h, w), in their own units, what is learned without labels before any training.

        The statistics of the bands have to be set. A network that learns everything by training does nothing here.
        """

    def fixed(self, normalised: Tensor) -> Tensor:
        """What the head reads of normalised chips, (n, views, c), where training does not change it."""
        raise NotImplementedError(f"{type(self).__name__} has nothing that stays as it is")

    def read(self, fixed: Tensor) -> Tensor:
        """The head: `fixed` (..., c) to vectors (..., dims)."""
        raise NotImplementedError(f"{type(self).__name__} has nothing that stays as it is")

    def project(self, normalised: Tensor) -> Tensor:
        """Normalised chips (n, bands, h, w) to vectors (n, dims)."""
        out: Tensor = self.head(self.features(normalised).mean(dim=(2, 3)))
        return out

    def forward(self, chips: Tensor) -> Tensor:
        """Chips in their own units (n, bands, h, w), uint8 or float, to vectors (n, dims)."""
        return self.project(self.normalise(chips))

    def dense(self, chips: Tensor, size: tuple[int, int] | None = None) -> Tensor:
        """Chips in their own units (n, bands, h, w) to the vectors (n, dims, h', w') of the positions of the map.

        Args:
            chips: uint8 or float.
            size: see `normalise`.
        """
        found = self.features(self.normalise(chips, size))
        return F.conv2d(found, self.head.weight[:, :, None, None], self.head.bias)
