"""The offset head: from a cell's centre to the point, in metres of the tangent plane, and how sure it is."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from placevec.nn.dense import Linear
from placevec.nn.locator.config import HeadConfig

WITHIN = 1.0 - 1e-6
"""Offsets end at this share of the reach: in float32 tanh is 1 from 9 on, and a length is to stay below its bound."""

SPAN = math.log(100.0)
"""The predicted spread lies between a hundredth and a hundredfold of the cell's reach."""


STEEP = 40.0
"""Beyond this |v| the slope of the bound falls no further: e^(-2|v|) would soon be 0 in float32."""


class _Bounded(torch.autograd.Function):
    """The gradient in its two parts, along v and across it: as one expression their rounding hides the first."""

    @staticmethod
    def forward(ctx: Any, v: Tensor, reach_m: Tensor) -> Tensor:
        length = torch.linalg.vector_norm(v, dim=-1, keepdim=True)
        start = torch.zeros_like(v)
        start[..., 0] = 1.0
        along = torch.where(length > 0, v / length.clamp(min=torch.finfo(v.dtype).tiny), start)
        reach = WITHIN * reach_m[..., None]
        ctx.save_for_backward(length, along, reach)
        return reach * torch.tanh(length) * along

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        length, along, reach = ctx.saved_tensors
        (gradient,) = gradients
        across = torch.stack([-along[..., 1], along[..., 0]], dim=-1)
        fading = torch.exp(-2.0 * length.clamp(max=STEEP))
        slope = 4.0 * fading / (1.0 + fading).square()
        ratio = torch.where(length > 0, torch.tanh(length) / length.clamp(min=torch.finfo(length.dtype).tiny), 1.0)
        radial = slope * (gradient * along).sum(dim=-1, keepdim=True)
        turning = ratio * (gradient * across).sum(dim=-1, keepdim=True)
        return reach * (radial * along + turning * across), None


def bounded(v: Tensor, reach_m: Tensor) -> Tensor:
    """The offset o = reach·tanh(|v|)·v/|v|: any vector (..., 2) to one that is shorter than `reach_m` (...).

    Smooth at v = 0. The derivative along v is reach·sech²|v|, computed as 4e^(-2|v|) / (1 + e^(-2|v|))²: torch's own
    1 - tanh² is exactly 0 in float32 from |v| = 9 on, and a saturated offset would never come back. `reach_m` gets no
    gradient.
    """
    out: Tensor = _Bounded.apply(v, reach_m)  # type: ignore[no-untyped-call]
    return out


class Residual(nn.Module):
    """x + W2·dropout(GELU(LayerNorm(W1 x)))."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.inner = nn.Sequential(
            nn.Linear(width, width), nn.LayerNorm(width), nn.GELU(), nn.Dropout(dropout), nn.Linear(width, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(..., width) to (..., width)."""
        moved: Tensor = x + self.inner(x)
        return moved


class OffsetHead(nn.Module):
    """Offsets and spreads for k cells an image.

    The first layer reads [LayerNorm(fused), LayerNorm(region), LayerNorm(cell)] and is linear, so that it is the sum
    of a part of the image, made once an image, and a part of the cell, made once a cell.
    """

    reach_m: Tensor
    region: Tensor

    def __init__(self, config: HeadConfig, region: Tensor, regions: int, reach_m: Tensor) -> None:
        super().__init__()
        hidden = config.offset_hidden
        self.register_buffer("region", region, persistent=False)
        self.register_buffer("reach_m", reach_m)
        self.region_embedding = nn.Embedding(regions, config.region_dims)
        self.cell_embedding = nn.Embedding(len(region), config.cell_dims)
        for embedding in (self.region_embedding, self.cell_embedding):
            nn.init.normal_(embedding.weight, std=0.01)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for width in (config.dims, config.region_dims, config.cell_dims))
        # One matrix in three pieces: each keeps the scale that one Linear over all inputs would begin with.
        inputs = config.dims + config.region_dims + config.cell_dims
        self.of_image = Linear(config.dims, hidden)
        self.of_region = Linear(config.region_dims, hidden, bias=False)
        self.of_cell = Linear(config.cell_dims, hidden, bias=False)
        for layer in (self.of_image, self.of_region, self.of_cell):
            nn.init.uniform_(layer.weight, -1.0 / math.sqrt(inputs), 1.0 / math.sqrt(inputs))
        self.body = nn.Sequential(
            nn.LayerNorm(hidden),
            nn.GELU(),
            nn.Dropout(config.dropout),
            Residual(hidden, config.dropout),
            nn.Linear(hidden, config.offset_last),
            nn.GELU(),
        )
        self.last = nn.Linear(config.offset_last, 3)
        # It begins at the centres of the cells, as unsure as they are wide.
        nn.init.normal_(self.last.weight, std=0.01)
        nn.init.zeros_(self.last.bias)

    def forward(self, fused: Tensor, cells: Tensor) -> tuple[Tensor, Tensor]:
        """Offsets (n, k, 2) east and north in metres, and log spreads (n, k) of metres, for cells (n, k) int64."""
        image = self.of_image(self.norms[0](fused))
        if cells.numel() >= len(self.region):
            of_cells = self._cell_part(torch.arange(len(self.region), device=cells.device))[cells]
        else:
            of_cells = self._cell_part(cells.reshape(-1)).view(*cells.shape, -1)
        found = self.last(self.body(image[:, None] + of_cells))
        reach = self.reach_m[cells]
        log_spread = reach.log() + SPAN * torch.tanh(found[..., 2] / SPAN)
        return bounded(found[..., :2], reach), log_spread

    def _cell_part(self, rows: Tensor) -> Tensor:
        region = self.of_region(self.norms[1](self.region_embedding.weight))
        cell = self.of_cell(self.norms[2](self.cell_embedding(rows)))
        part: Tensor = region[self.region[rows]] + cell
        return part
