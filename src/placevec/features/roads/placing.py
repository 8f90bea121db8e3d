"""Which cell a place lies in, and segments in pieces that are short against the cells."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from placevec.errors import DataError
from placevec.geo.cells import CellArray, H3Cells
from placevec.geo.sphere import LonLat
from placevec.sources.osm.roads import Roads

PIECES_PER_EDGE = 4.0
"""A piece of a segment is no longer than a cell's edge by this: then it lies in two neighbours at most."""


class CellRows:
    """The rows of H3 cells (n,) of one resolution, all distinct, by place.

    Attributes:
        system: the partition.
        cells: (n,) the cells.

    Raises:
        DataError: they are of several resolutions, or one is there twice.
    """

    def __init__(self, cells: ArrayLike) -> None:
        self.cells: CellArray = np.ascontiguousarray(cells, dtype=np.uint64).reshape(-1)
        resolutions = np.unique((self.cells >> np.uint64(52)) & np.uint64(15))
        if len(resolutions) > 1:
            raise DataError(f"cells of the resolutions {resolutions.tolist()}: give those of one")
        self.system = H3Cells(int(resolutions[0]) if len(resolutions) else 0)
        self._order = np.argsort(self.cells, kind="stable")
        self._sorted = self.cells[self._order]
        twice = np.flatnonzero(self._sorted[1:] == self._sorted[:-1])
        if len(twice):
            raise DataError(f"cell {int(self._sorted[twice[0]]):x} is there twice; give each cell once")

    def __len__(self) -> int:
        return len(self.cells)

    def rows(self, cells: CellArray) -> NDArray[np.int64]:
        """The row (m,) of each cell, -1 of one that is none of these."""
        if not len(self.cells):
            return np.full(len(cells), -1, dtype=np.int64)
        at = np.minimum(np.searchsorted(self._sorted, cells), len(self.cells) - 1)
        return np.where(self._sorted[at] == cells, self._order[at], -1).astype(np.int64)

    def at(self, lon: ArrayLike, lat: ArrayLike) -> NDArray[np.int64]:
        """The row (m,) of the cell of each point, -1 outside of all."""
        return self.rows(self.system.assign(LonLat(np.asarray(lon), np.asarray(lat))))


class Pieces(NamedTuple):
    """Segments cut into equal parts: piece p is of the segment `of[p]`."""

    of: NDArray[np.int64]  # (p,) row of the segment; the pieces of one follow each other
    part: NDArray[np.int64]  # (p,) 0 .. parts - 1
    parts: NDArray[np.int64]  # (p,) of how many


def pieces(metres: ArrayLike, longest_m: float) -> Pieces:
    """Segments of lengths (s,), those longer than `longest_m` in as many parts as it takes."""
    parts = np.maximum(np.ceil(np.asarray(metres, dtype=np.float64) / longest_m), 1.0).astype(np.int64)
    of = np.repeat(np.arange(len(parts)), parts)
    part = np.arange(len(of)) - np.repeat(np.cumsum(parts) - parts, parts)
    return Pieces(of, part, parts[of])


def along(roads: Roads, segment: NDArray[np.int64], share: ArrayLike) -> LonLat:
    """The points (p,) at a share (0 to 1) of the way from a to b of segments (p,): straight in degrees."""
    a, b = roads.a[segment], roads.b[segment]
    # Of two ways round the Earth the shorter: a segment across the antimeridian is as short as any.
    east = (roads.lon[b] - roads.lon[a] + 180.0) % 360.0 - 180.0
    lon = roads.lon[a] + np.asarray(share) * east
    return LonLat((lon + 180.0) % 360.0 - 180.0, roads.lat[a] + np.asarray(share) * (roads.lat[b] - roads.lat[a]))
