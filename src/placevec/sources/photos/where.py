"""Whether the coordinates of photos can be where they were taken, and in which region that is."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from placevec.geo.regions import Regions
from placevec.geo.sphere import LonLat
from placevec.sources.photos.found import Column, objects

ZERO = "at 0, 0, which is written where no position was known"
BEYOND = "longitude or latitude out of range"
BEYOND_SWAPPED = f"{BEYOND}; swapped they would lie in the area"
OUTSIDE = "outside the area"
OUTSIDE_SWAPPED = f"{OUTSIDE}; with longitude and latitude swapped it would lie inside"

_ZERO_DEG = 1e-4  # 11 m


def check_coordinates(
    lonlat: NDArray[np.float64], without: Column, regions: Regions | None
) -> tuple[NDArray[np.int64], Column]:
    """The region of each photo, and why one has to be left out.

    Args:
        lonlat: (n, 2) degrees as they were written, NaN where unknown.
        without: (n,) why there are none; "" where there are.
        regions: the area; None: anywhere on the Earth.

    Returns:
        (n,) rows of regions (-1 outside and without regions), and (n,) reasons, "" where a photo can stay.
    """
    lon, lat = lonlat[:, 0], lonlat[:, 1]
    reasons = objects(without)
    there = np.array([why == "" for why in without], dtype=bool)
    finite = np.isfinite(lon) & np.isfinite(lat)
    good = there & finite & (np.abs(lon) <= 180.0) & (np.abs(lat) <= 90.0)
    zero = good & (np.abs(lon) < _ZERO_DEG) & (np.abs(lat) < _ZERO_DEG)
    beyond = there & ~good
    good &= ~zero
    rows = _assign(lon, lat, good, regions)
    outside = good & (rows < 0) if regions is not None else np.zeros(len(lon), dtype=bool)
    # Whoever wrote latitude first wrote it twice as often as not: a hint, never a correction.
    asked = (beyond & finite & (np.abs(lat) <= 180.0) & (np.abs(lon) <= 90.0)) | outside
    asked &= np.abs(lon) <= 90.0
    swapped = asked & (_assign(lat, lon, asked, regions) >= 0)
    for mask, why in (
        (zero, ZERO),
        (beyond, BEYOND),
        (outside, OUTSIDE),
        (beyond & swapped, BEYOND_SWAPPED),
        (outside & swapped, OUTSIDE_SWAPPED),
    ):
        reasons[mask] = why
    return rows, reasons


def _assign(
    lon: NDArray[np.float64], lat: NDArray[np.float64], which: NDArray[np.bool_], regions: Regions | None
) -> NDArray[np.int64]:
    rows = np.full(len(lon), -1, dtype=np.int64)
    if regions is not None and which.any():
        rows[which] = regions.assign(LonLat(lon[which], lat[which]))
    return rows
