"""What a locator is given to look at: photos by path, folders, lists, arrays; read in batches while it thinks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from placevec.errors import UsageError
from placevec.sources.base import Batch, Source
from placevec.sources.images import ImageFiles
from placevec.sources.photos import PhotoList, read_exif
from placevec.table import Places, Skipped

Rows = NDArray[np.int64]

DEFAULT_PIXELS = 224  # side of photos for backbones that take any
LIST = ".parquet"
_OF_CAMERA = ("taken", "hour", "month", "focal_mm", "heading", "tags")


def open_images(what: str | Path | Sequence[str | Path], pixels: int = 0, *, camera: bool = False) -> Source:
    """Photos as a source, each cut to the square in its middle.

    Args:
        what: a photo, a folder of photos, several photos, or a photo list (.parquet).
        pixels: side of the square; 0: a usual one.
        camera: whether what cameras write (time, focal length, heading, tags) is read too, of files: a photo list has
            it in its columns. Their position is never a part of it.

    Raises:
        UsageError: there is no such file, or no photo in the folder.
    """
    side = pixels or DEFAULT_PIXELS
    if isinstance(what, str | Path) and Path(what).suffix == LIST:
        if not Path(what).is_file():
            raise UsageError(f"{what} does not exist; give a photo list, a folder of photos, or photos")
        return PhotoList(what, pixels=side)
    files = ImageFiles(what, pixels=side, fit="crop")
    return PhotoList(_with_camera(files), pixels=side) if camera else files


def batches(source: Source, rows: Rows, size: int) -> Iterator[tuple[Rows, Batch]]:
    """Rows, `size` at a time, and what was read of them; the next are read while the caller works on these."""
    parts = [rows[start : start + size] for start in range(0, len(rows), size)]
    if not parts:
        return
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(source.read, parts[0])
        for at, asked in enumerate(parts):
            batch = coming.result()
            if at + 1 < len(parts):
                coming = pool.submit(source.read, parts[at + 1])
            yield asked, batch


def lost(places: Places, asked: Rows, batch: Batch) -> list[Skipped]:
    """The rows of a batch that were asked for and not read, each with its reason."""
    known = {one.id: one for one in batch.skipped}
    found = []
    for row in asked[np.isin(asked, batch.rows, invert=True)].tolist():
        name = str(places.ids[row])
        found.append(known.get(name) or Skipped(name, "read", "the source neither gave nor skipped it"))
    return found


def square(images: NDArray[Any]) -> NDArray[Any]:
    """Images (n, bands, h, w) cut to the square in their middle; UsageError for an array of another form."""
    if images.ndim != 4:
        raise UsageError(f"an array of the shape {images.shape} is no image: give (bands, h, w) or (n, bands, h, w)")
    height, width = images.shape[2:]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return images[:, :, top : top + side, left : left + side]


def _with_camera(files: ImageFiles) -> Places:
    """The places of photos with what their cameras wrote as columns."""
    told = [read_exif(path) for path in files.files]
    places = files.places()
    for name in _OF_CAMERA:
        values = [getattr(one, name) for one in told]
        if any(value is not None for value in values):
            places = places.with_column(name, np.array(values, dtype=object))
    return places
