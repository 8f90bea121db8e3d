"""Local descriptors against loops in float64, and views of an image against images that are really flipped."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from placevec.nn.vision.fisher.descriptors import (
    CELLS,
    VIEWS,
    colours,
    fitting,
    gradients,
    in_view,
    large_enough,
    positions,
    seen,
)


def pictures(n: int = 2, bands: int = 3, high: int = 21, wide: int = 18, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(n, bands, high, wide)).astype(np.float32))


def corners(side: int, cell: int, stride: int) -> list[int]:
    """Where descriptors begin: as many as fit, with what is left over on both sides."""
    count = 0
    while count * stride + CELLS * cell <= side:
        count += 1
    left = side - ((count - 1) * stride + CELLS * cell)
    return [left // 2 + number * stride for number in range(count)]


def slow_gradients(image: np.ndarray, cell: int, stride: int) -> np.ndarray:
    grey = np.pad(image.astype(np.float64).mean(axis=0), 1, mode="edge")
    high, wide = image.shape[1:]
    out = []
    for top in corners(high, cell, stride):
        for left in corners(wide, cell, stride):
            found = np.zeros((4, 4, 8))
            for y in range(top, top + 4 * cell):
                for x in range(left, left + 4 * cell):
                    east = (grey[y + 1, x + 2] - grey[y + 1, x]) / 2
                    south = (grey[y + 2, x + 1] - grey[y, x + 1]) / 2
                    way = math.atan2(south, east)
                    for k in range(8):
                        share = max(0.0, math.cos(way - k * math.pi / 4)) ** 9
                        found[(y - top) // cell, (x - left) // cell, k] += math.hypot(east, south) * share
            found /= np.linalg.norm(found) + 0.25 * cell
            found = np.minimum(found, 0.2)
            out.append(np.sqrt(found / (np.linalg.norm(found) + 1e-6)))
    return np.stack(out)


def slow_colours(image: np.ndarray, cell: int, stride: int) -> np.ndarray:
    out = []
    for top in corners(image.shape[1], cell, stride):
        for left in corners(image.shape[2], cell, stride):
            found = np.zeros((4, 4, 2 * len(image)))
            for i in range(4):
                for j in range(4):
                    own = image[:, top + i * cell : top + (i + 1) * cell, left + j * cell : left + (j + 1) * cell]
                    own = own.astype(np.float64).reshape(len(image), -1)
                    found[i, j] = [*own.mean(axis=1), *np.sqrt(own.var(axis=1) + 1e-6)]
            out.append(found)
    return np.stack(out)


@pytest.mark.parametrize("stride", [1, 3, 4])
@pytest.mark.parametrize("bands", [1, 3])
def test_descriptors_against_loops(bands: int, stride: int) -> None:
    images, cells = pictures(bands=bands), (1, 2, 3, 4)
    for find, slow in ((gradients, slow_gradients), (colours, slow_colours)):
        for cell, found in zip(cells, find(images, cells, stride), strict=True):
            for own, image in zip(found, images, strict=True):
                expected = slow(image.numpy(), cell, stride)
                np.testing.assert_allclose(own.flatten(0, 1).numpy(), expected, atol=2e-5)


def test_one_scale_does_not_change_the_next() -> None:
    # All is made in place of the sums: those of the next scale have to be others.
    images = pictures()
    before = images.clone()
    for find in (gradients, colours):
        together = [found.clone() for found in find(images, (1, 2, 4), 2)]
        for cell, found in zip((1, 2, 4), together, strict=True):
            torch.testing.assert_close(next(find(images, (cell,), 2)), found, rtol=0, atol=0)
    assert torch.equal(images, before)


@given(st.integers(1, 9), st.integers(1, 7), st.integers(0, 80))
def test_positions_lie_in_the_middle(cell: int, stride: int, more: int) -> None:
    side = CELLS * cell + more
    first, count = positions(side, cell, stride)
    assert corners(side, cell, stride) == [first + number * stride for number in range(count)]


def test_a_view_has_the_descriptors_of_the_image_that_is_flipped() -> None:
    images = pictures(high=25, wide=25)
    for directed, find in ((True, gradients), (False, colours)):
        # What is left over of 25 pixels is even in number, or the grid of a flipped image would be another.
        for cell, own in zip((2, 4), find(images, (2, 4), 3), strict=True):
            for view in range(VIEWS):
                flipped = next(find(seen(images, view), (cell,), 3))
                # Positions move as pixels do.
                moved = seen(in_view(own, view, directed=directed).permute(0, 3, 4, 5, 1, 2).flatten(1, 3), view)
                expected = moved.unflatten(1, own.shape[3:]).permute(0, 4, 5, 1, 2, 3)
                torch.testing.assert_close(flipped, expected, atol=2e-5, rtol=0)


def test_the_eight_views_are_eight() -> None:
    images = pictures(1, 1, 9, 9)
    assert len({seen(images, view).numpy().tobytes() for view in range(VIEWS)}) == VIEWS
    numbers = torch.arange(128).view(4, 4, 8)
    orders = [in_view(numbers, view, directed=True).flatten() for view in range(VIEWS)]
    assert len({tuple(order.tolist()) for order in orders}) == VIEWS
    for order in orders:
        assert sorted(order.tolist()) == list(range(128))


def test_a_plain_image_has_no_directions() -> None:
    plain = torch.full((1, 3, 20, 20), 3.0)
    (found,) = gradients(plain, (4,), 4)
    assert torch.equal(found, torch.zeros_like(found))
    (found,) = colours(plain, (4,), 4)
    torch.testing.assert_close(found[..., :3], torch.full_like(found[..., :3], 3.0))
    assert found[..., 3:].max() < 2e-3


def test_a_ramp_goes_one_way() -> None:
    ramp = torch.arange(20.0).expand(1, 1, 20, 20)
    for view, way in ((0, 0), (1, 4), (4, 2), (6, 2), (5, 6)):
        (found,) = gradients(seen(ramp, view), (4,), 4)
        assert (found.argmax(dim=-1) == way).all()


def test_scales_that_fit() -> None:
    assert fitting((3, 4, 8), 40) == (3, 4, 8)
    assert fitting((3, 4, 8), 39) == (3, 4)
    assert fitting((8, 4, 3), 10) == (3,)  # the smallest one, in whatever order
    images = pictures(high=5, wide=18)
    assert large_enough(pictures(high=16, wide=18), (8, 4)).shape == (2, 3, 16, 18)
    larger = large_enough(images, (8, 4))
    assert larger.shape == (2, 3, 16, 18)
    assert torch.equal(larger[:, :, 5:10], images)
    assert torch.equal(larger[:, :, 0], images[:, :, 0])
    assert torch.equal(larger[:, :, -1], images[:, :, -1])
    one = large_enough(pictures(high=1, wide=1), (3,))
    assert one.shape == (2, 3, 12, 12)
