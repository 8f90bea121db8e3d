"""A small made-up landscape: classes and heights on a grid of 100 m at the equator, and pairs of patches in it."""

from __future__ import annotations

from functools import lru_cache
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from placevec.geo.sphere import EARTH_RADIUS_M, LonLat
from placevec.sources.base import ArraySource
from placevec.table import Places

PIXEL_M = 100.0
PIXELS = 8
SIDE = 600
DEGREE_M = EARTH_RADIUS_M * np.pi / 180.0
CLASSES = ("water", "trees", "grass", "crops", "bare")


class Patches(ArraySource):
    """Patches in memory, as `sources.patches` gives them."""

    layers = (
        SimpleNamespace(name="cover", classes=SimpleNamespace(names=CLASSES)),
        SimpleNamespace(name="elevation", classes=None),
    )
    ground_m = PIXELS * PIXEL_M
    pixels = PIXELS


@lru_cache
def world(seed: int = 0) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Classes (1 to 5) and heights (SIDE, SIDE): which class stands where depends on the height and on chance."""
    rng = np.random.default_rng(seed)

    def field(sigma: float) -> NDArray[Any]:
        made = gaussian_filter(rng.standard_normal((SIDE, SIDE)), sigma, mode="wrap")
        return np.asarray(made / made.std())

    height = field(30)
    mix = height + 0.6 * field(12) + 0.5 * field(1.5)
    cover = np.digitize(mix, [-1.2, -0.3, 0.4, 1.3]).astype(np.uint8) + 1
    return cover, (500 + 200 * height + 20 * field(3) * np.exp(height)).astype(np.float32)


def cut(column: NDArray[Any], row: NDArray[Any], ids: list[str], place: list[str] | None) -> Patches:
    """Patches whose upper left pixels stand at given columns and rows."""
    cover, height = world()
    at = np.arange(PIXELS)
    rows, columns = row[:, None, None] + at[:, None], column[:, None, None] + at
    lon = (column + PIXELS / 2) * PIXEL_M / DEGREE_M
    lat = (SIDE / 2 - row - PIXELS / 2) * PIXEL_M / DEGREE_M
    places = Places.create(ids, LonLat(lon, lat), place=place)
    return Patches(places, {"cover": cover[rows, columns], "elevation": height[rows, columns]})


def pairs(n: int = 300, gap: int = 12, seed: int = 1) -> Patches:
    """n anchors anywhere, each with a neighbour `gap` pixels away in some direction."""
    rng = np.random.default_rng(seed)
    low, high = gap + 1, SIDE - PIXELS - gap - 1
    column, row = rng.integers(low, high, (2, n))
    angle = rng.uniform(0, 2 * np.pi, n)
    both_c = np.stack([column, np.rint(column + gap * np.cos(angle)).astype(int)], axis=1).ravel()
    both_r = np.stack([row, np.rint(row + gap * np.sin(angle)).astype(int)], axis=1).ravel()
    ids = [f"pair-{i:06d}-{end}" for i in range(n) for end in "ab"]
    return cut(both_c, both_r, ids, [f"pair-{i:06d}" for i in range(n) for _ in "ab"])
