"""The settings of the training of a locator: what it is made of, and its three phases."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from placevec.encoders.backbones import BACKBONES, BackboneConfig, NetBackboneConfig
from placevec.encoders.locator import Decoding
from placevec.errors import UsageError
from placevec.geo.geocells import GeoCellConfig
from placevec.nn import configs
from placevec.nn.locator import HeadConfig
from placevec.nn.locator.losses import LossConfig
from placevec.train.augment import AugmentConfig
from placevec.train.config import LoopConfig

Phase = Literal["province", "geography", "tuning"]

PHASES: tuple[Phase, ...] = ("province", "geography", "tuning")
"""In their order: regions alone; cells and offsets on frozen features; all of it, with the last parts thawed."""


@dataclass(frozen=True)
class PhaseConfig:
    """How one phase learns."""

    loop: LoopConfig = field(default_factory=LoopConfig)  # epochs, rates, batches
    loss: LossConfig = field(default_factory=LossConfig)  # weights of the terms; 0 leaves one out
    mixture: float = 0.0  # weight of the negative log-density of the true point under the mixture that is decoded
    thaw: tuple[int, ...] = ()  # last parts of each backbone that learn, one number for all or one for each;
    # none given: in "province" all of what begins with random weights, in "tuning" the last part, else nothing
    rate: float = 0.1  # factor of the learning rate for the last part of a backbone that was learned before
    decay: float = 0.7  # factor of the rate from each thawed part to the one before it
    mixup: float = 0.0  # a of Beta(a, a), by which features of two images are mixed (Zhang et al. 2018); 0: never
    augment: AugmentConfig = field(  # views of the images, in units of 64 grey levels; not of cached features
        default_factory=lambda: AugmentConfig(min_scale=1.0, turn=False)
    )

    def __post_init__(self) -> None:
        if any(part < 0 for part in self.thaw):
            raise UsageError(f"thaw = {list(self.thaw)}: give how many parts learn, 0 or more")
        for name in ("mixture", "mixup"):
            if getattr(self, name) < 0:
                raise UsageError(f"{name} = {getattr(self, name)}: give 0 or more")
        for name in ("rate", "decay"):
            if not 0 < getattr(self, name) <= 1:
                raise UsageError(f"{name} = {getattr(self, name)}: give a factor above 0, at most 1")


def _province() -> PhaseConfig:
    loss = LossConfig(region=1.0, cell=0.0, offset=0.0, spread=0.0, auxiliary=0.3)
    return PhaseConfig(LoopConfig(epochs=8), loss)


def _geography() -> PhaseConfig:
    return PhaseConfig(LoopConfig(epochs=30))


def _tuning() -> PhaseConfig:
    return PhaseConfig(LoopConfig(epochs=8, learning_rate=5e-4), mixture=0.1)


@dataclass(frozen=True)
class LocateTraining:
    """What a locator is made of, and how it learns."""

    backbones: tuple[BackboneConfig, ...] = field(  # the image encoders
        default=(NetBackboneConfig(),), metadata=configs.one_of(BACKBONES)
    )
    head: HeadConfig = field(default_factory=HeadConfig)  # what stands on them
    geocells: GeoCellConfig = field(default_factory=GeoCellConfig)  # made of the training places alone
    reach: float = 1.0  # an offset stays within so many radii of its cell
    least_reach_km: float = 1.0  # and within so many km at least
    province: PhaseConfig = field(default_factory=_province)
    geography: PhaseConfig = field(default_factory=_geography)
    tuning: PhaseConfig = field(default_factory=_tuning)
    decoding: Decoding = field(default_factory=Decoding)  # what is made of the answers
    choose_point: bool = False  # take the point estimate with the least median error on the validation rows instead
    cache_gb: float = 8.0  # images are kept decoded beside the run where they fit into so much of the disk
    seed: int = 0  # of the networks' first weights

    def __post_init__(self) -> None:
        if not self.backbones:
            raise UsageError("backbones is empty: a locator looks with one image encoder at least")
        if not (self.reach > 0 and self.least_reach_km >= 0):
            raise UsageError(f"reach = {self.reach}, least_reach_km = {self.least_reach_km}: give a reach above 0")
        if self.cache_gb < 0:
            raise UsageError(f"cache_gb = {self.cache_gb}: give 0 (images are read anew each time) or more")

    def phase(self, name: Phase) -> PhaseConfig:
        """The settings of a phase."""
        found: PhaseConfig = getattr(self, name)
        return found

    def to_json(self) -> dict[str, Any]:
        """A JSON object; see `from_json`."""
        return configs.to_json(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> LocateTraining:
        """Read what `to_json` wrote, or a table of a recipe; UsageError for an unknown setting."""
        return configs.from_json(cls, value)
