"""How `evaluate fusion` measures, and what follows from the cells where the user says nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

from placevec.errors import UsageError
from placevec.measure.fusion.baselines import MOST_RINGS
from placevec.measure.fusion.protocol import FusionRules
from placevec.measure.fusion.reference import BLOCKS_UP
from placevec.measure.fusion.rings import spacing_m
from placevec.measure.intervals import DRAWS

Protocol = Literal["nested", "reference"]
Splits = Literal["both", "random", "block"]

BUFFER_RINGS = 2
"""The buffer is so many spacings of the cells wide, unless it is given."""


@dataclass(frozen=True)
class FusionProtocol:
    """The settings of an evaluation of fusions."""

    protocol: Protocol = "nested"  # "reference": fixed penalty, blocks without a buffer, see measure.fusion.reference
    splits: Splits = "both"  # random and spatial blocks, or one alone
    block: str | None = None  # such as "h3:7"; by default two resolutions coarser than the cells
    buffer_m: float | None = None  # around test rows; by default two spacings of the cells
    k: int = 5  # folds
    shuffles: int = 3  # how often folds are drawn anew
    log1p: tuple[str, ...] = ()  # targets of which ln(1 + y) is predicted; by the reference protocol all
    rings: int = 10  # ring means are made for 1 to so many rings
    knn: bool = False  # also kNN on fused vectors, untrained ones and the concatenation
    drop_one: bool = False  # also the concatenation without each modality
    resample: Literal["blocks", "places"] = "blocks"  # what the bootstrap draws
    draws: int = DRAWS  # bootstrap resamples
    min_cells: int = 100  # targets with a value at fewer cells are skipped
    limit: int = 0  # at most so many cells of a target are measured, drawn by the seed; 0: all
    seed: int = 0  # of everything random

    def __post_init__(self) -> None:
        for name, value, known in (
            ("protocol", self.protocol, get_args(Protocol)),
            ("splits", self.splits, get_args(Splits)),
            ("resample", self.resample, ("blocks", "places")),
        ):
            if value not in known:
                raise UsageError(f"{name} = {value!r}: choose of {', '.join(known)}")
        if not 1 <= self.rings <= MOST_RINGS:
            raise UsageError(f"means over 1 to {self.rings} rings cannot be: give 1 to {MOST_RINGS}")
        if self.k < 3 or self.shuffles < 1:
            raise UsageError(
                f"{self.k} folds and {self.shuffles} shuffles: give 3 folds or more, and 1 shuffle or more"
            )

    def rules(self, resolution: int) -> FusionRules:
        """What `measure_fusions` is told for cells of a resolution."""
        buffer_m = self.buffer_m
        return FusionRules(
            block=self.block or f"h3:{max(resolution - BLOCKS_UP, 0)}",
            buffer_m=BUFFER_RINGS * spacing_m(resolution) if buffer_m is None else buffer_m,
            splits=("random", "block") if self.splits == "both" else (self.splits,),
            k=self.k,
            shuffles=self.shuffles,
            resample=self.resample,
            draws=self.draws,
            seed=self.seed,
        )

    def transform(self, target: str) -> str:
        """What is done to a target first: "log1p" or nothing."""
        return "log1p" if target in self.log1p or self.protocol == "reference" else ""

    def settings(self) -> dict[str, Any]:
        """The settings as JSON."""
        return {**vars(self), "log1p": list(self.log1p)}
