"""Capsules: one network per scale of the position encoding, summed, as in GeoCLIP (Vivanco et al., NeurIPS 2023)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from placevec.errors import UsageError
from placevec.nn.dense import Linear


@dataclass(frozen=True)
class CapsulesConfig:
    """The shape of a set of capsules; the columns of the position encoding are split evenly among them."""

    kind: ClassVar[str] = "capsules"

    scales: int = 3  # number of capsules: the number of sigmas of random Fourier features
    capacity: int = 1024  # width of the hidden layers of each
    layers: int = 3  # number of hidden (ReLU) layers of each; one linear layer follows
    dropout: float = 0.0  # share of hidden units dropped in training, after each ReLU

    def __post_init__(self) -> None:
        if self.scales < 1 or self.capacity < 1 or self.layers < 1:
            raise UsageError(
                f"{self.scales} capsules of {self.layers} layers of {self.capacity}: every number must be at least 1"
            )
        if not 0.0 <= self.dropout < 1.0:
            raise UsageError(f"nn.dropout = {self.dropout}: give a share from 0 to below 1")

    def build(self, inputs: int, outputs: int) -> Capsules:
        """The network from (n, inputs) to (n, outputs).

        Raises:
            UsageError: the inputs cannot be split evenly.
        """
        return Capsules(self, inputs, outputs)


class Capsule(nn.Module):
    """A network of ReLU layers with a linear last layer."""

    def __init__(self, config: CapsulesConfig, inputs: int, outputs: int) -> None:
        super().__init__()
        self.entry = Linear(inputs, config.capacity)
        self.hidden = nn.ModuleList(Linear(config.capacity, config.capacity) for _ in range(config.layers - 1))
        self.dropout = nn.Dropout(config.dropout)
        self.last = Linear(config.capacity, outputs)

    def rest(self, pre: Tensor) -> Tensor:
        """What follows the first linear layer: (n, capacity) to (n, outputs)."""
        spare = not torch.is_grad_enabled()
        x = self.dropout(F.relu(pre, inplace=spare))
        for layer in self.hidden:
            x = self.dropout(F.relu(layer(x), inplace=spare))
        out: Tensor = self.last(x)
        return out


class Capsules(nn.Module):
    """Each capsule reads its share of the columns; their vectors are summed."""

    def __init__(self, config: CapsulesConfig, inputs: int, outputs: int) -> None:
        super().__init__()
        if inputs % config.scales:
            raise UsageError(
                f"{inputs} columns of the position encoding cannot be split among {config.scales} capsules: "
                "set nn.scales to the number of its scales"
            )
        self.width = inputs // config.scales
        self.capacity = config.capacity
        self.capsules = nn.ModuleList(Capsule(config, self.width, outputs) for _ in range(config.scales))

    def forward(self, x: Tensor) -> Tensor:
        """(n, inputs) to (n, outputs)."""
        parts = torch.split(x, self.width, dim=1)
        return _sum([capsule.rest(capsule.entry(part)) for capsule, part in zip(self._each(), parts, strict=True)])

    def first(self) -> tuple[Tensor, Tensor]:
        """The weight (h, inputs), block-diagonal, and the bias (h,) of all first layers, h = scales · capacity."""
        each = self._each()
        weight = torch.zeros((len(each) * self.capacity, len(each) * self.width), device=each[0].entry.weight.device)
        for index, capsule in enumerate(each):
            rows = slice(index * self.capacity, (index + 1) * self.capacity)
            weight[rows, index * self.width : (index + 1) * self.width] = capsule.entry.weight
        return weight, torch.cat([capsule.entry.bias for capsule in each])

    def rest(self, pre: Tensor) -> Tensor:
        """What follows the first linear layers: (n, h) to (n, outputs). Without gradients `pre` is overwritten."""
        parts = torch.split(pre, self.capacity, dim=1)
        return _sum([capsule.rest(part) for capsule, part in zip(self._each(), parts, strict=True)])

    def _each(self) -> list[Capsule]:
        return [capsule for capsule in self.capsules if isinstance(capsule, Capsule)]


def _sum(vectors: list[Tensor]) -> Tensor:
    total = vectors[0]
    for vector in vectors[1:]:
        total = total + vector
    return total
