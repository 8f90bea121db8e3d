"""Values of polygons on cells, by the area that they share."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import shapely
from numpy.typing import NDArray

from placevec.geo.cells import CellArray, H3Cells
from placevec.sources.targets.levels import Floats, Group, grouped

_PIECE = 50_000  # cells that are intersected at a time: bounds the memory
_STEP = 0.1  # degrees, so that edges that are straight in degrees stay so on the equal-area map


def area_weighted(
    cells: CellArray,
    resolution: int,
    polygons: NDArray[np.object_],
    columns: Mapping[str, Floats],
    how: Mapping[str, Group],
) -> tuple[dict[str, Floats], Floats]:
    """Values of polygons as values of cells.

    A "sum" is split by area: a cell gets the share of a polygon's value that it has of the polygon's area, so that
    the cells that hold a polygon hold its value. A "mean" is averaged over the polygons in a cell, weighted by the
    area that they share.

    Args:
        cells: (n,) H3 cells.
        resolution: theirs.
        polygons: (m,) shapely (Multi)Polygons in longitude and latitude, within 180 degrees; they may overlap.
        columns: by name (m,), NaN where absent.
        how: what each column is.

    Returns:
        The columns (n,), NaN where no polygon with a value meets the cell; and the share (n,) of each cell that
        polygons cover (above 1 where they overlap).
    """
    flat = _equal_area(shapely.make_valid(polygons))
    whole = shapely.area(flat)
    tree = shapely.STRtree(flat)
    none = np.zeros(0, dtype=np.int64)
    cell_rows: list[NDArray[np.int64]] = [none]
    rows: list[NDArray[np.int64]] = [none]
    shared: list[Floats] = [np.zeros(0)]
    sizes = np.zeros(len(cells))
    for start in range(0, len(cells), _PIECE):
        outlines = _equal_area(H3Cells(resolution).polygons(cells[start : start + _PIECE]))
        sizes[start : start + _PIECE] = shapely.area(outlines)
        one, other = tree.query(outlines, predicate="intersects")
        inside = np.zeros(len(one), dtype=bool)
        small = whole[other] < sizes[start + one]
        shapely.prepare(outlines)
        inside[small] = shapely.contains_properly(outlines[one[small]], flat[other[small]])
        area = whole[other].copy()
        rest = ~inside
        area[rest] = shapely.area(shapely.intersection(outlines[one[rest]], flat[other[rest]]))
        keep = area > 0.0  # polygons that only touch share no area
        cell_rows.append(one[keep] + start)
        rows.append(other[keep])
        shared.append(area[keep])
    at, of, area = np.concatenate(cell_rows), np.concatenate(rows), np.concatenate(shared)
    found = {
        name: grouped(at, values[of], len(cells), how[name], area / whole[of] if how[name] == "sum" else area)
        for name, values in columns.items()
    }
    covered = np.bincount(at, area, minlength=len(cells)) / np.where(sizes > 0, sizes, 1.0)
    return found, covered


def _equal_area(polygons: NDArray[np.object_]) -> NDArray[np.object_]:
    """On Lambert's cylindrical equal-area map of the sphere: x = longitude, y = sin(latitude) in degrees.

    Shares of areas are what counts, so the unit does not matter; and the map has no other seam than 180 degrees,
    where both cells and polygons are cut.
    """
    fine = shapely.segmentize(polygons, _STEP)

    def project(lonlat: NDArray[np.float64]) -> NDArray[np.float64]:
        flat = np.column_stack([lonlat[:, 0], np.degrees(np.sin(np.radians(lonlat[:, 1])))])
        # GEOS loses area at coordinates like 1e-311; a ten-millionth of a metre off nobody sees.
        return np.where(np.abs(flat) < 1e-12, 0.0, flat)

    flat: NDArray[np.object_] = shapely.transform(fine, project)
    return flat
