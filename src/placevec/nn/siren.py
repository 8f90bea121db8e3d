"""SIREN: a network of sines (Sitzmann et al., Implicit Neural Representations with Periodic Activations, 2020)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from placevec.errors import UsageError


@dataclass(frozen=True)
class SirenConfig:
    """The shape of a SIREN."""

    kind: ClassVar[str] = "siren"

    capacity: int = 256  # width of the hidden layers
    layers: int = 2  # number of hidden (sine) layers; one linear layer follows
    w0_first: float = 10.0  # frequency factor of the first layer
    w0: float = 1.0  # frequency factor of the other sine layers
    dropout: float = 0.3  # share of hidden units dropped in training, after each sine

    def __post_init__(self) -> None:
        if self.capacity < 1 or self.layers < 1:
            raise UsageError(f"a SIREN of {self.layers} layers of {self.capacity}: both must be at least 1")
        if not 0.0 <= self.dropout < 1.0:
            raise UsageError(f"nn.dropout = {self.dropout}: give a share from 0 to below 1")
        if self.w0 <= 0.0 or self.w0_first <= 0.0:
            raise UsageError(f"nn.w0 = {self.w0}, nn.w0_first = {self.w0_first}: both must be above 0")

    def build(self, inputs: int, outputs: int) -> nn.Module:
        """The network from (n, inputs) to (n, outputs)."""
        return Siren(self, inputs, outputs)


class Sine(nn.Module):
    """sin(w0 · (W x + b)), with the initial weights of the paper's section 3.2 and supplement 1.5.

    W is uniform in ±1/inputs in the first layer and in ±sqrt(6/inputs)/w0 in the others, so that the distribution of
    activations is the same in all layers.
    """

    def __init__(self, inputs: int, outputs: int, w0: float, *, first: bool) -> None:
        super().__init__()
        self.w0 = w0
        self.linear = nn.Linear(inputs, outputs)
        bound = 1.0 / inputs if first else math.sqrt(6.0 / inputs) / w0
        with torch.no_grad():
            self.linear.weight.uniform_(-bound, bound)
            self.linear.bias.uniform_(-math.pi / w0 if first else -bound, math.pi / w0 if first else bound)

    def forward(self, x: Tensor) -> Tensor:
        """(n, inputs) to (n, outputs)."""
        return torch.sin(self.w0 * self.linear(x))


class Siren(nn.Module):
    """A SIREN with a linear last layer."""

    def __init__(self, config: SirenConfig, inputs: int, outputs: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        width = inputs
        for index in range(config.layers):
            first = index == 0
            layers.append(Sine(width, config.capacity, config.w0_first if first else config.w0, first=first))
            if config.dropout:
                layers.append(nn.Dropout(config.dropout))
            width = config.capacity
        self.hidden = nn.Sequential(*layers)
        self.last = nn.Linear(width, outputs)
        bound = math.sqrt(6.0 / width) / config.w0
        with torch.no_grad():
            self.last.weight.uniform_(-bound, bound)
            self.last.bias.zero_()

    def forward(self, x: Tensor) -> Tensor:
        """(n, inputs) to (n, outputs)."""
        out: Tensor = self.last(self.hidden(x))
        return out
