"""The settings of the training of a fusion network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from placevec.errors import UsageError
from placevec.nn import configs
from placevec.nn.fusion import plain_unet
from placevec.nn.hexunet import HexUNetConfig
from placevec.train.config import LoopConfig


@dataclass(frozen=True)
class Hiding:
    """What is hidden from the network in a step, and has to be told from the rest."""

    modality: float = 0.3  # share of (cell, modality) that is hidden on its own
    blocks: float = 0.3  # at most this share of parent cells is hidden with all in them; how much is drawn in each step
    block_modalities: float = 0.7  # share of the modalities that a hidden block loses
    level: int = 1  # of the parents, levels above the finest
    seen: float = 0.1  # weight of what was not hidden, against 1 of what was: 1 and nothing hidden is an autoencoder

    def __post_init__(self) -> None:
        for name in ("modality", "blocks", "block_modalities"):
            if not 0 <= getattr(self, name) <= 1:
                raise UsageError(f"hiding.{name} = {getattr(self, name)}: a share is from 0 to 1")
        if self.seen < 0 or self.level < 0:
            raise UsageError(f"hiding.seen = {self.seen}, hiding.level = {self.level}: neither is below 0")
        if self.modality == 0 and self.blocks == 0 and self.seen == 0:
            raise UsageError("nothing is hidden and what is seen does not count: there is nothing to learn")


@dataclass(frozen=True)
class FuseLoss:
    """The weights of the objectives."""

    hidden: float = 1.0  # what was hidden, told from the other modalities and the cells around
    neighbours: float = 1.0  # the mean around each cell
    consistency: float = 0.0  # the mean below each coarser cell, told from its state
    contrast: float = 0.0  # two halves of the modalities of a cell find each other among other cells
    temperature: float = 0.2  # of the contrast
    labels: float = 1.0  # targets of training cells, where there are any

    def __post_init__(self) -> None:
        weights = (self.hidden, self.neighbours, self.consistency, self.contrast, self.labels)
        if min(weights) < 0 or self.temperature <= 0:
            raise UsageError("the weights of a loss are 0 or more, its temperature is above 0")
        if self.hidden + self.neighbours + self.consistency + self.contrast == 0:
            raise UsageError("all weights of the loss are 0: there is nothing to learn")


@dataclass(frozen=True)
class UNetChoice:
    """What of the U-Net is chosen; what is None is as `nn.fusion.plain_unet` has it. See `HexUNetConfig`."""

    dims: tuple[int, ...] | None = None  # width of each level, the finest first
    lateral: tuple[int, ...] | None = None  # blocks over neighbours at each level on the way up
    decoder: tuple[int, ...] | None = None  # on the way down, of each level but the last
    expand: int | None = None  # width inside a block, as a multiple of the level's
    dropout: float | None = None  # within blocks
    norm: Literal["layer", "rms"] | None = None  # before each block
    activation: Literal["gelu", "silu", "relu"] | None = None
    skip: Literal["gate", "add", "cat"] | None = None  # how a level is joined with what comes down from the next
    smooth: float | None = None  # how far a block begins towards the mean of the neighbours
    checkpoint: bool | None = None  # compute the inside of blocks again for the gradient

    def made(self, levels: int, width: int, cells: int = 0) -> HexUNetConfig:
        """The whole description, for so many levels; `width` and `cells` as `plain_unet` takes them.

        Raises:
            UsageError: a setting of another number of levels, or out of its range.
        """
        chosen = {name: value for name, value in vars(self).items() if value is not None}
        for name, count in (("dims", levels), ("lateral", levels), ("decoder", levels - 1)):
            if name in chosen and len(chosen[name]) != count:
                raise UsageError(f"unet.{name} = {list(chosen[name])}: give {count} numbers for {levels} levels")
        return replace(plain_unet(levels, width, cells), **chosen)


@dataclass(frozen=True)
class FuseTraining:
    """How a fusion network is trained."""

    width: int = 128  # of what is fused
    part: int = 64  # components of a vector that say what all else tells of a modality, for each
    own: bool = True  # whether a vector also holds the coded columns themselves and their means around
    bins: int = 4  # of the piecewise-linear code of a named column
    unet: UNetChoice = field(default_factory=UNetChoice)  # what of the U-Net is not as `nn.fusion.plain_unet` has it
    level_drop: float = 0.5  # how often a step goes without the coarser levels, so that it also learns to do without
    hiding: Hiding = field(default_factory=Hiding)
    loss: FuseLoss = field(default_factory=FuseLoss)
    cells: int = 65_536  # cells of a step whose decoders are asked: what bounds the memory of a large area
    views: int = 10  # steps that make an epoch, where the area is not cut into cones
    cone_resolution: int | None = None  # H3 of the cones' roots; None: the whole area is one step
    halo: int | None = None  # rings of the coarsest level around a cone; None: all that its core depends on
    loop: LoopConfig = field(
        default_factory=lambda: LoopConfig(
            epochs=60, batch_size=1, learning_rate=2e-3, weight_decay=0.05, warmup=0.07, final_rate=0.0
        )
    )

    def __post_init__(self) -> None:
        for name in ("width", "part", "bins", "cells", "views"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} = {getattr(self, name)}: give at least 1")
        if not 0 <= self.level_drop <= 1:
            raise UsageError(f"level_drop = {self.level_drop}: a share is from 0 to 1")

    def to_json(self) -> dict[str, Any]:
        """A JSON object; see `from_json`."""
        return configs.to_json(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> FuseTraining:
        """Read what `to_json` wrote; UsageError for an unknown setting."""
        return configs.from_json(cls, value)
