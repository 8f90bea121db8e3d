"""A small vision transformer with average pooling (Dosovitskiy et al. 2021; Beyer et al. 2022, "Better plain ViT")."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from placevec.errors import UsageError
from placevec.nn.transformer import TransformerBlock, check_width, start
from placevec.nn.vision.base import VisionNet

GRID = 16  # patches along a side in whose units positions are counted, where the config names no side in pixels


@dataclass(frozen=True)
class ViTConfig:
    """The shape of a small vision transformer."""

    kind: ClassVar[str] = "vit"

    bands: int = 3  # channels of a chip
    pixels: int = 64  # side to which chips are resized within; 0: they are read as they come
    patch: int = 8  # side of a patch in pixels
    width: int = 128  # components of a patch; a multiple of 4 and of `heads`
    depth: int = 6  # transformer blocks
    heads: int = 4  # of the attention
    ratio: float = 4.0  # width of the hidden layer of a block, as a multiple of `width`
    dropout: float = 0.0  # share dropped of attention weights and after each branch
    drop_path: float = 0.1  # probability that the last block's branches are left out; it grows evenly from 0
    dims: int = 64  # components of the vector

    def __post_init__(self) -> None:
        if min(self.bands, self.patch, self.width, self.dims) < 1 or self.depth < 0 or self.ratio <= 0:
            raise UsageError(f"{self}: bands, patch, width and dims are at least 1, depth at least 0, ratio above 0")
        if self.pixels and self.pixels < self.patch:
            raise UsageError(f"pixels = {self.pixels}: give 0 (as they come), or at least patch = {self.patch}")
        check_width(self.width, self.heads)
        if self.width % 4:
            raise UsageError(f"width = {self.width}: give a multiple of 4, for the sines and cosines of two axes")
        for name in ("dropout", "drop_path"):
            if not 0 <= getattr(self, name) < 1:
                raise UsageError(f"{name} = {getattr(self, name)}: give a share from 0 to below 1")

    def build(self) -> ViT:
        """The network, with identity normalisation until `set_statistics`."""
        return ViT(self)


class ViT(VisionNet):
    """Patches of a chip through pre-norm transformer blocks; no class token: the mean of the patches is read.

    Chips may have any size: what is missing to whole patches is filled with the mean colour at the right and at the
    bottom, and the positions of a larger grid lie between those of a smaller one.
    """

    def __init__(self, config: ViTConfig) -> None:
        super().__init__(config)
        self.patch = config.patch
        self.grid = max(1, config.pixels // config.patch) if config.pixels else GRID
        self.embed = nn.Conv2d(config.bands, config.width, config.patch, stride=config.patch)
        shares = torch.linspace(0, config.drop_path, max(1, config.depth)).tolist()
        self.blocks = nn.ModuleList(
            TransformerBlock(config.width, config.heads, config.ratio, config.dropout, share)
            for share in shares[: config.depth]
        )
        self.norm = nn.LayerNorm(config.width)
        self.head = nn.Linear(config.width, config.dims)
        start(self.blocks)

    def features(self, normalised: Tensor) -> Tensor:
        """Normalised chips (n, bands, h, w) to the patches (n, width, ceil(h / patch), ceil(w / patch))."""
        height, width = normalised.shape[2:]
        x = F.pad(normalised, (0, -width % self.patch, 0, -height % self.patch))
        x = self.embed(x)
        rows, columns = x.shape[2:]
        x = x.flatten(2).transpose(1, 2)
        x = x + waves(rows, columns, x.shape[2], self.grid).to(x)
        for block in self.blocks:
            x = block(x)
        out: Tensor = self.norm(x).transpose(1, 2).unflatten(2, (rows, columns))
        return out


def waves(rows: int, columns: int, width: int, grid: int) -> Tensor:
    """The fixed position embedding of a grid: sines and cosines of two axes (Vaswani et al. 2017, section 3.5).

    Args:
        rows: of the grid.
        columns: of the grid.
        width: components, a multiple of 4: sine and cosine of the row, then of the column.
        grid: the side in whose units positions are counted: a grid of `grid` rows has the positions 0, 1, 2 ..., one
            of twice as many -0.25, 0.25, 0.75 ..., for the chip stays as large as it was.

    Returns:
        (rows · columns, width) float32, row by row.
    """
    quarter = width // 4
    rates = torch.exp(torch.arange(quarter, dtype=torch.float64) * (-math.log(10_000.0) / quarter))

    def axis(count: int) -> Tensor:
        at = (torch.arange(count, dtype=torch.float64) + 0.5) / count * grid - 0.5
        angle = at[:, None] * rates
        return torch.cat([angle.sin(), angle.cos()], dim=1)

    both = torch.cat([axis(rows).repeat_interleave(columns, dim=0), axis(columns).repeat(rows, 1)], dim=1)
    return both.float()
