"""FCNet: the residual network of SINR (Cole et al., Spatial Implicit Neural Representations, ICML 2023)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from placevec.errors import UsageError
from placevec.nn.dense import Linear


@dataclass(frozen=True)
class FCNetConfig:
    """The shape of a residual fully connected network."""

    kind: ClassVar[str] = "fcnet"

    capacity: int = 256  # width of all hidden layers
    layers: int = 4  # number of residual blocks, of two linear layers each; one linear layer stands before and after
    dropout: float = 0.5  # share of hidden units dropped in training, within each block

    def __post_init__(self) -> None:
        if self.capacity < 1 or self.layers < 0:
            raise UsageError(f"an FCNet of {self.layers} blocks of {self.capacity}: give 0 or more, and at least 1")
        if not 0.0 <= self.dropout < 1.0:
            raise UsageError(f"nn.dropout = {self.dropout}: give a share from 0 to below 1")

    def build(self, inputs: int, outputs: int) -> FCNet:
        """The network from (n, inputs) to (n, outputs)."""
        return FCNet(self, inputs, outputs)


class ResidualBlock(nn.Module):
    """x + relu(W2 · dropout(relu(W1 x + b1)) + b2)."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.first = Linear(width, width)
        self.dropout = nn.Dropout(dropout)
        self.second = Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(n, width) to (n, width)."""
        return x + F.relu(self.second(self.dropout(F.relu(self.first(x)))))


class FCNet(nn.Module):
    """A linear layer with ReLU, residual blocks, and a linear layer."""

    def __init__(self, config: FCNetConfig, inputs: int, outputs: int) -> None:
        super().__init__()
        self.entry = Linear(inputs, config.capacity)
        self.blocks = nn.Sequential(*(ResidualBlock(config.capacity, config.dropout) for _ in range(config.layers)))
        self.last = Linear(config.capacity, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(n, inputs) to (n, outputs)."""
        return self.rest(self.entry(x))

    def first(self) -> tuple[Tensor, Tensor]:
        """The weight (h, inputs) and the bias (h,) of the first linear layer."""
        return self.entry.weight, self.entry.bias

    def rest(self, pre: Tensor) -> Tensor:
        """What follows the first linear layer: (n, h) to (n, outputs). Without gradients `pre` is overwritten."""
        out: Tensor = self.last(self.blocks(F.relu(pre, inplace=not torch.is_grad_enabled())))
        return out
