"""Position encodings: fixed functions of longitude and latitude that a network can learn from.

Each is a module from (n, 2) float64 degrees, longitude first, to (n, dims) float32, and has a commented dataclass that
describes and builds it. A new one is one dataclass and one line in `POSITIONS`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from placevec.errors import UsageError
from placevec.nn import configs
from placevec.nn.harmonics import spherical_harmonics


@runtime_checkable
class PositionConfig(Protocol):
    """The description of a position encoding: a frozen dataclass with a `kind` of its own."""

    kind: ClassVar[str]

    @property
    def dims(self) -> int:
        """Number of columns of the encoding."""

    def build(self) -> nn.Module:
        """The encoding: (n, 2) float64 degrees, longitude first, to (n, dims) float32."""


@dataclass(frozen=True)
class Harmonics:
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

    def build(self) -> nn.Module:
        """The encoding as a module without parameters."""
        return HarmonicsEncoding(self)


class HarmonicsEncoding(nn.Module):
    """Real spherical harmonics of coordinates in degrees."""

    def __init__(self, config: Harmonics) -> None:
        super().__init__()
        self.degrees = config.degrees
        self.dims = config.dims

    def forward(self, lonlat: Tensor) -> Tensor:
        """(n, 2) degrees to (n, L²) float32."""
        return spherical_harmonics(lonlat[:, 0], lonlat[:, 1], self.degrees, torch.float32)


POSITIONS: dict[str, type[Any]] = {Harmonics.kind: Harmonics}
"""Every position encoding by its kind."""


def position_config(value: Mapping[str, Any]) -> Any:
    """The position config that a JSON object describes, such as ``{"kind": "harmonics", "degrees": 40}``.

    Raises:
        UsageError: an unknown kind or setting.
    """
    return configs.from_json(configs.pick(POSITIONS, str(value.get("kind", "")), "position"), value)
