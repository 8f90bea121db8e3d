"""The cells of an area at several resolutions, with who is next to whom and who lies in whom.

The numbers of H3 sort so that the descendants of a cell stand together. So at every level the cells are sorted by
their number, the children of one parent are consecutive rows, and so are all descendants of any coarser cell.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from placevec.errors import DataError, UsageError
from placevec.geo.cells import CellArray, H3Cells, ring_index

T = TypeVar("T", bound=np.generic)


@dataclass(frozen=True, eq=False)
class HexLevels:
    """Cells at consecutive resolutions, the finest first; level l + 1 has the parents of the cells of level l.

    Attributes:
        resolutions: (levels) of H3, falling by one.
        cells: for each level its cells (n_l), sorted by their number.
        parent: for each level but the last the row (n_l) of the parent at the next level; it never falls.
        near: for each level the rows (n_l, 7) of the cell itself and of its neighbours, -1 where there is none.
        order: (n_0) rows of the cells as they were given, in the order of ``cells[0]``.
    """

    resolutions: tuple[int, ...]
    cells: tuple[CellArray, ...]
    parent: tuple[NDArray[np.int64], ...]
    near: tuple[NDArray[np.int64], ...]
    order: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.resolutions)

    @property
    def sizes(self) -> tuple[int, ...]:
        """The number of cells of each level."""
        return tuple(len(cells) for cells in self.cells)

    def lengths(self, level: int) -> NDArray[np.int64]:
        """How many rows of `level` lie in each row (n_{level+1},) of the next level; none has 0."""
        return np.bincount(self.parent[level], minlength=len(self.cells[level + 1])).astype(np.int64)

    def ancestor(self, level: int) -> NDArray[np.int64]:
        """The row (n_0,) at `level` in which each cell of the finest level lies."""
        rows = np.arange(len(self.cells[0]), dtype=np.int64)
        for parent in self.parent[:level]:
            rows = parent[rows]
        return rows

    def rows_of(self, level: int, cells: ArrayLike) -> NDArray[np.int64]:
        """The row (m,) of each cell at `level`, -1 where it is not there."""
        return _rows_in(self.cells[level], np.asarray(cells, dtype=np.uint64))

    def as_given(self, rows: NDArray[T]) -> NDArray[T]:
        """Rows (n_0, …) of the finest level in the order in which the cells were given."""
        out = np.empty_like(rows)
        out[self.order] = rows
        return out


def hex_levels(cells: ArrayLike, resolutions: Sequence[int]) -> HexLevels:
    """The levels of an area.

    Args:
        cells: (n,) H3 cells of the finest resolution, in any order: islands, holes, pentagons and all.
        resolutions: consecutive ones, such as (10, 9, 8); the finest is that of the cells.

    Raises:
        UsageError: the resolutions are not consecutive.
        DataError: there is no cell, one is there twice, or one is not of the finest resolution.
    """
    wanted = tuple(sorted((H3Cells(resolution).resolution for resolution in resolutions), reverse=True))
    if not wanted or wanted != tuple(range(wanted[0], wanted[-1] - 1, -1)):
        text = ", ".join(map(str, resolutions)) or "none"
        raise UsageError(f"resolutions {text} are not consecutive; write them such as 10, 9, 8")
    given = np.ascontiguousarray(cells, dtype=np.uint64).reshape(-1)
    if not len(given):
        raise DataError("an area without a cell has no levels; give its cells at the finest resolution")
    order = np.argsort(given, kind="stable").astype(np.int64)
    levels = [given[order]]
    twice = np.flatnonzero(levels[0][1:] == levels[0][:-1])
    if len(twice):
        raise DataError(f"cell {int(levels[0][twice[0]]):x} is there twice; give each cell of the area once")
    parents: list[NDArray[np.int64]] = []
    for fine, coarse in pairwise(wanted):
        up = H3Cells(fine).parent(levels[-1], coarse)
        first = np.concatenate([[True], up[1:] != up[:-1]])
        parents.append(np.cumsum(first) - 1)
        levels.append(up[first])
    near = tuple(ring_index(level, 1, H3Cells(resolution)) for level, resolution in zip(levels, wanted, strict=True))
    return HexLevels(wanted, tuple(levels), tuple(parents), near, order)


def _rows_in(ordered: CellArray, cells: CellArray) -> NDArray[np.int64]:
    at = np.minimum(np.searchsorted(ordered, cells), len(ordered) - 1)
    return np.where(ordered[at] == cells, at, -1).astype(np.int64)
