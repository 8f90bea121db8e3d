"""What the pixels of a photo say of its quality: size, sharpness, exposure, and a hash by which repeats are told."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from placevec.errors import FormatError, UsageError
from placevec.measure.phash import FARTHEST, LOW, spectra
from placevec.registry import need
from placevec.sources.images import MAX_PIXELS
from placevec.sources.images.decode import HEAD, is_picture, load, opened, why_not
from placevec.sources.images.resize import bands_of, small

Indoor = Callable[[NDArray[np.uint8]], NDArray[Any]]
"""Images (m, 3, SIDE, SIDE) to how surely each shows the inside of a building (m,), 0 to 1."""

SIDE = 256  # of images that are given to judge whether they were taken indoors
_LONGER = 512  # pixels of the longer side at which sharpness and exposure are measured
_DARK, _BRIGHT = 2, 253  # grey levels at and beyond which nothing is left to see
_MOVING = ("PNG", "WEBP")

ANIMATED = "animated: no single image of a place"


@dataclass(frozen=True)
class QualityRules:
    """Which photos are kept. Every bound can be opened: 0 (of `max_*` 1 or 255) lets everything pass."""

    min_side: int = 64  # pixels of the shorter side
    max_pixels: int = MAX_PIXELS  # pixels that an image may have to be decoded at all
    min_sharpness: float = 8.0  # variance of the Laplacian in grey levels squared, at 512 pixels on the longer side
    min_mean: float = 12.0  # mean grey level, 0 to 255
    max_mean: float = 243.0
    max_clipped: float = 0.6  # share of pixels that are all but black or all but white
    exact: bool = True  # whether files of the same bytes are kept once
    near_bits: int | None = 4  # bits of 64 by which hashes of photos that look alike differ at most; None: not compared
    indoor: str | None = None  # column of the list that says how surely a photo was taken indoors, 0 to 1
    max_indoor: float = 0.5

    def __post_init__(self) -> None:
        for name in ("min_side", "max_pixels", "min_sharpness", "min_mean"):
            if not getattr(self, name) >= 0:
                raise UsageError(f"{name} is {getattr(self, name)}; give a number from 0")
        for name, most in (("max_mean", 255.0), ("max_clipped", 1.0), ("max_indoor", 1.0)):
            if not 0 <= getattr(self, name) <= most:
                raise UsageError(f"{name} is {getattr(self, name)}; give 0 to {most:g}")
        if self.near_bits is not None and not 0 <= self.near_bits <= FARTHEST:
            raise UsageError(f"photos that look alike differ in {self.near_bits} bits of 64; give 0 to {FARTHEST}")


OF_CHIPS = QualityRules(min_side=1, min_sharpness=0.0)
"""Rules for chips of a raster: they are as large as was asked for, and a desert or a lake is smooth, not blurred."""


@dataclass(frozen=True, eq=False)
class Look:
    """What was measured of one photo."""

    width: int  # pixels of the file
    height: int
    sharpness: float  # variance of the Laplacian, grey levels squared
    mean: float  # grey level
    clipped: float  # share of pixels
    digest: str  # SHA-256 of the file, of a chip of its pixels
    spectrum: NDArray[np.float64]  # (8, 8), see `measure.phash`
    thumbnail: NDArray[np.uint8] | None = None  # (3, SIDE, SIDE) where it was asked for

    def without_thumbnail(self) -> Look:
        """The same without the image: of all photos those would not fit in memory."""
        return replace(self, thumbnail=None)


def look_at_file(path: Path, rules: QualityRules, *, thumbnail: bool = False) -> Look:
    """Measure a file.

    Args:
        path: the image.
        rules: its size is held against them before anything is decoded.
        thumbnail: whether a small image is kept.

    Raises:
        FormatError: it cannot be read, moves, or is too small or too large; the message is the bare reason.
    """
    size = None
    try:
        with path.open("rb") as handle:
            head = handle.read(HEAD)
            if is_picture(head):
                image = opened(handle, head, str(path))
                if image is not None:
                    size = image.size
                    _check_size(image.width, image.height, rules)
                    if image.format in _MOVING and getattr(image, "is_animated", False):
                        raise FormatError(ANIMATED)
            handle.seek(0)
            digest = hashlib.file_digest(handle, "sha256").hexdigest()
    except OSError as error:
        raise FormatError(why_not(error)) from error
    found = load(path, None, "auto", rules.max_pixels, _LONGER)
    if isinstance(found, np.ndarray):
        _check_size(found.shape[2], found.shape[1], rules)
        return look_at(found, digest, thumbnail=thumbnail)
    return _look(found, found.convert("L"), size or found.size, digest, thumbnail=thumbnail)


def look_at(image: NDArray[np.uint8], digest: str = "", *, thumbnail: bool = False) -> Look:
    """Measure an image in memory, such as a chip.

    Args:
        image: (bands, h, w) uint8.
        digest: of its file; by default that of its pixels is made.
        thumbnail: whether a small image is kept.

    Raises:
        FormatError: it has neither one nor three bands, or another type; the message is the bare reason.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or len(image) not in (1, 3):
        raise FormatError(f"{len(image)} bands of {image.dtype}: a photo has three bands of 8 bits, name those to read")
    pil = need("PIL.Image", extra="raster", purpose="measuring photos")
    three = np.repeat(image, 3, axis=0) if len(image) == 1 else image
    picture = pil.fromarray(np.ascontiguousarray(three.transpose(1, 2, 0)))
    said = digest or hashlib.sha256(image.tobytes()).hexdigest()
    return _look(picture, picture.convert("L"), picture.size, said, thumbnail=thumbnail)


def refusal(look: Look, rules: QualityRules) -> str:
    """Why a photo is not kept, "" where it is; the same words for all photos, so that they can be counted."""
    if look.mean < rules.min_mean:
        return f"too dark: its mean grey level is under {rules.min_mean:g} of 255"
    if look.mean > rules.max_mean:
        return f"too bright: its mean grey level is over {rules.max_mean:g} of 255"
    if look.clipped > rules.max_clipped:
        return f"badly exposed: over {rules.max_clipped:.0%} of its pixels are black or white"
    if look.sharpness < rules.min_sharpness:
        return f"blurred: the variance of its Laplacian is under {rules.min_sharpness:g}"
    return ""


def sharpness(grey: NDArray[np.float64]) -> float:
    """The variance of the Laplacian of a grey image (h, w): low where no edge is sharp.

    The discrete Laplacian of four neighbours, inside the rim. Source: Pech-Pacheco et al., "Diatom autofocusing in
    brightfield microscopy: a comparative study" (2000).
    """
    if min(grey.shape) < 3:
        return 0.0
    inner = grey[1:-1, 1:-1]
    laplacian = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:] - 4.0 * inner
    return float(laplacian.var())


def _check_size(width: int, height: int, rules: QualityRules) -> None:
    if min(width, height) < rules.min_side:
        raise FormatError(f"too small: its shorter side has under {rules.min_side} pixels")
    if width * height > rules.max_pixels:
        raise FormatError(f"enormous: more than {rules.max_pixels:,} pixels")


def _look(picture: Any, grey: Any, size: tuple[int, int], digest: str, *, thumbnail: bool) -> Look:
    longer = max(grey.size)
    if longer > _LONGER:
        pil = need("PIL.Image", extra="raster", purpose="measuring photos")
        scaled = (max(1, round(side * _LONGER / longer)) for side in grey.size)
        grey = grey.resize(tuple(scaled), pil.Resampling.BILINEAR)
    values = np.asarray(grey, dtype=np.float64)
    return Look(
        width=int(size[0]),
        height=int(size[1]),
        sharpness=sharpness(values),
        mean=float(values.mean()),
        clipped=float(((values <= _DARK) | (values >= _BRIGHT)).mean()),
        digest=digest,
        spectrum=spectra(values[None, None])[0],
        thumbnail=bands_of(small(picture, SIDE, "crop")) if thumbnail else None,
    )


def spectra_of(looks: list[Look]) -> NDArray[np.float64]:
    """The spectra (n, 8, 8) of some photos."""
    return np.array([look.spectrum for look in looks]).reshape(len(looks), LOW, LOW)
