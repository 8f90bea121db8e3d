"""Statistics of windows, row by row, against descriptors that are looked up one by one."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import tiny_fisher as tiny
from placevec.nn.vision.fisher import FisherNet
from placevec.nn.vision.fisher.channel import Channel
from placevec.nn.vision.fisher.descriptors import CELLS, positions
from placevec.nn.vision.fisher.mixture import added
from placevec.nn.vision.fisher.windows import Assignment, cell_rows, window_rows


def learned(**changes: object) -> FisherNet:
    net = tiny.encoder(**changes).net.net
    assert isinstance(net, FisherNet)
    return net


def slow(part: Channel, images: torch.Tensor, grid: tuple[int, int], window: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean statistics and number of descriptors of each window, (n, rows, columns, c) and (rows, columns)."""
    assign = Assignment(part.mixture)
    sums = np.zeros((len(images), *grid, part.mixture.sums))
    counts = np.zeros(grid)
    for cell, found in part.descriptors(images):
        (top, high), (left, wide) = (positions(side, cell, part.stride) for side in images.shape[2:])
        for i in range(high):
            for j in range(wide):
                centre = [first + at * part.stride + CELLS * cell / 2 for first, at in ((top, i), (left, j))]
                own = [int(c * cells / side) for c, cells, side in zip(centre, grid, images.shape[2:], strict=True)]
                near = [
                    (row, column)
                    for row in range(grid[0])
                    for column in range(grid[1])
                    if -(window // 2) <= own[0] - row <= (window - 1) // 2
                    and -(window // 2) <= own[1] - column <= (window - 1) // 2
                ]
                for row, column in near:
                    counts[row, column] += 1
                    for image in range(len(images)):
                        alone = added(*assign(found[image, i, j].flatten()[None]))
                        sums[image, row, column] += alone.double().numpy()
    return sums / np.maximum(counts, 1)[:, :, None], counts


@pytest.mark.parametrize(("grid", "window"), [((3, 4), 1), ((3, 4), 2), ((3, 4), 3), ((1, 5), 4), ((2, 2), 9)])
def test_windows_against_a_loop(grid: tuple[int, int], window: int) -> None:
    part = learned().parts[0]
    images = torch.randn(2, 3, 22, 31, generator=torch.Generator().manual_seed(0))
    scales = list(part.descriptors(images))
    rows = list(window_rows(cell_rows(part.mixture, scales, (22, 31), grid, part.stride), window))
    assert len(rows) == grid[0]
    means, counts = slow(part, images, grid, window)
    np.testing.assert_allclose(torch.stack([row for row, _ in rows], dim=1), means, atol=2e-5)
    np.testing.assert_array_equal(torch.stack([count for _, count in rows]), counts)


def test_cells_add_up_to_the_image() -> None:
    part = learned().parts[1]
    images = torch.randn(3, 3, 30, 30, generator=torch.Generator().manual_seed(1))
    total, number = torch.zeros(3, part.mixture.sums), 0.0
    for sums, counts in cell_rows(part.mixture, list(part.descriptors(images)), (30, 30), (7, 3), part.stride):
        total += sums.sum(dim=1)
        number += float(counts.sum())
    torch.testing.assert_close(total / number, part.statistics(part.flat(images)), atol=1e-5, rtol=1e-4)
    # A window of the whole image, at any of its positions.
    found = part.windows(images, (3, 3), 7)
    torch.testing.assert_close(found, part.describe(images)[:, 0][:, None, None].expand_as(found), atol=2e-4, rtol=1e-3)


def test_a_window_without_descriptors_takes_those_of_the_image() -> None:
    part = learned().parts[1]
    images = torch.randn(1, 3, 24, 24, generator=torch.Generator().manual_seed(2))
    found = part.windows(images, (24, 24), 1)  # descriptors stand four pixels apart
    assert found.isfinite().all()
    torch.testing.assert_close(found[0, 0, 0], part.describe(images)[0, 0], atol=2e-4, rtol=1e-3)
