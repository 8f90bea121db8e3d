"""The outline of many cells as one polygon."""

from __future__ import annotations

from typing import cast

import h3ronpy.vector
import numpy as np
import pyarrow as pa
import shapely
from shapely.geometry import MultiPolygon, Polygon

from placevec.errors import DataError
from placevec.geo.boxes import unwrap_polygon
from placevec.geo.cells import CellArray, H3Cells


def outline(cells: CellArray, resolution: int) -> Polygon | MultiPolygon:
    """The (Multi)Polygon that H3 cells of one resolution cover, cut at the antimeridian.

    Neighbours are linked along their edges, which is some tens of times faster than a union of hexagons; only cells
    across the antimeridian or on a pole go through a union.

    Raises DataError if there is no cell, or one of another resolution.
    """
    system = H3Cells(resolution)
    own = np.unique(cells)
    if len(own) == 0:
        raise DataError("there are no cells, so they have no outline")
    centre = system.centre(own)
    # Of a cell that lies farther from the antimeridian than any cell is wide, no longitude turns over.
    reach = np.degrees(system.edge_m * 1.5 / 6_371_000.0) / np.maximum(np.cos(np.radians(centre.lat)), 1e-3)
    odd = (np.abs(centre.lon) + reach >= 180.0) | (np.abs(centre.lat) > 88.0)
    parts: list[Polygon | MultiPolygon] = []
    if (~odd).any():
        linked = pa.array(h3ronpy.vector.cells_to_wkb_polygons(own[~odd], link_cells=True))
        polygons = shapely.from_wkb(linked.to_numpy(zero_copy_only=False))
        broken = ~shapely.is_valid(polygons)
        polygons[broken] = shapely.make_valid(polygons[broken])
        parts += list(shapely.get_parts(polygons))
    if odd.any():
        parts += list(shapely.get_parts(system.polygons(own[odd])))
    kept = [part for part in parts if isinstance(part, Polygon | MultiPolygon)]
    if odd.any():
        whole = unwrap_polygon(shapely.union_all(kept))
    else:
        whole = kept[0] if len(kept) == 1 else MultiPolygon([one for part in kept for one in shapely.get_parts(part)])
    # The linking begins its rings anywhere: equal cells shall have equal outlines.
    return cast("Polygon | MultiPolygon", whole.normalize())
