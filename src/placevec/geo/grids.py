"""GridCells: the patch grid, cells of equal degrees of longitude and latitude."""

from __future__ import annotations

import numpy as np
import shapely
from numpy.typing import ArrayLike, NDArray
from shapely.geometry.base import BaseGeometry

from placevec.errors import DataError, UsageError
from placevec.geo.boxes import unwrap_polygon
from placevec.geo.cells import CellArray, Ragged, ragged
from placevec.geo.sphere import Floats, LonLat

Ints = NDArray[np.int64]


class GridCells:
    """A grid of cells of `degrees` x `degrees`, numbered from 1 by rows from the south-west corner (-180, -90).

    A cell owns its west and south border; the northernmost row owns the pole too. Neighbours go round the
    antimeridian, but not over a pole.

    Args:
        degrees: the side of a cell; it must divide 180 (0.1, 0.25, 1, 7.5 …), so that all cells are alike.

    Raises:
        UsageError: it does not, or the cells are too small to number (below a millionth of a degree).
    """

    def __init__(self, degrees: float) -> None:
        if not (np.isfinite(degrees) and 1e-6 <= degrees <= 180.0):
            raise UsageError(f"a grid of {degrees} degrees cannot be; choose 0.000001 to 180")
        rows = round(180.0 / degrees)
        if abs(rows * degrees - 180.0) > 1e-6 * degrees:
            raise UsageError(f"{degrees} degrees do not divide 180; choose {180.0 / rows:.6g} degrees")
        self.rows, self.columns = rows, 2 * rows
        self.degrees = float(degrees)

    @property
    def name(self) -> str:
        """The text that `parse_cells` reads back, such as "grid:0.5"."""
        return "grid:" + np.format_float_positional(self.degrees, trim="-")

    def __repr__(self) -> str:
        return f"GridCells({self.degrees!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, GridCells) and other.rows == self.rows

    def __hash__(self) -> int:
        return hash(("grid", self.rows))

    def assign(self, p: LonLat) -> CellArray:
        """The cell (n,) of each point."""
        return self._number(self._step(p.lon, -180.0, self.columns), self._step(p.lat, -90.0, self.rows))

    def centre(self, cells: ArrayLike) -> LonLat:
        """The centre of each cell: the middle of its longitudes and latitudes."""
        column, row = self._place(cells)
        return LonLat(self._edge(column + 0.5, -180.0), self._edge(row + 0.5, -90.0))

    def polygons(self, cells: ArrayLike) -> NDArray[np.object_]:
        """The outline of each cell."""
        column, row = self._place(cells)
        west, east = self._edge(column, -180.0), self._edge(column + 1, -180.0)
        out: NDArray[np.object_] = shapely.box(west, self._edge(row, -90.0), east, self._edge(row + 1, -90.0))
        return out

    def rings(self, cells: ArrayLike, k: int) -> CellArray:
        """The (n, (2k+1)²) cells within k steps, corners included; 0 beyond a pole.

        Column 0 is the cell itself, the columns (2r−1)² to (2r+1)² − 1 are its ring r.
        """
        if k < 0:
            raise UsageError(f"there is no ring {k}; k is 0 or more")
        column, row = self._place(cells)
        dy, dx = (v.ravel() for v in np.mgrid[-k : k + 1, -k : k + 1])
        order = np.argsort(np.maximum(np.abs(dx), np.abs(dy)), kind="stable")
        dx, dy = dx[order], dy[order]
        # On a grid of few columns the steps to the east and to the west meet: each cell is given once.
        once = (2 * dx > -self.columns) & (2 * dx <= self.columns)
        x, y = (column[:, None] + dx) % self.columns, row[:, None] + dy
        present = once & (y >= 0) & (y < self.rows)
        return np.where(present, self._number(x, np.clip(y, 0, self.rows - 1)), np.uint64(0))

    def neighbours(self, cells: ArrayLike, k: int) -> Ragged:
        """The cells within k steps of each cell, itself first, then by ring."""
        return ragged(self.rings(cells, k))

    def parent(self, cells: ArrayLike, level: float) -> CellArray:
        """The cell of the grid of `level` degrees that holds each cell.

        Raises:
            UsageError: `level` is not a multiple of the degrees of this grid.
        """
        coarse = GridCells(level)
        factor = self._factor(coarse, self)
        column, row = self._place(cells)
        return coarse._number(column // factor, row // factor)

    def children(self, cells: ArrayLike, level: float) -> Ragged:
        """The cells of the grid of `level` degrees in each cell.

        Raises:
            UsageError: `level` does not divide the degrees of this grid.
        """
        fine = GridCells(level)
        factor = self._factor(self, fine)
        column, row = self._place(cells)
        dy, dx = (v.ravel() for v in np.mgrid[:factor, :factor])
        inner = fine._number(column[:, None] * factor + dx, row[:, None] * factor + dy)
        return Ragged(np.arange(len(column) + 1, dtype=np.int64) * factor**2, inner.ravel())

    def cover(self, polygon: BaseGeometry) -> CellArray:
        """All cells that share any point with the polygon, sorted."""
        found = []
        for part in shapely.get_parts(unwrap_polygon(polygon)):
            shapely.prepare(part)
            west, south, east, north = part.bounds
            # One more on each side: a polygon that only touches a cell shares a point with it.
            rows = np.arange(
                max(self._index(south, -90.0) - 1, 0), min(self._index(north, -90.0) + 1, self.rows - 1) + 1
            )
            columns = np.arange(self._index(west, -180.0) - 1, self._index(east, -180.0) + 2)
            columns = np.unique(columns % self.columns)
            for row in rows:
                cells = self._number(columns, np.full_like(columns, row))
                found.append(cells[shapely.intersects(part, self.polygons(cells))])
        return np.unique(np.concatenate(found))

    def _factor(self, coarse: GridCells, fine: GridCells) -> int:
        factor, rest = divmod(fine.rows, coarse.rows)
        if rest:
            raise UsageError(f"{coarse.name} is no multiple of {fine.name}; choose degrees that are")
        return factor

    def _edge(self, index: ArrayLike, low: float) -> Floats:
        return low + np.asarray(index, dtype=np.float64) * 180.0 / self.rows

    def _index(self, value: float, low: float) -> int:
        count = self.columns if low == -180.0 else self.rows
        return int(self._step(np.array([value]), low, count)[0])

    def _step(self, values: Floats, low: float, count: int) -> Ints:
        step = np.floor((values - low) * self.rows / 180.0).astype(np.int64)
        # Rounding may put a point on a border into the wrong cell: the borders themselves decide.
        step -= values < self._edge(step, low)
        step += values >= self._edge(step + 1, low)
        return np.clip(step, 0, count - 1)

    def _number(self, column: Ints, row: Ints) -> CellArray:
        return (row * self.columns + column + 1).astype(np.uint64)

    def _place(self, cells: ArrayLike) -> tuple[Ints, Ints]:
        own = np.asarray(cells, dtype=np.uint64)
        wrong = (own == 0) | (own > self.rows * self.columns)
        if wrong.any():
            raise DataError(f"{int(own[np.argmax(wrong)])} is no cell of {self.name}; assign the points with it")
        row, column = np.divmod(own.astype(np.int64) - 1, self.columns)
        return column, row
