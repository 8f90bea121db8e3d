"""The fusion of image features: a projection for each encoder, and a gate that weighs them for every image."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from placevec.errors import DataError
from placevec.nn.dense import Linear


class Fusion(nn.Module):
    """Features of m encoders to one vector.

    Each feature is projected, f_i = GELU(LayerNorm(W_i x_i + b_i)), and the fused vector is Σ_i a_i·f_i with weights
    a = softmax([0, z_2 ... z_m]), z = V·[f_1 ... f_m] + c. With two encoders a_2 is sigmoid(z), a single number (gate
    "scalar") or one for each component ("channel"). V begins small: at the start all encoders count the same. One
    encoder has no gate.
    """

    def __init__(self, widths: Sequence[int], dims: int, channel: bool = False) -> None:
        super().__init__()
        self.widths = tuple(widths)
        self.dims = dims
        self.projections = nn.ModuleList(
            nn.Sequential(Linear(width, dims), nn.LayerNorm(dims), nn.GELU()) for width in widths
        )
        self.parts = dims if channel else 1
        self.gate: nn.Linear | None = None
        if len(self.widths) > 1:
            self.gate = nn.Linear(len(self.widths) * dims, (len(self.widths) - 1) * self.parts)
            nn.init.normal_(self.gate.weight, std=0.01)
            nn.init.zeros_(self.gate.bias)

    def projected(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Features (n, w_i) to m tensors (n, dims).

        Raises:
            DataError: another number of features than encoders, or one of another width.
        """
        found = tuple(feature.shape[-1] for feature in features)
        if found != self.widths:
            raise DataError(f"the features have the widths {found}; this head was made for {self.widths}")
        return [project(feature) for project, feature in zip(self.projections, features, strict=True)]

    def weights(self, projected: Sequence[Tensor]) -> Tensor:
        """The weights of the encoders, (n, m, 1) or (n, m, dims); their sum over m is 1."""
        rows = len(projected[0])
        if self.gate is None:
            return projected[0].new_ones(rows, 1, 1)
        logits = self.gate(torch.cat(list(projected), dim=1)).view(rows, -1, self.parts)
        return torch.cat([torch.zeros_like(logits[:, :1]), logits], dim=1).softmax(dim=1)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Features (n, w_i) to the fused vectors (n, dims)."""
        projected = self.projected(features)
        if self.gate is None:
            return projected[0]
        return (self.weights(projected) * torch.stack(projected, dim=1)).sum(dim=1)
