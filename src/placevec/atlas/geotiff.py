"""A map at the full resolution of its grid, written tile by tile: a GeoTIFF that is never in memory whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from placevec.files import whole
from placevec.grid import BLOCK, EmbeddingGrid, Tile
from placevec.registry import need

TileSink = Callable[[Tile, NDArray[Any], NDArray[np.bool_]], None]

_EXTRA = {"extra": "raster", "purpose": "writing GeoTIFF"}


@contextmanager
def tile_sink(path: str | Path, grid: EmbeddingGrid, *, name: str = "", units: str = "") -> Iterator[TileSink]:
    """Write colours, or the values of one band, onto the pixels of a grid, as a cloud-optimised GeoTIFF.

    Gives a function that takes a tile, its colours (height, width, 3) uint8 or values (height, width), and the mask of
    the pixels that have any. The file appears when all is written, or not at all; what was not written has no value.

    Args:
        path: a name ending in .tif.
        grid: the grid whose pixels, CRS and extent the file has.
        name: what the values are; empty for colours, written as red, green, blue and alpha.
        units: of the values.
    """
    rasterio = need("rasterio", **_EXTRA)
    windows = need("rasterio.windows", **_EXTRA)
    kind = need("rasterio.enums", **_EXTRA).ColorInterp

    with whole(path) as part:
        plain = part.with_name(f"{part.name}.tif")
        try:
            with rasterio.open(
                plain,
                "w",
                driver="GTiff",
                width=grid.shape[1],
                height=grid.shape[0],
                count=1 if name else 4,
                dtype="float32" if name else "uint8",
                crs=grid.crs,
                transform=grid.transform,
                nodata=float("nan") if name else None,
                tiled=True,
                blockxsize=BLOCK,
                blockysize=BLOCK,
                BIGTIFF="IF_SAFER",
            ) as raster:
                if name:
                    raster.descriptions, raster.units = (name,), (units,)
                else:
                    raster.colorinterp = [kind.red, kind.green, kind.blue, kind.alpha]

                def write(tile: Tile, made: NDArray[Any], valid: NDArray[np.bool_]) -> None:
                    window = windows.Window(tile.column, tile.row, tile.width, tile.height)
                    if name:
                        raster.write(np.where(valid, made, np.nan).astype(np.float32), 1, window=window)
                    else:
                        alpha = np.where(valid, np.uint8(255), np.uint8(0))
                        raster.write(np.concatenate([np.moveaxis(made, -1, 0), alpha[None]]), window=window)

                yield write
            # Averaging would invent colours and values that no pixel has.
            as_cog(plain, part, "NEAREST")
        finally:
            plain.unlink(missing_ok=True)


def as_cog(plain: Path, goal: Path, overviews: Literal["NEAREST", "AVERAGE", "MODE"], block: int = BLOCK) -> None:
    """Copy a GeoTIFF into the layout of a COG: tiles of `block` pixels, overviews as `overviews` says."""
    rasterio = need("rasterio", **_EXTRA)
    shutil = need("rasterio.shutil", **_EXTRA)
    with rasterio.Env(GDAL_NUM_THREADS="ALL_CPUS"):
        shutil.copy(
            plain,
            goal,
            driver="COG",
            COMPRESS="DEFLATE",
            PREDICTOR="YES",
            BLOCKSIZE=block,
            OVERVIEW_RESAMPLING=overviews,
            BIGTIFF="IF_SAFER",
        )
