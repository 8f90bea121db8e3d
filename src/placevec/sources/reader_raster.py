"""Rasters whose pixels come from a reader of one's own: tile services, arrays of NumPy, mosaics of files."""

from __future__ import annotations

from typing import Any

import numpy as np

from placevec.sources.georeference import Affine, georeference
from placevec.sources.rasters import Raster
from placevec.sources.tiles import PixelReader


class ReaderRaster(Raster):
    """A raster over a `PixelReader`.

    Args:
        href: its address, as people know it.
        reader: gives its pixels; `shape(-1)` is its size.
        crs: its coordinate system.
        transform: see `Raster`.
        bands: how many bands the reader gives.
        dtype: type of its values.
        overviews: (rows, columns) of each overview that the reader knows, the finest first.
        cache_bytes: see `Raster`.

    Raises:
        CrsError: the coordinate system is unknown.
        FormatError: the transform cannot be inverted.
    """

    def __init__(
        self,
        href: str,
        reader: PixelReader,
        crs: Any,
        transform: Affine,
        *,
        bands: int,
        dtype: Any = np.uint8,
        overviews: tuple[tuple[int, int], ...] = (),
        cache_bytes: int = 256 << 20,
    ) -> None:
        self.href = href
        self._set_up(
            reader,
            georeference(href, *reader.shape(-1), transform, None, None, crs),
            bands=tuple(range(1, bands + 1)),
            dtype=np.dtype(dtype),
            nodata=None,
            overviews=overviews,
            decode=None,
            cache_bytes=cache_bytes,
        )
