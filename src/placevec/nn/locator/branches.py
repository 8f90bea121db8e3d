"""The networks of further inputs, and the gate by which their vectors join the fused one."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from placevec.nn.locator.branch_configs import BranchConfig, LocationConfig, MetadataConfig, TagsConfig

LIMIT = 10.0
"""Numbers of the metadata beyond this are cut: one broken camera clock must not outweigh the picture."""


class MetadataBranch(nn.Module):
    """Numbers with gaps: a gap takes a learned value, and a second column says that it is one."""

    def __init__(self, config: MetadataConfig, dims: int) -> None:
        super().__init__()
        self.unknown = nn.Parameter(torch.zeros(config.columns))
        self.mlp = _perceptron(2 * config.columns, config, dims)

    def forward(self, numbers: Tensor) -> tuple[Tensor, Tensor]:
        """(n, columns), NaN where unknown, to vectors (n, dims) and which rows know something (n,)."""
        known = numbers.isfinite()
        filled = torch.where(known, numbers.nan_to_num(0.0, 0.0, 0.0).clamp(-LIMIT, LIMIT), self.unknown)
        return self.mlp(torch.cat([filled, known.to(filled.dtype)], dim=1)), known.any(dim=1)


class TagsBranch(nn.Module):
    """Hashed words to a vector."""

    def __init__(self, config: TagsConfig, dims: int) -> None:
        super().__init__()
        self.net = config.net.build(config.hidden)
        self.last = _ending(config, dims)

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens (n, m) int64, 0 is none, to vectors (n, dims) and which rows have a word (n,)."""
        return self.last(self.net(tokens)), (tokens != 0).any(dim=1)


class LocationBranch(nn.Module):
    """A rough position and its error to a vector."""

    def __init__(self, config: LocationConfig, dims: int) -> None:
        super().__init__()
        self.position = config.position.build()
        self.unknown = nn.Parameter(torch.zeros(()))
        self.mlp = _perceptron(config.position.dims + 2, config, dims)

    def forward(self, location: Tensor) -> tuple[Tensor, Tensor]:
        """(n, 3) float64 longitude, latitude, error in metres, to vectors (n, dims) and which rows are known (n,)."""
        lonlat, error_m = location[:, :2], location[:, 2]
        known = lonlat.isfinite().all(dim=1)
        waves = self.position(torch.where(known[:, None], lonlat, 0.0))
        sure = error_m.isfinite()
        # Decades above and below 10 km, so that 10 m to 10,000 km lie within ±3.
        decades = torch.log10(torch.where(sure, error_m, 1e4).clamp(1.0, 1e8) / 1e4).to(waves.dtype)
        error = torch.stack([torch.where(sure, decades, self.unknown), sure.to(waves.dtype)], dim=1)
        return self.mlp(torch.cat([waves, error], dim=1)), known


class Join(nn.Module):
    """A branch's vector b into the fused one f, by a gate g that is shut for images without that input.

    ::

        f' = f + g·(b - f),   g = known · sigmoid(w·[f, b] + c)

    The gate begins at 0.12 for every image (c = -2), so that a branch has to earn its weight.
    """

    def __init__(self, config: BranchConfig, dims: int) -> None:
        super().__init__()
        self.withheld = config.withheld
        self.net = config.build(dims)
        self.gate = nn.Linear(2 * dims, 1)
        nn.init.normal_(self.gate.weight, std=0.01)
        nn.init.constant_(self.gate.bias, -2.0)

    def forward(self, fused: Tensor, given: Tensor) -> Tensor:
        """(n, dims) and the input as `BranchConfig.read` gave it, to (n, dims); rows without input stay bit by bit."""
        vectors, known = self.net(given)
        if self.training and self.withheld:
            known = known & (torch.rand(len(known), device=known.device) >= self.withheld)
        opening = torch.sigmoid(self.gate(torch.cat([fused, vectors], dim=1)))
        return torch.where(known[:, None], fused + opening * (vectors - fused), fused)


def _perceptron(inputs: int, config: BranchConfig, dims: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, config.hidden), nn.GELU(), *_ending(config, dims))


def _ending(config: BranchConfig, dims: int) -> nn.Sequential:
    """The last layers: a vector on the scale of a projected image feature."""
    return nn.Sequential(nn.Dropout(config.dropout), nn.Linear(config.hidden, dims), nn.LayerNorm(dims), nn.GELU())
