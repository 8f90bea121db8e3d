"""Where a raster lies: its coordinate system, its transform, and the way from and to longitude and latitude."""

from __future__ import annotations

import threading
from functools import lru_cache
from typing import Any

import numpy as np
from pyproj import CRS, Transformer

from placevec.errors import CrsError, FormatError
from placevec.geo.frames import LONLAT, read_crs

Affine = tuple[float, float, float, float, float, float]
"""(a, b, c, d, e, f) with x = a·column + b·row + c and y = d·column + e·row + f."""


def georeference(
    href: str,
    height: int,
    width: int,
    transform: Affine | None,
    own: CRS | None,
    bounds: tuple[float, float, float, float] | None,
    crs: Any,
) -> tuple[CRS, Affine]:
    """The coordinate system and transform of a raster, from the file and what the caller says."""
    if crs is not None:
        system = read_crs(crs)
        if own is not None and bounds is None and not own.equals(system, ignore_axis_order=True):
            raise CrsError(f"{href} says that it is in {own.name}, not in {system.name}; leave out crs=")
    elif own is not None:
        system = own
    else:
        raise CrsError(
            f"{href} has no coordinate system; write it into the file, as by `gdal_edit.py -a_srs EPSG:4326 FILE`, or "
            "in Python give crs=, and bounds= where the file has none"
        )
    if bounds is not None:
        west, south, east, north = (float(value) for value in bounds)
        if not (west < east and south < north):
            raise CrsError(f"bounds {bounds} of {href} hold no area; give west, south, east, north")
        return system, ((east - west) / width, 0.0, west, 0.0, (south - north) / height, north)
    if transform is None:
        raise CrsError(f"{href} does not say where it lies; give bounds=(west, south, east, north) and crs=")
    a, b, _, d, e, _ = transform
    if a * e - b * d == 0 or not np.isfinite(transform).all():
        raise FormatError(f"{href} has the unusable geotransform {transform}; give bounds= and crs=")
    return system, transform


def is_lonlat(crs: CRS) -> bool:
    """Whether coordinates are longitude and latitude of WGS84, so that nothing is to be transformed."""
    return bool(crs.equals(read_crs("EPSG:4326"), ignore_axis_order=True) or crs.equals(read_crs(LONLAT)))


def period(crs: CRS) -> float | None:
    """The length of a parallel in the units of a geographic system, None for other systems."""
    if not crs.is_geographic:
        return None
    factor = crs.axis_info[0].unit_conversion_factor or np.pi / 180.0
    return float(round(2 * np.pi / factor, 9))


@lru_cache(maxsize=64)
def _cached_transformer(wkt: str, inverse: bool, thread: int) -> Transformer:
    ends = (wkt, LONLAT) if inverse else (LONLAT, wkt)
    return Transformer.from_crs(*ends, always_xy=True)


def transformer(crs: CRS, *, inverse: bool) -> Transformer:
    """From longitude and latitude to `crs`, or back, always x before y."""
    # pyproj's transformers belong to the thread that made them.
    return _cached_transformer(crs.to_wkt(), inverse, threading.get_ident())
