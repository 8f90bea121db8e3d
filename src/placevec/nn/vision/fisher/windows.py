"""Statistics of descriptors over windows of an image, from sums over cells that the windows share."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from placevec.nn.vision.fisher.mixture import Mixture


def cell_sums(
    mixture: Mixture, descriptors: Tensor, size: tuple[int, ...], grid: tuple[int, ...], span: int, stride: int
) -> tuple[Tensor, Tensor]:
    """Sums of the statistics of the descriptors whose centres lie in each cell of a grid over the image.

    Args:
        mixture: what describes them.
        descriptors: (n, h', w', 4, 4, k) of one scale.
        size: height and width of the image in pixels.
        grid: rows and columns of cells.
        span: side of a descriptor in pixels.
        stride: pixels between descriptors.

    Returns:
        sums (n, rows, columns, mixture.sums), and how many descriptors each cell has, (1, rows, columns, 1).
    """
    n, high, wide = descriptors.shape[:3]
    rows, columns = (
        _cells(count, side, cells, span, stride)
        for count, side, cells in zip((high, wide), size, grid, strict=True)
    )
    x = mixture.project(descriptors.flatten(3))
    q = mixture.assign(x.flatten(0, 2)).view(n, high, wide, -1)
    out = x.new_zeros(n, *grid, mixture.sums)
    counts = x.new_zeros(1, *grid, 1)
    for row in range(grid[0]):
        down = slice(int((rows < row).sum()), int((rows <= row).sum()))
        for column in range(grid[1]):
            across = slice(int((columns < column).sum()), int((columns <= column).sum()))
            own, share = x[:, down, across].flatten(1, 2), q[:, down, across].flatten(1, 2).transpose(1, 2)
            if own.shape[1]:
                out[:, row, column] = torch.cat(
                    [share.sum(dim=2), (share @ own).flatten(1), (share @ (own * own)).flatten(1)], dim=1
                )
                counts[:, row, column] = own.shape[1]
    return out, counts


def window_means(sums: Tensor, counts: Tensor, window: int) -> Tensor:
    """The mean statistics (n, rows, columns, c) of windows of `window` x `window` cells around each cell.

    At the rim a window is what lies within the image. A window without any descriptor takes the mean of the image.

    Args:
        sums: (n, rows, columns, c) over the descriptors of each cell.
        counts: (1, rows, columns, 1) of them.
        window: cells.
    """
    total, number = (_boxes(each, window) for each in (sums, counts))
    everywhere = sums.sum(dim=(1, 2), keepdim=True) / counts.sum().clamp_min(1.0)
    return torch.where(number > 0, total / number.clamp_min(1.0), everywhere)


def _boxes(values: Tensor, window: int) -> Tensor:
    """Sums over the window around each cell; one of an even width reaches one cell further up and left."""
    before, after = window // 2, (window - 1) // 2
    padded = F.pad(values.permute(0, 3, 1, 2), (before, after, before, after))
    return (F.avg_pool2d(padded, window, stride=1) * float(window * window)).permute(0, 2, 3, 1)


def _cells(count: int, side: int, cells: int, span: int, stride: int) -> Tensor:
    """Which cell (of `cells` along a side) the centre of each of `count` descriptors lies in."""
    first = (side - span - (count - 1) * stride) / 2.0  # the grid of descriptors lies in the middle of the image
    centres = first + torch.arange(count) * float(stride) + span / 2.0
    return (centres * cells / side).floor().long().clamp(0, cells - 1)
