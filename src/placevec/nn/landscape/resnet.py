"""A small residual network over the planes of a patch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class ResidualBlock(nn.Module):
    """Two convolutions of 3 x 3 and what came in, added (He et al. 2016); a stride is taken by averaging in the skip.

    Args:
        channels_in: channels that come in.
        channels: channels that go out.
        stride: 2 halves the side.
    """

    def __init__(self, channels_in: int, channels: int, stride: int = 1) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels_in, channels, 3, stride, padding=1, bias=False)
        self.first_norm = nn.BatchNorm2d(channels)
        self.second = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.second_norm = nn.BatchNorm2d(channels)
        self.skip: nn.Module = nn.Identity()
        if channels_in != channels or stride != 1:
            self.skip = nn.Sequential(
                nn.AvgPool2d(stride, ceil_mode=True),
                nn.Conv2d(channels_in, channels, 1, bias=False),
                nn.BatchNorm2d(channels),
            )

    def forward(self, x: Tensor) -> Tensor:
        """(n, channels_in, h, w) to (n, channels, ⌈h / stride⌉, ⌈w / stride⌉)."""
        inner = self.second_norm(self.second(F.relu(self.first_norm(self.first(x)))))
        return F.relu(inner + self.skip(x))


class ResidualStages(nn.Module):
    """A stem that reads squares of pixels, then stages of residual blocks; each stage but the first halves the side.

    Every block is a module of its own in a list: names that repeat cannot silently replace one another. A patch whose
    side is no multiple of the stem's gets a rim of nothing, so that no pixel goes unread.

    Args:
        planes: of the input.
        stem: side of the stem's squares.
        widths: channels of each stage.
        depth: blocks of each stage.
    """

    def __init__(self, planes: int, stem: int, widths: Sequence[int], depth: int) -> None:
        super().__init__()
        self.side = stem
        self.stem = nn.Sequential(
            nn.Conv2d(planes, widths[0], stem, stem, bias=False), nn.BatchNorm2d(widths[0]), nn.ReLU()
        )
        self.stages = nn.ModuleList()
        before = widths[0]
        for stage, width in enumerate(widths):
            blocks = nn.ModuleList()
            for number in range(depth):
                blocks.append(ResidualBlock(before, width, 2 if stage > 0 and number == 0 else 1))
                before = width
            self.stages.append(blocks)
        self.count = sum(widths) + widths[-1]

    def forward(self, planes: Tensor) -> Tensor:
        """(n, planes, p, p) to (n, count): the mean of each stage, and the largest values of the last."""
        x = self.stem(_whole_squares(planes, self.side))
        found = []
        for blocks in self.stages:
            for block in blocks.children():
                x = block(x)
            found.append(x.mean(dim=(2, 3)))
        found.append(x.amax(dim=(2, 3)))
        return torch.cat(found, dim=1)


def _whole_squares(planes: Tensor, side: int) -> Tensor:
    """Planes (n, planes, p, p) with zeros around them, so that squares of `side` pixels cover every pixel."""
    more = -planes.shape[-1] % side
    if not more:
        return planes
    before, after = more // 2, more - more // 2
    return F.pad(planes, (before, after, before, after))
