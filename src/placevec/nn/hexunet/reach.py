"""Which rows of an area the outputs of a U-Net depend on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from placevec.errors import DataError, UsageError
from placevec.geo.cells import H3Cells
from placevec.geo.hex_levels import HexLevels
from placevec.nn.hexunet.config import HexUNetConfig

Rows = NDArray[np.int64]
Halo = Literal["exact"] | int


@dataclass(frozen=True, eq=False)
class Cone:
    """A coarse cell with all its descendants, and a halo around them that their outputs depend on.

    Attributes:
        number: which cone it is, from 0 in the order of the roots' numbers.
        root: the coarse cell, H3.
        rows: for each level the rows (m_l,) of the full area, rising.
        core: for each level the rows of the full area that the cone is for, the descendants of the root. Each row
            is in the core of exactly one cone.
        inner: for each level the same within `rows`.
    """

    number: int
    root: int
    rows: tuple[Rows, ...]
    core: tuple[slice, ...]
    inner: tuple[slice, ...]

    @property
    def nodes(self) -> int:
        """The rows of all levels together."""
        return sum(len(rows) for rows in self.rows)


class ConeCutter:
    """Cuts an area into cones.

    Args:
        levels: the area.
        root_resolution: of the roots, that of the coarsest level or coarser.
        config: of the network; what it looks at sets the exact halo.
        halo: "exact": all that the outputs of the core depend on, so that they are those of the full area. A number:
            so many rings of cells of the coarsest level around the root's own, with all their descendants; which may
            be less (an approximation, see `covered`) or more.

    Raises:
        UsageError: roots finer than the coarsest level, or a negative halo.
        DataError: another number of levels than the network has.
    """

    def __init__(self, levels: HexLevels, root_resolution: int, config: HexUNetConfig, halo: Halo = "exact") -> None:
        if root_resolution > levels.resolutions[-1]:
            raise UsageError(
                f"roots of resolution {root_resolution} are finer than the coarsest level, {levels.resolutions[-1]}; "
                "choose that or a coarser one"
            )
        if halo != "exact" and (isinstance(halo, bool) or not isinstance(halo, int) or halo < 0):
            raise UsageError(f'halo {halo!r} is neither "exact" nor a number of rings')
        if len(levels) != len(config.dims):
            raise DataError(f"the area has {len(levels)} levels, the network {len(config.dims)}")
        self.levels, self.config, self.halo = levels, config, halo
        top = H3Cells(levels.resolutions[-1]).parent(levels.cells[-1], root_resolution)
        self.roots, first = np.unique(top, return_index=True)
        bounds = np.append(first, len(top))
        found = [bounds]
        for parent in reversed(levels.parent):
            bounds = np.searchsorted(parent, bounds)
            found.append(bounds)
        # The descendants of a root are consecutive at every level: (levels, roots + 1).
        self._bounds = np.array(found[::-1], dtype=np.int64)

    def __len__(self) -> int:
        return len(self.roots)

    def cone(self, number: int) -> Cone:
        """The cone of the root with this number, from 0.

        Raises:
            UsageError: there is no such number.
        """
        if not 0 <= number < len(self):
            raise UsageError(f"there is no cone {number}; the area has {len(self)}, from 0")
        core = tuple(slice(int(own[number]), int(own[number + 1])) for own in self._bounds)
        rows = needed(self.levels, self.config, core) if self.halo == "exact" else self._ringed(core[-1], self.halo)
        inner = []
        for own, part in zip(rows, core, strict=True):
            start = int(np.searchsorted(own, part.start))
            inner.append(slice(start, start + part.stop - part.start))
        return Cone(number, int(self.roots[number]), rows, core, tuple(inner))

    def _ringed(self, core: slice, rings: int) -> tuple[Rows, ...]:
        """All descendants of the coarsest cells in `core` and within so many rings of them."""
        found = [_dilated(self.levels.near[-1], np.arange(core.start, core.stop), rings)]
        for parent in reversed(self.levels.parent):
            found.append(_ranges(*_children(parent, found[-1])))
        return tuple(reversed(found))


def needed(levels: HexLevels, config: HexUNetConfig, core: Sequence[slice]) -> tuple[Rows, ...]:
    """All rows of each level that the outputs in `core` depend on, and their parents.

    The network is walked backwards. On the way down a row depends on its neighbours, once for each block, on the row
    of the same cell on the way up, and on its parent; on the way up on its neighbours, and on all its children.
    """
    last = len(levels) - 1
    out = np.arange(core[0].start, core[0].stop)
    joined: list[Rows] = []
    for level in range(last):
        joined.append(_dilated(levels.near[level], out, config.down[level]))
        out = _distinct(levels.parent[level][joined[level]])
    wanted = out
    rows: list[Rows] = []
    for level in range(last, -1, -1):
        wide = _dilated(levels.near[level], wanted, config.lateral[level])
        rows.append(wide)
        if level:
            children = _ranges(*_children(levels.parent[level - 1], wide))
            wanted = _distinct(np.concatenate([joined[level - 1], children]))
    rows.reverse()
    # A parent of a row that only its neighbours need is no part of any result, but the rows must have parents.
    for level in range(last):
        rows[level + 1] = _distinct(np.concatenate([rows[level + 1], levels.parent[level][rows[level]]]))
    return tuple(rows)


def covered(levels: HexLevels, config: HexUNetConfig, cone: Cone) -> NDArray[np.bool_]:
    """Which rows of the finest core (m,) have all that they depend on within the cone.

    The network is walked forwards, with a mark at each row that says whether its value is that of the full area.
    """
    last = len(levels) - 1
    true = np.ones(len(cone.rows[0]), dtype=bool)
    states = []
    for level, rows in enumerate(cone.rows):
        for _ in range(config.lateral[level]):
            true = _kept(levels.near[level], rows, true)
        states.append(true)
        if level < last:
            parents = cone.rows[level + 1]
            at = np.searchsorted(parents, levels.parent[level][rows])
            # All children of the full area must be there, and true.
            there = np.bincount(at[true], minlength=len(parents))
            start, stop = _children(levels.parent[level], parents)
            true = there == stop - start
    for level in range(last - 1, -1, -1):
        rows = cone.rows[level]
        at = np.searchsorted(cone.rows[level + 1], levels.parent[level][rows])
        true = states[level] & true[at]
        for _ in range(config.down[level]):
            true = _kept(levels.near[level], rows, true)
    return true[cone.inner[0]]


def _children(parent: Rows, rows: Rows) -> tuple[Rows, Rows]:
    """Where the children of each row begin and end, among rows with these parents."""
    return np.searchsorted(parent, rows), np.searchsorted(parent, rows, side="right")


def _dilated(near: Rows, rows: Rows, times: int) -> Rows:
    """Sorted `rows` and all within `times` steps of them."""
    for _ in range(times):
        found = near[rows]
        rows = _distinct(found[found >= 0])
    return rows


def _distinct(rows: Rows) -> Rows:
    """`np.unique` by marks: the rows of a cone lie close to each other, and need no sorting."""
    if not len(rows):
        return rows
    low = int(rows.min())
    marks = np.zeros(int(rows.max()) - low + 1, dtype=bool)
    marks[rows - low] = True
    return np.flatnonzero(marks) + low


def _kept(near: Rows, rows: Rows, true: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which `rows` are true together with all their neighbours in the full area."""
    around = near[rows]
    at = np.minimum(np.searchsorted(rows, around), len(rows) - 1)
    return np.asarray(((around < 0) | ((rows[at] == around) & true[at])).all(axis=1))


def _ranges(start: Rows, stop: Rows) -> Rows:
    """The numbers of all ranges, one after the other."""
    lengths = stop - start
    ends = np.cumsum(lengths)
    total = int(ends[-1]) if len(ends) else 0
    return np.asarray(np.arange(total) + np.repeat(start - (ends - lengths), lengths), dtype=np.int64)
