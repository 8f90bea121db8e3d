"""Small rasters on disk for tests: of any values, place and direction."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import rasterio

from placevec.table.codec import encode


def write_raster(
    path: Path,
    values: Any,
    *,
    west: float,
    north: float,
    pixel: float,
    crs: str = "EPSG:4326",
    south_up: bool = False,
    names: tuple[str, ...] = (),
    **profile: Any,
) -> Path:
    """Write (bands, rows, columns) or (rows, columns), first row in the north; `south_up` stores the last row first."""
    array = np.asarray(values)
    array = array[None] if array.ndim == 2 else array
    bands, height, width = array.shape
    affine = rasterio.Affine(pixel, 0, west, 0, -pixel, north)
    if south_up:
        array, affine = array[:, ::-1], rasterio.Affine(pixel, 0, west, 0, pixel, north - height * pixel)
    with rasterio.open(
        path, "w", driver="GTiff", width=width, height=height, count=bands, dtype=array.dtype, crs=crs,
        transform=affine, **profile,
    ) as raster:  # fmt: skip
        raster.write(array)
        for band, name in enumerate(names, 1):
            raster.set_band_description(band, name)
    return path


def alphaearth_values(rows: int, cols: int, seed: int = 0) -> Any:
    """int8 (64, rows, columns) of random unit vectors, smooth enough that neighbours do not cancel each other."""
    rng = np.random.default_rng(seed)
    base = rng.standard_normal(64)
    vectors = base + 0.5 * rng.standard_normal((rows * cols, 64))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    stored = encode(vectors, "int8", {"method": "alphaearth"})[0]
    return np.ascontiguousarray(stored.T.reshape(64, rows, cols))


def alphaearth_units(stored: Any) -> Any:
    """The decoder as its makers write it, and unit length: (64, ...) int8 to float64."""
    wide = stored.astype(np.float64)
    decoded = np.sign(wide) * (np.abs(wide) / 127.5) ** 2
    return decoded / np.linalg.norm(decoded, axis=0, keepdims=True)
