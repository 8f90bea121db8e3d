"""Percentiles by cell, from any number of pieces, without keeping all values.

Of each cell and column a histogram is kept: a value, and how often it was there. Values that are whole numbers (heights
in metres, pixels of 8 or 16 bits) are counted one by one, and their percentiles are exact. Of other values at most
`GROUPS` groups are kept, each with the mean of its values: whenever a cell has more, neighbours are put together, so
that none holds more than about a 256th of the values. A percentile is then that of a value whose rank is off by at most
one such group for each time that the cell was looked at, which is once for each window of the raster that it touches.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from placevec.errors import UsageError

GROUPS = 256
"""How many different values of a cell are kept, unless they are whole numbers."""

_WAITING = 1 << 21  # values that wait to be counted: 50 MB, and as much again while they are sorted

_Histogram = tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]  # cell and column, value, count


def check_percentiles(percentiles: Sequence[float]) -> tuple[float, ...]:
    """Percentiles, each once, in the order given; UsageError if one is not between 0 and 100."""
    odd = next((one for one in percentiles if not 0.0 <= one <= 100.0), None)
    if odd is not None:
        raise UsageError(f"the percentile {odd:g} is none: give numbers from 0 to 100")
    return tuple(dict.fromkeys(float(one) for one in percentiles))


class Percentiles:
    """Histograms of the values of n cells in d columns.

    Args:
        n: how many cells.
        columns: d.
    """

    def __init__(self, n: int, columns: int) -> None:
        self.n, self.columns = n, columns
        self._kept: _Histogram = (np.zeros(0, np.int64), np.zeros(0), np.zeros(0, np.int64))
        self._new: list[_Histogram] = []
        self._waiting = 0

    def add(self, cell: NDArray[np.int64], values: NDArray[np.float32]) -> None:
        """Add values (m, d), all finite, of the cells (m,)."""
        if not len(cell):
            return
        key = (cell[:, None] * self.columns + np.arange(self.columns)).ravel()
        self._new.append(_counted(key, values.ravel().astype(np.float64), np.ones(len(key), dtype=np.int64)))
        self._waiting += len(self._new[-1][0])
        # What is kept is sorted again only when as much is new, so that the work grows with the values alone.
        if self._waiting > max(_WAITING, len(self._kept[0])):
            self._merge()

    def at(self, percentile: float) -> NDArray[np.float64]:
        """The percentile (n, d) of the values, between the two nearest of them; 0 without any value."""
        self._merge()
        key, value, count = self._kept
        found = np.zeros(self.n * self.columns)
        if len(key):
            starts = np.flatnonzero(np.diff(key, prepend=-1))
            total = np.add.reduceat(count, starts)
            end = np.cumsum(count)  # ranks of the values of all cells, one cell after the other
            first = end[starts] - count[starts]
            rank = percentile / 100.0 * (total - 1)
            below = np.floor(rank).astype(np.int64)
            low = value[np.searchsorted(end, first + below, side="right")]
            high = value[np.searchsorted(end, first + np.minimum(below + 1, total - 1), side="right")]
            found[key[starts]] = low + (rank - below) * (high - low)
        return found.reshape(self.n, self.columns)

    def _merge(self) -> None:
        if self._new:
            parts = [self._kept, *self._new]
            key, value, count = (np.concatenate([part[k] for part in parts]) for k in range(3))
            self._kept = _grouped(*_counted(key, value, count))
            self._new, self._waiting = [], 0


def _counted(key: NDArray[np.int64], value: NDArray[np.float64], count: NDArray[np.int64]) -> _Histogram:
    """A histogram in order, each value of a cell once."""
    order = np.lexsort((value, key))
    key, value, count = key[order], value[order], count[order]
    first = np.ones(len(key), dtype=bool)
    first[1:] = (key[1:] != key[:-1]) | (value[1:] != value[:-1])
    starts = np.flatnonzero(first)
    return key[starts], value[starts], np.add.reduceat(count, starts)


def _grouped(key: NDArray[np.int64], value: NDArray[np.float64], count: NDArray[np.int64]) -> _Histogram:
    """A histogram in order in which cells with too many values that are no whole numbers have about `GROUPS`."""
    starts = np.flatnonzero(np.diff(key, prepend=-1))
    size = np.diff(np.append(starts, len(key)))
    broken = np.add.reduceat((value != np.rint(value)).astype(np.int64), starts) > 0
    many = np.repeat(broken & (size > GROUPS), size)
    if not many.any():
        return key, value, count
    total = np.repeat(np.add.reduceat(count, starts), size)
    before = np.cumsum(count) - count
    middle = before - np.repeat(before[starts], size) + 0.5 * count
    # Others keep a group for each value: the numbers of groups only have to differ from one to the next.
    group = np.where(many, np.floor(middle / total * GROUPS).astype(np.int64), np.arange(len(key)))
    first = np.ones(len(key), dtype=bool)
    first[1:] = (key[1:] != key[:-1]) | (group[1:] != group[:-1])
    at = np.flatnonzero(first)
    together = np.add.reduceat(count, at)
    mean = np.where(np.diff(np.append(at, len(key))) == 1, value[at], np.add.reduceat(value * count, at) / together)
    return key[at], mean, together
