"""What part of the Earth an extract of OpenStreetMap covers: there, nothing on the map is a known nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import shapely
from numpy.typing import ArrayLike, NDArray
from shapely.geometry import MultiPolygon, Polygon

from placevec.geo.boxes import Box, box_polygon, in_polygon, unwrap_polygon
from placevec.geo.cells import H3Cells
from placevec.sources.osm.storage import load_osmium, stream

Covered = Polygon | MultiPolygon

_ROUND_DEG = 1e-4  # a hull of one point or of points in a row is given 10 m, so that it has an area


def header_box(path: str | Path) -> Box | None:
    """The box that the header of a file names, None without one. Raises FormatError."""
    osmium = load_osmium()
    (box,) = stream(path, (osmium.FileProcessor(str(path)).header.box() for _ in range(1)))
    if not box.valid():
        return None
    low, high = box.bottom_left, box.top_right
    return float(low.lon), float(low.lat), float(high.lon), float(high.lat)


def covered(header: Box | None, lon: ArrayLike, lat: ArrayLike, box: Box | None = None) -> Covered:
    """The part of the Earth that is known of: the header's box, else the hull of points (n,), cut to `box`.

    An extract cut along a border does not fill its box, and nor do points fill their hull: both are generous. It is
    empty where there is neither a header nor a point.
    """
    area: Covered = box_polygon(header) if header is not None else _hull(np.asarray(lon), np.asarray(lat))
    if box is None or area.is_empty:
        return area
    cut = shapely.intersection(area, box_polygon(box))
    return cut if isinstance(cut, Polygon | MultiPolygon) else Polygon()


def covers(area: Covered, cells: ArrayLike) -> NDArray[np.bool_]:
    """Of which H3 cells (n,), all of one resolution, the centre lies in the area."""
    own = np.ascontiguousarray(cells, dtype=np.uint64)
    if area.is_empty or not len(own):
        return np.zeros(len(own), dtype=bool)
    centre = H3Cells(int(own[0] >> np.uint64(52)) & 15).centre(own)
    return in_polygon(centre.lon, centre.lat, area)


def _hull(lon: NDArray[np.float64], lat: NDArray[np.float64]) -> Covered:
    if not len(lon):
        return Polygon()
    turned = lon
    if np.ptp(lon) > 180.0:  # on both sides of the antimeridian
        turned = np.where(lon < 0.0, lon + 360.0, lon)
    hull = shapely.MultiPoint(_outer(np.stack([turned, lat], axis=1))).convex_hull
    if not isinstance(hull, Polygon):
        hull = hull.buffer(_ROUND_DEG)
    return unwrap_polygon(hull)


def _outer(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Points (n, 2) without those within the polygon of their extremes, which are no corners of their hull."""
    turn = np.linspace(0.0, 2.0 * np.pi, 32, endpoint=False)
    extremes = points[[int(np.argmax(points @ way)) for way in np.stack([np.cos(turn), np.sin(turn)], axis=1)]]
    inner = Polygon(extremes)
    if not inner.is_valid or inner.area == 0.0:
        return points
    shapely.prepare(inner)
    rest: NDArray[np.float64] = points[~shapely.contains_xy(inner, points)]
    return rest
