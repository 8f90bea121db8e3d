"""Geocells at a level, as a partition of `placevec.geo.cells`: the cells themselves, or groups of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import shapely
from numpy.typing import ArrayLike, NDArray
from shapely.geometry.base import BaseGeometry

from placevec.errors import DataError, UsageError
from placevec.geo.boxes import unwrap_polygon
from placevec.geo.cells import CellArray, Ragged, ragged
from placevec.geo.geocells.adjacency import ring_rows
from placevec.geo.geocells.points import Ints
from placevec.geo.sphere import LonLat

if TYPE_CHECKING:
    from placevec.geo.geocells.cells import GeoCells


class View(ABC):
    """The `Cells` of one level of geocells; the number of a cell is its row + 1, and 0 where a point has none."""

    @property
    @abstractmethod
    def base(self) -> GeoCells:
        """The cells of level 0."""

    @property
    @abstractmethod
    def level(self) -> int:
        """The level: 0 is the finest."""

    @cached_property
    def group(self) -> Ints:
        """(N,) the row at this level of each cell of level 0."""
        return self.base.levels[self.level - 1] if self.level else np.arange(len(self.base))

    @cached_property
    def size(self) -> int:
        """How many cells this level has."""
        return int(self.group.max()) + 1

    @cached_property
    def _members(self) -> Ragged:
        """The rows of the cells of level 0 in each cell of this level."""
        order = np.argsort(self.group, kind="stable")
        offsets = np.searchsorted(self.group[order], np.arange(self.size + 1)).astype(np.int64)
        return Ragged(offsets, order.astype(np.uint64))

    @property
    def name(self) -> str:
        """What they are called: by their content, for `parse_cells` cannot make them from a text."""
        return f"geocells:{self.base.fingerprint()[:12]}" + (f"/{self.level}" if self.level else "")

    def assign(self, p: LonLat) -> CellArray:
        """The cell (n,) of each point; 0 outside of all regions and in a region without cells."""
        rows = self.base.rows(p)
        return np.where(rows < 0, 0, self.group[rows] + 1).astype(np.uint64)

    def centre(self, cells: ArrayLike) -> LonLat:
        """The centre of each cell; of a group, the centre of a cell in its middle."""
        return self.base.centres[self._middle[self._checked(cells)]]

    @cached_property
    def _middle(self) -> Ints:
        """The row of the cell of level 0 in the middle of each cell: nearest to the mean of the training points."""
        if not self.level:
            return np.arange(len(self.base))
        unit, count = self.base.centres.unit(), self.base.count
        mean = np.stack([np.bincount(self.group, unit[:, axis] * count) for axis in range(3)], axis=1)
        away = np.linalg.norm(unit - (mean / np.bincount(self.group, count)[:, None])[self.group], axis=1)
        order = np.lexsort((np.arange(len(unit)), away, self.group))
        found: Ints = order[np.searchsorted(self.group[order], np.arange(self.size))]
        return found

    def polygons(self, cells: ArrayLike) -> NDArray[np.object_]:
        """The outline of each cell, cut at the border of its region and at the antimeridian."""
        rows = self._checked(cells)
        if not self.level:
            return self.base.outlines(rows)
        lists = [self._rows_in(row) for row in rows.tolist()]
        out = np.empty(len(rows), dtype=object)
        out[:] = [shapely.union_all(self.base.outlines(own)) for own in lists]
        return out

    def rings(self, cells: ArrayLike, k: int) -> CellArray:
        """The (n, m) cells within k steps: itself, ring 1, ring 2 …; 0 where a ring has fewer than the most have.

        Cells that touch are one step apart, whatever their regions.
        """
        if k < 0:
            raise UsageError(f"there is no ring {k}; k is 0 or more")
        rows = self._checked(cells)
        return (ring_rows(self._touching, self.size, rows, k) + 1).astype(np.uint64)

    @cached_property
    def _touching(self) -> tuple[Ints, Ints]:
        one, two = (self.group[rows] for rows in self.base.touching)
        return one[one != two], two[one != two]

    def neighbours(self, cells: ArrayLike, k: int) -> Ragged:
        """The cells within k steps of each cell, itself first, then by ring."""
        return ragged(self.rings(cells, k))

    def parent(self, cells: ArrayLike, level: float) -> CellArray:
        """The cell of a coarser level that holds each cell.

        Raises:
            UsageError: there is no such level, or it is finer.
        """
        rows, coarse = self._checked(cells), self.base.at(level)
        if coarse.level < self.level:
            raise UsageError(f"level {level} is finer than level {self.level}; a parent is coarser: use children")
        found: CellArray = (coarse.group[self._middle[rows]] + 1).astype(np.uint64)
        return found

    def children(self, cells: ArrayLike, level: float) -> Ragged:
        """The cells of a finer level in each cell.

        Raises:
            UsageError: there is no such level, or it is coarser.
        """
        rows, fine = self._checked(cells), self.base.at(level)
        if fine.level > self.level:
            raise UsageError(f"level {level} is coarser than level {self.level}; children are finer: use parent")
        lists = [np.unique(fine.group[self._rows_in(row)]) + 1 for row in rows.tolist()]
        offsets = np.concatenate([[0], np.cumsum([len(own) for own in lists])]).astype(np.int64)
        every = np.concatenate(lists) if lists else np.zeros(0, dtype=np.int64)
        return Ragged(offsets, every.astype(np.uint64))

    def cover(self, polygon: BaseGeometry) -> CellArray:
        """All cells that share any point with the polygon, sorted."""
        rows = self.base.tree.query(unwrap_polygon(polygon), predicate="intersects")
        return (np.unique(self.group[rows]) + 1).astype(np.uint64)

    def _rows_in(self, row: int) -> Ints:
        members = self._members
        return members.cells[members.offsets[row] : members.offsets[row + 1]].astype(np.int64)

    def _checked(self, cells: ArrayLike) -> Ints:
        own = np.atleast_1d(np.asarray(cells, dtype=np.uint64))
        wrong = (own == 0) | (own > self.size)
        if wrong.any():
            raise DataError(f"{int(own[np.argmax(wrong)])} is no cell of {self.name}, which has {self.size:,}")
        return own.astype(np.int64) - 1


class CoarseCells(View):
    """Groups of geocells within their regions; see `GeoCells.at`."""

    def __init__(self, cells: GeoCells, level: int) -> None:
        self._base, self._level = cells, level

    @property
    def base(self) -> GeoCells:
        """The cells of level 0."""
        return self._base

    @property
    def level(self) -> int:
        """The level."""
        return self._level

    def __len__(self) -> int:
        return self.size

    def __repr__(self) -> str:
        return f"CoarseCells(<level {self.level}: {self.size:,} groups of {len(self.base):,} cells>)"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, CoarseCells) and other.level == self.level and other.base == self.base

    def __hash__(self) -> int:
        return hash(self.name)
