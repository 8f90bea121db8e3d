"""Rasters of any format and coordinate system, local, remote or in memory, read by window and by point.

A pixel position is (column, row) counted from the raster's first corner: pixel i covers [i, i + 1), its centre is
i + 0.5. All reading goes by inverse mapping (where on the raster does this point of the ground lie?), so that
south-up and rotated rasters, and those that go around the globe, need no cases of their own.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pyproj import CRS

from placevec.errors import CrsError, DataError, FormatError, UsageError
from placevec.geo.frames import LONLAT, read_crs
from placevec.geo.sphere import LonLat
from placevec.sources.georeference import Affine, georeference, is_lonlat, period, transformer
from placevec.sources.tiles import ArrayReader, Decode, Level, PixelReader, TileCache
from placevec.table.codec import decode as decode_stored

Resampling = Literal["nearest", "bilinear", "mode"]
RESAMPLINGS = ("nearest", "bilinear", "mode")

_CHUNK = 1 << 18  # samples that are gathered at once: temporaries of some MB per band


class Raster:
    """A georeferenced raster.

    Args:
        path_or_url: a file, or an ``https://`` or ``s3://`` address, of which only what is needed is fetched.
        bounds: (west, south, east, north) in `crs`, for rasters that do not know where they lie.
        crs: the coordinate system, for rasters that do not know theirs.
        bands: numbers of the bands wanted, from 1; by default all but an alpha band.
        decode: turns stored values into float32 with NaN for nodata, such as `decode_alphaearth`; by default
            values are taken as they are.
        cache_bytes: how much of the raster may be held in memory (one block at least).

    Attributes:
        href: the address as given.
        crs: its pyproj CRS.
        transform: (a, b, c, d, e, f) with x = a·col + b·row + c and y = d·col + e·row + f.
        width: columns.
        height: rows.
        bands: numbers of the bands read.
        dtype: type of the values read.
        nodata: the value that stands for nothing, or None.
        wraps: whether its last column borders on its first (a whole parallel).

    Raises:
        FormatError: the file does not exist or is not a raster.
        CrsError: neither the raster nor the caller says where it lies.
        MissingExtra: rasterio is not installed.
    """

    def __init__(
        self,
        path_or_url: str | Path,
        *,
        bounds: tuple[float, float, float, float] | None = None,
        crs: Any = None,
        bands: Sequence[int] | None = None,
        decode: Decode | None = None,
        cache_bytes: int = 256 << 20,
    ) -> None:
        from placevec.sources.gdal import open_reader

        self.href = str(path_or_url)
        reader = open_reader(self.href, bands)
        own = None if reader.crs_wkt is None else read_crs(reader.crs_wkt)
        self._set_up(
            reader,
            georeference(self.href, reader.height, reader.width, reader.transform, own, bounds, crs),
            bands=reader.bands,
            dtype=reader.dtype,
            nodata=reader.nodata,
            overviews=reader.overviews,
            decode=decode,
            cache_bytes=cache_bytes,
        )

    @classmethod
    def from_array(
        cls,
        values: NDArray[Any],
        *,
        bounds: tuple[float, float, float, float],
        crs: Any = LONLAT,
        nodata: float | None = None,
        href: str = "memory:array",
    ) -> Raster:
        """A raster that lies in memory.

        Args:
            values: (bands, rows, columns) or (rows, columns), first row in the north.
            bounds: (west, south, east, north) in `crs`.
            crs: the coordinate system.
            nodata: the value that stands for nothing.
            href: what `asset` columns shall name.
        """
        array = values[None] if values.ndim == 2 else values
        if array.ndim != 3 or 0 in array.shape:
            raise DataError(f"a raster has the shape (bands, rows, columns), not {values.shape}")
        raster = cls.__new__(cls)
        raster.href = href
        reader = ArrayReader(array, nodata)
        _, height, width = array.shape
        raster._set_up(
            reader,
            georeference(href, height, width, None, None, bounds, crs),
            bands=tuple(range(1, len(array) + 1)),
            dtype=array.dtype,
            nodata=nodata,
            overviews=(),
            decode=None,
            cache_bytes=256 << 20,
        )
        return raster

    def _set_up(
        self,
        reader: PixelReader,
        where: tuple[CRS, Affine],
        *,
        bands: tuple[int, ...],
        dtype: np.dtype[Any],
        nodata: float | None,
        overviews: tuple[tuple[int, int], ...],
        decode: Decode | None,
        cache_bytes: int,
    ) -> None:
        self.crs, self.transform = where
        self.height, self.width = reader.shape(-1)
        self.bands = bands
        self.dtype = np.dtype(np.float32) if decode is not None else dtype
        self.nodata = nodata
        self._overviews = overviews  # (rows, columns) of each, the finest first
        self._lonlat = is_lonlat(self.crs)
        self._period = period(self.crs)
        a, b, _, d, _, _ = self.transform
        whole_turn = self._period is not None and abs(self.width * abs(a) - self._period) < abs(a) / 2
        self.wraps = bool(whole_turn and b == 0 and d == 0)
        itemsize = len(bands) * self.dtype.itemsize
        self._tiles = TileCache(reader, wraps=self.wraps, itemsize=itemsize, decode=decode, limit=cache_bytes)
        self._reader = reader
        self._lock = threading.RLock()

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__.copy()
        del state["_lock"]  # the reader drops its handles itself, the cache its tiles here
        self._tiles.clear()
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock = threading.RLock()

    def __repr__(self) -> str:
        name = self.crs.to_string() if len(self.crs.to_string()) < 30 else self.crs.name
        size = f"{self.width} x {self.height} x {len(self.bands)}"
        return f"Raster({self.href!r}, {size} {self.dtype}, {name})"

    @property
    def count(self) -> int:
        """How many bands are read."""
        return len(self.bands)

    @property
    def block_reads(self) -> int:
        """How many blocks were read so far; each costs one read of the storage."""
        return self._tiles.reads

    @property
    def local(self) -> bool:
        """Whether reading more of it than is needed is cheap."""
        return self._reader.local

    @property
    def block_rows(self) -> int:
        """Rows of a storage block: places in one run of them are best read together."""
        return self._reader.block[0]

    def contains(self, col: NDArray[np.float64], row: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which positions (column, row) lie on the raster; those on its rim, give or take rounding, do."""
        eps = 1e-6
        with np.errstate(invalid="ignore"):
            ok = np.isfinite(col) & (row >= -eps) & (row <= self.height + eps)
            return ok if self.wraps else ok & (col >= -eps) & (col <= self.width + eps)

    def pixel(self, lon: ArrayLike, lat: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Positions (column, row) of points in degrees, of any one shape; not finite off the projection."""
        x, y = np.asarray(lon, dtype=np.float64), np.asarray(lat, dtype=np.float64)
        if not self._lonlat:
            x, y = transformer(self.crs, inverse=False).transform(x, y)
        a, b, c, d, e, f = self.transform
        if self._period is not None:  # the turn of the globe that is nearest to the raster's middle
            middle = c + a * self.width / 2 + b * self.height / 2
            with np.errstate(invalid="ignore"):
                x = x - self._period * np.round((x - middle) / self._period)
        det = a * e - b * d
        with np.errstate(invalid="ignore"):  # 0 times infinity, where the projection has no place
            return (e * (x - c) - b * (y - f)) / det, (a * (y - f) - d * (x - c)) / det

    def lonlat(self, col: ArrayLike, row: ArrayLike) -> LonLat:
        """Points at positions (column, row), each (n,).

        Raises:
            CrsError: a position lies outside what the raster's coordinate system can express.
        """
        i, j = np.asarray(col, dtype=np.float64), np.asarray(row, dtype=np.float64)
        a, b, c, d, e, f = self.transform
        x, y = a * i + b * j + c, d * i + e * j + f
        if not self._lonlat:
            x, y = transformer(self.crs, inverse=True).transform(x, y)
        if not (np.isfinite(x).all() and np.isfinite(y).all()):
            raise CrsError(f"{self.href}: a pixel lies outside of {self.crs.name}; read a part of the raster only")
        return LonLat((x + 180.0) % 360.0 - 180.0, np.clip(y, -90.0, 90.0))

    def sample(self, lonlat: LonLat, *, resampling: Resampling = "bilinear") -> NDArray[np.float32]:
        """Values (n, bands) at points, NaN outside the raster and where its pixel is nodata.

        Args:
            lonlat: n points.
            resampling: "bilinear" between the centres of valid pixels, or "nearest" (for classes).
        """
        values, valid = self.gather(*self.pixel(lonlat.lon, lonlat.lat), resampling=resampling)
        return np.where(valid, values, np.float32(np.nan))

    def grid(
        self, bounds: tuple[float, float, float, float], width: int, height: int, *, resampling: Resampling = "bilinear"
    ) -> NDArray[np.float32]:
        """The raster on a north-up grid in longitude and latitude, (bands, height, width), NaN where it has nothing.

        Args:
            bounds: (west, south, east, north) in degrees; west > east goes across the antimeridian.
            width: columns.
            height: rows.
            resampling: see `sample`; where the grid is coarser than the raster, pixels are averaged ("bilinear") or
                the most frequent is taken ("mode").
        """
        west, south, east, north = bounds
        if width < 1 or height < 1 or not south < north:
            raise UsageError(f"no grid of {width} x {height} pixels in {bounds}; give west, south, east, north")
        east = east + 360.0 if east <= west else east
        lon = west + (np.arange(width) + 0.5) * (east - west) / width
        lat = north - (np.arange(height) + 0.5) * (north - south) / height
        out = np.empty((self.count, height, width), dtype=np.float32)
        middle = np.array([(west + east) / 2]), np.array([(south + north) / 2])
        step = 1e-3 * (east - west) / width, 1e-3 * (north - south) / height
        c0, r0 = self.pixel(*middle)
        cx, rx = self.pixel(middle[0] + step[0], middle[1])
        cy, ry = self.pixel(middle[0], middle[1] + step[1])
        across = float(np.hypot(cx - c0, cy - c0)[0]) * 1e3, float(np.hypot(rx - r0, ry - r0)[0]) * 1e3
        level = self.level(across[0], across[1], resampling)
        rows = max(1, _CHUNK // width)
        for first in range(0, height, rows):
            part = slice(first, min(first + rows, height))
            x, y = np.meshgrid(lon, lat[part])
            values, valid = self.gather(*self.pixel(x.ravel(), y.ravel()), resampling=resampling, level=level)
            picture = np.where(valid, values, np.float32(np.nan)).T
            out[:, part] = picture.reshape(self.count, -1, width)
        return out

    def level(self, rx: float, ry: float, resampling: Resampling = "bilinear") -> Level:
        """The level of detail for samples that lie `rx` columns and `ry` rows of the raster apart.

        Below a step of two pixels the bilinear kernel still touches every pixel, so that pixels are averaged in
        powers of two only; "nearest" always reads the raster itself.
        """
        full = Level(-1, 1, 1, self.width, self.height, 1.0, 1.0)
        if resampling == "nearest":
            return full
        # Rounding must not halve the detail; what is not finite (off the projection) is no reason to average.
        rx, ry = (min(max(r, 1.0), 4096.0) * (1 + 1e-6) if math.isfinite(r) else 1.0 for r in (rx, ry))
        index, rows, cols = -1, self.height, self.width
        for i, (o_rows, o_cols) in enumerate(self._overviews):
            if self.width / o_cols <= rx and self.height / o_rows <= ry:
                index, rows, cols = i, o_rows, o_cols
        ox, oy = self.width / cols, self.height / rows
        gx = min(2 ** int(math.log2(max(rx / ox, 1.0))), cols)
        gy = min(2 ** int(math.log2(max(ry / oy, 1.0))), rows)
        return Level(index, gx, gy, -(-cols // gx), -(-rows // gy), ox * gx, oy * gy, resampling == "mode")

    def window(
        self, level: Level, row: int, col: int, height: int, width: int, band: int = 0
    ) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
        """Values (height, width) of a window of a level, and where they are valid (None: everywhere).

        The window may reach over the rim, where nothing is valid; around the globe columns go on at the other side.
        """
        with self._lock:
            return self._tiles.window(level, row, col, height, width, band)

    def gather(
        self,
        col: NDArray[np.float64],
        row: NDArray[np.float64],
        *,
        resampling: Resampling = "bilinear",
        level: Level | None = None,
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Values (n, bands) at positions (column, row), each (n,), and where they are valid.

        A sample is valid if its pixel is; its value is interpolated between the valid ones of its four neighbours.
        Each block is read once, in storage order. Values that are not valid are 0.
        """
        if resampling not in RESAMPLINGS:
            raise UsageError(f"no resampling is called {resampling!r}; known: {', '.join(RESAMPLINGS)}")
        level = level or Level(-1, 1, 1, self.width, self.height, 1.0, 1.0)
        values = np.zeros((len(col), self.count), dtype=np.float32)
        valid = np.zeros(values.shape, dtype=bool)
        index = np.flatnonzero(self.contains(col, row))
        if len(index) == 0:
            return values, valid
        u, v = (np.mod(col[index], self.width) if self.wraps else col[index]) / level.sx, row[index] / level.sy
        tile_rows, tile_cols = self._tiles.tile_shape(level)
        if resampling == "bilinear":
            u, v = u - 0.5, np.clip(v - 0.5, 0, level.height - 1)
            u = np.mod(u, level.width) if self.wraps else np.clip(u, 0, level.width - 1)
        x0 = np.clip(np.floor(u).astype(np.int64), 0, level.width - 1)
        y0 = np.clip(np.floor(v).astype(np.int64), 0, level.height - 1)
        across = -(-level.width // tile_cols)
        tile = (y0 // tile_rows) * across + x0 // tile_cols
        order = np.argsort(tile, kind="stable") if len(tile) and tile.min() != tile.max() else np.arange(len(tile))
        starts = np.flatnonzero(np.diff(tile[order], prepend=-1))
        with self._lock:
            for start, stop in zip(starts, np.append(starts[1:], len(order)), strict=True):
                t = int(tile[order[start]])
                data = self._tiles.get(level, t // across, t % across)
                y_first, x_first = t // across * tile_rows, t % across * tile_cols
                for first in range(start, stop, _CHUNK):
                    part = order[first : min(first + _CHUNK, stop)]
                    at = (y0[part] - y_first) * data.width + (x0[part] - x_first)
                    if resampling == "bilinear":
                        fx, fy = (u[part] - x0[part]).astype(np.float32), (v[part] - y0[part]).astype(np.float32)
                        got, ok = _bilinear(data.values, data.valid, data.width, at, fx, fy)
                    else:
                        got = data.values[at].astype(np.float32)
                        ok = np.ones(got.shape, dtype=bool) if data.valid is None else data.valid[at]
                    values[index[part]] = got
                    valid[index[part]] = ok
        if not valid.all():
            values[~valid] = 0.0
        return values, valid


def _bilinear(
    pixels: NDArray[Any],
    valid: NDArray[np.bool_] | None,
    width: int,
    at: NDArray[np.int64],
    fx: NDArray[np.float32],
    fy: NDArray[np.float32],
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Values between the pixels at, at + 1, at + width and at + width + 1, by the shares fx and fy."""
    fx, fy = fx[:, None], fy[:, None]
    if valid is None:
        top = pixels[at].astype(np.float32)
        top += fx * (pixels[at + 1] - top)
        low = pixels[at + width].astype(np.float32)
        low += fx * (pixels[at + width + 1] - low)
        low -= top
        top += fy * low
        return top, np.ones(top.shape, dtype=bool)
    total = np.zeros((len(at), pixels.shape[1]), dtype=np.float32)
    weight = np.zeros_like(total)
    gx, gy = np.float32(1) - fx, np.float32(1) - fy
    for step, share in ((0, gx * gy), (1, fx * gy), (width, gx * fy), (width + 1, fx * fy)):
        ok = valid[at + step]
        total += np.where(ok, pixels[at + step], 0) * share
        weight += ok * share
    # The pixel that holds the sample decides whether it is valid, so that data do not grow at their rim.
    nearest = at + (fx[:, 0] >= 0.5) + width * (fy[:, 0] >= 0.5)
    kept = valid[nearest] & (weight > 0)
    return np.where(kept, total / np.where(weight > 0, weight, 1), 0), kept


def decode_alphaearth(values: NDArray[np.int8]) -> NDArray[np.float32]:
    """AlphaEarth's int8 components to float32, of any shape: sign(v)·(|v| / 127.5)², and NaN for the nodata −128.

    Source: Google Earth Engine, "Satellite Embedding V1" (GOOGLE/SATELLITE_EMBEDDING/V1/ANNUAL), de-quantisation.
    Averages of such vectors are shorter than 1: renormalise them.
    """
    stored = np.asarray(values)
    if stored.dtype != np.int8:
        raise FormatError(f"AlphaEarth components are int8, not {stored.dtype}; read the raster without a scale")
    return decode_stored(stored, {"method": "alphaearth"})
