"""The networks that can follow a position encoding."""

from __future__ import annotations

from typing import Any, ClassVar, Protocol, runtime_checkable

from torch import Tensor, nn

from placevec.nn.capsules import CapsulesConfig
from placevec.nn.fcnet import FCNetConfig
from placevec.nn.siren import SirenConfig


@runtime_checkable
class NetworkConfig(Protocol):
    """The description of a network: a frozen dataclass with a `kind` of its own."""

    kind: ClassVar[str]

    def build(self, inputs: int, outputs: int) -> nn.Module:
        """The network from (n, inputs) to (n, outputs); see `Network` for what it offers besides."""


@runtime_checkable
class Network(Protocol):
    """A network whose first linear layer can be computed elsewhere, such as on a whole grid at once.

    For all x: forward(x) = rest(x @ weight.T + bias) with weight, bias = first().
    """

    def forward(self, x: Tensor) -> Tensor:
        """(n, inputs) to (n, outputs)."""

    def first(self) -> tuple[Tensor, Tensor]:
        """The weight (h, inputs) and the bias (h,) of the first linear layer."""

    def rest(self, pre: Tensor) -> Tensor:
        """(n, h) to (n, outputs). Where no gradient is recorded, `pre` may be overwritten."""


NETWORKS: dict[str, type[Any]] = {config.kind: config for config in (SirenConfig, FCNetConfig, CapsulesConfig)}
"""Every network that can follow a position encoding, by its kind."""
