"""The H3 cells of a mask, part by part: the descendants of one coarse cell at a time, never all of them in memory.

The search descends from the 122 base cells. With each cell that lies near the mask's border go the polygons that
may touch it, so that a finer cell asks those few alone; what lies well inside a polygon is not asked again. Children
of an H3 cell poke out beyond its border: until the last level a box around all descendants stands for a cell, there
its own outline does.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import h3
import numpy as np
import shapely
from numpy.typing import NDArray

from placevec.geo.cells import CellArray, H3Cells
from placevec.geo.sphere import EARTH_RADIUS_M, LonLat
from placevec.sources.polygons import Mask

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

PART_LEVELS = 5
"""How many levels coarser than its cells the parent of a part is: 7^5 = 16,807 cells at most."""

# As in `H3Cells.cover`: all descendants of a cell lie within 1.21 mean edges of its centre at most.
_REACH_IN_EDGES = 1.35


class Part(NamedTuple):
    """The cells of a mask below one parent.

    Attributes:
        key: the parent, an H3 cell.
        cells: (n,) cells, sorted; n may be 0, where only the box around the parent touches the mask.
        whole: (n,) which of them lie wholly in the mask.
        done: how many parents of the coarsest stage are done with this part, of `total`.
        total: see `done`.
    """

    key: int
    cells: CellArray
    whole: Bools
    done: int
    total: int


class _Front(NamedTuple):
    """Cells of one level, and the polygons near each of them.

    Attributes:
        level: H3 resolution.
        cells: (n,), sorted.
        whole: (n,) which lie in the mask with all their descendants.
        cell: (m,) row of a cell, ascending, for each pair of a cell that is not whole and a polygon near it.
        polygon: (m,) row of the polygon.
    """

    level: int
    cells: CellArray
    whole: Bools
    cell: Ints
    polygon: Ints


def part_level(resolution: int) -> int:
    """The resolution of the parents by which cells of `resolution` are cut into parts."""
    return max(0, H3Cells(resolution).resolution - PART_LEVELS)


def cover_parts(mask: Mask, resolution: int) -> Iterator[Part]:
    """All cells that share any point with the mask, in parts by parent; cells ascend within parts and across them.

    Every cell comes once, and the smallest island has its cell. What is in memory is one part, and the parents of
    one such stage above it.

    Args:
        mask: polygons in longitude and latitude.
        resolution: H3 resolution of the cells, 0 to 15.

    Raises:
        UsageError: H3 has no such resolution.
    """
    resolution = H3Cells(resolution).resolution
    shapely.prepare(mask.polygons)
    stages = [*range(part_level(resolution), 0, -PART_LEVELS)][::-1] or [0]
    front = _descend(mask, _world(mask), stages[0], last=False)
    for row in range(len(front.cells)):
        for key, found in _parts(mask, _one(front, row), stages[1:], resolution):
            yield Part(key, found.cells, found.whole, row, len(front.cells))


def _parts(mask: Mask, parent: _Front, stages: list[int], resolution: int) -> Iterator[tuple[int, _Front]]:
    if not stages:
        yield int(parent.cells[0]), _descend(mask, parent, resolution, last=True)
        return
    front = _descend(mask, parent, stages[0], last=False)
    for row in range(len(front.cells)):
        yield from _parts(mask, _one(front, row), stages[1:], resolution)


def _world(mask: Mask) -> _Front:
    """The base cells with the polygons near them."""
    base = np.sort(np.array([h3.str_to_int(cell) for cell in h3.get_res0_cells()], dtype=np.uint64))
    count = len(mask.polygons)
    pairs = np.repeat(np.arange(len(base)), count), np.tile(np.arange(count), len(base))
    return _related(mask, 0, base, *pairs, last=False)


def _one(front: _Front, row: int) -> _Front:
    part = slice(*np.searchsorted(front.cell, (row, row + 1)))
    one = slice(row, row + 1)
    return _Front(front.level, front.cells[one], front.whole[one], front.cell[part] * 0, front.polygon[part])


def _descend(mask: Mask, front: _Front, level: int, *, last: bool) -> _Front:
    """The descendants at `level` that lie near the mask or, at the last level, share a point with it."""
    inside: list[CellArray] = []
    if last and front.level == level:
        return _related(mask, level, front.cells, front.cell, front.polygon, last=True, whole=front.whole)
    while front.level < level:
        here = H3Cells(front.level)
        if front.whole.any():
            inside.append(here.children(front.cells[front.whole], level).cells)
        # Rows of the pairs count the cells that are not whole alone from here on.
        kept = np.cumsum(~front.whole) - 1
        kids = here.children(front.cells[~front.whole], front.level + 1)
        of = kept[front.cell]
        counts = np.diff(kids.offsets)[of]
        cell = _ranges(kids.offsets[:-1][of], counts)
        polygon = np.repeat(front.polygon, counts)
        front = _related(mask, front.level + 1, kids.cells, cell, polygon, last=last and front.level + 1 == level)
    if not inside:
        return front
    added = np.concatenate(inside)
    order = np.argsort(np.concatenate([front.cells, added]))
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order))
    cells = np.concatenate([front.cells, added])[order]
    whole = np.concatenate([front.whole, np.ones(len(added), dtype=bool)])[order]
    return _Front(level, cells, whole, place[front.cell], front.polygon)


def _related(
    mask: Mask, level: int, cells: CellArray, cell: Ints, polygon: Ints, *, last: bool, whole: Bools | None = None
) -> _Front:
    """Which of the pairs (m,) of a row of `cells` and of a polygon are near each other, and which cells are whole.

    At the last level "near" is to share a point. Cells without any polygon are left out; those of `whole` are not
    asked.
    """
    system = H3Cells(level)
    shapes: NDArray[np.object_]
    if last:
        owner, shapes = _outlines(system, cells)
        bounds = shapely.bounds(shapes)
    else:
        owner, bounds = _reach(system.centre(cells), _REACH_IN_EDGES * system.edge_m)
        shapes = np.asarray(shapely.box(*bounds.T))
    ends = np.searchsorted(owner, np.arange(len(cells) + 1))
    counts = np.diff(ends)[cell]
    shape, polygon = _ranges(ends[cell], counts), np.repeat(polygon, counts)

    limits = shapely.bounds(mask.polygons)
    meets = _below(bounds[shape, :2], limits[polygon, 2:]) & _below(limits[polygon, :2], bounds[shape, 2:])
    shape, polygon = shape[meets], polygon[meets]
    near = shapely.intersects(mask.polygons[polygon], shapes[shape])
    shape, polygon = shape[near], polygon[near]
    fits = _below(limits[polygon, :2], bounds[shape, :2]) & _below(bounds[shape, 2:], limits[polygon, 2:])
    fits[fits] = shapely.covers(mask.polygons[polygon[fits]], shapes[shape[fits]])

    covered = np.zeros(len(shapes), dtype=bool)
    covered[shape[fits]] = True
    inside = np.zeros(len(cells), dtype=bool)
    if whole is not None:
        inside[:] = whole
    known = np.diff(ends) > 0
    if known.any():
        inside[known] |= np.logical_and.reduceat(covered, ends[:-1][known])
    pairs = np.unique(np.stack([owner[shape], polygon]), axis=1)
    kept = inside.copy()
    kept[pairs[0]] = True
    rows = np.cumsum(kept) - 1
    pairs = pairs[:, ~inside[pairs[0]]]
    order = np.argsort(pairs[0], kind="stable")
    front = _Front(level, cells[kept], inside[kept], rows[pairs[0][order]], pairs[1][order])
    return front if (np.diff(cells) > 0).all() else _sorted(front)


def _below(low: NDArray[np.float64], high: NDArray[np.float64]) -> Bools:
    """Which of (n, 2) corners lie to the south-west of, or on, the others."""
    return np.asarray((low <= high).all(axis=1))


def _sorted(front: _Front) -> _Front:
    order = np.argsort(front.cells)
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order))
    cell = place[front.cell]
    pairs = np.argsort(cell, kind="stable")
    return _Front(front.level, front.cells[order], front.whole[order], cell[pairs], front.polygon[pairs])


def _outlines(system: H3Cells, cells: CellArray) -> tuple[Ints, NDArray[np.object_]]:
    """The pieces (k,) of the outlines, and the row of the cell of each: two where one crosses the antimeridian."""
    shapes, owner = shapely.get_parts(system.polygons(cells), return_index=True)
    return owner.astype(np.int64), shapes


def _reach(p: LonLat, metres: float) -> tuple[Ints, NDArray[np.float64]]:
    """Boxes (k, 4) around circles of `metres` about each point, cut at 180 degrees, and the row of each.

    The half width is that of the meridians that touch the circle; around a pole it is all longitudes.
    """
    reach = metres / EARTH_RADIUS_M
    lat = np.radians(p.lat)
    polar = np.abs(lat) + reach >= np.pi / 2
    sine = np.sin(min(reach, np.pi / 2)) / np.where(polar, 1.0, np.cos(lat))
    half = np.where(polar, 180.0, np.degrees(np.arcsin(np.minimum(sine, 1.0))))
    x = np.where(polar, 0.0, p.lon)
    south, north = np.clip(p.lat - np.degrees(reach), -90, 90), np.clip(p.lat + np.degrees(reach), -90, 90)
    boxes = np.stack([x - half, south, x + half, north], axis=1)
    owner = np.arange(len(boxes))
    west, east = boxes[:, 0] < -180.0, boxes[:, 2] > 180.0
    pieces = [boxes]
    for out, low, high, turn in ((west, 2, 0, 360.0), (east, 0, 2, -360.0)):
        beyond = boxes[out] + np.array([turn, 0.0, turn, 0.0])
        beyond[:, low] = np.sign(turn) * 180.0
        pieces.append(beyond)
        boxes[out, high] = -np.sign(turn) * 180.0
    owner = np.concatenate([owner, owner[west], owner[east]])
    order = np.argsort(owner, kind="stable")
    return owner[order], np.concatenate(pieces)[order]


def _ranges(starts: Ints, counts: Ints) -> Ints:
    """The numbers start, start + 1, ... of each run, one run after the other."""
    ends = np.cumsum(counts)
    return np.repeat(starts - (ends - counts), counts) + np.arange(ends[-1] if len(ends) else 0)
