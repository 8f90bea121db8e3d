"""Points in blocks of neighbours: a box, a circle or a polygon looks at the blocks it touches, not at every row.

The points are put in the order of the Hilbert curve and cut into blocks of `BLOCK`; of each block a box and a ball
around its points are kept, and a box around each `GROUP` of blocks, as in a packed R-tree (Kamel, Faloutsos, 1993). A
block outside the region is passed over, one inside is taken whole, and the points of those on the rim are tested as
`geo.boxes` does it, so that the answer is the same.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from placevec.geo.boxes import Box, check_box, circle_box, in_circle
from placevec.geo.hilbert import hilbert_key
from placevec.geo.sphere import EARTH_RADIUS_M, LonLat

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]
Rows = NDArray[np.int64]

BLOCK = 128
_SHIFT = 7  # BLOCK is 2 to this
GROUP = 64
BYTES_A_ROW = 8 + 8 + 3 * 4 + 8
"""What a row takes in memory: its point in degrees, on the sphere, and its number."""
# So many boxes are resolved together, so many blocks at a time; larger ones, by groups that they touch, by themselves.
_TOGETHER = 256
_BLOCKS = 1024
_FEW_GROUPS = 8

# Rounding of float32 on the unit sphere, with room: nearer than this to a circle, a point is tested in float64.
_SLACK = 2e-6
# Outlines of blocks are grown by this many degrees, so that a block of one point has an area.
_GROWN = 1e-9


class Blocks:
    """An index of points.

    Args:
        lon: (n,) degrees, NaN where a row has no place.
        lat: (n,) degrees.
    """

    def __init__(self, lon: Floats, lat: Floats) -> None:
        known = np.flatnonzero(np.isfinite(lon) & np.isfinite(lat))
        x, y = lon[known], lat[known]
        odd = (x >= 180.0) | (x < -180.0)
        if odd.any():
            x = np.where(odd, (x + 180.0) % 360.0 - 180.0, x)
        self.unlocated = len(lon) - len(known)
        keys = hilbert_key(x, y)
        self._rows: Rows = known.astype(np.int64)
        # Tables are written in this order: then rows come out sorted.
        self._sorted = bool((np.diff(keys) >= 0).all())
        if not self._sorted:
            order = np.argsort(keys, kind="stable")
            x, y, self._rows = x[order], y[order], self._rows[order]
        self._plain = self._sorted and not self.unlocated
        count = -(-len(x) // BLOCK)
        self._x, self._y = _blocked(x, count), _blocked(y, count)
        self._box = _boxes(self._x, self._y)
        # Boxes of blocks, the last group filled up with such as touch nothing, and of groups of them.
        filled = np.full((4, -(-count // GROUP) * GROUP), np.nan)
        filled[:, :count] = self._box
        self._grouped = filled.reshape(4, -1, GROUP)
        low, high = np.fmin.reduce(self._grouped[:2], axis=2), np.fmax.reduce(self._grouped[2:], axis=2)
        self._above = np.concatenate([low, high])
        self._sphere = _on_sphere(self._x, self._y)
        self._centre, self._radius = _balls(self._sphere)

    def __len__(self) -> int:
        """How many blocks there are."""
        return len(self._x)

    def in_box(self, box: Box) -> Rows:
        """The rows in a box, sorted; see `geo.boxes.in_box`."""
        west, south, east, north = check_box(box)
        if west <= east:
            spans = [(west, east), *([(-180.0, -180.0)] if east == 180.0 else [])]
        else:
            spans = [(west, 180.0), (-180.0, east)]
        blocks = self._touched(spans, south, north)
        xmin, ymin, xmax, ymax = self._box.take(blocks, axis=1)
        whole = (ymin >= south) & (ymax <= north)
        whole &= _any([(xmin >= left) & (xmax <= right) for left, right in spans])
        rim = (~whole).nonzero()[0]
        at = blocks[rim]
        x, y = self._x.take(at, axis=0), self._y.take(at, axis=0)
        inside = _any([(x >= left) & (x <= right) for left, right in spans])
        inside &= y >= south
        inside &= y <= north
        return self._taken(blocks, rim, inside)

    def in_boxes(self, boxes: Floats) -> list[Rows]:
        """The rows in each of the boxes (q, 4) that `plain_boxes` found to be plain, sorted.

        Of small boxes most of the time goes into calling numpy; so many of them are looked at together.
        """
        found: list[Rows] = []
        for start in range(0, len(boxes), _TOGETHER):
            found.extend(self._in_some(boxes[start : start + _TOGETHER]))
        return found

    def _in_some(self, boxes: Floats) -> list[Rows]:
        west, south, east, north = boxes.T[:, :, None]
        xmin, ymin, xmax, ymax = self._above
        near = (ymin <= north) & (ymax >= south) & (xmin <= east) & (xmax >= west)
        large = near.sum(axis=1) > _FEW_GROUPS
        owner, group = (near & ~large[:, None]).nonzero()
        xmin, ymin, xmax, ymax = self._grouped.take(group, axis=1)
        west, south, east, north = (side[owner] for side in (west, south, east, north))
        pair, member = ((ymin <= north) & (ymax >= south) & (xmin <= east) & (xmax >= west)).nonzero()
        owner, blocks = owner[pair], group[pair] * GROUP + member
        ends = np.searchsorted(owner, np.arange(len(boxes)), side="right").tolist()
        found: list[Rows] = []
        first = begin = 0
        while begin < len(boxes):
            # As many boxes at a time as have their points in the processor's cache.
            stop = begin + 1
            while stop < len(boxes) and ends[stop] - first <= _BLOCKS:
                stop += 1
            last = ends[stop - 1]
            found.extend(self._points_in(blocks[first:last], owner[first:last] - begin, boxes[begin:stop]))
            first, begin = last, stop
        for at in large.nonzero()[0].tolist():
            found[at] = self.in_box(tuple(boxes[at].tolist()))
        return found

    def _points_in(self, blocks: Rows, owner: Rows, boxes: Floats) -> list[Rows]:
        """The rows in each of the boxes (q, 4), whose `blocks` belong to one `owner` after the other."""
        west, south, east, north = boxes.T[:, owner, None]
        x, y = self._x.take(blocks, axis=0), self._y.take(blocks, axis=0)
        inside = x >= west
        inside &= x <= east
        inside &= y >= south
        inside &= y <= north
        counts = np.count_nonzero(inside, axis=1)
        at = inside.reshape(-1).nonzero()[0]
        at += np.repeat((blocks - np.arange(len(blocks))) * BLOCK, counts)
        rows = at if self._plain else self._rows[at]
        last = np.searchsorted(owner, np.arange(len(boxes)), side="right")
        ends = np.concatenate([[0], counts.cumsum()])[last].tolist()
        parts = [rows[low:high] for low, high in zip([0, *ends], ends, strict=False)]
        return parts if self._sorted else [np.sort(part) for part in parts]

    def _touched(self, spans: list[tuple[float, float]], south: float, north: float) -> Rows:
        """The blocks whose boxes touch one of the `spans` of longitude between two latitudes."""
        above = self._above
        groups = _touching(above, spans, south, north).nonzero()[0]
        boxes = self._grouped.take(groups, axis=1)
        group, member = _touching(boxes, spans, south, north).nonzero()
        return groups[group] * GROUP + member

    def in_circle(self, centre: LonLat, metres: float) -> Rows:
        """The rows within `metres` of `centre` (length 1), sorted; see `geo.boxes.in_circle`."""
        circle_box(float(centre.lon[0]), float(centre.lat[0]), metres)  # refuses what is no radius
        point = _on_sphere(centre.lon, centre.lat)[:, 0]
        # Distances are compared along the chord: no angle has to be computed for a row.
        chord = np.float32(2.0 * np.sin(min(metres / EARTH_RADIUS_M, np.pi) / 2.0))
        away = np.sqrt(sum((self._centre[axis] - point[axis]) ** 2 for axis in range(3)))
        blocks = np.flatnonzero(away <= chord + self._radius + _SLACK)
        rim = np.flatnonzero(away[blocks] + self._radius[blocks] > chord - _SLACK)
        at = blocks[rim]
        distance = np.sqrt(sum((self._sphere[axis][at] - point[axis]) ** 2 for axis in range(3)))
        inside = distance <= chord - _SLACK
        unsure = np.nonzero(~inside & (distance <= chord + _SLACK))
        if len(unsure[0]):
            x, y = self._x[at][unsure], self._y[at][unsure]
            inside[unsure] = in_circle(x, y, centre, metres)
        return self._taken(blocks, rim, np.asarray(inside))

    def in_area(self, area: BaseGeometry) -> Rows:
        """The rows in a polygon that `geo.boxes.unwrap_polygon` has made plain, sorted; see `geo.boxes.in_polygon`."""
        shapely.prepare(area)
        west, south, east, north = area.bounds
        # A point on the antimeridian is at 180 as much as at -180.
        spans = [(west, east), *([(-180.0, -180.0)] if east >= 180.0 else [])]
        blocks = self._touched(spans, south, north)
        xmin, ymin, xmax, ymax = self._box.take(blocks, axis=1)
        outlines = shapely.box(xmin - _GROWN, ymin - _GROWN, xmax + _GROWN, ymax + _GROWN)
        whole = shapely.covers(area, outlines)
        touched = whole | ((xmin == -180.0) & (east >= 180.0))
        touched[~touched] = shapely.intersects(area, outlines[~touched])
        blocks, rim = blocks[touched], np.flatnonzero(~whole[touched])
        x, y = self._x[blocks[rim]].reshape(-1), self._y[blocks[rim]].reshape(-1)
        known = np.flatnonzero(np.isfinite(x))
        inside = np.zeros(len(x), dtype=bool)
        inside[known] = shapely.intersects_xy(area, x[known], y[known])
        again = np.flatnonzero((x == -180.0) & ~inside)
        inside[again] = shapely.intersects_xy(area, np.full(len(again), 180.0), y[again])
        return self._taken(blocks, rim, inside.reshape(-1, BLOCK))

    def _taken(self, blocks: Rows, rim: Rows, inside: Mask) -> Rows:
        """The rows of whole blocks, and of those on the rim (places in `blocks`) the points `inside` (rim, BLOCK)."""
        if len(rim) == len(blocks):
            keep = inside
        else:
            keep = np.ones((len(blocks), BLOCK), dtype=bool)
            keep[rim] = inside
            if len(blocks) and blocks[-1] == len(self) - 1:
                keep[-1] &= np.isfinite(self._x[-1])
        at = keep.reshape(-1).nonzero()[0]
        at += ((blocks - np.arange(len(blocks))) * BLOCK)[at >> _SHIFT]
        if self._plain:
            return at
        rows = self._rows[at]
        return rows if self._sorted else np.sort(rows)


def plain_boxes(boxes: Floats) -> Mask:
    """Which of the boxes (q, 4) `check_box` would leave as they are, and do not touch the antimeridian."""
    west, south, east, north = boxes.T
    plain: Mask = (west > -180.0) & (west <= east) & (east < 180.0)
    plain &= (south >= -90.0) & (south <= north) & (north <= 90.0)
    return plain


def _blocked(values: Floats, count: int) -> Floats:
    out = np.full((count, BLOCK), np.nan)
    out.reshape(-1)[: len(values)] = values
    return out


def _boxes(x: Floats, y: Floats) -> Floats:
    """(4, blocks) west, south, east and north of the points of each block."""
    # Every block holds a point, and fmin passes NaN over.
    low, high = np.fmin, np.fmax
    return np.stack([low.reduce(x, axis=1), low.reduce(y, axis=1), high.reduce(x, axis=1), high.reduce(y, axis=1)])


def _touching(boxes: Floats, spans: list[tuple[float, float]], south: float, north: float) -> Mask:
    """Which of the boxes (4, ...) touch one of the `spans` of longitude between two latitudes."""
    xmin, ymin, xmax, ymax = boxes
    near: Mask = (ymin <= north) & (ymax >= south)
    near &= _any([(xmin <= right) & (xmax >= left) for left, right in spans])
    return near


def _any(masks: list[Mask]) -> Mask:
    return masks[0] if len(masks) == 1 else masks[0] | masks[1]


def _on_sphere(lon: Any, lat: Any) -> NDArray[np.float32]:
    """Points on the unit sphere, (3, ...)."""
    x, y = np.radians(np.asarray(lon)), np.radians(np.asarray(lat))
    level = np.cos(y)
    return np.stack([level * np.cos(x), level * np.sin(x), np.sin(y)]).astype(np.float32)


def _balls(sphere: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The centre (3, blocks) and radius (blocks,) of a ball around the points of each block."""
    if not sphere.shape[1]:
        return np.empty((3, 0), np.float32), np.empty(0, np.float32)
    low, high = np.fmin.reduce(sphere, axis=2), np.fmax.reduce(sphere, axis=2)
    centre = (low + high) / np.float32(2)
    away = np.sqrt(((sphere - centre[:, :, None]) ** 2).sum(axis=0))
    return centre, np.fmax.reduce(away, axis=1)
