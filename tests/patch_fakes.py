"""Small rasters in several systems, and patches by the slow and obvious way."""

from __future__ import annotations

from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from pyproj import CRS, Transformer
from rasterio.transform import Affine

from placevec.geo.sphere import LonLat
from placevec.sources.classes import ClassTable
from placevec.table import Places

TABLE = ClassTable(
    "tiny", (10, 20, 30, 90), ("a", "b", "c", "d"), ("#000000", "#111111", "#222222", "#333333"), nothing=(0,)
)


def places(lon: Any, lat: Any) -> Places:
    lon, lat = np.atleast_1d(np.asarray(lon, float)), np.atleast_1d(np.asarray(lat, float))
    return Places.create([f"p{i:04d}" for i in range(len(lon))], LonLat(lon, lat))


def classes(rows: int, cols: int, seed: int = 0) -> NDArray[np.uint8]:
    """Codes of `TABLE` in patches of some pixels."""
    rng = np.random.default_rng(seed)
    coarse = rng.choice(np.array([10, 20, 30, 90], dtype=np.uint8), (rows // 5 + 1, cols // 5 + 1))
    return np.repeat(np.repeat(coarse, 5, axis=0), 5, axis=1)[:rows, :cols]


def relief(rows: int, cols: int, seed: int = 0) -> NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:rows, 0:cols]
    return (
        800 + sum(60 * np.sin(x / rng.uniform(5, 30) + y / rng.uniform(5, 30) + rng.uniform(0, 6)) for _ in range(4))
    ).astype(np.float32)


def write(path: Any, values: NDArray[Any], transform: Affine, crs: str | None, nodata: float | None = None) -> Any:
    with rasterio.open(
        path, "w", driver="GTiff", dtype=values.dtype, count=1, height=values.shape[0], width=values.shape[1],
        crs=crs, transform=transform, nodata=nodata,
    ) as out:  # fmt: skip
        out.write(values, 1)
    return path


def positions(
    lon: float, lat: float, ground_m: float, pixels: int, crs: Any, transform: Affine
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Columns and rows of the centres of the pixels of one patch, by PROJ alone."""
    at = (np.arange(pixels) + 0.5) / pixels * ground_m - ground_m / 2
    east, north = np.meshgrid(at, -at)
    local = CRS.from_proj4(f"+proj=laea +lat_0={float(lat)!r} +lon_0={float(lon)!r} +datum=WGS84 +units=m")
    x, y = Transformer.from_crs(local, CRS.from_user_input(crs), always_xy=True).transform(east, north)
    back = ~transform
    return np.asarray(back.a * x + back.b * y + back.c), np.asarray(back.d * x + back.e * y + back.f)


def nearest(values: NDArray[Any], col: NDArray[np.float64], row: NDArray[np.float64], outside: Any) -> NDArray[Any]:
    """The pixel that holds each position, `outside` where there is none."""
    inside = (col >= 0) & (row >= 0) & (col < values.shape[1]) & (row < values.shape[0])
    x, y = np.where(inside, col, 0).astype(int), np.where(inside, row, 0).astype(int)
    return np.where(inside, values[y, x], outside)


def bilinear(values: NDArray[Any], col: NDArray[np.float64], row: NDArray[np.float64]) -> NDArray[np.float64]:
    """Between the centres of four pixels, all of which must be there."""
    u, v = col - 0.5, row - 0.5
    x, y = np.floor(u).astype(int), np.floor(v).astype(int)
    fx, fy = u - x, v - y
    wide = values.astype(np.float64)
    top = wide[y, x] * (1 - fx) + wide[y, x + 1] * fx
    low = wide[y + 1, x] * (1 - fx) + wide[y + 1, x + 1] * fx
    return top * (1 - fy) + low * fy
