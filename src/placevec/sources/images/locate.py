"""Where on the Earth an image lies: the geotransform of a GeoTIFF, or the position in a photo's EXIF data."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from pyproj import CRS

from placevec.errors import DataError, FormatError
from placevec.geo.frames import read_crs, to_lonlat
from placevec.geo.sphere import LonLat
from placevec.sources.georeference import Affine
from placevec.sources.images.decode import HEAD, TIFF, exif_of, is_picture, opened, why_not
from placevec.sources.images.raster import open_raster

_GPS = 0x8825  # the EXIF directory of positions; in it 1 to 4: north or south, latitude, east or west, longitude


@dataclass(frozen=True)
class Footprint:
    """Where a georeferenced image lies."""

    width: int  # columns
    height: int  # rows
    transform: Affine  # (a, b, c, d, e, f) with x = a·col + b·row + c and y = d·col + e·row + f
    crs_wkt: str  # the coordinate system of x and y

    @cached_property
    def crs(self) -> CRS:
        """The coordinate system of x and y."""
        return read_crs(self.crs_wkt)

    def xy(self, col: ArrayLike, row: ArrayLike) -> tuple[Any, Any]:
        """Coordinates in `crs` of pixel positions, counted from the first corner: the first centre is (0.5, 0.5)."""
        a, b, c, d, e, f = self.transform
        columns, rows = np.asarray(col, dtype=np.float64), np.asarray(row, dtype=np.float64)
        return a * columns + b * rows + c, d * columns + e * rows + f

    def lonlat(self, col: ArrayLike, row: ArrayLike) -> LonLat:
        """Longitude and latitude in degrees of pixel positions; see `xy`."""
        x, y = self.xy(np.atleast_1d(col), np.atleast_1d(row))
        return to_lonlat(x, y, self.crs_wkt)

    @property
    def centre(self) -> LonLat:
        """The image's middle, in degrees."""
        return self.lonlat(self.width / 2.0, self.height / 2.0)


def footprint(path: str | Path) -> Footprint | None:
    """Where a GeoTIFF lies; None for an image without a coordinate system.

    Raises:
        FormatError: the file cannot be read at all.
    """
    try:
        with Path(path).open("rb") as handle:
            if not handle.read(4).startswith(TIFF):
                return None
        with open_raster(Path(path)) as source:
            six = tuple(float(value) for value in source.transform[:6])
            wkt = source.crs.to_wkt() if source.crs else ""
            size = int(source.width), int(source.height)
    except OSError as error:
        raise FormatError(f"{path}: {why_not(error)}") from error
    except FormatError as error:
        raise FormatError(f"{path}: {error}") from error
    a, b, c, d, e, f = six
    if not wkt or six == (1.0, 0.0, 0.0, 0.0, 1.0, 0.0) or not np.isfinite(six).all() or a * e == b * d:
        return None
    return Footprint(*size, (a, b, c, d, e, f), wkt)


def position(path: Path) -> tuple[float, float] | None:
    """Longitude and latitude of an image's centre, or of the camera; None where the file says neither."""
    try:
        found = footprint(path)
        if found is not None:
            centre = found.centre
            return float(centre.lon[0]), float(centre.lat[0])
        with path.open("rb") as handle:
            head = handle.read(HEAD)
            if not is_picture(head):
                return None
            image = opened(handle, head, str(path))
            return None if image is None else _camera(image)
    except (DataError, OSError):
        return None  # reading the image will say why


def _camera(image: Any) -> tuple[float, float] | None:
    try:
        gps = exif_of(image).get_ifd(_GPS)
        lat, lon = (sum(float(part) / 60.0**k for k, part in enumerate(gps[tag])) for tag in (2, 4))
        if gps.get(1, "N") in ("S", b"S"):
            lat = -lat
        if gps.get(3, "E") in ("W", b"W"):
            lon = -lon
    except Exception:  # cameras write what they like: a position that cannot be read is none
        return None
    inside = abs(lat) <= 90.0 and abs(lon) <= 180.0  # false for NaN, which stands for 0/0
    return (lon, lat) if inside else None
