"""An image network that knows textures before it is trained: Fisher vectors of local descriptors, and a head.

What stands before the head is learned from the images alone and in a minute: a mixture of Gaussians over descriptors
of gradients and of colours, and the principal axes of the Fisher vectors (Perronnin et al. 2010; Sánchez et al. 2013).
The head, two layers, is all that captions train. With some thousand images this is better than a network that has to
learn from them what an edge is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from placevec.errors import UsageError
from placevec.nn.vision.base import VisionNet
from placevec.nn.vision.fisher.channel import Channel
from placevec.nn.vision.fisher.descriptors import CELLS, VIEWS
from placevec.nn.vision.fisher.windows import cell_sums, window_means

_LEARNED = 1024  # images from which mixtures and axes are learned
_PART = 16  # images at a time: their descriptors fit into the processor's cache better than more of them


@dataclass(frozen=True)
class FisherConfig:
    """The shape of a Fisher network."""

    kind: ClassVar[str] = "fisher"

    bands: int = 3  # channels of a chip
    dims: int = 64  # components of the vector
    pixels: int = 128  # side to which chips are resized within; 0: as they come
    stride: int = 4  # pixels between the positions of descriptors
    gradient_cells: tuple[int, ...] = (3, 4, 6, 8)  # side in pixels of a descriptor's 4 x 4 cells, for each scale
    gradient_dims: int = 64  # components of a projected gradient descriptor
    colour_cells: tuple[int, ...] = (4, 8)  # the same for colours; none: colours are not looked at
    colour_dims: int = 32  # components of a projected colour descriptor
    components: int = 64  # Gaussians of each mixture
    gradient_reduced: int = 512  # components of the short vector of gradients, which the head reads
    colour_reduced: int = 256  # of colours
    shrink: float = 0.3  # principal axes below this share of the first one's deviation are not brought to its length
    hidden: int = 512  # width of the head's hidden layer; 0: a linear head
    input_dropout: float = 0.5  # share of the short vectors' components that are dropped in training
    dropout: float = 0.5  # share of the hidden layer that is dropped in training
    noise: float = 0.1  # deviation of what is added to the short vectors in training
    views: int = VIEWS  # flips and turns of a chip whose vectors are averaged: 1 or 8
    window: int = 4  # side of the window that `dense` looks at, in steps of `step`
    step: int = 16  # pixels, within the network, between positions of `dense`

    def __post_init__(self) -> None:
        for name in ("bands", "dims", "stride", "gradient_dims", "colour_dims", "components", "window", "step"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} = {getattr(self, name)}: give at least 1")
        if self.pixels < 0 or self.hidden < 0:
            raise UsageError(f"pixels = {self.pixels}, hidden = {self.hidden}: give 0 or more")
        if not self.gradient_cells or min(self.gradient_cells + self.colour_cells) < 1:
            raise UsageError("gradient_cells and colour_cells are sides in pixels, such as [3, 4, 6, 8]")
        if self.views not in (1, VIEWS):
            raise UsageError(f"views = {self.views}: give 1 or {VIEWS}")
        for name in ("input_dropout", "dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise UsageError(f"{name} = {getattr(self, name)}: give a share from 0 to below 1")

    def build(self) -> FisherNet:
        """The network; it has to `learn` from chips before it says anything."""
        return FisherNet(self)


class FisherNet(VisionNet):
    """Chips (n, bands, h, w) to vectors (n, dims)."""

    def __init__(self, config: FisherConfig) -> None:
        super().__init__(config)
        self.shape = config
        given = [(True, config.gradient_cells, config.gradient_dims, config.gradient_reduced)]
        if config.colour_cells:
            given.append((False, config.colour_cells, config.colour_dims, config.colour_reduced))
        self.kinds = nn.ModuleList(
            Channel(config.bands, directed, cells, config.stride, dims, config.components, reduced, config.shrink)
            for directed, cells, dims, reduced in given
        )
        inputs = sum(reduced for *_, reduced in given)
        layers: list[nn.Module] = [nn.Dropout(config.input_dropout)]
        if config.hidden:
            layers += [nn.Linear(inputs, config.hidden), nn.GELU(), nn.Dropout(config.dropout)]
        self.mlp = nn.Sequential(*layers, nn.Linear(config.hidden or inputs, config.dims))

    @property
    def learns_first(self) -> bool:
        """See `VisionNet.learns_first`."""
        return True

    @property
    def channels(self) -> int:
        """Components of the short vectors, which the head reads."""
        return sum(part.axes.shape[1] for part in self.parts)

    @property
    def parts(self) -> list[Channel]:
        """The channels: of gradients, and of colours where those are looked at."""
        return [part for part in self.kinds if isinstance(part, Channel)]

    def learn(self, chips: Tensor, seed: int) -> None:
        """See `VisionNet.learn`: mixtures and principal axes, of at most 1,024 chips, evenly drawn."""
        some = chips[:: -(-len(chips) // _LEARNED) or 1]
        with torch.no_grad():
            batches = [self.normalise(part) for part in torch.split(some, _PART)]
            for number, part in enumerate(self.parts):
                part.learn(batches, seed + number)

    def fixed(self, normalised: Tensor) -> Tensor:
        """See `VisionNet.fixed`: short vectors (n, views, channels)."""
        found = []
        with torch.no_grad():
            for images in torch.split(normalised, _PART):
                every = []
                for part in self.parts:
                    flat = part.flat(images)
                    every.append(
                        torch.stack(
                            [part.reduce(part.statistics(flat, view)) for view in range(self.shape.views)], dim=1
                        )
                    )
                found.append(torch.cat(every, dim=2))
        return torch.cat(found) if found else normalised.new_zeros(0, self.shape.views, self.channels)

    def read(self, fixed: Tensor) -> Tensor:
        """Short vectors (..., channels) to vectors (..., dims)."""
        if self.training and self.shape.noise:
            fixed = fixed + self.shape.noise * torch.randn_like(fixed)
        out: Tensor = self.mlp(fixed)
        return out

    def project(self, normalised: Tensor) -> Tensor:
        """Normalised chips (n, bands, h, w) to vectors (n, dims): the mean of those of their views."""
        return self.read(self.fixed(normalised)).mean(dim=1)

    def dense(self, chips: Tensor, size: tuple[int, int] | None = None) -> Tensor:
        """See `VisionNet.dense`: vectors of windows, read by the same head.

        Descriptors are made and assigned once for the whole image; a window is described by the sums of the cells
        that it covers. The head is not linear: the mean over positions is near the vector of the chip, not equal.
        """
        images = self.normalise(chips, size)
        grid = tuple(max(1, side // self.shape.step) for side in images.shape[2:])
        found = []
        for part in self.parts:
            sums, counts = 0.0, 0.0
            for cell, there in zip(part.cells, part.descriptors(images), strict=False):
                more = cell_sums(part.mixture, there, images.shape[2:], grid, CELLS * cell, part.stride)
                sums, counts = sums + more[0], counts + more[1]
            means = window_means(sums, counts, self.shape.window)
            found.append(part.reduce(means.flatten(0, 2)).view(*means.shape[:3], -1))
        return self.read(torch.cat(found, dim=3)).permute(0, 3, 1, 2)
