"""Whether rasters, and places, have anything in common: asked before any work, answered with what covers what."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from placevec.errors import CrsError, DataError
from placevec.sources.chips import laea_inverse
from placevec.sources.patches.layers import Layer
from placevec.sources.rasters import Raster
from placevec.table import Places

Floats = NDArray[np.float64]

_GRID = 49  # points along each side of a raster that are tried in the others
_PART = 4096  # places that are tried at once


def points_of(raster: Raster, side: int = _GRID) -> tuple[Floats, Floats]:
    """Longitude and latitude of a grid of points of a raster, its rim included, where its projection has them."""
    col, row = np.meshgrid(np.linspace(0, raster.width, side), np.linspace(0, raster.height, side))
    try:
        found = raster.lonlat(col.reshape(-1), row.reshape(-1))
        return found.lon, found.lat
    except CrsError:  # a corner of a world map lies off the Earth
        parts = []
        for c, r in zip(col.reshape(-1), row.reshape(-1), strict=True):
            try:
                parts.append(raster.lonlat(np.array([c]), np.array([r])))
            except CrsError:
                continue
        return np.array([p.lon[0] for p in parts]), np.array([p.lat[0] for p in parts])


def on_all(layers: Sequence[Layer], lon: Floats, lat: Floats) -> NDArray[np.bool_]:
    """Which points (n,) lie on every raster."""
    found = np.ones(len(lon), dtype=bool)
    for layer in layers:
        found &= layer.raster.contains(*layer.raster.pixel(lon, lat))
    return found


def extent(raster: Raster) -> str:
    """Where a raster lies, for people."""
    lon, lat = points_of(raster, 9)
    if not len(lon):
        return "no part of the Earth"
    turned = (lon - lon[0] + 180.0) % 360.0 - 180.0
    west, east = lon[0] + turned.min(), lon[0] + turned.max()
    if raster.wraps:
        west, east = -180.0, 180.0
    return f"longitude {west:.2f} to {east:.2f}, latitude {lat.min():.2f} to {lat.max():.2f}"


def check_overlap(layers: Sequence[Layer]) -> None:
    """DataError unless the rasters of all layers have a part of the Earth in common."""
    if len(layers) < 2 or any(on_all(layers, *points_of(layer.raster)).any() for layer in layers):
        return
    # A strip narrower than the grid: ask the outlines.
    outlines = [_outline(layer.raster) for layer in layers]
    if not shapely.is_empty(shapely.intersection_all(outlines)):
        return
    told = "; ".join(f"{layer.title} covers {extent(layer.raster)}" for layer in layers)
    raise DataError(f"the rasters do not overlap: {told}; give rasters of one region")


def check_places(places: Places, layers: Sequence[Layer], ground_m: float) -> None:
    """DataError if no square of `ground_m` metres around any of the places touches all rasters."""
    rows = np.flatnonzero(np.isfinite(places.lon) & np.isfinite(places.lat))
    half = ground_m / 2.0 * np.array([-1.0, 0.0, 1.0])
    east, north = (grid.reshape(-1) for grid in np.meshgrid(half, half))
    touched = np.zeros(len(layers), dtype=bool)
    for first in range(0, len(rows), _PART):
        part = rows[first : first + _PART]
        lon, lat = laea_inverse(places.lon[part, None], places.lat[part, None], east, north)
        every = np.ones(len(part), dtype=bool)
        for at, layer in enumerate(layers):
            inside = layer.raster.contains(*layer.raster.pixel(lon, lat)).any(axis=1)
            touched[at] |= inside.any()
            every &= inside
        if every.any():
            return
    if not len(rows):
        return
    lon, lat = places.lon[rows], places.lat[rows]
    where = f"longitude {lon.min():.2f} to {lon.max():.2f}, latitude {lat.min():.2f} to {lat.max():.2f}"
    odd = next((layer for layer, hit in zip(layers, touched, strict=True) if not hit), layers[0])
    raise DataError(
        f"none of the {len(rows):,} places ({where}) lies on {odd.title}, which covers {extent(odd.raster)}: "
        "give places there, or another raster"
    )


def _outline(raster: Raster) -> BaseGeometry:
    """The outline of a raster in longitude and latitude, on the turn of the globe around its first corner."""
    steps = np.linspace(0, 1, 65)
    col = np.concatenate([steps, np.ones(65), steps[::-1], np.zeros(65)]) * raster.width
    row = np.concatenate([np.zeros(65), steps, np.ones(65), steps[::-1]]) * raster.height
    try:
        found = raster.lonlat(col, row)
    except CrsError:
        return shapely.Polygon()
    lon = found.lon[0] + np.unwrap(found.lon - found.lon[0], period=360.0)
    return shapely.make_valid(shapely.Polygon(np.column_stack([lon, found.lat])))
