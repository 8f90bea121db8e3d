"""Real spherical harmonics as a position encoding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from placevec.errors import UsageError
from placevec.nn.harmonics import spherical_harmonics
from placevec.nn.harmonics_grid import HarmonicsGrid
from placevec.nn.position.base import GridLayer, PositionConfig, PositionEncoding


@dataclass(frozen=True)
class Harmonics(PositionConfig):
    """Real spherical harmonics (SatCLIP, Klemmer et al. 2025): even over the whole sphere, poles included.

    Attributes:
        degrees: L, the number of degrees. The finest wave is 360/(L-1) degrees long, the columns are L².
    """

    kind: ClassVar[str] = "harmonics"

    degrees: int = 40

    def __post_init__(self) -> None:
        if not 1 <= self.degrees <= 1000:
            raise UsageError(f"position.degrees = {self.degrees}: give a number from 1 to 1000")

    @property
    def dims(self) -> int:
        """L²."""
        return self.degrees * self.degrees

    def build(self) -> HarmonicsEncoding:
        """The encoding as a module without parameters."""
        return HarmonicsEncoding(self)


class HarmonicsEncoding(PositionEncoding):
    """Real spherical harmonics of coordinates in degrees."""

    def __init__(self, config: Harmonics) -> None:
        super().__init__()
        self.degrees = config.degrees
        self.dims = config.dims

    def forward(self, lonlat: Tensor) -> Tensor:
        """(n, 2) degrees to (n, L²) float32."""
        return spherical_harmonics(lonlat[:, 0], lonlat[:, 1], self.degrees, torch.float32)

    def grid(self, weight: Tensor, lons: Tensor) -> GridLayer:
        """The layer by way of one Legendre table per row and one trigonometric table for all columns."""
        return HarmonicsGrid(weight, self.degrees, lons)
