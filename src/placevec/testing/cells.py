"""The contract of cells."""

from __future__ import annotations

from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from placevec.geo.boxes import in_polygon
from placevec.geo.cells import Cells
from placevec.geo.sphere import LonLat


def check_cells(
    cells: Cells,
    *,
    level: float | None = None,
    coarse: tuple[Cells, float] | None = None,
    fine: tuple[Cells, float] | None = None,
    whole_earth: bool = True,
) -> None:
    """Hold a partition of the Earth into cells against the contract of `placevec.geo.cells`.

    Args:
        cells: the partition.
        level: its own level, as `parent` and `children` count levels; needed with `coarse` or `fine`.
        coarse: a coarser partition of the same family, and its level.
        fine: a finer one, and its level.
        whole_earth: whether every point of the Earth has a cell, poles and antimeridian included.

    Raises:
        AssertionError: a promise is broken; the message says which.
    """
    assert isinstance(cells, Cells), "cells have name, assign, centre, polygons, rings, neighbours, parent, children"
    assert isinstance(cells.name, str), "`name` is a text"
    assert cells.name, "`name` is not empty"
    points = _points(whole_earth)
    own = cells.assign(points)
    _cell_numbers(own, len(points), "assign")
    assert np.array_equal(cells.assign(points), own), "two assignments of one point differ"
    assert np.array_equal(own, np.concatenate([cells.assign(p) for p in points])), "a point alone has another cell"
    if whole_earth:
        lat = np.linspace(-89, 89, 23)
        east, west = LonLat(np.full(23, 180.0), lat), LonLat(np.full(23, -180.0), lat)
        assert np.array_equal(cells.assign(east), cells.assign(west)), "the meridians 180 and -180 have two cells"
    unique = np.unique(own)
    _centres_and_outlines(cells, points, own, unique)
    _neighbours(cells, unique)
    _cover(cells, unique)
    if coarse is not None:
        assert level is not None, "check_cells needs `level`, the level of the cells themselves"
        _family(cells, level, *coarse, points, "coarse")
    if fine is not None:
        assert level is not None, "check_cells needs `level`, the level of the cells themselves"
        _family(fine[0], fine[1], cells, level, points, "fine")


def _points(whole_earth: bool) -> LonLat:
    rng = np.random.default_rng(2)
    lon, lat = rng.uniform(-180, 180, 60), np.degrees(np.arcsin(rng.uniform(-1, 1, 60)))
    if whole_earth:
        edge = np.linspace(-85, 85, 12)
        near = np.where(np.arange(12) % 2, 179.99, -179.99)
        lon = np.concatenate([lon, near, [0.0, 123.0, 0.0, -77.0, -180.0]])
        lat = np.concatenate([lat, edge, [90.0, 90.0, -90.0, -89.999, 0.0]])
    return LonLat(lon, lat)


def _cell_numbers(cells: NDArray[Any], n: int, what: str) -> None:
    assert cells.shape == (n,), f"{what} gives the shape {cells.shape}, not {(n,)}"
    assert cells.dtype == np.uint64, f"{what} gives {cells.dtype}, cells are uint64"
    assert (cells != 0).all(), f"{what} gives the number 0, which means that there is no cell"


def _centres_and_outlines(cells: Cells, points: LonLat, own: NDArray[np.uint64], unique: NDArray[np.uint64]) -> None:
    centres = cells.centre(unique)
    assert len(centres) == len(unique), "one centre for each cell"
    back = cells.assign(centres)
    assert np.array_equal(back, unique), f"the centre of cell {unique[np.argmax(back != unique)]} lies in another cell"
    outlines = cells.polygons(unique)
    assert len(outlines) == len(unique), "one polygon for each cell"
    for cell, outline, centre in zip(unique, outlines, centres, strict=True):
        assert outline.geom_type in ("Polygon", "MultiPolygon"), f"cell {cell}: its outline is a {outline.geom_type}"
        assert outline.is_valid, f"cell {cell}: its outline is not valid"
        west, south, east, north = outline.bounds
        assert west >= -180, f"cell {cell}: its outline begins at {west}"
        assert east <= 180, f"cell {cell}: its outline ends at {east}"
        assert -90 <= south <= north <= 90, f"cell {cell}: its outline reaches from {south} to {north}"
        assert in_polygon(centre.lon, centre.lat, outline)[0], f"cell {cell}: its outline does not hold its centre"
    # Straight edges in degrees are no great circles: a few points by the edge lie outside of their cell's outline.
    at = np.searchsorted(unique, own)
    inside = [bool(in_polygon(p.lon, p.lat, outlines[i])[0]) for p, i in zip(points, at, strict=True)]
    assert np.mean(inside) >= 0.95, f"only {np.mean(inside):.0%} of the points lie in the outline of their cell"


def _neighbours(cells: Cells, unique: NDArray[np.uint64]) -> None:
    alone = cells.rings(unique, 0)
    assert np.array_equal(alone[:, 0], unique), "ring 0 is the cell itself"
    rings, ragged = cells.rings(unique, 1), cells.neighbours(unique, 1)
    assert len(ragged.offsets) == len(unique) + 1, "neighbours has one list for each cell"
    for row, near in enumerate(ragged.lists()):
        cell = unique[row]
        assert near[0] == cell, f"cell {cell} does not come first among its neighbours"
        assert len(np.unique(near)) == len(near), f"cell {cell} has a neighbour twice"
        assert (near != 0).all(), f"cell {cell} has the neighbour 0"
        assert set(near.tolist()) == set(rings[row][rings[row] != 0].tolist()), (
            f"cell {cell}: rings and neighbours differ"
        )
        back = cells.neighbours(near, 1)
        for other, theirs in zip(near, back.lists(), strict=True):
            assert cell in theirs, f"cell {other} is a neighbour of {cell}, but not the other way round"


def _cover(cells: Cells, unique: NDArray[np.uint64]) -> None:
    for cell, outline in list(zip(unique, cells.polygons(unique), strict=True))[::4]:
        found = cells.cover(outline)
        assert found.dtype == np.uint64, "cover gives uint64"
        assert (np.diff(found.astype(object)) > 0).all(), "the cells of a cover are sorted, each once"
        assert cell in found, f"the cover of the outline of cell {cell} lacks that cell"
        strays = found[~shapely.intersects(cells.polygons(found), outline)]
        assert not len(strays), (
            f"the cover of the outline of cell {cell} holds {strays[0] if len(strays) else ''}, afar"
        )


def _family(fine: Cells, fine_level: float, coarse: Cells, coarse_level: float, points: LonLat, what: str) -> None:
    small = np.unique(fine.assign(points))
    parents = fine.parent(small, coarse_level)
    _cell_numbers(parents, len(small), f"{what}: parent")
    unique = np.unique(parents)
    children = coarse.children(unique, fine_level)
    assert len(children.offsets) == len(unique) + 1, f"{what}: children has one list for each cell"
    lists = list(children.lists())
    every = np.concatenate(lists)
    assert len(np.unique(every)) == len(every), f"{what}: two cells share a child"
    for cell, parent in zip(small, parents, strict=True):
        assert cell in lists[int(np.searchsorted(unique, parent))], f"{what}: {cell} is no child of its parent {parent}"
    for parent, young in zip(unique[:20], lists[:20], strict=False):
        assert (fine.parent(young, coarse_level) == parent).all(), f"{what}: a child of {parent} has another parent"
