"""The whole Earth from the catalogue: elevation, night lights and the Blue Marble image."""

from __future__ import annotations

import gzip
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from placevec.errors import FormatError
from placevec.geo.sphere import LonLat
from placevec.sources.catalog import fetch
from placevec.sources.rasters import Raster

WORLD = (-180.0, -90.0, 180.0, 90.0)


def blue_marble(allow_network: bool = False) -> Raster:
    """The Blue Marble: red, green and blue at 4 arc minutes, uint8, going around the globe.

    Raises:
        DataError: the dataset "blue-marble" is not on this machine and may not be fetched.
    """
    path = fetch("blue-marble", allow_network)["blue_marble_5400x2700.jpg"]
    return Raster(path, bounds=WORLD, crs="EPSG:4326")


def etopo(allow_network: bool = False) -> Raster:
    """ETOPO20 as a raster of one band, in metres; see `elevation`."""
    return _etopo(allow_network)


def night_lights(allow_network: bool = False) -> Raster:
    """The picture of the Earth at night as a raster of three bands; see `lights`."""
    return _lights(allow_network)


def elevation(lonlat: LonLat, allow_network: bool = False) -> NDArray[np.float64]:
    """Height above sea level (n,) in metres, negative in the sea, bilinear between the nodes of ETOPO20.

    Raises:
        DataError: the dataset "etopo20" is not on this machine and may not be fetched.
    """
    return _etopo(allow_network).sample(lonlat)[:, 0].astype(np.float64)


def lights(lonlat: LonLat, allow_network: bool = False) -> NDArray[np.float64]:
    """Brightness at night (n,) from 0 to 255, bilinear: the luminance of the picture (ITU-R BT.601).

    Raises:
        DataError: the dataset "earth-lights" is not on this machine and may not be fetched.
    """
    rgb = _lights(allow_network).sample(lonlat).astype(np.float64)
    luminance: NDArray[np.float64] = rgb @ np.array([0.299, 0.587, 0.114])
    return luminance


@lru_cache(maxsize=2)
def _lights(allow_network: bool) -> Raster:
    path = fetch("earth-lights", allow_network)["earth_lights.jpg"]
    return Raster(path, bounds=WORLD, crs="EPSG:4326")


@lru_cache(maxsize=2)
def _etopo(allow_network: bool) -> Raster:
    paths = fetch("etopo20", allow_network)

    def numbers(name: str) -> NDArray[np.float64]:
        try:
            with gzip.open(paths[name], "rt", encoding="ascii") as handle:
                return np.loadtxt(handle, ndmin=2)
        except (ValueError, EOFError, OSError) as error:
            raise FormatError(f"{paths[name]} is not a gzipped table of numbers ({error}); fetch it again") from None

    heights = numbers("etopo20data.gz")
    lon, lat = numbers("etopo20lons.gz").ravel(), numbers("etopo20lats.gz").ravel()
    if heights.shape != (len(lat), len(lon)) or not (np.diff(lon) > 0).all() or not (np.diff(lat) > 0).all():
        raise FormatError(f"{paths['etopo20data.gz']} has the shape {heights.shape}, not {(len(lat), len(lon))}")
    # The last column repeats the first, one turn on: the rest is one whole parallel. Nodes are pixel centres here.
    heights = heights[::-1, :-1].astype(np.float32)
    step = 360.0 / heights.shape[1]
    west = float(lon[0]) - step / 2.0
    half = (lat[-1] - lat[0]) / (len(lat) - 1) / 2.0
    return Raster.from_array(
        heights, bounds=(west, max(float(lat[0]) - half, -90.0), west + 360.0, min(float(lat[-1]) + half, 90.0))
    )
