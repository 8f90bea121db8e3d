"""Sphere2Vec: waves at many scales that keep to the sphere (Mai et al., ISPRS J. 202, 2023).

With longitude λ, latitude φ and their angles λ_s = λ / radius_s, φ_s = φ / radius_s at scale s, each scale gives::

    C    sin φ_s, cos φ_s · cos λ_s, cos φ_s · sin λ_s
    M    sin φ_s, cos φ_s · cos λ, cos φ · cos λ_s, cos φ_s · sin λ, cos φ · sin λ_s
    +    and the plane waves cos λ_s, sin λ_s, cos φ_s, sin φ_s (sphereC+, sphereM+)
    dfs  the plane waves, and for each pair of scales (s, t)
         cos φ_s · cos λ_t, cos φ_s · sin λ_t, sin φ_s · cos λ_t, sin φ_s · sin λ_t

sin φ_s is written once, where both parts of a "+" have it. With one scale of one radian, C and M are the point on the
unit sphere. The authors give radii as shares of a radian; ours are in degrees.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import ClassVar, TypeAlias

import torch
from torch import Tensor

from placevec.nn.position.base import RADIAN, Radii, ScaledWaves, SeparableEncoding, waves

# A function of one coordinate: "1", or "sin" or "cos" at a scale (an index, or None for the coordinate itself).
Factor: TypeAlias = tuple[str, int | None]
Column: TypeAlias = tuple[Factor, Factor]  # of longitude, of latitude

ONE: Factor = ("1", None)


@dataclass(frozen=True)
class Sphere2Vec(Radii):
    """What all forms have in common: each lists its columns as products of two factors."""

    @abstractmethod
    def columns(self) -> Iterator[Column]:
        """The factor of longitude and the factor of latitude of each column, in order."""

    @property
    def dims(self) -> int:
        """The number of `columns`."""
        return sum(1 for _ in self.columns())

    def build(self) -> Sphere2VecEncoding:
        """The encoding as a module without parameters."""
        return Sphere2VecEncoding(self)


@dataclass(frozen=True)
class Sphere2VecC(Sphere2Vec):
    """sphereC: 3·S columns, the point on the sphere at each scale (eq. 4 of arXiv 2201.10489, the first version)."""

    kind: ClassVar[str] = "sphere2vec-c"

    def columns(self) -> Iterator[Column]:
        """See the head of the module."""
        for s in range(self.frequencies):
            yield from _c(s)


@dataclass(frozen=True)
class Sphere2VecCPlus(Sphere2Vec):
    """sphereC+: 6·S columns, sphereC and plane waves."""

    kind: ClassVar[str] = "sphere2vec-c+"

    def columns(self) -> Iterator[Column]:
        """See the head of the module."""
        for s in range(self.frequencies):
            yield from _c(s)
            yield from _plane(s)


@dataclass(frozen=True)
class Sphere2VecM(Sphere2Vec):
    """sphereM: 5·S columns, the scales of one coordinate with the whole of the other."""

    kind: ClassVar[str] = "sphere2vec-m"

    def columns(self) -> Iterator[Column]:
        """See the head of the module."""
        for s in range(self.frequencies):
            yield from _m(s)


@dataclass(frozen=True)
class Sphere2VecMPlus(Sphere2Vec):
    """sphereM+: 8·S columns, sphereM and plane waves."""

    kind: ClassVar[str] = "sphere2vec-m+"

    def columns(self) -> Iterator[Column]:
        """See the head of the module."""
        for s in range(self.frequencies):
            yield from _m(s)
            yield from _plane(s)


@dataclass(frozen=True)
class Sphere2VecDFS(Sphere2Vec):
    """dfs: 4·S² + 4·S columns, all products of two scales (double Fourier series on the sphere, Orszag 1974)."""

    kind: ClassVar[str] = "sphere2vec-dfs"

    frequencies: int = 8  # the columns grow with the square

    def columns(self) -> Iterator[Column]:
        """See the head of the module."""
        for s in range(self.frequencies):
            yield from _plane(s)
            yield ONE, ("sin", s)
        for s, t in product(range(self.frequencies), repeat=2):
            yield ("cos", t), ("cos", s)
            yield ("sin", t), ("cos", s)
            yield ("cos", t), ("sin", s)
            yield ("sin", t), ("sin", s)


def _c(s: int) -> Iterator[Column]:
    yield ONE, ("sin", s)
    yield ("cos", s), ("cos", s)
    yield ("sin", s), ("cos", s)


def _m(s: int) -> Iterator[Column]:
    yield ONE, ("sin", s)
    yield ("cos", None), ("cos", s)
    yield ("cos", s), ("cos", None)
    yield ("sin", None), ("cos", s)
    yield ("sin", s), ("cos", None)


def _plane(s: int) -> Iterator[Column]:
    """The plane waves without sin φ_s, which the others have already."""
    yield ("cos", s), ONE
    yield ("sin", s), ONE
    yield ONE, ("cos", s)


class Sphere2VecEncoding(SeparableEncoding):
    """The columns of one form of Sphere2Vec."""

    lat_of: Tensor

    def __init__(self, config: Sphere2Vec) -> None:
        scales = config.frequencies
        columns = list(config.columns())
        super().__init__([_index(lon, scales) for lon, _ in columns])
        lat_of = torch.tensor([_index(lat, scales) for _, lat in columns], dtype=torch.int64)
        self.register_buffer("lat_of", lat_of, persistent=False)
        self.waves = ScaledWaves(config)

    def lon_waves(self, lons: Tensor) -> Tensor:
        """(n, 3 + 2S): see `_index`."""
        return self._table(lons)

    def lat_factors(self, lats: Tensor) -> Tensor:
        """(n, dims)."""
        return self._table(lats)[:, self.lat_of]

    def _table(self, degrees: Tensor) -> Tensor:
        sin, cos = self.waves(degrees)
        whole_sin, whole_cos = waves(degrees[:, None] / (2.0 * torch.pi * RADIAN))
        return torch.cat([torch.ones_like(whole_sin), whole_sin, whole_cos, sin, cos], dim=1)


def _index(factor: Factor, scales: int) -> int:
    """The column of a factor in the table: 1, sin, cos of the coordinate, then sines and cosines by scale."""
    name, scale = factor
    if scale is None:
        return {"1": 0, "sin": 1, "cos": 2}[name]
    return 3 + scale + (scales if name == "cos" else 0)
