"""The shape of a landscape network, as JSON in its card."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from placevec.errors import UsageError
from placevec.nn import configs


@dataclass(frozen=True)
class PlaneConfig:
    """A layer of the patches and the planes that the network makes of it."""

    name: str  # the key of the layer in a batch
    classes: int = 0  # of a layer of classes: how many, one plane each; 0: a layer of values, two planes
    centre: float = 0.0  # of values: what is taken away, the same for all patches, so that relief is kept
    scale: float = 1.0  # of values: what they are divided by after that

    def __post_init__(self) -> None:
        if not 0 <= self.classes <= 255:
            raise UsageError(f"the layer {self.name!r} has {self.classes} classes; a patch holds 1 to 255")
        if not self.scale > 0:
            raise UsageError(f"the layer {self.name!r} is divided by {self.scale}; give a number above 0")

    @property
    def planes(self) -> int:
        """Planes of the network's input: one a class; of values the value and where there is one."""
        return self.classes or 2


@dataclass(frozen=True)
class LandscapeConfig:
    """The shape of a landscape network."""

    layers: tuple[PlaneConfig, ...] = ()  # what a patch holds
    pixels: int = 32  # side of a patch
    dims: int = 64  # components of a vector
    stem: int = 4  # side of the squares of pixels that the first convolution reads, and their distance
    widths: tuple[int, ...] = (32, 64)  # channels of the stages; each but the first halves the side
    depth: int = 1  # residual blocks of a stage
    statistics: bool = True  # also read what a landscape ecologist would count: composition and adjacency by scale
    hidden: int = 256  # units of the perceptron beside the linear head; 0: none
    dropout: float = 0.0  # of what the head reads

    def __post_init__(self) -> None:
        if not self.layers:
            raise UsageError("a landscape network reads at least one layer")
        names = [layer.name for layer in self.layers]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise UsageError(f"two layers are called {twice!r}; give each its own name")
        for name in ("dims", "stem", "depth"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} = {getattr(self, name)}: give at least 1")
        if self.hidden < 0 or not 0 <= self.dropout < 1:
            raise UsageError(f"hidden = {self.hidden}, dropout = {self.dropout}: give at least 0, and less than 1")
        if not self.widths and not self.statistics:
            raise UsageError("without stages (widths) and without statistics there is nothing to learn from")
        if any(width < 1 for width in self.widths):
            raise UsageError(f"widths = {self.widths}: give at least 1 channel a stage")
        if self.pixels < 8:
            raise UsageError(f"a patch of {self.pixels} pixels a side is too small: give at least 8")
        if self.widths and self.pixels // self.stem < 2 ** (len(self.widths) - 1):
            raise UsageError(
                f"{len(self.widths)} stages after a stem of {self.stem} halve a patch of {self.pixels} pixels to "
                "nothing: give fewer widths, a smaller stem, or more pixels"
            )

    @property
    def planes(self) -> int:
        """Planes of the input."""
        return sum(layer.planes for layer in self.layers)

    def to_json(self) -> dict[str, Any]:
        """A JSON object; see `from_json`."""
        return configs.to_json(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> LandscapeConfig:
        """Read what `to_json` wrote; UsageError for an unknown setting."""
        return configs.from_json(cls, value)
