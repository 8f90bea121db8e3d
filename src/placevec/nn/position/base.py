"""What position encodings have in common: the config, the module, the first layer on a grid, and exact waves."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from placevec.errors import UsageError
from placevec.nn.harmonics import empty

Floats = NDArray[np.float64]
Surface = Literal["sphere", "plane"]

POSITIONS: dict[str, type[Any]] = {}
"""Every position encoding by its kind; the package fills it."""

RADIAN = 180.0 / math.pi
"""Degrees in one radian: the radius of which the wave goes once around the world."""

BLOCK = 4096  # pixels at a time in the plain grid layer: at 1600 columns 26 MB


class GridLayer(Protocol):
    """The first layer of a network on whole rows of a lon/lat grid."""

    def __call__(self, lats: Tensor) -> Tensor:
        """Latitudes (R,) in degrees, float64, to (R, W, h) float32: weight · encoding at each pixel, without bias."""


class PositionConfig(ABC):
    """The description of a position encoding; each kind is a frozen dataclass with a `kind` of its own.

    `surface` says what its inputs are: "sphere", where longitude closes at ±180 and latitude ends at ±90, or "plane",
    where both are plain numbers. `Local` scales a region accordingly.
    """

    kind: ClassVar[str]
    surface: ClassVar[Surface] = "sphere"

    @property
    @abstractmethod
    def dims(self) -> int:
        """Number of columns of the encoding."""

    @abstractmethod
    def build(self) -> PositionEncoding:
        """The encoding as a module."""

    def fitted(self, lon: Floats, lat: Floats) -> Self:
        """The config for places at `lon`, `lat` (n,), degrees: itself, unless it has something to learn from them."""
        return self


class PositionEncoding(nn.Module, ABC):
    """(n, 2) float64 degrees, longitude first, to (n, dims) float32."""

    dims: int

    @abstractmethod
    def forward(self, lonlat: Tensor) -> Tensor:
        """The encoding (n, dims) float32 of points (n, 2) float64 degrees, longitude first."""

    def grid(self, weight: Tensor, lons: Tensor) -> GridLayer:
        """The layer of `weight` (h, dims) on rows of pixels at `lons` (W,), degrees, float64, in any order."""
        return PixelLayer(self, weight, lons)


class PixelLayer:
    """The first layer on a grid, pixel by pixel: what encodings do that have no shorter way."""

    def __init__(self, encoding: PositionEncoding, weight: Tensor, lons: Tensor) -> None:
        self.encoding = encoding
        self.weight = weight.detach().T.contiguous()
        self.lons = lons

    @torch.no_grad()
    def __call__(self, lats: Tensor) -> Tensor:
        """See `GridLayer`."""
        rows, width = len(lats), len(self.lons)
        out = empty((rows * width, self.weight.shape[1]), torch.float32, self.weight.device)
        for start in range(0, len(out), BLOCK):
            pixel = torch.arange(start, min(start + BLOCK, len(out)), device=lats.device)
            row = torch.div(pixel, width, rounding_mode="floor")
            points = torch.stack([self.lons[pixel - row * width], lats[row]], dim=1)
            torch.mm(self.encoding(points), self.weight, out=out[start : start + BLOCK])
        return out.view(rows, width, self.weight.shape[1])


class SeparableEncoding(PositionEncoding):
    """An encoding of which each column is a function of longitude times a function of latitude.

    Many columns share their function of longitude. With K different ones, a row of a grid costs K·h per pixel and not
    dims·h, and no trigonometry at all (see `SeparableLayer`).

    Args:
        wave_of: for each of the dims columns the index of its function of longitude.
    """

    wave_of: Tensor

    def __init__(self, wave_of: list[int]) -> None:
        super().__init__()
        self.dims = len(wave_of)
        # Not persistent: it follows from the config, and would only swell the weights file.
        self.register_buffer("wave_of", torch.tensor(wave_of, dtype=torch.int64), persistent=False)

    @abstractmethod
    def lon_waves(self, lons: Tensor) -> Tensor:
        """The K functions (n, K) float32 of longitudes (n,) float64 degrees."""

    @abstractmethod
    def lat_factors(self, lats: Tensor) -> Tensor:
        """The functions (n, dims) float32 of latitudes (n,) float64 degrees, one for each column."""

    def forward(self, lonlat: Tensor) -> Tensor:
        """The product, column by column."""
        return self.lon_waves(lonlat[:, 0])[:, self.wave_of] * self.lat_factors(lonlat[:, 1])

    def grid(self, weight: Tensor, lons: Tensor) -> GridLayer:
        """The layer by way of the K functions of longitude."""
        return SeparableLayer(self, weight, lons)


class SeparableLayer:
    """The first layer on a grid of an encoding whose column j is A_k(j)(lon) · B_j(lat).

    The weights are summed by their function of longitude, once a row::

        out[r, w] = Σ_k A_k(lon_w) · C_k(lat_r),   C_k(lat) = Σ_(j: k(j) = k) B_j(lat) · weight_j
    """

    def __init__(self, encoding: SeparableEncoding, weight: Tensor, lons: Tensor) -> None:
        self.encoding = encoding
        self.weight = weight.detach().T.contiguous()
        with torch.no_grad():
            self.waves = encoding.lon_waves(lons)

    @torch.no_grad()
    def __call__(self, lats: Tensor) -> Tensor:
        """See `GridLayer`."""
        width, waves = self.waves.shape
        factors = self.encoding.lat_factors(lats)
        out = empty((len(lats), width, self.weight.shape[1]), torch.float32, self.weight.device)
        sums = torch.empty((waves, self.weight.shape[1]), device=self.weight.device)
        for row, factor in zip(out, factors, strict=True):
            sums.zero_().index_add_(0, self.encoding.wave_of, factor[:, None] * self.weight)
            torch.mm(self.waves, sums, out=row)
        return out


def waves(turns: Tensor) -> tuple[Tensor, Tensor]:
    """The sine and cosine, float32, of angles in whole turns, float64.

    Whole turns are taken off in float64: a float32 sine of a fine wave has lost its phase (at 1,000 turns 4e-4).
    """
    angle = (turns - turns.round()).to(torch.float32).mul_(2.0 * math.pi)
    return torch.sin(angle), torch.cos(angle)


@dataclass(frozen=True)
class Radii(PositionConfig):
    """The settings of encodings at several scales.

    The angle at scale s is degrees / radius_s in radians, and its wave is 2π·radius_s degrees long. The radii grow
    geometrically: radius_s = min_radius · (max_radius / min_radius)^(s / (S-1)) for s = 0 ... S-1.
    """

    frequencies: int = 16  # S, the number of scales; 1 takes min_radius alone
    min_radius: float = 0.5  # degrees; the finest wave is 2π times as long
    max_radius: float = RADIAN  # degrees; one radian gives a wave once around the world

    def __post_init__(self) -> None:
        if not 1 <= self.frequencies <= 1000:
            raise UsageError(f"position.frequencies = {self.frequencies}: give a number from 1 to 1000")
        if not 0.0 < self.min_radius <= self.max_radius < math.inf:
            raise UsageError(
                f"position.min_radius = {self.min_radius}, max_radius = {self.max_radius}: "
                "give degrees above 0, the smaller first"
            )

    def radii(self) -> Tensor:
        """The radii (S,) in degrees, float64, the finest first."""
        return torch.from_numpy(np.geomspace(self.min_radius, self.max_radius, self.frequencies))


class ScaledWaves(nn.Module):
    """Sines and cosines of a coordinate at every radius of a `Radii`."""

    turns: Tensor

    def __init__(self, config: Radii) -> None:
        super().__init__()
        turns = 1.0 / (config.radii() * (2.0 * math.pi))  # turns per degree
        self.register_buffer("turns", turns, persistent=False)

    def forward(self, degrees: Tensor) -> tuple[Tensor, Tensor]:
        """Degrees (n,) float64 to sines and cosines, each (n, S) float32."""
        return waves(degrees[:, None] * self.turns)
