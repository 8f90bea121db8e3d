"""Statistics of planes against loops that count, and under the eight turns of a square."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from placevec.nn.landscape.statistics import RINGS, LayoutStatistics

PIXELS = st.one_of(st.integers(8, 24), st.sampled_from([25, 33, 40]))


def planes_of(seed: int, pixels: int, classes: int = 3, values: bool = True) -> NDArray[np.float32]:
    """Planes (2, classes + 2, pixels, pixels) as they come of a layer of classes and one of values."""
    rng = np.random.default_rng(seed)
    cover = rng.integers(0, classes + 1, (2, pixels, pixels))
    found = [(cover == c).astype(np.float32) for c in range(1, classes + 1)]
    if values:
        there = rng.random((2, pixels, pixels)) < 0.9
        found += [np.where(there, rng.normal(size=there.shape), 0.0), there]
    return np.stack(found, axis=1).astype(np.float32)


def squared(roots: Any) -> NDArray[np.float64]:
    """What the roots are of: near 0 a root is far larger than its rounding."""
    wide = np.asarray(roots, dtype=np.float64)
    return np.asarray(np.sign(wide) * wide**2)


def by_counting(planes: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Ring and adjacency shares, and spreads over tiles, of planes (k, p, p), in the order of `LayoutStatistics`."""
    k, p, _ = planes.shape
    rings = np.zeros((k, len(RINGS) - 1))
    for ring in range(len(RINGS) - 1):
        inside = []
        for y, x in np.ndindex(p, p):
            far = max(abs(2 * y + 1 - p), abs(2 * x + 1 - p)) / p
            if (RINGS[ring] < far <= RINGS[ring + 1]) or (ring == 0 and far == 0):
                inside.append((y, x))
        for a in range(k):
            rings[a, ring] = sum(float(planes[a, y, x]) for y, x in inside) / max(1, len(inside))
    shares = list(rings.ravel())
    for step in sorted({1, p // 8}):
        meet = np.zeros((k, k))
        for y, x in np.ndindex(p, p):
            for v, u in ((y, x + step), (y, x - step), (y + step, x), (y - step, x)):
                if 0 <= v < p and 0 <= u < p:
                    meet += np.outer(planes[:, y, x], planes[:, v, u])
        meet /= max(1.0, np.abs(meet).sum())
        shares += [meet[a, b] for a in range(k) for b in range(a, k)]
    spreads = []
    for side in (p // 4, p // 8):
        n = p // side
        border = [(math.floor(i * p / n), math.ceil((i + 1) * p / n)) for i in range(n)]
        for a in range(k):
            means = [planes[a, t:b, left:right].mean(dtype=np.float64) for t, b in border for left, right in border]
            spreads.append(np.std(means))
    return np.array(shares), np.array(spreads)


@settings(max_examples=15)
@given(st.integers(0, 10**6), st.sampled_from([8, 9, 12, 16, 17, 25]))
def test_they_are_what_counting_gives(seed: int, pixels: int) -> None:
    planes = planes_of(seed, pixels)
    statistics = LayoutStatistics(5, pixels)
    found = statistics(torch.from_numpy(planes)).numpy()
    assert found.shape == (2, statistics.count)
    for one, own in zip(found, planes, strict=True):
        shares, spreads = by_counting(own)
        np.testing.assert_allclose(squared(one[: len(shares)]), shares, atol=2e-6)
        np.testing.assert_allclose(one[len(shares) :], spreads, atol=2e-6)


@given(st.integers(0, 10**6), PIXELS)
def test_turns_and_mirrors_change_nothing(seed: int, pixels: int) -> None:
    planes = torch.from_numpy(planes_of(seed, pixels))
    statistics = LayoutStatistics(5, pixels)
    expected = squared(statistics(planes))
    for turn in range(8):
        turned = torch.rot90(planes, turn % 4, (2, 3))
        turned = turned.flip(3) if turn >= 4 else turned
        np.testing.assert_allclose(squared(statistics(turned)), expected, atol=3e-6)


@given(st.integers(8, 64))
def test_each_ring_weighs_its_pixels_alike_and_all_pixels_count(pixels: int) -> None:
    weights = LayoutStatistics(1, pixels).rings.double().reshape(pixels, pixels, -1)
    for ring in weights.unbind(2):
        used = ring[ring > 0]
        if len(used):
            assert float(used.sum()) == pytest.approx(1.0, abs=1e-5)
            assert float(used.min()) == pytest.approx(float(used.max()))
    assert int((weights > 0).sum()) == pixels**2


def test_adjacency_is_a_distribution_over_pairs_of_classes() -> None:
    planes = torch.from_numpy(planes_of(3, 16, classes=4, values=False))
    for step in (1, 2):
        found = LayoutStatistics.adjacency(planes, step)
        torch.testing.assert_close(found, found.transpose(1, 2))
        torch.testing.assert_close(found.sum(dim=(1, 2)), torch.ones(2))


def test_what_has_nothing_gives_nothing() -> None:
    found = LayoutStatistics(4, 16)(torch.zeros(2, 4, 16, 16))
    assert found.isfinite().all()
    assert found.abs().max() <= 1e-6


def test_a_checkerboard_and_its_halves_have_equal_shares_but_other_neighbours() -> None:
    y, x = np.mgrid[0:16, 0:16]
    board, halves = (y + x) % 2, (x >= 8).astype(int)
    planes = torch.from_numpy(np.stack([np.stack([c == 0, c == 1]) for c in (board, halves)]).astype(np.float32))
    assert planes[0].mean(dim=(1, 2)).tolist() == planes[1].mean(dim=(1, 2)).tolist()
    apart = LayoutStatistics.adjacency(planes, 1)
    assert apart[0, 0, 0] == 0.0
    assert apart[0, 0, 1] == 0.5
    assert apart[1, 0, 0] == pytest.approx(0.483, abs=0.01)
