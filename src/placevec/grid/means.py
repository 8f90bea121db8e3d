"""Mean vectors of pixels by cell."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from placevec.geo.cells import Cells
from placevec.geo.sphere import LonLat
from placevec.table.places import Places

_SHORT = 1e-6  # a mean vector shorter than this has no direction


class CellMeans:
    """Mean vectors of pixels by cell, from any number of pieces; memory grows with the cells, not with the pixels."""

    def __init__(self, cells: Cells, dims: int) -> None:
        self.cells = cells
        self._known = np.empty(0, dtype=np.uint64)
        self._sums = np.empty((0, dims))
        self._counts = np.empty(0, dtype=np.int64)

    def __len__(self) -> int:
        return len(self._known)

    def add(self, lonlat: LonLat, vectors: NDArray[np.float32]) -> None:
        """Add pixels: their centres (n) and vectors (n, d)."""
        found, inverse = np.unique(self.cells.assign(lonlat), return_inverse=True)
        if len(found) == 0:
            return
        merged = np.union1d(self._known, found)
        at, into = np.searchsorted(merged, self._known), np.searchsorted(merged, found)
        sums, counts = np.zeros((len(merged), vectors.shape[1])), np.zeros(len(merged), dtype=np.int64)
        sums[at], counts[at] = self._sums, self._counts
        order = np.argsort(inverse, kind="stable")
        starts = np.searchsorted(inverse[order], np.arange(len(found)))
        sums[into] += np.add.reduceat(vectors[order].astype(np.float64), starts, axis=0)
        counts[into] += np.bincount(inverse, minlength=len(found))
        self._known, self._sums, self._counts = merged, sums, counts

    def result(self, *, unit: bool) -> tuple[NDArray[np.uint64], NDArray[np.float32], NDArray[np.int64], int]:
        """Cells (m,), their mean vectors (m, d), pixels in each (m,), and how many cells were left out.

        With `unit` means are brought to length 1; a cell whose pixels cancel each other has no direction and is left
        out.
        """
        vectors = self._sums / self._counts[:, None]
        kept = np.arange(len(vectors))
        if unit:
            lengths = np.linalg.norm(vectors, axis=1)
            kept = np.flatnonzero(lengths > _SHORT)
            vectors = vectors[kept] / lengths[kept, None]
        left_out = len(self._known) - len(kept)
        return self._known[kept], vectors.astype(np.float32), self._counts[kept], left_out


def cell_rows(cells: Cells, found: NDArray[np.uint64], pixels: NDArray[np.int64]) -> Places:
    """One row for each cell, named by the cell, with the number of pixels averaged."""
    hexagons = cells.name.startswith("h3:")
    names = np.char.mod("%x", found) if hexagons else found.astype(str)
    h3 = {"h3": found} if hexagons else {}
    return Places.create(names, cells.centre(found), attributes={"pixels": pixels}, **h3)
