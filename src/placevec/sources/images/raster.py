"""Images that are rasters: 16 bits, floats, many bands, read whole through GDAL."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from placevec.errors import FormatError
from placevec.registry import need

# `warnings.catch_warnings` is not for several threads at once; files are opened one after the other, read together.
_OPENING = threading.Lock()
_COLOURS = ("red", "green", "blue")


def read_raster(
    path: Path, bands: Sequence[int] | None, max_pixels: int
) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
    """The values (bands, h, w) of a raster and which pixels hold one (h, w), None where all do.

    Args:
        path: the file.
        bands: numbers of the bands, from 1; by default those the file calls red, green and blue, or all but alpha.
        max_pixels: see `read_image`.

    Raises:
        FormatError: GDAL cannot read it, or it is too large, lacks a band, or holds complex numbers.
    """
    errors = need("rasterio.errors", extra="raster", purpose="reading images of more than 8 bits")
    with open_raster(path) as source:
        wanted = list(bands) if bands is not None else _default_bands(source)
        if max(wanted) > source.count:
            raise FormatError(f"there is no band {max(wanted)}; the file has 1 to {source.count}")
        check_pixels(int(source.width), int(source.height), len(wanted), max_pixels)
        kinds = {np.dtype(source.dtypes[band - 1]).kind for band in wanted}
        if not kinds <= set("iuf"):
            raise FormatError(f"its values are of type {source.dtypes[0]}; integers and floats are read")
        masked = any([flag.name for flag in source.mask_flag_enums[band - 1]] != ["all_valid"] for band in wanted)
        try:
            values = source.read(wanted)
            valid = (source.read_masks(wanted) > 0).all(axis=0) if masked else None
        except errors.RasterioError as error:
            raise FormatError("the image is damaged or cut short; fetch it again") from error
    return values, valid


def check_pixels(width: int, height: int, bands: int, max_pixels: int) -> None:
    """FormatError if an image has more pixels than may be decoded; see `read_image`."""
    if width * height * max(bands, 3) > 3 * max_pixels:
        of_bands = f" of {bands} bands" if bands > 3 else ""
        raise FormatError(
            f"{width:,} x {height:,} pixels{of_bands} are more than the limit of {max_pixels:,}; raise max_pixels if "
            "the file is meant, or cut chips from it as a raster"
        )


@contextmanager
def open_raster(path: Path) -> Iterator[Any]:
    """A dataset of rasterio, closed at the end; FormatError if GDAL cannot open it."""
    rasterio = need("rasterio", extra="raster", purpose="reading images of more than 8 bits")
    with _OPENING, warnings.catch_warnings():
        # Most images lie nowhere on the Earth.
        warnings.filterwarnings("ignore", category=rasterio.errors.NotGeoreferencedWarning)
        try:
            source = rasterio.open(path)
        except rasterio.errors.RasterioError as error:
            raise FormatError("the image is damaged or cut short; fetch it again") from error
    try:
        yield source
    finally:
        source.close()


def _default_bands(source: Any) -> list[int]:
    names = [colour.name for colour in source.colorinterp]
    if all(names.count(colour) == 1 for colour in _COLOURS):
        return [names.index(colour) + 1 for colour in _COLOURS]
    return [band for band, name in enumerate(names, 1) if name != "alpha"] or [1]
