"""Small areas of hexagons, shared by the tests of levels and of the networks over them."""

from __future__ import annotations

from dataclasses import dataclass

import h3
import numpy as np
from numpy.typing import NDArray

from placevec.geo.hex_levels import HexLevels

ZION = (37.25, -113.0)  # lat, lon
PENTAGON = next(iter(h3.get_pentagons(6)))


@dataclass(frozen=True, eq=False)
class SomeEdges:
    """What an accessibility graph has, without the rest."""

    rows: NDArray[np.int64]
    cols: NDArray[np.int64]
    weight: NDArray[np.float32]


def numbers(cells: list[str] | set[str]) -> NDArray[np.uint64]:
    """H3 strings as numbers, sorted: sets of texts have another order in every process."""
    return np.array(sorted(h3.str_to_int(cell) for cell in cells), dtype=np.uint64)


def disk(resolution: int, rings: int, middle: str = "") -> NDArray[np.uint64]:
    """A disk of cells, in an order of no meaning."""
    cells = h3.grid_disk(middle or h3.latlng_to_cell(*ZION, resolution), rings)
    return np.random.default_rng(0).permutation(numbers(cells))


def torn(resolution: int, rings: int) -> NDArray[np.uint64]:
    """A disk with a hole in it and an island beside it: an area as coasts make it."""
    middle = h3.latlng_to_cell(*ZION, resolution)
    whole = set(h3.grid_disk(middle, rings)) - set(h3.grid_disk(h3.grid_ring(middle, rings // 2)[0], rings // 4))
    far = h3.latlng_to_cell(ZION[0] + 0.004 * rings, ZION[1] + 0.01 * rings, resolution)
    return np.random.default_rng(1).permutation(numbers(whole | set(h3.grid_disk(far, 2))))


def some_edges(levels: HexLevels, level: int, seed: int = 0) -> SomeEdges:
    """Edges from some cells to some of their neighbours, one way as often as not."""
    draw = np.random.default_rng(seed)
    near = levels.near[level][:, 1:]
    rows, columns = np.nonzero((near >= 0) & (draw.random(near.shape) < 0.6))
    weight = draw.uniform(0.0, 50.0, len(rows)).astype(np.float32)
    return SomeEdges(rows.astype(np.int64), near[rows, columns], weight)
