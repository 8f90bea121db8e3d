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
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

CELLS = 4  # of a descriptor, in each direction
DIRECTIONS = 8
VIEWS = 8  # the symmetries of the square
_SHARPNESS = 9  # a gradient counts in a direction by cos^9 of the angle between: nothing reaches the second neighbour
_CUT = 0.2  # largest share of a direction in a descriptor
_FAINT = 0.25  # gradients, in deviations a pixel, below which a cell counts for less: noise has directions, too


def gradients(images: Tensor, cells: Sequence[int], stride: int) -> Iterator[Tensor]:
    """Descriptors of gradient directions.

    Args:
        images: (n, bands, h, w), normalised; the mean over the bands is looked at.
        cells: side of a cell in pixels, for each scale; `CELLS` of them have to fit into the images.
        stride: pixels between positions.

    Yields:
        for each scale (n, h', w', 4, 4, 8): rows and columns of cells, and directions from east by way of south.
    """
    maps = _directions(images.mean(dim=1))
    for cell in cells:
        found = _around(_cell_sums(maps, cell), cell, stride)
        # In place from here: there are more descriptors than pixels.
        flat = found.flatten(3)
        flat /= flat.norm(dim=3, keepdim=True) + _FAINT * cell
        flat.clamp_max_(_CUT)
        flat /= flat.norm(dim=3, keepdim=True) + 1e-6
        yield flat.sqrt_().view(found.shape)


def colours(images: Tensor, cells: Sequence[int], stride: int) -> Iterator[Tensor]:
    """Descriptors of colours.

    Args:
        images: (n, bands, h, w), normalised.
        cells: side of a cell in pixels, for each scale; `CELLS` of them have to fit into the images.
        stride: pixels between positions.

    Yields:
        for each scale (n, h', w', 4, 4, 2 · bands): rows and columns of cells, means of the bands and then their
        deviations.
    """
    bands = images.shape[1]
    maps = torch.cat([images, images * images], dim=1).permute(0, 2, 3, 1).contiguous()
    for cell in cells:
        found = _around(_cell_sums(maps, cell) / float(cell * cell), cell, stride)
        mean, square = found[..., :bands], found[..., bands:]
        square.sub_(mean * mean).clamp_min_(0.0).add_(1e-6).sqrt_()
        yield found


def positions(side: int, cell: int, stride: int) -> tuple[int, int]:
    """Where descriptors stand along a side of an image: the first pixel of the first one, and how many there are.

    They lie in the middle; where the pixels that are left over are odd in number, one more is left at the end.
    """
    free = side - CELLS * cell
    return free % stride // 2, free // stride + 1


def fitting(cells: Sequence[int], side: int) -> tuple[int, ...]:
    """The scales whose descriptors an image of this (shorter) side holds with a cell to spare, or the smallest one."""
    found = tuple(cell for cell in cells if (CELLS + 1) * cell <= side)
    return found or (min(cells),)


def large_enough(images: Tensor, cells: Sequence[int]) -> Tensor:
    """The images (n, bands, h, w); where the smallest descriptor would not fit, continued by the pixels at the rim."""
    short = [max(0, CELLS * min(cells) - side) for side in images.shape[2:]]
    if not any(short):
        return images
    high, wide = short
    around = (wide // 2, wide - wide // 2, high // 2, high - high // 2)
    return F.pad(images, around, mode="replicate")


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


def _directions(grey: Tensor) -> Tensor:
    """How much of the gradient at each pixel of (n, h, w) goes in each direction, (n, h, w, 8)."""
    padded = F.pad(grey[:, None], (1, 1, 1, 1), mode="replicate")[:, 0]
    east = (padded[:, 1:-1, 2:] - padded[:, 1:-1, :-2]) / 2
    south = (padded[:, 2:, 1:-1] - padded[:, :-2, 1:-1]) / 2
    # length · cos^9 of the angle between, as (length^(1/9) · cos)^9: one root a pixel, and three products a direction.
    power = 0.5 * (1.0 / _SHARPNESS - 1.0)
    factor = (east * east + south * south + 1e-12) ** power
    angles = torch.arange(DIRECTIONS, dtype=grey.dtype, device=grey.device) * (2 * math.pi / DIRECTIONS)
    ways = torch.stack([torch.cos(angles), torch.sin(angles)])
    along = (torch.stack([east * factor, south * factor], dim=-1) @ ways).clamp_min_(0.0)
    eighth = along * along
    eighth *= eighth
    eighth *= eighth
    return eighth.mul_(along)


def _cell_sums(maps: Tensor, cell: int) -> Tensor:
    """Sums of (n, h, w, c) over the cell that begins at each pixel: (n, h - cell + 1, w - cell + 1, c)."""
    return _run_sums(_run_sums(maps, cell, dim=1), cell, dim=2)


def _run_sums(values: Tensor, length: int, dim: int) -> Tensor:
    """Sums of `length` neighbours along an axis, from each on: put together from runs of 1, 2, 4 ... of them.

    A running total would be as fast, and lose in rounding what a cell differs by from its neighbours.
    """
    count = values.shape[dim] - length + 1
    found: Tensor | None = None
    start, size = 0, 1
    while True:
        if length & size:
            part = values.narrow(dim, start, count)
            found = part if found is None else found + part
            start += size
        if found is not None and start == length:
            return found
        rest = values.shape[dim] - size
        values = values.narrow(dim, 0, rest) + values.narrow(dim, size, rest)
        size *= 2


def _around(sums: Tensor, cell: int, stride: int) -> Tensor:
    """The 4 x 4 cells from each position on, (n, h', w', 4, 4, c), of the sums (n, h, w, c) from each pixel on."""
    reach = (CELLS - 1) * cell + 1
    found = sums
    for dim in (1, 2):
        first, _ = positions(sums.shape[dim] + cell - 1, cell, stride)
        found = found.narrow(dim, first, sums.shape[dim] - first).unfold(dim, reach, stride)
    # A copy in any case: what is made of it is made in place.
    return found[..., ::cell, ::cell].permute(0, 1, 2, 4, 5, 3).clone(memory_format=torch.contiguous_format)
