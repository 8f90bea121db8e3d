"""Cells that lie together as one outline: neighbours joined, holes kept."""

from __future__ import annotations

import h3ronpy.vector
import numpy as np
import pyarrow as pa
import shapely
from numpy.typing import ArrayLike
from shapely.geometry import MultiPolygon, Polygon

from placevec.errors import DataError
from placevec.geo.boxes import unwrap_polygons
from placevec.geo.cells import H3Cells, are_cells


def dissolve(cells: ArrayLike) -> MultiPolygon:
    """The ground that H3 cells (n,) of one resolution cover together, as a MultiPolygon in degrees.

    Outlines run along the borders of the cells. What crosses the antimeridian is cut there.

    Raises:
        DataError: no cells, a number that is no cell, or cells of several resolutions.
    """
    own = np.unique(np.asarray(cells, dtype=np.uint64))
    levels = np.unique(own >> np.uint64(52) & np.uint64(15))
    if not len(own) or not are_cells(own).all() or len(levels) > 1:
        raise DataError(f"{len(own)} cells of {len(levels)} resolutions: give H3 cells of one resolution")
    system = H3Cells(int(levels[0]))
    lon = system.centre(own).lon
    # Linked outlines are made in the plane: near the seam, and around a pole, cells are joined one by one instead.
    if lon.max() - lon.min() < 180.0 and np.abs(lon).max() < 170.0:
        wkb = pa.array(h3ronpy.vector.cells_to_wkb_polygons(own, link_cells=True))
        joined = shapely.union_all(unwrap_polygons(shapely.from_wkb(wkb.to_numpy(zero_copy_only=False))))
    else:
        # Corners of neighbours differ in their last digit: a grid of 0.1 millimetres makes them one.
        joined = shapely.union_all(system.polygons(own), grid_size=1e-9)
    parts = [part for part in shapely.get_parts(joined) if isinstance(part, Polygon)]
    return MultiPolygon(parts)
