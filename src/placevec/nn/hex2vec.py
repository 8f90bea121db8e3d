"""The network of hex2vec: counts of points of interest to a vector, so that near cells have near vectors."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

from torch import Tensor, nn

from placevec.errors import UsageError


@dataclass(frozen=True)
class Hex2VecConfig:
    """An encoder of counts (Wozniak & Szymanski, hex2vec, ACM SIGSPATIAL GeoAI 2021, section 4.2)."""

    kind: ClassVar[str] = "hex2vec"

    hidden: tuple[int, ...] = (150, 100)  # widths between counts and vector
    dims: int = 50  # of the vector

    def __post_init__(self) -> None:
        if self.dims < 1 or any(width < 1 for width in self.hidden):
            raise UsageError(f"dims = {self.dims}, hidden = {list(self.hidden)}: give widths of at least 1")

    def build(self, inputs: int) -> Hex2VecNet:
        """The network for `inputs` categories."""
        return Hex2VecNet(self, inputs)


class Hex2VecNet(nn.Module):
    """Linear layers with ReLU between them, from ln(1 + count) of the categories."""

    def __init__(self, config: Hex2VecConfig, inputs: int) -> None:
        super().__init__()
        widths = (inputs, *config.hidden, config.dims)
        layers: list[nn.Module] = []
        for wide, narrow in pairwise(widths):
            layers += [nn.Linear(wide, narrow), nn.ReLU()]
        self.layers = nn.Sequential(*layers[:-1])

    def forward(self, counts: Tensor) -> Tensor:
        """Vectors (n, dims) of counts (n, inputs), none negative."""
        vectors: Tensor = self.layers(counts.log1p())
        return vectors
