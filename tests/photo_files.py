"""Photos made for tests: pictures with content, EXIF data of cameras, and files that are damaged in known ways."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.TiffImagePlugin import IFDRational

AT = (67.0, 24.9)  # Karachi


def scene(seed: int, width: int = 160, height: int = 120) -> NDArray[np.uint8]:
    """A picture (h, w, 3) of rectangles in random colours: sharp, well exposed, unlike any other."""
    rng = np.random.default_rng(seed)
    image = np.full((height, width, 3), rng.integers(60, 190, 3), dtype=np.uint8)
    for _ in range(24):
        x, y = rng.integers(0, width - 8), rng.integers(0, height - 8)
        w, h = rng.integers(8, width // 2), rng.integers(8, height // 2)
        image[y : y + h, x : x + w] = rng.integers(20, 236, 3)
    return image


def sexagesimal(degrees: float) -> tuple[IFDRational, IFDRational, IFDRational]:
    """Degrees, minutes and seconds as cameras write them."""
    whole = round(abs(degrees) * 3600 * 10_000)
    minutes, seconds = divmod(whole, 60 * 10_000)
    return IFDRational(minutes // 60, 1), IFDRational(minutes % 60, 1), IFDRational(seconds, 10_000)


def gps(lon: float, lat: float) -> dict[int, Any]:
    """The GPS directory of a position."""
    return {1: "S" if lat < 0 else "N", 2: sexagesimal(lat), 3: "W" if lon < 0 else "E", 4: sexagesimal(lon)}


def exif(
    at: dict[int, Any] | None = None, photo: dict[int, Any] | None = None, image: dict[int, Any] | None = None
) -> bytes:
    """EXIF data with the directories given."""
    made = Image.Exif()
    for tag, value in (image or {}).items():
        made[tag] = value
    if photo:
        made[0x8769] = photo
    if at:
        made[0x8825] = at
    data: bytes = made.tobytes()
    return data


def write_photo(
    path: Path, seed: int = 0, at: tuple[float, float] | None = AT, *, size: tuple[int, int] = (160, 120), **tags: Any
) -> Path:
    """A JPEG with a position, or without one; further directories by `photo` and `image`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = exif(None if at is None else gps(*at) | tags.pop("gps", {}), **tags)
    Image.fromarray(scene(seed, *size)).save(path, quality=92, exif=data)
    return path


def write_raw(path: Path, at: dict[int, Any], seed: int = 0) -> Path:
    """A JPEG with this GPS directory."""
    Image.fromarray(scene(seed)).save(path, quality=92, exif=exif(at))
    return path


def write_animated(path: Path, seed: int = 0) -> Path:
    """An animation of two frames; the ending says of which form."""
    frames = [Image.fromarray(scene(seed + step)) for step in range(2)]
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=100, loop=0)
    return path


def write_enormous(path: Path, side: int = 40_000) -> Path:
    """A PNG whose header tells of side² pixels, in some hundred bytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\x00" * 100)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    return path
