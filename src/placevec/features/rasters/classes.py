"""How much of a cell each class of a categorical raster covers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from placevec.features.modality import Told
from placevec.features.rasters.zonal import MIN_VALID, Cover, each_window
from placevec.features.rasters.zones import Zones
from placevec.sources.classes import UNKNOWN, ClassTable, Unknown
from placevec.sources.rasters import Raster


@dataclass(frozen=True, eq=False)
class ClassCounts:
    """Classes in n cells.

    Attributes:
        counts: (n, classes) pixels of each class; of a cell that holds no pixel centre, the one pixel at its centre.
        edges: (n,) borders between two neighbouring pixels of different classes, both in the cell.
        pairs: (n,) neighbouring pixels that are both in the cell and both of a class.
        sampled: (n,) cells that hold no pixel centre.
        present: (n,) cells of which enough is known.
    """

    counts: NDArray[np.int64]
    edges: NDArray[np.int64]
    pairs: NDArray[np.int64]
    sampled: NDArray[np.bool_]
    present: NDArray[np.bool_]

    def shares(self) -> NDArray[np.float64]:
        """(n, classes) the share of each class in what is known of a cell."""
        total = self.counts.sum(axis=1, keepdims=True)
        shares: NDArray[np.float64] = self.counts / np.maximum(total, 1)
        return shares

    def diversity(self) -> NDArray[np.float64]:
        """(n,) Shannon's entropy of the shares in nats: 0 for one class, ln k for k equal ones."""
        shares = self.shares()
        with np.errstate(divide="ignore", invalid="ignore"):
            terms = np.where(shares > 0, shares * np.log(shares), 0.0)
        entropy: NDArray[np.float64] = np.maximum(-terms.sum(axis=1), 0.0)
        return entropy

    def edge_share(self) -> NDArray[np.float64]:
        """(n,) share of neighbouring pixels that differ: 0 for one patch, towards 1 for a chequerboard."""
        share: NDArray[np.float64] = self.edges / np.maximum(self.pairs, 1)
        return share


def count_classes(
    rasters: Sequence[Raster],
    zones: Zones,
    table: ClassTable,
    *,
    band: int = 0,
    unknown: Unknown = "error",
    min_valid: float = MIN_VALID,
    told: Told | None = None,
) -> ClassCounts:
    """Count the pixels of each class whose centres lie in cells.

    Args:
        rasters: one, or the tiles of one.
        zones: the cells.
        table: the classes.
        band: index of the band that holds them.
        unknown: what a code is that the table does not have: an "error", or "nodata".
        min_valid: cells of which a smaller share is known are absent.
        told: progress.

    Raises:
        DataError: a code is not in the table.
    """
    n, k = len(zones), len(table)
    counts = np.zeros((n, k), dtype=np.int64)
    single = np.zeros((n, k), dtype=np.int64)
    edges, pairs = np.zeros(n, dtype=np.int64), np.zeros(n, dtype=np.int64)
    cover = Cover(n)
    for raster, window in each_window(rasters, zones, cover, told):
        values, valid = raster.window(
            raster.level(1.0, 1.0, "nearest"), window.row, window.col, window.height, window.width, band
        )
        wanted = window.cell >= 0
        wanted[window.centre_at] = True
        index = _marks(table, values, valid, unknown, raster.href, wanted.reshape(values.shape))
        flat, cell = index.ravel(), window.cell
        hit = np.flatnonzero((cell >= 0) & (flat > 0))
        _count(counts, cell[hit], flat[hit])
        there = flat[window.centre_at]
        _count(single, window.centred[there > 0], there[there > 0])
        own = cell.reshape(index.shape)
        for a, b in ((np.s_[:, 1:], np.s_[:, :-1]), (np.s_[1:], np.s_[:-1])):
            both = (own[a] >= 0) & (own[a] == own[b]) & (index[a] > 0) & (index[b] > 0)
            pairs += np.bincount(own[a][both], minlength=n)
            edges += np.bincount(own[a][both & (index[a] != index[b])], minlength=n)
    sampled = cover.seen == 0
    valid_pixels = counts.sum(axis=1)
    share = cover.share(valid_pixels)
    counts[sampled] = np.minimum(single[sampled], 1)
    share[sampled] = counts[sampled].any(axis=1)
    return ClassCounts(counts, edges, pairs, sampled, share >= max(min_valid, 1e-9))


def _count(into: NDArray[np.int64], cell: NDArray[np.int64], index: NDArray[np.uint8]) -> None:
    keys, found = np.unique(cell * into.shape[1] + (index.astype(np.int64) - 1), return_counts=True)
    into.reshape(-1)[keys] += found


def _marks(
    table: ClassTable,
    values: NDArray[np.generic],
    valid: NDArray[np.bool_] | None,
    unknown: Unknown,
    href: str,
    wanted: NDArray[np.bool_],
) -> NDArray[np.uint8]:
    """The index of each pixel's class, 0 for none; a code beside the cells is nobody's business."""
    marks = table.marks(values, unknown=unknown)
    nothing = ~wanted if valid is None else ~wanted | ~valid
    marks = np.where(nothing, np.uint8(0), marks)
    bad = marks == UNKNOWN
    if bad.any():
        raise table.unknown_code(values[bad][0], href)
    return marks
