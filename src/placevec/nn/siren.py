"""SIREN: a network of sines (Sitzmann et al., Implicit Neural Representations with Periodic Activations, 2020)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from placevec.errors import UsageError
from placevec.nn.dense import Linear

FirstActivation = Literal["sine", "h-sine"]

# sinh(2x) is cut at |x| = 10, where it is 2e8 and a float32 sine of it is noise: uncut, it overflows at 44 to NaN.
SINH_LIMIT = 10.0


@dataclass(frozen=True)
class SirenConfig:
    """The shape of a SIREN."""

    kind: ClassVar[str] = "siren"

    capacity: int = 256  # width of the hidden layers
    layers: int = 2  # number of hidden (sine) layers; one linear layer follows
    w0_first: float = 10.0  # frequency factor of the first layer
    w0: float = 1.0  # frequency factor of the other sine layers
    dropout: float = 0.3  # share of hidden units dropped in training, after each sine
    first_activation: FirstActivation = "sine"  # or h-sine: sin(w0_first · sinh(2x)) in the first layer (H-SIREN)

    def __post_init__(self) -> None:
        if self.capacity < 1 or self.layers < 1:
            raise UsageError(f"a SIREN of {self.layers} layers of {self.capacity}: both must be at least 1")
        if not 0.0 <= self.dropout < 1.0:
            raise UsageError(f"nn.dropout = {self.dropout}: give a share from 0 to below 1")
        if not (0.0 < self.w0 < math.inf and 0.0 < self.w0_first < math.inf):
            raise UsageError(f"nn.w0 = {self.w0}, nn.w0_first = {self.w0_first}: both must be above 0")
        if self.first_activation not in ("sine", "h-sine"):
            raise UsageError(f"nn.first_activation = {self.first_activation!r}: give sine or h-sine")

    def build(self, inputs: int, outputs: int) -> Siren:
        """The network from (n, inputs) to (n, outputs)."""
        return Siren(self, inputs, outputs)


class Sine(nn.Module):
    """sin(w0 · (W x + b)), with the initial weights of the paper's section 3.2 and supplement 1.5.

    W is uniform in ±1/inputs in the first layer and in ±sqrt(6/inputs)/w0 in the others, so that the distribution of
    activations is the same in all layers. With `hyperbolic` it is sin(w0 · sinh(2 · (W x + b))), the first layer of
    H-SIREN (Gao and Jaiman 2024, arXiv 2410.04716): the wave grows finer away from 0, so that one layer holds a wider
    range of frequencies.
    """

    def __init__(self, inputs: int, outputs: int, w0: float, *, first: bool, hyperbolic: bool = False) -> None:
        super().__init__()
        self.w0 = w0
        self.hyperbolic = hyperbolic
        self.linear = Linear(inputs, outputs)
        bound = 1.0 / inputs if first else math.sqrt(6.0 / inputs) / w0
        with torch.no_grad():
            self.linear.weight.uniform_(-bound, bound)
            self.linear.bias.uniform_(-math.pi / w0 if first else -bound, math.pi / w0 if first else bound)

    def forward(self, x: Tensor) -> Tensor:
        """(n, inputs) to (n, outputs)."""
        return self.activate(self.linear(x))

    def activate(self, pre: Tensor) -> Tensor:
        """The activation of W x + b; where no gradient is recorded, `pre` is overwritten with it."""
        if torch.is_grad_enabled():
            if self.hyperbolic:
                pre = torch.sinh(2.0 * pre.clamp(-SINH_LIMIT, SINH_LIMIT))
            return torch.sin(self.w0 * pre)
        if self.hyperbolic:
            pre.clamp_(-SINH_LIMIT, SINH_LIMIT).mul_(2.0).sinh_()
        return pre.mul_(self.w0).sin_()


class Siren(nn.Module):
    """A SIREN with a linear last layer."""

    def __init__(self, config: SirenConfig, inputs: int, outputs: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        width = inputs
        for index in range(config.layers):
            first = index == 0
            hyperbolic = first and config.first_activation == "h-sine"
            w0 = config.w0_first if first else config.w0
            layers.append(Sine(width, config.capacity, w0, first=first, hyperbolic=hyperbolic))
            if config.dropout:
                layers.append(nn.Dropout(config.dropout))
            width = config.capacity
        self.hidden = nn.Sequential(*layers)
        self.last = Linear(width, outputs)
        bound = math.sqrt(6.0 / width) / config.w0
        with torch.no_grad():
            self.last.weight.uniform_(-bound, bound)
            self.last.bias.zero_()

    def forward(self, x: Tensor) -> Tensor:
        """(n, inputs) to (n, outputs)."""
        out: Tensor = self.last(self.hidden(x))
        return out

    def first(self) -> tuple[Tensor, Tensor]:
        """The weight (h, inputs) and the bias (h,) of the first linear layer."""
        linear = self._entry.linear
        return linear.weight, linear.bias

    def rest(self, pre: Tensor) -> Tensor:
        """What follows the first linear layer: (n, h) to (n, outputs). Without gradients `pre` is overwritten."""
        x = self._entry.activate(pre)
        for index in range(1, len(self.hidden)):
            x = self.hidden[index](x)
        out: Tensor = self.last(x)
        return out

    @property
    def _entry(self) -> Sine:
        entry = self.hidden[0]
        assert isinstance(entry, Sine)
        return entry
