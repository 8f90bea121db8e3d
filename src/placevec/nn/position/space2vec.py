"""Space2Vec: waves at many scales on the plane of longitude and latitude (Mai et al., ICLR 2020)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from placevec.nn.position.base import PositionEncoding, Radii, ScaledWaves, SeparableEncoding, Surface, waves


@dataclass(frozen=True)
class Space2VecGrid(Radii):
    """For each scale [cos x_s, sin x_s, cos y_s, sin y_s] with x_s = lon / radius_s, y_s = lat / radius_s.

    The `grid` of Mai et al. 2020. The seam at the antimeridian closes only at radii of a whole number of waves.
    """

    kind: ClassVar[str] = "space2vec-grid"
    surface: ClassVar[Surface] = "plane"

    @property
    def dims(self) -> int:
        """4·S."""
        return 4 * self.frequencies

    def build(self) -> GridEncoding:
        """The encoding as a module without parameters."""
        return GridEncoding(self)


class GridEncoding(SeparableEncoding):
    """Waves along longitude and latitude."""

    def __init__(self, config: Space2VecGrid) -> None:
        scales = config.frequencies
        super().__init__([wave for s in range(scales) for wave in (1 + scales + s, 1 + s, 0, 0)])
        self.waves = ScaledWaves(config)

    def lon_waves(self, lons: Tensor) -> Tensor:
        """(n, 1 + 2S): 1, the sines, the cosines."""
        sin, cos = self.waves(lons)
        return torch.cat([torch.ones_like(sin[:, :1]), sin, cos], dim=1)

    def lat_factors(self, lats: Tensor) -> Tensor:
        """(n, 4S): 1, 1, cos y_s, sin y_s for each scale."""
        sin, cos = self.waves(lats)
        one = torch.ones_like(sin)
        return torch.stack([one, one, cos, sin], dim=2).flatten(1)


@dataclass(frozen=True)
class Space2VecTheory(Radii):
    """For each scale [cos p_j, sin p_j] with p_j = (x · a_j) / radius_s, for unit vectors a_j at 0, 120, 240 degrees.

    The `theory` of Mai et al. 2020, with x = (lon, lat) in degrees: three waves at 120 degrees to each other make the
    hexagonal lattice of grid cells.
    """

    kind: ClassVar[str] = "space2vec-theory"
    surface: ClassVar[Surface] = "plane"

    @property
    def dims(self) -> int:
        """6·S."""
        return 6 * self.frequencies

    def build(self) -> TheoryEncoding:
        """The encoding as a module without parameters."""
        return TheoryEncoding(self)


class TheoryEncoding(PositionEncoding):
    """Waves along three directions."""

    turns: Tensor

    def __init__(self, config: Space2VecTheory) -> None:
        super().__init__()
        self.dims = config.dims
        direction = 2.0 * math.pi / 3.0 * torch.arange(3, dtype=torch.float64)
        unit = torch.stack([torch.cos(direction), torch.sin(direction)])  # (2, 3)
        turns = unit[:, None, :] / (2.0 * math.pi * config.radii()[None, :, None])  # turns per degree
        self.register_buffer("turns", turns.flatten(1), persistent=False)

    def forward(self, lonlat: Tensor) -> Tensor:
        """(n, 2) degrees to (n, 6S) float32."""
        sin, cos = waves(lonlat @ self.turns)
        return torch.stack([cos, sin], dim=2).flatten(1)
