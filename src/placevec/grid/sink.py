"""GridSink: writes an EmbeddingGrid from north to south in the memory of some rows, however many there are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from placevec.errors import SchemaError, UsageError
from placevec.files import remove, whole
from placevec.grid.pyramid import Level, block_side, levels
from placevec.grid.raster import EXTRA, TAG
from placevec.provenance import TableMeta
from placevec.registry import need

WRITE_CACHE = 2**26  # of GDAL while a grid is written: some tiles, which are written whole and not read again


class GridSink:
    """Writes an EmbeddingGrid strip by strip, north to south; the file appears when all is written, or not at all.

    The grid and its overviews grow side by side, as plain tiled files in a folder beside `path`, and are copied into
    one cloud-optimised GeoTIFF at the end. Left to GDAL, the overviews are made then: by reading the grid again, in
    memory that grows with it.

    Args:
        path: a name ending in .tif.
        meta: Space, dtype (float32, float16 is kept as float32, int8 with a codec) and provenance.
        bounds: (left, bottom, right, top) in units of `crs`.
        shape: (rows, columns) of pixels.
        crs: any CRS that PROJ knows.
    """

    def __init__(
        self,
        path: str | Path,
        meta: TableMeta,
        *,
        bounds: tuple[float, float, float, float],
        shape: tuple[int, int],
        crs: Any = "EPSG:4326",
    ) -> None:
        if Path(path).suffix.lower() not in (".tif", ".tiff"):
            raise UsageError(f"{path}: a grid's name ends in .tif")
        self.path = Path(path)
        # GeoTIFF has no half floats that all readers know.
        self.meta = meta.replace(dtype="int8" if meta.dtype == "int8" else "float32", kind="pixel")
        self.bounds, self.shape, self.crs = bounds, shape, crs
        self.side = block_side(shape[1], meta.space.dims, np.dtype(self.meta.dtype).itemsize)
        self._whole = whole(self.path)
        self._row = 0

    def __enter__(self) -> GridSink:
        self._part = self._whole.__enter__()
        self._folder = self._part.with_name(f"{self._part.name}-levels")
        self._levels: list[Level] = []
        try:
            self._folder.mkdir()
            self._open()
        except BaseException as failure:
            self._clear()
            self._whole.__exit__(type(failure), failure, failure.__traceback__)
            raise
        return self

    def write(self, strip: NDArray[Any]) -> None:
        """Add the next rows: (rows, columns, d), stored form; NaN (or -128) where there is no value."""
        rows, columns, dims = strip.shape
        if columns != self.shape[1] or dims != self.meta.space.dims or self._row + rows > self.shape[0]:
            raise SchemaError(f"a strip of {strip.shape} does not fit a grid of {self.shape} with {dims} dims")
        self._levels[0].add(strip.astype(self.meta.dtype, copy=False))
        self._row += rows

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        try:
            if kind is None:
                if self._row != self.shape[0]:
                    raise SchemaError(f"{self._row} of {self.shape[0]} rows of {self.path.name} were written")
                self._finish()
        except BaseException as failure:
            self._clear()
            self._whole.__exit__(type(failure), failure, failure.__traceback__)
            raise
        self._clear()
        try:
            self._whole.__exit__(kind, error, trace)
        except BaseException as again:
            if again is not error:
                raise

    def _open(self) -> None:
        height, width = self.shape
        integer = self.meta.dtype == "int8"
        profile = {
            "driver": "GTiff",
            "count": self.meta.space.dims,
            "dtype": self.meta.dtype,
            "crs": self.crs,
            "nodata": -128 if integer else float("nan"),
            "tiled": True,
            "interleave": "pixel",
            "compress": "zstd",
            "BIGTIFF": "IF_SAFER",
        }
        self._levels = levels(self._folder / "grid.tif", (height, width), self.bounds, profile, self.side)
        full = self._levels[0].raster
        for band, name in enumerate(self.meta.dims or [f"dim_{i}" for i in range(self.meta.space.dims)], start=1):
            full.set_band_description(band, name)
        full.update_tags(**{TAG: json.dumps(self.meta.to_footer())})

    def _finish(self) -> None:
        for level in self._levels:  # from the finest: what is left of each goes on to the next
            level.close()
        rasterio = need("rasterio", **EXTRA)
        from rasterio.shutil import copy

        with rasterio.Env(GDAL_NUM_THREADS="ALL_CPUS"):
            copy(
                self._levels[0].path,
                self._part,
                driver="COG",
                compress="ZSTD",
                blocksize=self.side,
                overviews="FORCE_USE_EXISTING",
                bigtiff="IF_SAFER",
            )

    def _clear(self) -> None:
        for level in self._levels:
            level.raster.close()
        remove(self._folder)
