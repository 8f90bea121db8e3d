"""What a landscape ecologist counts in a patch, as fixed functions of its planes.

Composition in rings around the centre, adjacency of planes at two distances (the co-occurrence of the R package
motif, Nowosad 2021, at distance 1, and once more at an eighth of the patch), and how unevenly each plane is spread
over coarse tiles. Shares enter as square roots: their differences are then Hellinger distances, and rare classes count.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn
from torch.nn import functional as F

RINGS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
"""Borders of the square rings, as shares of half the patch's side."""


class LayoutStatistics(nn.Module):
    """Statistics of planes (n, planes, p, p): `count` numbers of a patch, the same under turns and mirrors.

    Args:
        planes: number of planes.
        pixels: side p of a patch.
    """

    rings: Tensor
    pairs: Tensor

    def __init__(self, planes: int, pixels: int) -> None:
        super().__init__()
        self.steps = tuple(dict.fromkeys((1, max(1, pixels // 8))))
        self.tiles = tuple(side for side in (pixels // 4, pixels // 8) if side >= 1)
        self.register_buffer("rings", _rings(pixels), persistent=False)
        self.register_buffer("pairs", torch.triu_indices(planes, planes), persistent=False)
        self.count = planes * (len(RINGS) - 1 + len(self.tiles)) + self.pairs.shape[1] * len(self.steps)

    def forward(self, planes: Tensor) -> Tensor:
        """(n, planes, p, p) to (n, count)."""
        found = [_root(planes.flatten(2) @ self.rings).flatten(1)]
        found += [_root(self.adjacency(planes, step)[:, self.pairs[0], self.pairs[1]]) for step in self.steps]
        # Where tiles do not divide the side, they overlap by a pixel: cutting off a rim would favour one side.
        tiled = [F.adaptive_avg_pool2d(planes, planes.shape[-1] // side) for side in self.tiles]
        found += [one.flatten(2).std(dim=2, correction=0) for one in tiled]
        return torch.cat(found, dim=1)

    @staticmethod
    def adjacency(planes: Tensor, step: int) -> Tensor:
        """How often planes a and b meet `step` pixels apart, sideways or up and down, (n, planes, planes) as shares."""
        beside = torch.bmm(planes[..., :-step].flatten(2), planes[..., step:].flatten(2).transpose(1, 2))
        below = torch.bmm(planes[:, :, :-step].flatten(2), planes[:, :, step:].flatten(2).transpose(1, 2))
        counts = beside + below
        counts = counts + counts.transpose(1, 2)
        return counts / counts.abs().sum(dim=(1, 2), keepdim=True).clamp_min(1.0)


def _root(values: Tensor) -> Tensor:
    """The square root, odd in its argument: scaled values may be negative."""
    # The small number keeps the gradient finite at 0; none flows to the planes, but compiled graphs ask for it.
    return torch.sign(values) * (values.abs() + 1e-12).sqrt()


def _rings(pixels: int) -> Tensor:
    """(p², rings): the weights that average each ring."""
    # Whole numbers until the division: a ring is the same on all four sides, whatever is rounded.
    at = (2 * torch.arange(pixels) + 1 - pixels).abs().double() / pixels
    far = torch.maximum(at[:, None], at[None, :]).flatten()
    # The pixel in the middle of an odd side lies at 0, within the first ring.
    masks = [((far > low) | (far == low) & (low == 0)) & (far <= high) for low, high in itertools.pairwise(RINGS)]
    return torch.stack([mask.double() / mask.sum().clamp_min(1) for mask in masks], dim=1).float()
