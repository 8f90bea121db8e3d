"""Several encodings side by side, such as the world's and a region's."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from torch import Tensor, nn

from placevec.errors import UsageError
from placevec.nn import configs
from placevec.nn.position.base import POSITIONS, Floats, GridLayer, PositionConfig, PositionEncoding


@dataclass(frozen=True)
class Scales(PositionConfig):
    """The columns of all parts, one part after another."""

    kind: ClassVar[str] = "scales"

    parts: tuple[PositionConfig, ...] = field(metadata=configs.one_of(POSITIONS))  # at least one

    def __post_init__(self) -> None:
        if not self.parts:
            raise UsageError("position.parts is empty: give at least one encoding")
        for part in self.parts:
            if not isinstance(part, PositionConfig):
                raise UsageError(f"position.parts has {part!r}: give tables, each with the kind of an encoding")
            if part.kind == self.kind:
                raise UsageError("position.parts has 'scales' inside: write all parts in one list")

    @property
    def dims(self) -> int:
        """The sum over the parts."""
        return sum(part.dims for part in self.parts)

    def build(self) -> ScalesEncoding:
        """The encodings of all parts."""
        return ScalesEncoding(self)

    def fitted(self, lon: Floats, lat: Floats) -> Scales:
        """With each part fitted to the places (n,), degrees."""
        return replace(self, parts=tuple(part.fitted(lon, lat) for part in self.parts))


class ScalesEncoding(PositionEncoding):
    """Encodings side by side."""

    def __init__(self, config: Scales) -> None:
        super().__init__()
        self.dims = config.dims
        self.widths = [part.dims for part in config.parts]
        built: list[PositionEncoding] = [part.build() for part in config.parts]
        self.parts = nn.ModuleList(built)

    def forward(self, lonlat: Tensor) -> Tensor:
        """(n, 2) degrees to (n, dims) float32."""
        encoded = [part(lonlat) for part in self.parts]
        # Harmonics lie along the points, and turning them costs ten times the harmonics: the widest part decides.
        widest = encoded[self.widths.index(max(self.widths))]
        if widest.is_contiguous():
            return torch.cat(encoded, dim=1)
        return torch.cat([columns.T for columns in encoded]).T

    def grid(self, weight: Tensor, lons: Tensor) -> GridLayer:
        """The sum of the layers of the parts, each with its columns of `weight`."""
        layers: list[GridLayer] = []
        for part, columns in zip(self.parts, torch.split(weight, self.widths, dim=1), strict=True):
            assert isinstance(part, PositionEncoding)
            layers.append(part.grid(columns, lons))
        return SumLayer(layers)


class SumLayer:
    """The sum of first layers on a grid."""

    def __init__(self, layers: list[GridLayer]) -> None:
        self.layers = layers

    def __call__(self, lats: Tensor) -> Tensor:
        """See `GridLayer`."""
        out = self.layers[0](lats)
        for layer in self.layers[1:]:
            out += layer(lats)
        return out
