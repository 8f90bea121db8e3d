"""The outlines of a density on a mesh of triangles, as polygons with holes.

On triangles there is no ambiguous case, and regions of falling thresholds are nested: they belong to one function, that
is linear on each triangle.
"""

from __future__ import annotations

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry import Polygon
from shapely.geometry.base import BaseGeometry

from placevec.geo.boxes import unwrap_polygon
from placevec.geo.mixture.mesh import Hypotheses, Mesh
from placevec.geo.sphere import LonLat

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]

# An outline stays this part of an edge away from corners, where outlines would touch.
_APART = 1e-3


def outlines(kernels: Hypotheses, mesh: Mesh, threshold: float) -> list[Polygon]:
    """The polygons in lon, lat where the log density is at least `threshold`, cut at the antimeridian."""
    start, end, edges = _segments(mesh, threshold)
    if len(edges) == 0:
        return []
    xy = _crossings(kernels, mesh, edges, threshold)
    square = mesh.square[edges[:, 0]]
    rings = _loops(start, end)
    polygons: list[Polygon] = []
    for one in np.unique(square):
        own = [ring for ring in rings if square[ring[0]] == one]
        for shell, holes in _nested([xy[ring] for ring in own]):
            polygons.extend(_cut([_lonlat(mesh, int(one), ring) for ring in (shell, *holes)]))
    return polygons


def _segments(mesh: Mesh, threshold: float) -> tuple[Rows, Rows, Rows]:
    """The pieces of outline in each triangle, from edge to edge with the region on the left, and the edges (e, 2).

    The first corner of an edge lies inside the region.
    """
    inside = (mesh.log_density >= threshold)[mesh.triangles]
    count = inside.sum(axis=1)
    starts, ends = [], []
    for alone in (True, False):
        chosen = count == (1 if alone else 2)
        corners, odd = mesh.triangles[chosen], np.argmax(inside[chosen] == alone, axis=1)
        a, b, c = (corners[np.arange(len(corners)), (odd + turn) % 3] for turn in range(3))
        ab, ca = (np.stack([a, other] if alone else [other, a], axis=1) for other in (b, c))
        starts.append(ab if alone else ca)
        ends.append(ca if alone else ab)
    pairs = np.concatenate([*starts, *ends])
    number = pairs[:, 0] * len(mesh.xy) + pairs[:, 1]
    names, first, at = np.unique(number, return_index=True, return_inverse=True)
    half = len(pairs) // 2
    return at[:half], at[half:], pairs[first] if len(names) else pairs


def _crossings(kernels: Hypotheses, mesh: Mesh, edges: Rows, threshold: float) -> Floats:
    """Where (e, 2) the density passes the threshold on each edge: linear first, then one step of false position."""
    square = mesh.square[edges[:, 0]]
    low, high = np.zeros(len(edges)), np.ones(len(edges))
    above, below = (mesh.log_density[edges[:, side]] - threshold for side in (0, 1))
    a, b = mesh.xy[edges[:, 0]], mesh.xy[edges[:, 1]]
    for last in (False, True):
        share = low + (high - low) * above / np.maximum(above - below, 1e-300)
        share = np.clip(share, _APART, 1.0 - _APART)
        xy: Floats = a + share[:, None] * (b - a)
        if not last:
            found = kernels.log_density(mesh.frames.unit(square, xy)) - threshold
            up = found >= 0
            low, above = np.where(up, share, low), np.where(up, found, above)
            high, below = np.where(up, high, share), np.where(up, below, found)
    return xy


def _loops(start: Rows, end: Rows) -> list[Rows]:
    """Closed rings of edges; each edge is the start of one piece and the end of another."""
    after = np.empty(len(start), dtype=np.int64)
    after[start] = end
    following = after.tolist()
    seen = [False] * len(following)
    rings = []
    for first in range(len(following)):
        ring, at = [], first
        while not seen[at]:
            seen[at] = True
            ring.append(at)
            at = following[at]
        if ring:
            rings.append(np.array(ring, dtype=np.int64))
    return rings


def _nested(rings: list[Floats]) -> list[tuple[Floats, list[Floats]]]:
    """Shells (counter-clockwise) with the holes (clockwise) in them: each in the smallest shell around it."""
    area = np.array([_signed_area(ring) for ring in rings])
    shells, holes = np.flatnonzero(area > 0), np.flatnonzero(area < 0)
    out: list[tuple[Floats, list[Floats]]] = [(rings[at], []) for at in shells]
    if len(holes):
        polygons = np.array([Polygon(rings[at]) for at in shells], dtype=object)
        for at in holes:
            around = shapely.contains(polygons, shapely.points(rings[at][0]))
            if around.any():
                out[int(np.argmin(np.where(around, area[shells], np.inf)))][1].append(rings[at])
    return out


def _signed_area(ring: Floats) -> float:
    x, y = ring[:, 0] - ring[0, 0], ring[:, 1] - ring[0, 1]
    return float(0.5 * (x * np.roll(y, -1) - y * np.roll(x, -1)).sum())


def _lonlat(mesh: Mesh, square: int, ring: Floats) -> Floats:
    place = LonLat.from_unit(mesh.frames.unit(np.full(len(ring), square), ring))
    return np.stack([place.lon, place.lat], axis=1)


def _cut(rings: list[Floats]) -> list[Polygon]:
    """A shell and its holes, whose edges go the short way across the antimeridian, as polygons within [−180, 180]."""
    if all(np.abs(np.diff(ring[:, 0], append=ring[0, 0])).max() <= 180.0 for ring in rings):
        whole = Polygon(rings[0], rings[1:])
        return [whole] if whole.is_valid else _parts(unwrap_polygon(whole))
    area = _ring_area(rings[0], 1)
    for hole in rings[1:]:
        area = shapely.difference(area, _ring_area(hole, -1))
    return _parts(area)


def _ring_area(ring: Floats, turn: int) -> BaseGeometry:
    """What a ring goes around, counter-clockwise (`turn` 1) or clockwise (−1).

    One around a pole starts and ends at the antimeridian, and is closed over that pole.
    """
    lon, lat = ring[:, 0], ring[:, 1]
    step = (np.roll(lon, -1) - lon + 180.0) % 360.0 - 180.0
    turns = round(float(step.sum()) / 360.0)
    if turns == 0:
        return unwrap_polygon(Polygon(ring))
    if turns < 0:
        lon, lat = lon[::-1], lat[::-1]
    # After the edge that crosses the antimeridian (of several, the first) the ring begins, eastwards.
    first = int(np.argmin(np.roll(lon, -1) - lon)) + 1
    lon, lat = np.roll(lon, -first), np.roll(lat, -first)
    x = lon[0] + np.concatenate([[0.0], np.cumsum((np.diff(lon) + 180.0) % 360.0 - 180.0)])
    gap = max(float(lon[0] + 360.0 - x[-1]), 1e-12)
    seam = float(lat[-1] + (lat[0] - lat[-1]) * (180.0 - x[-1]) / gap)
    pole = 90.0 if turns == turn else -90.0
    ends = [(-180.0, pole), (-180.0, seam)], [(180.0, seam), (180.0, pole)]
    area = Polygon([*ends[0], *zip(x.tolist(), lat.tolist(), strict=True), *ends[1]])
    inside = area.is_valid and x.min() >= -180.0 and x.max() <= 180.0
    return area if inside else unwrap_polygon(Polygon(ring))


def _parts(area: BaseGeometry) -> list[Polygon]:
    return [part for part in shapely.get_parts(area) if isinstance(part, Polygon) and not part.is_empty]
