"""The plain encodings: coordinates as they are, as sines and cosines, and as a point in space."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from placevec.errors import UsageError
from placevec.nn.position.base import PositionConfig, SeparableEncoding, Surface, waves


@dataclass(frozen=True)
class Direct(PositionConfig):
    """[lon / 180, lat / 90]: the coordinates themselves, in ±1. It jumps at the antimeridian."""

    kind: ClassVar[str] = "direct"
    surface: ClassVar[Surface] = "plane"

    @property
    def dims(self) -> int:
        """2."""
        return 2

    def build(self) -> DirectEncoding:
        """The encoding as a module without parameters."""
        return DirectEncoding()


class DirectEncoding(SeparableEncoding):
    """Scaled coordinates."""

    def __init__(self) -> None:
        super().__init__([1, 0])

    def lon_waves(self, lons: Tensor) -> Tensor:
        """(n, 2): 1, lon / 180."""
        return torch.stack([torch.ones_like(lons), lons / 180.0], dim=1).to(torch.float32)

    def lat_factors(self, lats: Tensor) -> Tensor:
        """(n, 2): 1, lat / 90."""
        return torch.stack([torch.ones_like(lats), lats / 90.0], dim=1).to(torch.float32)


@dataclass(frozen=True)
class Cartesian(PositionConfig):
    """[cos lat · cos lon, cos lat · sin lon, sin lat]: the point on the unit sphere, without seam or pole."""

    kind: ClassVar[str] = "cartesian"

    @property
    def dims(self) -> int:
        """3."""
        return 3

    def build(self) -> CartesianEncoding:
        """The encoding as a module without parameters."""
        return CartesianEncoding()


class CartesianEncoding(SeparableEncoding):
    """Points on the unit sphere."""

    def __init__(self) -> None:
        super().__init__([2, 1, 0])

    def lon_waves(self, lons: Tensor) -> Tensor:
        """(n, 3): 1, sin lon, cos lon."""
        sin, cos = waves(lons / 360.0)
        return torch.stack([torch.ones_like(sin), sin, cos], dim=1)

    def lat_factors(self, lats: Tensor) -> Tensor:
        """(n, 3): cos lat twice, sin lat."""
        sin, cos = waves(lats / 360.0)
        return torch.stack([cos, cos, sin], dim=1)


@dataclass(frozen=True)
class Wrap(PositionConfig):
    """[sin λ, cos λ, sin φ, cos φ] of longitude λ and latitude φ (Mac Aodha et al. 2019; SINR, Cole et al. 2023).

    There is no seam in longitude; at a pole the longitude still shows.
    """

    kind: ClassVar[str] = "wrap"

    lat_wave: float = 360.0  # degrees of latitude per turn of φ; SINR takes 180, which makes one place of both poles

    def __post_init__(self) -> None:
        if not 180.0 <= self.lat_wave < float("inf"):
            raise UsageError(f"position.lat_wave = {self.lat_wave}: give at least 180 degrees, or latitudes coincide")

    @property
    def dims(self) -> int:
        """4."""
        return 4

    def build(self) -> WrapEncoding:
        """The encoding as a module without parameters."""
        return WrapEncoding(self)


class WrapEncoding(SeparableEncoding):
    """Sines and cosines of coordinates."""

    def __init__(self, config: Wrap) -> None:
        super().__init__([1, 2, 0, 0])
        self.lat_wave = config.lat_wave

    def lon_waves(self, lons: Tensor) -> Tensor:
        """(n, 3): 1, sin λ, cos λ."""
        sin, cos = waves(lons / 360.0)
        return torch.stack([torch.ones_like(sin), sin, cos], dim=1)

    def lat_factors(self, lats: Tensor) -> Tensor:
        """(n, 4): 1, 1, sin φ, cos φ."""
        sin, cos = waves(lats / self.lat_wave)
        one = torch.ones_like(sin)
        return torch.stack([one, one, sin, cos], dim=1)
