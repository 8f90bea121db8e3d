"""Local descriptors of an image on a dense grid, and what a flip or a quarter turn of the image does to them.

A descriptor says what stands in 4 x 4 square cells around a position. Two kinds:

* gradients: histograms of gradient directions in each cell, as in SIFT (Lowe 2004, section 6), without the Gaussian
  window, at fixed scales and upright; brought to length 1, cut at 0.2, brought to length 1, and rooted (RootSIFT,
  Arandjelović and Zisserman 2012);
* colours: mean and deviation of each band in each cell (local colour statistics, Clinchant et al. 2007).

Seen from above, an image has no up. A flipped or turned image has the same descriptors at other positions, with cells
and directions in another order: what encodes all eight views need not compute descriptors eight times.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

CELLS = 4  # of a descriptor, in each direction
DIRECTIONS = 8
VIEWS = 8  # the symmetries of the square
_SHARPNESS = 9  # a gradient counts in a direction by cos^9 of the angle between: nothing reaches the second neighbour
_CUT = 0.2  # largest share of a direction in a descriptor
_FAINT = 0.25  # gradients, in deviations a pixel, below which a cell counts for less: noise has directions, too


def gradients(images: Tensor, cell: int, stride: int) -> Tensor:
    """Descriptors of gradient directions.

    Args:
        images: (n, bands, h, w), normalised; the mean over the bands is looked at.
        cell: side of a cell in pixels.
        stride: pixels between positions.

    Returns:
        (n, h', w', 4, 4, 8): rows and columns of cells, and directions from east by way of south.
    """
    grey = F.pad(images.mean(dim=1, keepdim=True), (1, 1, 1, 1), mode="replicate")
    east = (grey[:, :, 1:-1, 2:] - grey[:, :, 1:-1, :-2]) / 2
    south = (grey[:, :, 2:, 1:-1] - grey[:, :, :-2, 1:-1]) / 2
    length = torch.sqrt(east * east + south * south + 1e-12)
    angles = torch.arange(DIRECTIONS, dtype=images.dtype, device=images.device) * (2 * math.pi / DIRECTIONS)
    # cos(a - b) without an arc tangent.
    along = east * torch.cos(angles)[:, None, None] + south * torch.sin(angles)[:, None, None]
    maps = length * (along / length).clamp_min(0.0) ** _SHARPNESS
    found = _around(_cell_sums(maps, cell), cell, stride)
    flat = found.flatten(3)
    flat = flat / (flat.norm(dim=3, keepdim=True) + _FAINT * cell)
    flat = flat.clamp_max(_CUT)
    flat = flat / (flat.norm(dim=3, keepdim=True) + 1e-6)
    return torch.sqrt(flat).view(found.shape)


def colours(images: Tensor, cell: int, stride: int) -> Tensor:
    """Descriptors of colours.

    Args:
        images: (n, bands, h, w), normalised.
        cell: side of a cell in pixels.
        stride: pixels between positions.

    Returns:
        (n, h', w', 4, 4, 2 · bands): rows and columns of cells, means of the bands and then their deviations.
    """
    total = float(cell * cell)
    mean = _cell_sums(images, cell) / total
    square = _cell_sums(images * images, cell) / total
    deviation = torch.sqrt((square - mean * mean).clamp_min(0.0) + 1e-6)
    return _around(torch.cat([mean, deviation], dim=1), cell, stride)


def span(cell: int) -> int:
    """Pixels from the first to the last of a descriptor's cells, exclusive: an image has to be at least so wide."""
    return (CELLS + 1) * cell


def in_view(descriptors: Tensor, view: int, *, directed: bool) -> Tensor:
    """The descriptors that the image would have in one of the eight views, at the positions of the image as it is.

    Args:
        descriptors: (..., 4, 4, k).
        view: 0 to 7; view 0 is the image itself. Bit 1: mirrored east-west, bit 2: north-south, bit 4: rows and
            columns exchanged, in this order.
        directed: whether the last axis is directions; if not, it does not change.
    """
    out = descriptors
    k = out.shape[-1]
    order = torch.arange(k, device=out.device)
    if view & 1:
        out = out.flip(-2)
        out = out[..., (k // 2 - order) % k] if directed else out
    if view & 2:
        out = out.flip(-3)
        out = out[..., (-order) % k] if directed else out
    if view & 4:
        out = out.transpose(-3, -2)
        out = out[..., (k // 4 - order) % k] if directed else out
    return out


def seen(images: Tensor, view: int) -> Tensor:
    """The images (n, bands, h, w) in one of the eight views; see `in_view`."""
    out = images.flip(-1) if view & 1 else images
    out = out.flip(-2) if view & 2 else out
    return out.transpose(-2, -1) if view & 4 else out


def _cell_sums(maps: Tensor, cell: int) -> Tensor:
    """Sums of (n, c, h, w) over the cell that begins at each pixel: (n, c, h - cell + 1, w - cell + 1)."""
    return F.avg_pool2d(maps, cell, stride=1) * float(cell * cell)


def _around(sums: Tensor, cell: int, stride: int) -> Tensor:
    """The 4 x 4 cells from each position on, (n, h', w', 4, 4, c); the grid of positions lies in the middle."""
    high, wide = (side - (CELLS - 1) * cell for side in sums.shape[2:])
    top, left = ((high - 1) % stride) // 2, ((wide - 1) % stride) // 2
    rows = [
        torch.stack(
            [
                sums[:, :, i * cell + top : i * cell + high : stride, j * cell + left : j * cell + wide : stride]
                for j in range(CELLS)
            ],
            dim=-1,
        )
        for i in range(CELLS)
    ]
    return torch.stack(rows, dim=-2).permute(0, 2, 3, 4, 5, 1)
