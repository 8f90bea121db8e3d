"""Cells: partitions of the Earth into numbered cells, of one interface (H3 hexagons here, grids in `grids`).

Cells are uint64 numbers, never 0: a 0 in an array of neighbours says that there is none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple, Protocol, runtime_checkable

import h3
import h3ronpy
import h3ronpy.vector
import numpy as np
import pyarrow as pa
import shapely
from numpy.typing import ArrayLike, NDArray
from shapely.affinity import translate
from shapely.geometry.base import BaseGeometry

from placevec.errors import DataError, UsageError
from placevec.geo.boxes import unwrap_polygon, unwrap_polygons
from placevec.geo.sphere import EARTH_RADIUS_M, LonLat

CellArray = NDArray[np.uint64]

# Every descendant of an H3 cell lies within this many mean edges of its centre: 1.21 at most over all cells
# of resolutions 0 to 3 and their descendants (fractal borders converge, so finer ones add less).
_REACH_IN_EDGES = 1.35


class Ragged(NamedTuple):
    """Lists of cells, one per row: the list of row i is ``cells[offsets[i]:offsets[i + 1]]``."""

    offsets: NDArray[np.int64]
    cells: CellArray

    def lists(self) -> Iterator[CellArray]:
        """The lists one after the other."""
        return (self.cells[a:b] for a, b in zip(self.offsets[:-1], self.offsets[1:], strict=True))


@runtime_checkable
class Cells(Protocol):
    """A partition of the Earth into cells that are known by uint64 numbers."""

    @property
    def name(self) -> str:
        """The text that `parse_cells` reads back, such as "h3:6"."""

    def assign(self, p: LonLat) -> CellArray:
        """The cell (n,) of each point."""

    def centre(self, cells: ArrayLike) -> LonLat:
        """The centre of each cell."""

    def polygons(self, cells: ArrayLike) -> NDArray[np.object_]:
        """The outline of each cell as a valid shapely (Multi)Polygon, cut at the antimeridian."""

    def rings(self, cells: ArrayLike, k: int) -> CellArray:
        """The (n, m) cells within k steps: the cell itself, ring 1, ring 2 …; 0 where a ring has fewer."""

    def neighbours(self, cells: ArrayLike, k: int) -> Ragged:
        """The cells within k steps of each cell, itself first."""

    def parent(self, cells: ArrayLike, level: float) -> CellArray:
        """The coarser cell of each cell."""

    def children(self, cells: ArrayLike, level: float) -> Ragged:
        """The finer cells of each cell."""

    def cover(self, polygon: BaseGeometry) -> CellArray:
        """All cells that share any point with the polygon, sorted."""


class H3Cells:
    """The hexagons (and 12 pentagons) of H3 at one resolution.

    Args:
        resolution: 0 (1281 km edges) to 15 (0.6 m).

    Raises:
        UsageError: there is no such resolution.
    """

    def __init__(self, resolution: float) -> None:
        if isinstance(resolution, bool) or int(resolution) != resolution or not 0 <= resolution <= 15:
            raise UsageError(f"H3 has no resolution {resolution}; choose a whole number from 0 to 15")
        self.resolution = int(resolution)

    @property
    def name(self) -> str:
        """The text that `parse_cells` reads back, such as "h3:6"."""
        return f"h3:{self.resolution}"

    @property
    def edge_m(self) -> float:
        """The mean length of a hexagon's edge in metres."""
        return float(h3.average_hexagon_edge_length(self.resolution, "m"))

    def __repr__(self) -> str:
        return f"H3Cells({self.resolution})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, H3Cells) and other.resolution == self.resolution

    def __hash__(self) -> int:
        return hash(self.name)

    def assign(self, p: LonLat) -> CellArray:
        """The cell (n,) of each point."""
        return _uint64(h3ronpy.vector.coordinates_to_cells(np.array(p.lat), np.array(p.lon), self.resolution))

    def centre(self, cells: ArrayLike) -> LonLat:
        """The centre of each cell."""
        batch = h3ronpy.vector.cells_to_coordinates(self._checked(cells))
        return LonLat(np.asarray(batch["lng"]), np.asarray(batch["lat"]))

    def polygons(self, cells: ArrayLike) -> NDArray[np.object_]:
        """The outline of each cell; hexagons across the antimeridian are split, those on a pole closed over it."""
        wkb = pa.array(h3ronpy.vector.cells_to_wkb_polygons(self._checked(cells)))
        return unwrap_polygons(shapely.from_wkb(wkb.to_numpy(zero_copy_only=False)))

    def rings(self, cells: ArrayLike, k: int) -> CellArray:
        """The (n, 1 + 3k(k+1)) cells within k steps; 0 where a pentagon leaves a ring short.

        Column 0 is the cell itself, the columns 1 + 3r(r−1) to 3r(r+1) are its ring r.
        """
        own = self._checked(cells)
        if k < 0:
            raise UsageError(f"there is no ring {k}; k is 0 or more")
        batch = h3ronpy.grid_disk_distances(own, k)
        lists, steps = pa.array(batch["cell"]), pa.array(batch["k"])
        offsets = np.asarray(lists.offsets, dtype=np.int64)
        members, ring = np.asarray(lists.values), np.asarray(steps.values).astype(np.int64)
        row = np.repeat(np.arange(len(own)), np.diff(offsets))
        order = np.lexsort((ring, row))
        row, ring, members = row[order], ring[order], members[order]
        group = row * (k + 1) + ring
        first = np.concatenate([[True], group[1:] != group[:-1]]) if len(group) else np.zeros(0, dtype=bool)
        starts = np.flatnonzero(first)
        place = np.arange(len(group)) - np.repeat(starts, np.diff(np.append(starts, len(group))))
        out = np.zeros((len(own), 1 + 3 * k * (k + 1)), dtype=np.uint64)
        out[row, np.where(ring > 0, 1 + 3 * ring * (ring - 1), 0) + place] = members
        return out

    def neighbours(self, cells: ArrayLike, k: int) -> Ragged:
        """The cells within k steps of each cell, itself first, then by ring."""
        return ragged(self.rings(cells, k))

    def parent(self, cells: ArrayLike, level: float) -> CellArray:
        """The cell of resolution `level` that holds each cell.

        Raises:
            UsageError: `level` is finer than the cells.
        """
        own, coarse = self._checked(cells), H3Cells(level)
        if coarse.resolution > self.resolution:
            raise UsageError(f"{coarse.name} is finer than {self.name}; a parent is coarser: use children")
        return _uint64(h3ronpy.change_resolution(own, coarse.resolution))

    def children(self, cells: ArrayLike, level: float) -> Ragged:
        """The cells of resolution `level` in each cell.

        Raises:
            UsageError: `level` is coarser than the cells.
        """
        own, fine = self._checked(cells), H3Cells(level)
        if fine.resolution < self.resolution:
            raise UsageError(f"{fine.name} is coarser than {self.name}; children are finer: use parent")
        lists = pa.array(h3ronpy.change_resolution_list(own, fine.resolution))
        return Ragged(np.asarray(lists.offsets, dtype=np.int64), np.asarray(lists.values))

    def cover(self, polygon: BaseGeometry) -> CellArray:
        """All cells that share any point with the polygon, sorted: the smallest island has its cell.

        The search descends from the 122 base cells and keeps what a box around each cell's descendants
        allows; at the last level the outlines themselves decide. (The tiler of h3ronpy fails on polygons that
        touch a pole.)
        """
        area = unwrap_polygon(polygon)
        shapely.prepare(area)
        # Boxes of cells may reach beyond 180 degrees; there they meet the copies of the area.
        around = shapely.union_all([area, translate(area, 360.0), translate(area, -360.0)])
        shapely.prepare(around)
        found: list[CellArray] = []
        level, cells = 0, np.array([h3.str_to_int(cell) for cell in h3.get_res0_cells()], dtype=np.uint64)
        while len(cells):
            here = H3Cells(level)
            boxes = _reach_boxes(here.centre(cells), _REACH_IN_EDGES * here.edge_m)
            near = shapely.intersects(around, boxes)
            cells, boxes = cells[near], boxes[near]
            inside = shapely.covers(around, boxes)
            found.append(_uint64(h3ronpy.change_resolution(cells[inside], self.resolution)))
            cells = cells[~inside]
            if level == self.resolution:
                found.append(cells[shapely.intersects(area, self.polygons(cells))])
                break
            level += 1
            cells = _uint64(h3ronpy.change_resolution(cells, level))
        return np.sort(np.concatenate(found))

    def _checked(self, cells: ArrayLike) -> CellArray:
        own = np.ascontiguousarray(cells, dtype=np.uint64)
        # The resolution stands in bits 52 to 55 of the number.
        wrong = ((own >> np.uint64(52)) & np.uint64(15) != self.resolution) | ~are_cells(own)
        if wrong.any():
            bad = int(own[np.argmax(wrong)])
            raise DataError(
                f"{bad:x} is no H3 cell of resolution {self.resolution}; assign the points with {self.name}"
            )
        return own


def are_cells(numbers: ArrayLike) -> NDArray[np.bool_]:
    """Which numbers (n,) are H3 cells at all, of whatever resolution."""
    own = np.ascontiguousarray(numbers, dtype=np.uint64)
    valid = pa.array(h3ronpy.cells_valid(own, booleanarray=True))
    return np.asarray(valid.to_numpy(zero_copy_only=False), dtype=bool)


def ring_index(cells: ArrayLike, k: int, system: Cells | None = None) -> NDArray[np.int64]:
    """The rows (n, m) of the neighbours within k steps that are present in `cells`, -1 where one is absent.

    Args:
        cells: (n,) cells, in any order. Of a cell that stands there twice, the first row counts.
        k: steps; m is 1 + 3k(k+1) for H3. Column 0 is the cell itself, then ring 1, ring 2 … (see
            `Cells.rings`).
        system: the partition; absent, the resolution is read from the H3 cells.
    """
    own = np.ascontiguousarray(cells, dtype=np.uint64)
    if system is None:
        system = H3Cells(int(own[0] >> np.uint64(52)) & 15) if len(own) else H3Cells(0)
    rings = system.rings(own, k)
    if len(own) == 0:
        return np.zeros(rings.shape, dtype=np.int64)
    order = np.argsort(own, kind="stable").astype(np.int64)
    ordered = own[order]
    at = np.minimum(np.searchsorted(ordered, rings), len(own) - 1)
    return np.where(ordered[at] == rings, order[at], np.int64(-1))


def parse_cells(text: str) -> Cells:
    """The partition that `text` names: "h3:6" (a resolution) or "grid:0.5" (degrees).

    Raises:
        UsageError: it names none.
    """
    from placevec.geo.grids import GridCells

    match = re.fullmatch(r"\s*(h3|grid):\s*(\d+(?:\.\d*)?|\.\d+)\s*", text.lower())
    if match is None or (match[1] == "h3" and not match[2].isdigit()):
        raise UsageError(f"{text!r} names no cells; write h3:RESOLUTION such as h3:6, or grid:DEGREES such as grid:0.5")
    return H3Cells(int(match[2])) if match[1] == "h3" else GridCells(float(match[2]))


def _uint64(array: object) -> CellArray:
    # A copy: arrow memory is read-only, and belongs to h3ronpy.
    return np.array(array, dtype=np.uint64)


def ragged(rings: CellArray) -> Ragged:
    """Neighbours (n, m) of n cells as lists of unequal length, without the zeros that stand for none."""
    present = rings != 0
    offsets = np.concatenate([[0], np.cumsum(present.sum(axis=1))]).astype(np.int64)
    return Ragged(offsets, rings[present])


def _reach_boxes(p: LonLat, metres: float) -> NDArray[np.object_]:
    """Boxes around circles of `metres` about each point, not cut at 180 degrees; all longitudes near a pole."""
    reach = metres / EARTH_RADIUS_M
    lat = np.radians(p.lat)
    polar = np.abs(lat) + reach >= np.pi / 2
    ratio = np.sin(min(reach, np.pi / 2)) / np.where(polar, 1.0, np.cos(lat))
    half = np.where(polar, 180.0, np.degrees(np.arcsin(np.minimum(ratio, 1.0))))
    south, north = np.clip(p.lat - np.degrees(reach), -90, 90), np.clip(p.lat + np.degrees(reach), -90, 90)
    x = np.where(polar, 0.0, p.lon)
    boxes: NDArray[np.object_] = shapely.box(x - half, south, x + half, north)
    return boxes
