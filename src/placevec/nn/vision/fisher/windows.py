"""Statistics of descriptors over windows of an image, from sums over cells that the windows share.

All goes row by row of a grid over the image: the statistics of one position are some ten thousand numbers, and those of
all positions of a large image would take gigabytes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from placevec.nn.vision.fisher.descriptors import CELLS, positions
from placevec.nn.vision.fisher.mixture import Assignment, Mixture, added


def cell_rows(
    mixture: Mixture,
    scales: Sequence[tuple[int, Tensor]],
    size: tuple[int, int],
    grid: tuple[int, int],
    stride: int,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Sums of the statistics of the descriptors whose centres lie in each cell of a grid over the image.

    Args:
        mixture: what describes them.
        scales: for each the side in pixels of a descriptor's cells, and the descriptors (n, h', w', 4, 4, k).
        size: height and width of the image in pixels.
        grid: rows and columns of cells.
        stride: pixels between descriptors.

    Yields:
        for each row of the grid the sums (n, columns, mixture.sums), and how many descriptors each cell has (columns,).
    """
    assign = Assignment(mixture)
    edges = [[_edges(side, cells, cell, stride) for side, cells in zip(size, grid, strict=True)] for cell, _ in scales]
    n = len(scales[0][1])
    for row in range(grid[0]):
        sums = scales[0][1].new_zeros(n, grid[1], mixture.sums)
        counts = sums.new_zeros(grid[1])
        for (_, found), (down, across) in zip(scales, edges, strict=True):
            strip = found[:, down[row] : down[row + 1]].flatten(3)
            high, wide = strip.shape[1:3]
            if not high:
                continue
            shares, moments = (part.view(n, high, wide, -1) for part in assign(strip.flatten(0, 2)))
            for column, (left, right) in enumerate(pairwise(across)):
                if left < right:
                    sums[:, column] += added(*(part[:, :, left:right].flatten(1, 2) for part in (shares, moments)))
                    counts[column] += high * (right - left)
        yield sums, counts


def window_rows(rows: Iterable[tuple[Tensor, Tensor]], window: int) -> Iterator[tuple[Tensor, Tensor]]:
    """The mean statistics of windows of `window` x `window` cells around each cell.

    At the rim a window is what lies within the image; one of an even width reaches one cell further up and left.

    Args:
        rows: what `cell_rows` gives.
        window: cells.

    Yields:
        for each row of the grid the means (n, columns, c), 0 where there are no descriptors, and how many there are in
        each window (columns,).
    """
    before, after = window // 2, (window - 1) // 2
    held: deque[tuple[Tensor, Tensor]] = deque(maxlen=window)
    read = 0  # rows so far
    for sums, counts in rows:
        held.append((_runs(sums, before, after, dim=1), _runs(counts, before, after, dim=0)))
        read += 1
        if read > after:
            yield _mean(held)
    for row in range(max(0, read - after), read):
        # Beyond the last row there is nothing: only what lies too far up goes.
        while len(held) > read - max(0, row - before):
            held.popleft()
        yield _mean(held)


def _mean(rows: Iterable[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    sums, counts = (torch.stack(list(part)).sum(dim=0) for part in zip(*rows, strict=True))
    return sums / counts.clamp_min(1.0)[:, None], counts


def _runs(values: Tensor, before: int, after: int, dim: int) -> Tensor:
    """Sums over the neighbours along an axis, so many before and after each; beyond the ends there is nothing."""
    count = values.shape[dim]
    out = values.clone()
    for step in range(1, max(before, after) + 1):
        if step < count:
            rest = count - step
            if step <= before:
                out.narrow(dim, step, rest).add_(values.narrow(dim, 0, rest))
            if step <= after:
                out.narrow(dim, 0, rest).add_(values.narrow(dim, step, rest))
    return out


def _edges(side: int, cells: int, cell: int, stride: int) -> list[int]:
    """The number of the first descriptor along a side whose centre lies in each of `cells` cells, and how many."""
    first, count = positions(side, cell, stride)
    # Centres in half pixels, to compare whole numbers: 2 · centre · cells / (2 · side), rounded down.
    at = [(2 * (first + number * stride) + CELLS * cell) * cells // (2 * side) for number in range(count)]
    return [sum(found < row for found in at) for row in range(cells)] + [count]
