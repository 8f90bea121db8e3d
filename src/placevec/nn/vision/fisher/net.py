"""An image network that knows textures before it is trained: Fisher vectors of local descriptors, and a head.

What stands before the head is learned from the images alone and in a minute: a mixture of Gaussians over descriptors
of gradients and of colours, and the principal axes of the Fisher vectors (Perronnin et al. 2010; Sánchez et al. 2013).
The head, two layers, is all that captions train. With some thousand images this is better than a network that has to
learn from them what an edge is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from placevec.errors import DataError, UsageError
from placevec.nn.vision.base import VisionNet
from placevec.nn.vision.fisher.channel import Channel
from placevec.nn.vision.fisher.descriptors import CELLS, DIRECTIONS, VIEWS
from placevec.nn.vision.fisher.threads import each, one_thread

GRADIENT_INPUTS = CELLS * CELLS * DIRECTIONS  # numbers of a gradient descriptor

_LEARNED = 1024  # images from which mixtures and axes are learned
_BATCH = 16  # images that are learned from in the same view, at most
_PIXELS = 2**18  # of them together: their descriptors take 128 MiB a scale at a stride of 1, at 4 a 16th of it


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
        counts = ("bands", "dims", "stride", "gradient_dims", "colour_dims", "components", "window", "step")
        for name in (*counts, "gradient_reduced", "colour_reduced"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} = {getattr(self, name)}: give at least 1")
        if not (self.shrink >= 0 and self.noise >= 0):
            raise UsageError(f"shrink = {self.shrink}, noise = {self.noise}: give 0 or more")
        if self.gradient_dims > GRADIENT_INPUTS:
            raise UsageError(f"gradient_dims = {self.gradient_dims}: a descriptor has {GRADIENT_INPUTS} numbers")
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
        common = (config.shrink, config.views)
        self.kinds = nn.ModuleList(
            Channel(config.bands, directed, cells, config.stride, dims, config.components, reduced, *common)
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
        if not len(chips):
            raise DataError("no images: a Fisher network learns from some before it describes any")
        some = chips[:: -(-len(chips) // _LEARNED)]

        def batches() -> Iterator[Tensor]:
            # Made anew each time: all of them as numbers may be far larger than the images are.
            for part in torch.split(some, _BATCH):
                images = self.normalise(part)
                yield from torch.split(images, max(1, min(_BATCH, _PIXELS // (images.shape[2] * images.shape[3]))))

        with torch.no_grad(), one_thread():
            for number, part in enumerate(self.parts):
                part.learn(batches, len(some), seed + number)

    def fixed(self, normalised: Tensor) -> Tensor:
        """See `VisionNet.fixed`: short vectors (n, views, channels)."""
        if not len(normalised):
            return normalised.new_empty(0, self.shape.views, self.channels)
        # One image at a time, here and below: its descriptors stay in the processor's cache, and a product rounds the
        # same whatever other images there are.
        return torch.cat(each(self._describe, torch.split(normalised, 1)))

    def _describe(self, image: Tensor) -> Tensor:
        return torch.cat([part.describe(image) for part in self.parts], dim=2)

    def read(self, fixed: Tensor) -> Tensor:
        """Short vectors (..., channels) to vectors (..., dims)."""
        if self.training and self.shape.noise:
            fixed = fixed + self.shape.noise * torch.randn_like(fixed)
        out: Tensor = self.mlp(fixed)
        return out

    def project(self, normalised: Tensor) -> Tensor:
        """Normalised chips (n, bands, h, w) to vectors (n, dims): the mean of those of their views."""
        # Copies, because how a product rounds can depend on where in memory its rows begin.
        found = [self.read(views.clone()).mean(dim=0) for views in self.fixed(normalised)]
        return torch.stack(found) if found else normalised.new_empty(0, self.shape.dims)

    def dense(self, chips: Tensor, size: tuple[int, int] | None = None) -> Tensor:
        """See `VisionNet.dense`: vectors of windows, read by the same head.

        The head is not linear, and a window is seen in one view: the mean over positions is near the vector of the
        chip, not equal.
        """
        images = self.normalise(chips, size)
        high, wide = (max(1, side // self.shape.step) for side in images.shape[2:])
        found = []
        for image in torch.split(images, 1):
            with torch.no_grad(), one_thread():
                short = [part.windows(image, (high, wide), self.shape.window) for part in self.parts]
            found.append(self.read(torch.cat(short, dim=3)).permute(0, 3, 1, 2))
        return torch.cat(found)
