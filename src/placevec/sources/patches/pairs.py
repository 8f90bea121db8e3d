"""Pairs of places: an anchor, uniform on the ground, and a neighbour in an annulus around it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from placevec.errors import DataError, UsageError
from placevec.geo.boxes import unwrap_polygon
from placevec.geo.hilbert import hilbert_order
from placevec.geo.sphere import LonLat
from placevec.sources.chips import authalic, authalic_inverse, laea_inverse
from placevec.sources.patches.layers import Layer
from placevec.sources.patches.overlap import check_overlap, extent, on_all, points_of
from placevec.table import Places

Floats = NDArray[np.float64]

PART = 1 << 16
"""Pairs that are drawn at once, with random numbers of their own, and put in an order in which neighbours are near."""

_DRAWN = 1 << 14  # anchors that are tried at once

_TRIES = 100  # neighbours that are tried for an anchor
_ROUNDS = 300  # draws without a single anchor, after which there is none: five million points
_LONELY = 4  # draws with anchors, but without a single neighbour


def draw_pairs(
    area: BaseGeometry | None,
    n: int,
    *,
    inner_m: float,
    outer_m: float,
    seed: int = 0,
    layers: Sequence[Layer] | None = None,
    ground_m: float = 0.0,
) -> Places:
    """Anchors and neighbours, 2n places: ``pair-000001-a`` and ``pair-000001-b``, both of the place ``pair-000001``.

    Anchors are uniform on the ground of the area; their neighbours lie in a uniform direction, at a distance that is
    uniform by area between `inner_m` and `outer_m`, within the area as well. The same numbers and seed give the same
    pairs. They come in the order of a Hilbert curve, part by part: files are read in the order in which they lie.

    Args:
        area: a (Multi)Polygon in longitude and latitude; None for all that the rasters of `layers` cover.
        n: how many pairs.
        inner_m: the least distance in metres.
        outer_m: the greatest distance.
        seed: of the random numbers.
        layers: both ends lie on the rasters of all of them.
        ground_m: with `layers`: the whole square of this side around both ends lies on the rasters.

    Raises:
        UsageError: a number is not possible, or neither an area nor layers are given.
        DataError: area and rasters have nothing in common, or no two places of it lie so far apart.
    """
    parts = list(pair_parts(area, n, inner_m=inner_m, outer_m=outer_m, seed=seed, layers=layers, ground_m=ground_m))
    return Places(pa.concat_tables([part.data for part in parts]))


def pair_parts(
    area: BaseGeometry | None,
    n: int,
    *,
    inner_m: float,
    outer_m: float,
    seed: int = 0,
    layers: Sequence[Layer] | None = None,
    ground_m: float = 0.0,
) -> Iterator[Places]:
    """The pairs of `draw_pairs` part by part, for more than fit in memory; one part without rows where n is 0."""
    if n < 0 or int(n) != n:
        raise UsageError(f"{n} pairs cannot be drawn; give a whole number")
    if not (math.isfinite(outer_m) and 0.0 <= inner_m < outer_m <= 5e6):
        raise UsageError(
            f"neighbours between {inner_m:g} m and {outer_m:g} m: give an inner distance from 0 and a larger outer one"
        )
    if not (math.isfinite(ground_m) and ground_m >= 0.0):
        raise UsageError(f"a square cannot measure {ground_m} m; give metres")
    region = _Region(area, layers or (), ground_m)
    width = max(6, len(str(n)))
    for first in range(0, max(n, 1), PART):
        count = min(PART, n - first)
        rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(first // PART,)))
        ends = _part(region, rng, count, inner_m, outer_m)
        names = [f"pair-{number:0{width}d}" for number in range(first + 1, first + count + 1)]
        yield Places.create(
            [f"{name}-{end}" for name in names for end in "ab"],
            LonLat(ends[:, :, 0].reshape(-1), ends[:, :, 1].reshape(-1)),
            place=np.repeat(np.array(names, dtype=object), 2),
        )


class _Region:
    """Where ends of pairs may lie: in a polygon, and with their squares on all rasters."""

    def __init__(self, area: BaseGeometry | None, layers: Sequence[Layer], ground_m: float) -> None:
        if area is None and not layers:
            raise UsageError("pairs of which region? give an area, or layers whose rasters are the region")
        check_overlap(layers)
        self.layers = list(layers)
        self.half = ground_m / 2.0
        self.area = None if area is None else unwrap_polygon(area)
        if self.area is not None:
            shapely.prepare(self.area)
            parts = shapely.get_parts(self.area)
            shapely.prepare(parts)
            self.parts = parts
            self.boxes = shapely.bounds(parts)
        else:
            self.parts = np.array([None], dtype=object)
            self.boxes = np.array([_box_of(layers)])
        sines = np.sin(authalic(self.boxes[:, [1, 3]]))
        weight = (self.boxes[:, 2] - self.boxes[:, 0]) * (sines[:, 1] - sines[:, 0])
        self.sines = sines
        self.share = np.cumsum(weight) / weight.sum()

    def anchors(self, rng: np.random.Generator, count: int) -> tuple[Floats, Floats]:
        """Some of `count` points that are uniform on the boxes of the parts: those within the region."""
        u = rng.random((3, count))
        part = np.minimum(np.searchsorted(self.share, u[0], side="right"), len(self.share) - 1)
        box, sine = self.boxes[part], self.sines[part]
        lon = box[:, 0] + u[1] * (box[:, 2] - box[:, 0])
        lat = np.degrees(authalic_inverse(np.arcsin(sine[:, 0] + u[2] * (sine[:, 1] - sine[:, 0]))))
        kept = np.ones(count, dtype=bool)
        if self.area is not None:  # boxes may overlap: a point counts for the part whose box it was drawn from
            kept = shapely.contains_xy(self.parts[part], lon, lat)
        lon = (lon + 180.0) % 360.0 - 180.0
        kept[kept] = self.on_rasters(lon[kept], lat[kept])
        return lon[kept], lat[kept]

    def contains(self, lon: Floats, lat: Floats) -> NDArray[np.bool_]:
        """Which points (n,) lie in the region."""
        if self.area is None:
            return self.on_rasters(lon, lat)
        found = np.asarray(shapely.contains_xy(self.area, lon, lat))
        found[found] = self.on_rasters(lon[found], lat[found])
        return found

    def on_rasters(self, lon: Floats, lat: Floats) -> NDArray[np.bool_]:
        """Which points (n,) lie with their squares on all rasters."""
        if not self.layers or not len(lon):
            return np.ones(len(lon), dtype=bool)
        found = on_all(self.layers, lon, lat)
        if self.half:
            at = self.half * np.array([-1.0, 0.0, 1.0])
            east, north = (grid.reshape(-1) for grid in np.meshgrid(at, at))
            x, y = laea_inverse(lon[found, None], lat[found, None], east, north)
            found[found] = on_all(self.layers, x.reshape(-1), y.reshape(-1)).reshape(x.shape).all(axis=1)
        return found

    def __str__(self) -> str:
        told = [f"{layer.title} ({extent(layer.raster)})" for layer in self.layers]
        return " and ".join([*([] if self.area is None else ["the area"]), *told])


def _part(region: _Region, rng: np.random.Generator, count: int, inner_m: float, outer_m: float) -> Floats:
    """`count` pairs (count, 2, 2): anchor and neighbour, longitude and latitude."""
    out = np.empty((count, 2, 2))
    done = empty = lonely = 0
    asked = 256
    while done < count:
        lon, lat = region.anchors(rng, asked)
        near_lon, near_lat = _neighbours(region, rng, lon, lat, inner_m, outer_m)
        good = np.flatnonzero(np.isfinite(near_lon))[: count - done]
        out[done : done + len(good), 0] = np.column_stack([lon[good], lat[good]])
        out[done : done + len(good), 1] = np.column_stack([near_lon[good], near_lat[good]])
        done += len(good)
        empty = 0 if len(lon) else empty + 1
        lonely = 0 if len(good) else lonely + bool(len(lon))
        if lonely >= _LONELY:
            raise DataError(
                f"no place of {region} has another {inner_m:g} to {outer_m:g} m away within it: "
                "give a larger area, or smaller distances"
            )
        if empty >= _ROUNDS:
            raise DataError(f"{region} have no ground in common: give an area on the rasters")
        asked = min(_DRAWN, 2 * asked) if len(good) else asked if len(lon) else _DRAWN
    return out[hilbert_order(out[:, 0, 0], out[:, 0, 1])]


def _neighbours(
    region: _Region, rng: np.random.Generator, lon: Floats, lat: Floats, inner_m: float, outer_m: float
) -> tuple[Floats, Floats]:
    """A neighbour of each point (n,), NaN where none was found: drawn again until it lies in the region.

    In the local equal-area frame the area of a ring grows with the square of its radius.
    """
    out_lon, out_lat = np.full(len(lon), np.nan), np.full(len(lon), np.nan)
    left = np.arange(len(lon))
    for _ in range(_TRIES):
        if not len(left):
            break
        angle, share = 2.0 * np.pi * rng.random(len(left)), rng.random(len(left))
        radius = np.sqrt(inner_m**2 + share * (outer_m**2 - inner_m**2))
        x, y = laea_inverse(lon[left], lat[left], radius * np.sin(angle), radius * np.cos(angle))
        good = region.contains(x, y)
        out_lon[left[good]], out_lat[left[good]] = x[good], y[good]
        left = left[~good]
    return out_lon, out_lat


def _box_of(layers: Sequence[Layer]) -> tuple[float, float, float, float]:
    """A box (west, south, east, north) around the raster that reaches least, east maybe beyond 180."""
    boxes = []
    for layer in layers:
        lon, lat = points_of(layer.raster)
        if not len(lon):
            raise DataError(f"{layer.title} lies on no part of the Earth; give its coordinate system and bounds")
        turned = (lon - lon[0] + 180.0) % 360.0 - 180.0
        # The rim between two points of the grid may bulge outwards: half a step more on each side.
        dx, dy = np.ptp(turned) / 90.0, np.ptp(lat) / 90.0
        south, north = max(-90.0, lat.min() - dy), min(90.0, lat.max() + dy)
        west, east = lon[0] + turned.min() - dx, lon[0] + turned.max() + dx
        if layer.raster.wraps or east - west >= 350.0 or max(abs(south), abs(north)) > 89.0:
            west, east = -180.0, 180.0
        boxes.append((west, south, east, north))
    return min(boxes, key=lambda b: (b[2] - b[0]) * (b[3] - b[1]))
