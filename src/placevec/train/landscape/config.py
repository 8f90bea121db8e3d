"""How a landscape encoder is trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from placevec.errors import UsageError
from placevec.nn import configs
from placevec.train.config import LoopConfig

Loss = Literal["infonce", "triplet"]
Start = Literal["closed-form", "random"]


@dataclass(frozen=True)
class LandscapeTraining:
    """How a landscape encoder is trained on pairs of neighbouring patches."""

    layers: tuple[str, ...] = ()  # the layers of the patches that are read; none: all
    dims: int = 128  # components of a vector
    stem: int = 4  # side of the squares of pixels that the first convolution reads
    widths: tuple[int, ...] = (32, 64)  # channels of the residual stages; none: statistics alone
    depth: int = 1  # residual blocks of a stage
    statistics: bool = True  # also read composition and adjacency by scale
    hidden: int = 256  # units of the perceptron beside the linear head
    dropout: float = 0.1  # of what the head reads
    loss: Loss = "infonce"  # what is asked of an anchor, its neighbour and the far patches of the batch
    temperature: float = 0.1  # of infonce
    margin: float = 0.2  # of triplet, in squared distance between vectors of length 1
    far_m: float | None = None  # patches nearer than this are no negatives; by default as far as neighbours lie
    hide: float = 0.5  # share of the steps in which the centre of the anchors is hidden
    contrast: float = 0.3  # weight of the loss above
    infill: float = 1.0  # weight of guessing the classes of the hidden centre
    describe: float = 3.0  # weight of describing the patch and its neighbour, by their statistics
    start: Start = "closed-form"  # the linear head: what patches are like and share with neighbours, or random
    own: float = 0.7  # of the closed form: share of a vector's variance that says what the patch itself is like
    shrink: float = 0.1  # of the closed form: what is added to the variance of each feature
    loop: LoopConfig = field(default_factory=lambda: LoopConfig(epochs=6, batch_size=256, learning_rate=1e-3))

    def __post_init__(self) -> None:
        if self.loss not in get_args(Loss):
            raise UsageError(f"loss = {self.loss!r}: give {' or '.join(get_args(Loss))}")
        if self.start not in get_args(Start):
            raise UsageError(f"start = {self.start!r}: give {' or '.join(get_args(Start))}")
        for name in ("temperature", "margin", "shrink"):
            if not getattr(self, name) > 0:
                raise UsageError(f"{name} = {getattr(self, name)}: give a number above 0")
        for name in ("hide", "own"):
            if not 0 <= getattr(self, name) <= 1:
                raise UsageError(f"{name} = {getattr(self, name)}: give a share from 0 to 1")
        for name in ("contrast", "infill", "describe"):
            if getattr(self, name) < 0:
                raise UsageError(f"{name} = {getattr(self, name)}: give 0 or more")
        if not self.contrast + self.infill + self.describe:
            raise UsageError("contrast, infill and describe are all 0: nothing would be learned")
        if not self.contrast + self.describe + self.hide:
            raise UsageError("infill alone learns from what is hidden: give hide above 0")
        if self.describe and not self.statistics:
            raise UsageError("describe needs statistics: set describe = 0, or statistics = true")
        if self.far_m is not None and self.far_m < 0:
            raise UsageError(f"far_m = {self.far_m}: give metres")

    def to_json(self) -> dict[str, Any]:
        """A JSON object; see `from_json`."""
        return configs.to_json(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> LandscapeTraining:
        """Read what `to_json` wrote; UsageError for an unknown setting."""
        return configs.from_json(cls, value)
