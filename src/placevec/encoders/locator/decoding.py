"""How the network's answers become a guess: which hypotheses are kept, and which point stands for them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from placevec.errors import UsageError
from placevec.nn import configs

PointKind = Literal["mode", "argmax", "median", "geoscore", "flat"]


@dataclass(frozen=True)
class Refinement:
    """Hypotheses moved towards the training images of their cells that look most alike; see `geo.mixture.refine`."""

    k: int = 5  # training images of a cell that are looked at
    temperature: float = 0.05  # of the softmax over their cosines: the smaller, the more the nearest one counts
    weight: float = 0.5  # how far a hypothesis moves towards them, from 0 (not at all) to 1
    rescore: float = 0.0  # how much the similarity of a cell's images counts for its probability, from 0 to 1
    max_m: float = 100_000.0  # a hypothesis that would move farther than this stays where it is

    def __post_init__(self) -> None:
        if self.k < 1 or self.temperature <= 0 or self.max_m < 0:
            raise UsageError(
                f"a refinement looks at k >= 1 images, with a temperature > 0 and max_m >= 0, not {self.k}, "
                f"{self.temperature:g} and {self.max_m:g}"
            )
        for name in ("weight", "rescore"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise UsageError(f"{name} of a refinement is a share from 0 to 1, not {getattr(self, name):g}")


@dataclass(frozen=True)
class Decoding:
    """What is made of the probabilities of regions and cells."""

    regions: int = 2  # the most probable regions of which hypotheses are taken
    cells: int = 5  # of each, the most probable cells
    point: PointKind = "mode"  # the one answer, see `geo.mixture.points`
    reach_m: float = 50_000.0  # radius of a mode, for `point` "mode"
    refine: Refinement | None = None  # None: the training images move nothing
    levels: tuple[float, ...] = (0.5, 0.8, 0.95)  # of the credible regions, from small to large
    confidence_m: float = 25_000.0  # confidence is the probability that the point is at most this far off
    region_shift: tuple[float, ...] = ()  # (P,) added to the logits of the regions: undoes what a sampler balanced

    def __post_init__(self) -> None:
        if self.regions < 1 or self.cells < 1:
            raise UsageError(f"hypotheses are of at least one cell of one region, not {self.cells} of {self.regions}")
        for name in ("reach_m", "confidence_m"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise UsageError(f"{name} is a distance in metres, not {value:g}")
        inside = all(0.0 < level < 1.0 for level in self.levels)
        if not inside or list(self.levels) != sorted(set(self.levels)):
            raise UsageError(f"levels rise between 0 and 1, such as 0.5, 0.8, 0.95; not {list(self.levels)}")

    def to_json(self) -> dict[str, Any]:
        """A JSON object; see `from_json`."""
        return configs.to_json(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Decoding:
        """Read what `to_json` wrote; UsageError for an unknown setting."""
        return configs.from_json(cls, value)
