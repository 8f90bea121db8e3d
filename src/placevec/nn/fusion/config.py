"""The settings of a network that fuses modalities."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from placevec.errors import UsageError
from placevec.nn.hexunet.config import HexUNetConfig

Form = Literal["bins", "values"]

CHECKPOINTED = 200_000


@dataclass(frozen=True)
class ModalityConfig:
    """One modality, as the network reads it."""

    name: str
    columns: int  # of its table
    tokens: int  # what they become, see `tokens.Tokens`
    form: Form = "bins"  # bins: a piecewise-linear code of each column; values: standardised, for vectors of an encoder


@dataclass(frozen=True)
class FusionConfig:
    """A fusion network: tokens of each modality, a gate, a U-Net over hexagons, a decoder for each modality."""

    modalities: tuple[ModalityConfig, ...]
    resolutions: tuple[int, ...]  # H3, consecutive, the finest first
    width: int = 128  # of what is fused
    part: int = 64  # what a decoder's state adds to the vector of a cell, for each modality
    own: bool = True  # whether the vector begins with the tokens of the cell itself and of what lies around it
    unet: HexUNetConfig = field(default_factory=HexUNetConfig)

    def __post_init__(self) -> None:
        if len(self.modalities) < 2:
            raise UsageError(f"{len(self.modalities)} modalities: to fuse takes at least 2")
        names = [one.name for one in self.modalities]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise UsageError(f"two modalities are called {twice!r}: give each its own name")
        if self.width < 1 or self.part < 1:
            raise UsageError(f"width = {self.width}, part = {self.part}: both are at least 1")
        if len(self.unet.dims) != len(self.resolutions):
            raise UsageError(
                f"unet.dims names {len(self.unet.dims)} levels for {len(self.resolutions)} resolutions: give as many"
            )

    @property
    def columns(self) -> tuple[int, ...]:
        """The columns of each modality."""
        return tuple(one.columns for one in self.modalities)

    @property
    def inputs(self) -> int:
        """Columns of the matrix that the network reads: all values, then for each modality whether it is there."""
        return sum(self.columns) + len(self.modalities)

    @property
    def dims(self) -> int:
        """Components of a fused vector."""
        return sum(stop - start for _, start, stop in self.blocks)

    @property
    def blocks(self) -> tuple[tuple[str, int, int], ...]:
        """The parts (name, first component, component after the last) of a fused vector, in their order.

        NAME: the tokens of a modality; NAME around: their mean over the cell and its neighbours; NAME told: what all
        other modalities tell of it.
        """
        parts = []
        if self.own:
            parts += [(one.name, one.tokens) for one in self.modalities]
            parts += [(f"{one.name} around", one.tokens) for one in self.modalities]
        parts += [(f"{one.name} told", self.part) for one in self.modalities]
        ends = [0]
        for _, count in parts:
            ends.append(ends[-1] + count)
        return tuple((name, start, stop) for (name, _), start, stop in zip(parts, ends, ends[1:], strict=False))


def plain_unet(levels: int, width: int, cells: int = 0) -> HexUNetConfig:
    """The U-Net that is taken where none is described, for an area of so many cells.

    One block at each level on the way up, and one on the way down at all levels but the finest, where a further block
    would look farther than what a hexagon says reaches. No smoothing at the start: near things differ in a city. Beyond
    `CHECKPOINTED` cells the inside of blocks is computed twice, for the memory that it saves.
    """
    return HexUNetConfig(
        dims=(width,) * levels,
        lateral=(1,) * levels,
        decoder=(0, *(1,) * (levels - 2)) if levels > 1 else (),
        skip="add",
        smooth=0.0,
        checkpoint=cells > CHECKPOINTED,
    )
