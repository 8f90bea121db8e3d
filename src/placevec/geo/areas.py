"""How much ground a place covers: H3 cells differ in area by up to a factor of two, and polygons by any."""

from __future__ import annotations

from typing import Any

import h3ronpy
import numpy as np
import shapely
from numpy.typing import ArrayLike, NDArray
from pyproj import Geod

from placevec.errors import DataError
from placevec.geo.cells import are_cells

_GEOD = Geod(ellps="WGS84")


def cell_areas(cells: ArrayLike) -> NDArray[np.float64]:
    """The area (n,) in square metres of H3 cells (n,) of any resolutions: spherical polygons, as H3 counts them.

    Raises DataError for a number that is no cell.
    """
    own = np.ascontiguousarray(cells, dtype=np.uint64)
    valid = are_cells(own)
    if not valid.all():
        raise DataError(f"{int(own[np.argmin(valid)]):x} is no H3 cell, so it has no area")
    return np.array(h3ronpy.cells_area_m2(own), dtype=np.float64)


def polygon_areas(geometries: NDArray[Any]) -> NDArray[np.float64]:
    """The area (n,) in square metres of geometries (n,) in degrees, on WGS84 with geodesic edges; 0 for points.

    NaN where there is no geometry. The orientation of rings does not matter.
    """
    areas = np.full(len(geometries), np.nan)
    # A hole takes away from the area only if it runs the other way round than its shell.
    for row, geometry in enumerate(shapely.orient_polygons(geometries)):
        if geometry is None:
            continue
        polygonal = geometry.geom_type in ("Polygon", "MultiPolygon")
        areas[row] = abs(_GEOD.geometry_area_perimeter(geometry)[0]) if polygonal else 0.0
    return areas
