"""One image file as an array of 8 bits: pictures through Pillow, rasters (16 bits, floats, many bands) through GDAL."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from placevec.errors import FormatError, UsageError
from placevec.registry import need
from placevec.sources.images.raster import check_pixels, read_raster
from placevec.sources.images.resize import bands_of
from placevec.sources.images.stretch import Stretch, check_stretch, stretched

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")

MAX_PIXELS = 1 << 27
"""Pixels of three bands that an image may have: 134 million, 400 MB when decoded."""

HEAD = 26
"""Bytes by which the form of a file is told: as far as the depth of a PNG."""

TIFF = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")
_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF")
_KNOWN = "JPEG, PNG, WebP, BMP or TIFF"
_EIGHT_BITS = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "LAB")
_SEE_THROUGH = ("LA", "PA", "RGBA")
_BITS, _SAMPLE_FORMAT = 258, 339  # tags of TIFF
# EXIF tag 274, "Orientation": how a camera was held, as the name of Pillow's transposition that undoes it.
_UPRIGHT = {
    2: "FLIP_LEFT_RIGHT",
    3: "ROTATE_180",
    4: "FLIP_TOP_BOTTOM",
    5: "TRANSPOSE",
    6: "ROTATE_270",
    7: "TRANSVERSE",
    8: "ROTATE_90",
}
# What a file cannot help; to skip images for it would make a poor table in silence.
_MACHINE = (errno.ENOSPC, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO)


def read_image(
    path: str | Path,
    *,
    bands: Sequence[int] | None = None,
    stretch: Stretch = "auto",
    max_pixels: int = MAX_PIXELS,
    at_least: int | None = None,
) -> NDArray[np.uint8]:
    """The image of a file as (bands, height, width) uint8, upright.

    A picture of up to 8 bits a value has three bands, red, green and blue: grey is repeated, palettes, CMYK and YCbCr
    are converted, and what is transparent lies over white, as browsers show it. A raster of other values has its red,
    green and blue bands where the file names them, a single band three times, and otherwise all its bands; pixels
    without a value are 0.

    Args:
        path: a JPEG, PNG, WebP, BMP, TIFF or GeoTIFF, whatever its name.
        bands: numbers of the bands wanted, from 1; of a picture these are red, green and blue.
        stretch: how other values become 8 bits, see `stretch.check_stretch`.
        max_pixels: a file whose header tells of more (counted as if of three bands) is not decoded.
        at_least: a JPEG may be decoded at half, a quarter or an eighth of its size where both its sides keep so many
            pixels: several times as fast, for images that are made small anyway.

    Raises:
        FormatError: the file is absent, empty, damaged, no image, too large, or lacks a band.
        UsageError: the stretch is none.
        MissingExtra: Pillow, or rasterio for a raster, is not installed.
    """
    try:
        found = load(Path(path), bands, check_stretch(stretch), max_pixels, at_least)
    except FormatError as error:
        raise FormatError(f"{path}: {error}") from error
    return found if isinstance(found, np.ndarray) else bands_of(found)


def load(
    path: Path, bands: Sequence[int] | None, stretch: Stretch, max_pixels: int, at_least: int | None = None
) -> Any:
    """See `read_image`: an image of Pillow in RGB, or an array (bands, h, w) where it is more than that.

    The message of a FormatError is the bare reason, so that equal reasons can be counted.
    """
    check_bands(bands)
    try:
        with path.open("rb") as handle:
            head = handle.read(HEAD)
            if is_picture(head) and not (bands is not None and head.startswith(TIFF)):
                picture = _picture(handle, head, str(path), max_pixels, at_least)
                if picture is not None:
                    if bands is None and stretch in ("auto", "none"):
                        return picture
                    return stretched(_chosen(bands_of(picture), bands), stretch)
        values, valid = read_raster(path, bands, max_pixels)
    except OSError as error:
        raise FormatError(why_not(error)) from error
    if bands is None and len(values) == 1:
        values = np.repeat(values, 3, axis=0)
    return stretched(values, stretch, valid)


def check_bands(bands: Sequence[int] | None) -> None:
    """UsageError unless these can be numbers of bands."""
    if bands is not None and (not len(bands) or min(bands) < 1):
        raise UsageError(f"bands {list(bands)} cannot be read; number them from 1")


def is_picture(head: bytes) -> bool:
    """Whether a file that begins so is for Pillow to try first; FormatError if it is no image at all.

    Args:
        head: the first `HEAD` bytes.
    """
    if not head:
        raise FormatError("the file is empty; fetch it again")
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return head[24:25] != b"\x10"  # Pillow would cut 16 bits down to 8 without a stretch
    if head.startswith((b"\xff\xd8\xff", b"BM", *TIFF)) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP"):
        return True
    raise FormatError(f"the file is no {_KNOWN}; leave it out, or write it as one of these")


def opened(handle: BinaryIO, head: bytes, name: str) -> Any:
    """Pillow's image of an open file, of which nothing but the header is read; None if it knows no such image.

    `PIL.Image.open` is not called because its limit on pixels is a setting of the whole process: ours is checked in
    its stead, by the caller.
    """
    pil = need("PIL.Image", extra="raster", purpose="reading images")
    pil.preinit()
    for form in _FORMATS:
        if form not in pil.OPEN:
            pil.init()
        factory, accept = pil.OPEN.get(form, (None, None))
        if factory is not None and accept(head[:16]) is True:
            handle.seek(0)
            try:
                if form == "TIFF" and not _ordinary(handle):
                    return None
                return factory(handle, name)
            except OSError as error:
                if error.errno in _MACHINE:
                    raise
                return None
            except Exception:  # a damaged header makes Pillow raise almost anything
                return None
    return None


def _ordinary(handle: BinaryIO) -> bool:
    """Whether a TIFF has up to four samples of up to 8 bits: of others Pillow would complain on its log."""
    tags = need("PIL.TiffImagePlugin", extra="raster", purpose="reading images")
    head = handle.read(8)
    if head[2:3] == b"+":
        head += handle.read(8)  # a BigTIFF
    directory = tags.ImageFileDirectory_v2(head)
    handle.seek(directory.next)
    directory.load(handle)
    handle.seek(0)
    bits = directory.get(_BITS, (1,))
    return len(bits) <= 4 and max(bits) <= 8 and set(directory.get(_SAMPLE_FORMAT, (1,))) == {1}


def why_not(error: OSError) -> str:
    """Why a file cannot be opened, for people; the error itself is raised if the machine is to blame."""
    if error.errno in _MACHINE:
        raise error
    if isinstance(error, FileNotFoundError):
        return "the file does not exist; check the path"
    if isinstance(error, IsADirectoryError):
        return "this is a folder, not an image"
    return f"the file cannot be opened ({error.strerror or 'unknown reason'})"


def _picture(handle: BinaryIO, head: bytes, name: str, max_pixels: int, at_least: int | None) -> Any:
    """The picture of an open file in RGB, or None where it is a raster, for GDAL to read."""
    damaged = FormatError("the image is damaged or cut short; fetch it again")
    image = opened(handle, head, name)
    if image is None or image.mode not in _EIGHT_BITS:
        if head.startswith(TIFF):
            return None
        raise damaged
    width, height = image.size
    check_pixels(width, height, 3, max_pixels)
    try:
        if at_least is not None:
            image.draft(None, (at_least, at_least))
        image.load()
        return _rgb(_upright(image))
    except OSError as error:
        if error.errno in _MACHINE:
            raise
        raise damaged from error
    except MemoryError:
        raise
    except Exception as error:  # see `opened`
        raise damaged from error


def exif_of(image: Any) -> Any:
    """What a camera wrote beside an image that is `opened`, as Pillow has it.

    In a PNG it may stand behind the pixels, and Pillow decodes all of them to look there.

    Raises:
        FormatError: the header of a PNG tells of more than `MAX_PIXELS`, so nothing is decoded.
    """
    if image.format == "PNG" and "exif" not in image.info and image.width * image.height > MAX_PIXELS:
        raise FormatError(f"{image.width:,} x {image.height:,} pixels are too many to look for EXIF data behind them")
    return image.getexif()


def _upright(image: Any) -> Any:
    try:
        turned = _UPRIGHT.get(image.getexif().get(274))
    except Exception:  # EXIF data that cannot be read say nothing about the picture
        return image
    pil = need("PIL.Image", extra="raster", purpose="reading images")
    return image if turned is None else image.transpose(pil.Transpose[turned])


def _rgb(image: Any) -> Any:
    pil = need("PIL.Image", extra="raster", purpose="reading images")
    if image.mode in _SEE_THROUGH or "transparency" in image.info:
        image = image.convert("RGBA")
        image = pil.alpha_composite(pil.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def _chosen(picture: NDArray[np.uint8], bands: Sequence[int] | None) -> NDArray[np.uint8]:
    if bands is None:
        return picture
    if max(bands) > len(picture):
        raise FormatError(f"there is no band {max(bands)}; a picture has 1 to {len(picture)}")
    return picture[[band - 1 for band in bands]]
