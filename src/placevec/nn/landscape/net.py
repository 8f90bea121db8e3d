"""The landscape network: what a patch of land looks like, as one vector."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from placevec.nn.landscape.config import LandscapeConfig
from placevec.nn.landscape.planes import Planes
from placevec.nn.landscape.resnet import ResidualStages
from placevec.nn.landscape.statistics import LayoutStatistics

LIMIT = 4.0
"""Scaled features beyond this are cut: one rare class must not outweigh all else."""


class LandscapeNet(nn.Module):
    """Patches to vectors: statistics and a residual network side by side, scaled, then a linear head and a perceptron.

    The perceptron begins at nothing, so that the network begins as its linear head, which has a closed-form start
    (see `train.landscape.start`).
    """

    mean: Tensor
    spread: Tensor

    def __init__(self, config: LandscapeConfig) -> None:
        super().__init__()
        self.config = config
        self.planes = Planes(config.layers)
        self.statistics = LayoutStatistics(config.planes, config.pixels) if config.statistics else None
        self.residual = (
            ResidualStages(config.planes, config.stem, config.widths, config.depth) if config.widths else None
        )
        count = sum(part.count for part in (self.statistics, self.residual) if part is not None)
        self.count = count
        self.register_buffer("mean", torch.zeros(count))
        self.register_buffer("spread", torch.ones(count))
        self.dropout = nn.Dropout(config.dropout)
        self.linear = nn.Linear(count, config.dims)
        self.perceptron: nn.Sequential | None = None
        if config.hidden:
            last = nn.Linear(config.hidden, config.dims, bias=False)
            nn.init.zeros_(last.weight)
            self.perceptron = nn.Sequential(nn.Linear(count, config.hidden), nn.ReLU(), last)

    def features(self, patches: Mapping[str, Tensor]) -> Tensor:
        """Layers (n, p, p) to what the head reads (n, count), as it is."""
        planes = self.planes(patches)
        return torch.cat([part(planes) for part in (self.statistics, self.residual) if part is not None], dim=1)

    def scaled(self, patches: Mapping[str, Tensor]) -> Tensor:
        """Layers (n, p, p) to the features (n, count) on one scale; what is rarer than rare is cut."""
        return ((self.features(patches) - self.mean) / self.spread).clamp(-LIMIT, LIMIT)

    def described(self, patches: Mapping[str, Tensor]) -> Tensor:
        """Layers (n, p, p) to their scaled statistics (n, statistics.count): what can be said of a patch."""
        assert self.statistics is not None
        count = self.statistics.count
        found = (self.statistics(self.planes(patches)) - self.mean[:count]) / self.spread[:count]
        clipped: Tensor = found.clamp(-LIMIT, LIMIT)
        return clipped

    def head(self, scaled: Tensor) -> Tensor:
        """Scaled features (n, count) to vectors (n, dims)."""
        shown = self.dropout(scaled)
        vectors: Tensor = self.linear(shown)
        return vectors if self.perceptron is None else vectors + self.perceptron(shown)

    def forward(self, patches: Mapping[str, Tensor]) -> Tensor:
        """Layers (n, p, p) to vectors (n, dims). Their length counts: it grows with how unusual a patch is."""
        return self.head(self.scaled(patches))
