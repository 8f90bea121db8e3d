"""Spherical Voronoi polygons within a polygon of longitude and latitude, however far it reaches.

On a gnomonic plane great circles are straight lines, and the centre nearest to a direction x is the one with the
greatest c . x, which is linear there: so the cells are the faces of the upper envelope of planes, which Qhull finds as
an intersection of half-spaces. The area is looked at in pieces of less than a hemisphere between two meridians
(straight lines as well), so that no part of a cell goes around a pole or across the antimeridian.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy.spatial import HalfspaceIntersection, cKDTree
from shapely.geometry import Polygon
from shapely.geometry.base import BaseGeometry

from placevec.geo.boxes import Box
from placevec.geo.geocells.points import Ints
from placevec.geo.sphere import Floats, LonLat

_WIDEST_DEG = 60.0  # the longest side of a piece
_TILE_DEG = 30.0  # side of the pieces of an area that is wider
# Edges are great circles, drawn by straight steps of so many degrees: at 60 degrees of latitude a step leaves the
# great circle by 16 m at most.
_STEP_DEG = 0.2
_NEAR_DEG = 1e-9  # 0.1 mm: what is so near to a meridian or a pole lies on it
_DIGITS = 11  # of the plane's unit, the size of the piece: vertices that agree so far are one


def voronoi_polygons(centres: LonLat, area: BaseGeometry) -> NDArray[np.object_]:
    """The part (N,) of an area that is nearest to each centre: (Multi)Polygons that tile the area.

    Cells share the vertices of their common edges, so that they neither overlap nor leave gaps. A centre that is
    nearest to no part of the area has an empty polygon.

    Args:
        centres: N > 0 different points.
        area: a valid (Multi)Polygon in lon, lat, cut at the antimeridian.
    """
    out = np.full(len(centres), Polygon(), dtype=object)
    if len(centres) == 1:
        out[0] = area
        return out
    unit = centres.unit()
    tree = cKDTree(unit)
    found: list[list[BaseGeometry]] = [[] for _ in range(len(centres))]
    for box in _pieces(area):
        piece = shapely.intersection(area, shapely.box(*box))
        shapely.prepare(piece)
        rows, parts = _faces(unit, tree, _wider(box))
        cut = ~shapely.contains_properly(piece, parts)
        parts[cut] = shapely.intersection(parts[cut], piece)
        for row, part in zip(rows, parts, strict=True):
            found[row].extend(p for p in shapely.get_parts(part) if p.area > 0.0)
    for row, own in enumerate(found):
        if own:
            out[row] = own[0] if len(own) == 1 else shapely.union_all(own)
    return out


def _pieces(area: BaseGeometry) -> Iterator[Box]:
    """The box of the area, if it is small; else the tiles of a grid in which it has a share, cut to that share."""
    west, south, east, north = area.bounds
    if max(east - west, north - south) <= _WIDEST_DEG:
        yield (west, south, east, north)
        return
    for x in np.arange(-180.0, 180.0, _TILE_DEG):
        for y in np.arange(-90.0, 90.0, _TILE_DEG):
            inner = shapely.intersection(area, shapely.box(x, y, x + _TILE_DEG, y + _TILE_DEG))
            if inner.area > 0.0:
                yield inner.bounds


def _wider(box: Box) -> Box:
    """A box with some room on all sides, so that it is no sliver; its longitudes may go beyond 180 degrees."""
    west, south, east, north = box
    room = 0.05 * max(east - west, north - south)
    return (west - room, max(south - room, -90.0), east + room, min(north + room, 90.0))


def _faces(unit: Floats, tree: cKDTree, box: Box) -> tuple[list[int], NDArray[np.object_]]:
    """The rows of the centres whose cells have a share of a box, and these shares, which go beyond its parallels."""
    west, south, east, north = box
    middle = LonLat.of((west + east) / 2.0, (south + north) / 2.0)
    up = middle.unit()[0]
    lon = np.radians(middle.lon[0])
    eastward = np.array([-np.sin(lon), np.cos(lon), 0.0])
    axes = np.stack([eastward, np.cross(up, eastward)])
    x, y = np.meshgrid([west, (west + east) / 2.0, east], [south, north])
    corners = LonLat(_turned(x.ravel()), y.ravel()).unit()
    reach = 2.0 * np.arcsin(np.linalg.norm(corners - up, axis=1).max() / 2.0)
    scale = float(np.tan(reach))
    # Whatever is nearest to a point of the piece lies no farther from its middle than the nearest there + 2 reach.
    nearest, first = tree.query(up)
    far = min(2.0 * np.arcsin(nearest / 2.0) + 2.0 * reach, np.pi)
    rows = np.sort(tree.query_ball_point(up, 2.0 * np.sin(far / 2.0) * (1.0 + 1e-9)))
    # c . x of each centre, less that of the nearest one so that no digits are lost; t is the height of the envelope.
    apart = unit[rows] - unit[first]
    slope, height = apart @ axes.T / scale, apart @ up / scale**2
    floors = np.column_stack([slope, np.full(len(rows), -1.0), height])
    walls = _walls(box)
    sides = np.column_stack([-(walls @ axes.T) * scale, np.zeros(len(walls)), -(walls @ up)])
    sides /= np.linalg.norm(sides[:, :2], axis=1, keepdims=True)
    top = float((height + 3.0 * np.linalg.norm(slope, axis=1)).max()) + 1.0
    inside = np.array([0.0, 0.0, (top + float(height.max())) / 2.0])
    envelope = HalfspaceIntersection(np.concatenate([floors, sides, [[0.0, 0.0, 1.0, -top]]]), inside)
    vertices, rings = _rings(envelope, len(rows))
    local = np.concatenate([vertices * scale, np.ones((len(vertices), 1))], axis=1) @ np.concatenate([axes, [up]])
    outlines = _outlines(local / np.linalg.norm(local, axis=1, keepdims=True), [ring for _, ring in rings], box)
    return [int(rows[face]) for face, _ in rings], outlines


def _walls(box: Box) -> Floats:
    """Normals, pointing inwards, of great circles around a box: its meridians, and circles beyond its parallels."""
    west, south, east, north = np.radians(box)
    lon, half = (west + east) / 2.0, (east - west) / 2.0
    walls = [[-np.sin(west), np.cos(west), 0.0], [np.sin(east), -np.cos(east), 0.0]]
    for lat, inwards, polar in ((south, 1.0, south < 0.0), (north, -1.0, north > 0.0)):
        # The great circle through two points of a parallel runs on its polar side between them; one that touches it in
        # the middle runs on the other side.
        tilt = np.arctan(np.tan(lat) / np.cos(half)) if polar else lat
        # At a pole the meridians meet.
        if abs(tilt) < np.pi / 2.0 - np.radians(_NEAR_DEG):
            normal = [-np.sin(tilt) * np.cos(lon), -np.sin(tilt) * np.sin(lon), np.cos(tilt)]
            walls.append([inwards * value for value in normal])
    return np.array(walls)


def _rings(envelope: HalfspaceIntersection, count: int) -> tuple[Floats, list[tuple[int, Ints]]]:
    """The vertices (v, 2) of the envelope's faces on the plane, and of each face its number and its ring of vertices.

    Args:
        envelope: half-spaces; the first `count` are the floors whose faces are wanted.
        count: of floors.
    """
    uv, vertex = np.unique(np.round(envelope.intersections[:, :2], _DIGITS), axis=0, return_inverse=True)
    sizes = [len(planes) for planes in envelope.dual_facets]
    face = np.concatenate(envelope.dual_facets)
    pairs = np.unique(np.stack([face, np.repeat(vertex.ravel(), sizes)], axis=1)[face < count], axis=0)
    starts = np.flatnonzero(np.concatenate([[True], np.diff(pairs[:, 0]) != 0]))
    own = np.repeat(np.arange(len(starts)), np.diff(np.append(starts, len(pairs))))
    at = uv[pairs[:, 1]]
    middle = np.add.reduceat(at, starts) / np.bincount(own)[:, None]
    turn = np.arctan2(*(at - middle[own]).T[::-1])
    order = np.lexsort((turn, own))
    rings = np.split(pairs[order, 1], starts[1:])
    return uv, [(int(pairs[start, 0]), ring) for start, ring in zip(starts, rings, strict=True) if len(ring) > 2]


def _outlines(unit: Floats, rings: list[Ints], box: Box) -> NDArray[np.object_]:
    """Polygons in lon, lat of rings of vertices (v, 3), whose edges are great circles, drawn by short steps."""
    west, _, east, _ = box
    begin, end = np.concatenate(rings), np.concatenate([np.roll(ring, -1) for ring in rings])
    # Both cells of an edge have the same steps, whichever way round they go.
    low, high = np.minimum(begin, end), np.maximum(begin, end)
    angle = np.degrees(2.0 * np.arcsin(np.linalg.norm(unit[low] - unit[high], axis=1) / 2.0))
    steps = np.maximum(np.ceil(angle / _STEP_DEG), 1.0).astype(np.int64)
    edge = np.repeat(np.arange(len(steps)), steps)
    step = np.arange(len(edge)) - np.repeat(np.cumsum(steps) - steps, steps)
    share = np.where((begin <= end)[edge], step, steps[edge] - step) / steps[edge]
    xyz = (1.0 - share)[:, None] * unit[low[edge]] + share[:, None] * unit[high[edge]]
    lon = (west + east) / 2.0 + _turned(np.degrees(np.arctan2(xyz[:, 1], xyz[:, 0])) - (west + east) / 2.0)
    lat = np.degrees(np.arctan2(xyz[:, 2], np.hypot(xyz[:, 0], xyz[:, 1])))
    for meridian in (west, east):
        lon = np.where(np.abs(lon - meridian) < _NEAR_DEG, meridian, lon)
    ring = np.repeat(np.arange(len(rings)), [len(ring) for ring in rings])[edge]
    lon, lat, ring = _open_poles(np.clip(lon, west, east), lat, ring)
    rims = shapely.linearrings(np.column_stack([lon, lat]), indices=ring)
    polygons = np.asarray(shapely.polygons(rims), dtype=object)
    broken = ~shapely.is_valid(polygons)
    polygons[broken] = shapely.make_valid(polygons[broken])
    return polygons


def _turned(degrees: Floats) -> Floats:
    """Differences of longitude in [-180, 180)."""
    turned: Floats = (degrees + 180.0) % 360.0 - 180.0
    return turned


def _open_poles(lon: Floats, lat: Floats, ring: Ints) -> tuple[Floats, Floats, Ints]:
    """Rings in which a vertex on a pole is two: at the longitudes of the meridians by which the ring comes and goes."""
    pole = np.flatnonzero(90.0 - np.abs(lat) < _NEAR_DEG)
    if len(pole) == 0:
        return lon, lat, ring
    starts = np.searchsorted(ring, ring[pole])
    ends = np.searchsorted(ring, ring[pole], side="right")
    before = np.where(pole == starts, ends - 1, pole - 1)
    after = np.where(pole == ends - 1, starts, pole + 1)
    lat, comes, goes = lat.copy(), lon[before], lon[after]
    lat[pole] = np.copysign(90.0, lat[pole])
    lon = np.insert(lon, pole, comes)
    shifted = pole + np.arange(len(pole)) + 1
    lon[shifted] = goes
    return lon, np.insert(lat, pole, lat[pole]), np.insert(ring, pole, ring[pole])
