"""Count, mean, deviation and extremes by cell, from any number of pieces, without keeping the values."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


class Moments:
    """Statistics of the values of n cells in d columns; memory grows with the cells alone.

    Means and squares are merged piece by piece (T. F. Chan, G. H. Golub, R. J. LeVeque, "Updating formulae and a
    pairwise algorithm for computing sample variances", 1979), so that large values with a small spread keep it.

    Args:
        n: how many cells.
        columns: d.
        spread: whether more than counts and means is wanted; of long vectors that is most of the work.

    Attributes:
        count: (n,) values of each cell.
        mean: (n, d) of them; 0 without any.
        low: (n, d) the least; infinity without any.
        high: (n, d) the greatest; minus infinity without any.
    """

    def __init__(self, n: int, columns: int, *, spread: bool = True) -> None:
        self._spread = spread
        self.count = np.zeros(n, dtype=np.int64)
        self.mean = np.zeros((n, columns))
        self.low = np.full((n, columns), np.inf)
        self.high = np.full((n, columns), -np.inf)
        self._squares = np.zeros((n, columns))

    def add(self, cell: NDArray[np.int64], values: NDArray[np.float32]) -> None:
        """Add values (m, d), all finite, of the cells (m,)."""
        if not len(cell):
            return
        order = np.argsort(cell, kind="stable")
        cell = cell[order]
        found = values[order].astype(np.float64)
        starts = np.flatnonzero(np.concatenate([[True], cell[1:] != cell[:-1]]))
        own = cell[starts]
        count = np.diff(np.append(starts, len(cell)))
        mean = np.add.reduceat(found, starts, axis=0) / count[:, None]
        before, total = self.count[own], self.count[own] + count
        step = mean - self.mean[own]
        self.mean[own] += step * (count / total)[:, None]
        self.count[own] = total
        if not self._spread:
            return
        squares = np.add.reduceat((found - np.repeat(mean, count, axis=0)) ** 2, starts, axis=0)
        self._squares[own] += squares + step**2 * (before * count / total)[:, None]
        self.low[own] = np.minimum(self.low[own], np.minimum.reduceat(found, starts, axis=0))
        self.high[own] = np.maximum(self.high[own], np.maximum.reduceat(found, starts, axis=0))

    @property
    def sd(self) -> NDArray[np.float64]:
        """(n, d) the standard deviation of all values of a cell (not an estimate from a sample); 0 without any."""
        deviation: NDArray[np.float64] = np.sqrt(self._squares / np.maximum(self.count, 1)[:, None])
        return deviation
