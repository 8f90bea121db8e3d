"""Points spread evenly over an area of study: what a uniform floor looks like to the levels of a mixture."""

from __future__ import annotations

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from placevec.errors import DataError
from placevec.geo.boxes import unwrap_polygon
from placevec.geo.sphere import LonLat

Floats = NDArray[np.float64]

POINTS = 512
# The additive recurrence of the plastic number (Roberts 2018): even for any number of points.
_PLASTIC = 1.324717957244746
# A part that fills less than this much of its box, and of few points, is not found.
_MOST_TRIED = 2_000_000


def even_points(domain: BaseGeometry, count: int = POINTS) -> Floats:
    """Unit vectors (count, 3) of points that are spread evenly over a polygon, the same ones each time.

    Args:
        domain: a (Multi)Polygon in lon, lat; see `unwrap_polygon` for the antimeridian.
        count: how many.

    Raises:
        DataError: no polygon, or one that is too thin for points to be found in it.
    """
    if count < 1:
        raise DataError(f"{count} points show no area; ask for at least one")
    parts = shapely.get_parts(unwrap_polygon(domain))
    # Each part has its share by area, rounded so that all add up: those cut off most get one more.
    share = count * shapely.area(_even_area(parts)) / shapely.area(_even_area(parts)).sum()
    each = np.floor(share).astype(np.int64)
    each[np.argsort(each - share, kind="stable")[: count - int(each.sum())]] += 1
    return np.concatenate([_in_part(part, int(own)) for part, own in zip(parts, each, strict=True) if own])


def _even_area(parts: NDArray[np.object_]) -> NDArray[np.object_]:
    """The parts in longitude and the sine of the latitude, in which equal areas are equal (Lambert 1772)."""
    scale = 180.0 / np.pi
    flat: NDArray[np.object_] = shapely.transform(
        parts, lambda xy: np.stack([xy[:, 0], scale * np.sin(np.radians(xy[:, 1]))], axis=1)
    )
    return flat


def _in_part(part: BaseGeometry, count: int) -> Floats:
    west, south, east, north = part.bounds
    low, high = np.sin(np.radians([south, north]))
    shapely.prepare(part)
    kept: list[Floats] = []
    found, first, size = 0, 0, 4 * count
    while first < _MOST_TRIED:
        order = np.arange(first, first + size) + 1.0
        lon = np.asarray(west + (east - west) * ((0.5 + order / _PLASTIC) % 1.0), dtype=np.float64)
        sine = low + (high - low) * ((0.5 + order / _PLASTIC**2) % 1.0)
        lat: Floats = np.degrees(np.arcsin(sine))
        inside = shapely.contains_xy(part, lon, lat)
        kept.append(LonLat(lon[inside], lat[inside]).unit())
        found, first, size = found + int(inside.sum()), first + size, 2 * size
        if found >= count:
            return np.concatenate(kept)[:count]
    raise DataError(
        f"of {first:,} points {found:,} lie in a part of the area of study; it is too thin: check its polygon"
    )
