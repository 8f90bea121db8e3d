"""Images of any size to squares of one size."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from placevec.errors import DataError, UsageError
from placevec.registry import need

Fit = Literal["squash", "crop"]
FITS = ("squash", "crop")


def resized(image: NDArray[np.uint8], pixels: int, fit: Fit = "squash") -> NDArray[np.uint8]:
    """An image (bands, h, w) as (bands, pixels, pixels), bilinear, with the pixels averaged that fall together.

    Args:
        image: uint8.
        pixels: side of the square.
        fit: "squash" keeps all of the image and changes its shape; "crop" keeps its shape and takes the square in
            its middle whose side is the image's shorter one.

    Raises:
        DataError: this is no image of 8 bits.
        UsageError: another fit, or no pixels.
    """
    check_size(pixels, fit)
    if image.ndim != 3 or image.dtype != np.uint8 or 0 in image.shape:
        raise DataError(f"an image is (bands, height, width) of uint8, not {image.dtype} {image.shape}")
    if image.shape[1:] == (pixels, pixels):
        return image
    pil = need("PIL.Image", extra="raster", purpose="reading images")
    if len(image) == 3:
        return bands_of(small(pil.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0))), pixels, fit))
    return np.stack([np.asarray(small(pil.fromarray(np.ascontiguousarray(band)), pixels, fit)) for band in image])


def small(picture: Any, pixels: int, fit: Fit) -> Any:
    """The same for an image of Pillow."""
    if picture.size == (pixels, pixels):
        return picture
    pil = need("PIL.Image", extra="raster", purpose="reading images")
    width, height = picture.size
    side = min(height, width)
    left, top = ((width - side) / 2.0, (height - side) / 2.0) if fit == "crop" else (0.0, 0.0)
    box = (left, top, width - left, height - top)
    return picture.resize((pixels, pixels), pil.Resampling.BILINEAR, box)


def bands_of(picture: Any) -> NDArray[np.uint8]:
    """An image of Pillow as (bands, h, w)."""
    # Band by band is half as long as one transposition.
    return np.stack([np.asarray(band) for band in picture.split()])


def check_size(pixels: int, fit: str) -> None:
    """UsageError unless images can be given this size in this way."""
    if int(pixels) != pixels or not 1 <= pixels <= 8192:
        raise UsageError(f"an image cannot be made {pixels} pixels wide; give 1 to 8192")
    if fit not in FITS:
        raise UsageError(f"fit is {fit!r}; choose one of {', '.join(FITS)}")
