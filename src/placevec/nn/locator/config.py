"""The shape of the head of a locator, as JSON in its card."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from placevec.errors import UsageError
from placevec.nn import configs
from placevec.nn.locator.branch_configs import BRANCHES, BranchConfig


@dataclass(frozen=True)
class HeadConfig:
    """What stands on the image encoders: fusion, the heads of regions and cells, offsets, and further inputs."""

    dims: int = 512  # components of the fused vector, and of each encoder's after its projection
    gate: Literal["scalar", "channel"] = "scalar"  # one weight an encoder, or one for each component
    region_hidden: int = 256  # hidden units of the head of regions
    cell_hidden: int = 256  # hidden units of a region's head of cells
    cell_hidden_large: int = 512  # the same for a region of many cells
    large_from: int = 30  # cells from which a region has many
    region_dims: int = 32  # components of a region's embedding
    cell_dims: int = 96  # components of a cell's embedding
    offset_hidden: int = 256  # hidden units of the offset head
    offset_last: int = 128  # units before its outputs
    auxiliary_hidden: int = 256  # hidden units of the auxiliary head
    dropout: float = 0.1  # share of hidden units dropped in training, in every head
    branches: tuple[BranchConfig, ...] = field(default=(), metadata=configs.one_of(BRANCHES))  # further inputs

    def __post_init__(self) -> None:
        for name in (
            *("dims", "region_hidden", "cell_hidden", "cell_hidden_large", "large_from", "region_dims", "cell_dims"),
            *("offset_hidden", "offset_last", "auxiliary_hidden"),
        ):
            if getattr(self, name) < 1:
                raise UsageError(f"head.{name} = {getattr(self, name)}: give at least 1")
        if not 0.0 <= self.dropout < 1.0:
            raise UsageError(f"head.dropout = {self.dropout}: give a share from 0 to below 1")
        kinds = [branch.kind for branch in self.branches]
        twice = next((kind for kind in kinds if kinds.count(kind) > 1), None)
        if twice is not None:
            raise UsageError(f"head.branches has two of the kind {twice!r}: give each kind once")

    def hidden_of(self, cells: int) -> int:
        """Hidden units of the head of a region with so many cells."""
        return self.cell_hidden if cells < self.large_from else self.cell_hidden_large

    def fitted(self, lon: NDArray[np.float64], lat: NDArray[np.float64]) -> HeadConfig:
        """The config with every branch fitted to the training places at `lon`, `lat` (n,), degrees."""
        return replace(self, branches=tuple(branch.fitted(lon, lat) for branch in self.branches))

    def to_json(self) -> dict[str, Any]:
        """A JSON object; see `from_json`."""
        return configs.to_json(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> HeadConfig:
        """Read what `to_json` wrote, or a table of a recipe; UsageError for an unknown setting."""
        return configs.from_json(cls, value)
