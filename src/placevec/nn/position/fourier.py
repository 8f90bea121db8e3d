"""Random Fourier features at several scales on the Equal Earth map, as in GeoCLIP (Vivanco et al., NeurIPS 2023)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from placevec.errors import UsageError
from placevec.nn.position.base import PositionConfig, PositionEncoding, waves

# The polynomial of Equal Earth (Šavrič, Patterson and Jenny, IJGIS 33, 2019, eq. 9).
A1, A2, A3, A4 = 1.340264, -0.081106, 0.000893, 0.003796

# GeoCLIP's factor: it brings x to ±1 (to 3e-8) at the antimeridian, and y to ±0.487 at the poles.
TO_UNIT = 66.50336 / 180.0


def equal_earth(lon: Tensor, lat: Tensor) -> tuple[Tensor, Tensor]:
    """The Equal Earth map on a sphere of radius 1, as (x, y) of the shapes given.

    As GeoCLIP does, the latitude enters as it is. The official projection of the ellipsoid (EPSG:8857) turns it into
    the authalic latitude first, which moves places by up to 0.13 degrees of latitude; both agree on a sphere.

    Args:
        lon: longitudes in degrees, float64.
        lat: latitudes in degrees, float64.
    """
    theta = torch.asin(math.sqrt(3.0) / 2.0 * torch.sin(torch.deg2rad(lat)))
    square = theta * theta
    sixth = square * square * square
    slope = A1 + 3.0 * A2 * square + sixth * (7.0 * A3 + 9.0 * A4 * square)  # dy / dtheta
    x = 2.0 * math.sqrt(3.0) / 3.0 * torch.deg2rad(lon) * torch.cos(theta) / slope
    y = theta * (A1 + A2 * square + sixth * (A3 + A4 * square))
    return x, y


@dataclass(frozen=True)
class RandomFourier(PositionConfig):
    """For each σ [cos 2πBv, sin 2πBv], v the Equal Earth map in ±1 and B (frequencies, 2) normal of deviation σ.

    A wave of frequency σ is 180/σ degrees of longitude long at the equator. With 3 scales of 256 frequencies, as
    in GeoCLIP, there are 1,536 columns. They jump at the antimeridian, the edge of the map; a pole is a line on it.
    """

    kind: ClassVar[str] = "fourier"

    sigmas: tuple[float, ...] = (1.0, 16.0, 256.0)  # deviations of the frequencies, in waves per half map width
    frequencies: int = 256  # random directions of each scale; two columns each
    seed: int = 0  # of the random matrices, which are then kept with the weights

    def __post_init__(self) -> None:
        if not self.sigmas or not all(0.0 < sigma < math.inf for sigma in self.sigmas):
            raise UsageError(f"position.sigmas = {list(self.sigmas)}: give at least one number above 0")
        if not 1 <= self.frequencies <= 100_000:
            raise UsageError(f"position.frequencies = {self.frequencies}: give a number from 1 to 100000")
        if self.seed < 0:
            raise UsageError(f"position.seed = {self.seed}: give 0 or more")

    @property
    def dims(self) -> int:
        """2 · frequencies · number of scales."""
        return 2 * self.frequencies * len(self.sigmas)

    def build(self) -> RandomFourierEncoding:
        """The encoding, with matrices that depend on `seed` alone."""
        return RandomFourierEncoding(self)


class RandomFourierScale(nn.Module):
    """Random Fourier features of one deviation. `b` is saved with the weights: imported ones have their own."""

    b: Tensor

    def __init__(self, sigma: float, frequencies: int, generator: torch.Generator) -> None:
        super().__init__()
        self.register_buffer("b", sigma * torch.randn((frequencies, 2), generator=generator))

    def forward(self, xy: Tensor) -> Tensor:
        """(n, 2) float64 on the map to (n, 2 · frequencies) float32: all cosines, then all sines."""
        sin, cos = waves(xy @ self.b.T.to(torch.float64))
        return torch.cat([cos, sin], dim=1)


class RandomFourierEncoding(PositionEncoding):
    """Random Fourier features at several scales, one after another."""

    def __init__(self, config: RandomFourier) -> None:
        super().__init__()
        self.dims = config.dims
        generator = torch.Generator().manual_seed(config.seed)
        self.scales = nn.ModuleList(RandomFourierScale(sigma, config.frequencies, generator) for sigma in config.sigmas)

    def forward(self, lonlat: Tensor) -> Tensor:
        """(n, 2) degrees to (n, dims) float32."""
        xy = torch.stack(equal_earth(lonlat[:, 0], lonlat[:, 1]), dim=1) * TO_UNIT
        return torch.cat([scale(xy) for scale in self.scales], dim=1)
