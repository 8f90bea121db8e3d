"""The heads of cells, one a region, computed for all regions at once."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from placevec.nn.dense import Linear
from placevec.nn.locator.config import HeadConfig


class EqualHeads(nn.Module):
    """Heads of one hidden width h for R regions: Linear(dims, h), LayerNorm, GELU, dropout, Linear(h, cells).

    The first layers are one wide one; the second ones are products of slices of one matrix.
    """

    def __init__(self, dims: int, hidden: int, counts: Sequence[int], dropout: float) -> None:
        super().__init__()
        self.counts = list(counts)
        self.hidden = hidden
        self.entry = Linear(dims, len(self.counts) * hidden)
        self.scale = nn.Parameter(torch.ones(len(self.counts), hidden))
        self.shift = nn.Parameter(torch.zeros(len(self.counts), hidden))
        self.dropout = nn.Dropout(dropout)
        cells = sum(self.counts)
        bound = 1.0 / math.sqrt(hidden)  # that of torch's own Linear(hidden, cells)
        self.weight = nn.Parameter(torch.empty(cells, hidden).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(cells).uniform_(-bound, bound))

    def forward(self, fused: Tensor) -> list[Tensor]:
        """(n, dims) to R tensors of logits (n, cells)."""
        wide = self.entry(fused).view(len(fused), len(self.counts), self.hidden)
        wide = self.dropout(F.gelu(F.layer_norm(wide, (self.hidden,)) * self.scale + self.shift))
        weights, biases = torch.split(self.weight, self.counts), torch.split(self.bias, self.counts)
        return [
            F.linear(part, weight, bias) for part, weight, bias in zip(wide.unbind(dim=1), weights, biases, strict=True)
        ]


class CellHeads(nn.Module):
    """The heads of all regions: (n, dims) to (n, N) logits, the cells of a region side by side.

    Regions of many cells have a wider head (`HeadConfig.large_from`); one without cells has none.
    """

    def __init__(self, config: HeadConfig, cells: Sequence[int]) -> None:
        super().__init__()
        widths = sorted({config.hidden_of(count) for count in cells if count})
        self.members = [[r for r, count in enumerate(cells) if count and config.hidden_of(count) == h] for h in widths]
        self.groups = nn.ModuleList(
            EqualHeads(config.dims, hidden, [cells[r] for r in members], config.dropout)
            for hidden, members in zip(widths, self.members, strict=True)
        )

    def forward(self, fused: Tensor) -> Tensor:
        """(n, dims) to (n, N)."""
        found: dict[int, Tensor] = {}
        for members, group in zip(self.members, self.groups, strict=True):
            found.update(zip(members, group(fused), strict=True))
        return torch.cat([found[r] for r in sorted(found)], dim=1)
