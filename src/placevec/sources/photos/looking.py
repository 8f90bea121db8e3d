"""Many photos looked at side by side: files by several threads, chips from their source."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from placevec.errors import FormatError
from placevec.sources.photos.exif import Exif, read_exif
from placevec.sources.photos.found import Found
from placevec.sources.photos.look import Look, QualityRules, look_at, look_at_file

Rows = NDArray[np.int64]


def read_all_exif(found: Found, rows: Rows, threads: int) -> dict[int, Exif]:
    """What files say of their photos, by row."""
    told = in_threads(lambda row: read_exif(found.assets[row]), rows.tolist(), threads)
    return dict(zip(rows.tolist(), told, strict=True))


def look_at_all(
    found: Found, rows: Rows, rules: QualityRules, threads: int, exif: Mapping[int, Exif], *, thumbnails: bool
) -> tuple[dict[int, Look], dict[int, Exif], dict[int, tuple[str, str]]]:
    """What was measured of photos, what their files say, and (stage, reason) of those that cannot be read, by row.

    Args:
        found: the photos.
        rows: those to look at; they are in memory at once where thumbnails are.
        rules: see `look_at_file`.
        threads: how many files are decoded at once.
        exif: what was read before.
        thumbnails: whether small images are kept.
    """
    if found.source is not None:
        return _chips(found, rows, thumbnails=thumbnails)

    def one(row: int) -> tuple[Look | str, Exif]:
        path = Path(found.assets[row])
        try:
            return look_at_file(path, rules, thumbnail=thumbnails), exif.get(row) or read_exif(path)
        except FormatError as error:
            return str(error), Exif()

    seen: dict[int, Look] = {}
    told: dict[int, Exif] = {}
    lost: dict[int, tuple[str, str]] = {}
    for row, (look, said) in zip(rows.tolist(), in_threads(one, rows.tolist(), threads), strict=True):
        if isinstance(look, str):
            lost[row] = ("image", look)
        else:
            seen[row], told[row] = look, said
    return seen, told, lost


def in_threads(function: Callable[[Any], Any], items: Sequence[Any], threads: int) -> list[Any]:
    """What a function gives for each item; Pillow and GDAL let other threads run while they decode."""
    if threads <= 1 or len(items) < 2:
        return [function(item) for item in items]
    pool = ThreadPoolExecutor(min(threads, len(items)))
    try:
        return list(pool.map(function, items))
    finally:
        # An interrupt must not wait for what nobody will look at.
        pool.shutdown(wait=True, cancel_futures=True)


def _chips(
    found: Found, rows: Rows, *, thumbnails: bool
) -> tuple[dict[int, Look], dict[int, Exif], dict[int, tuple[str, str]]]:
    assert found.source is not None
    batch = found.source.read(rows)
    at = {str(found.ids[row]): row for row in rows.tolist()}
    lost = {at[one.id]: (one.stage, one.reason) for one in batch.skipped}
    seen: dict[int, Look] = {}
    for row, image in zip(batch.rows.tolist(), batch.data["image"], strict=True):
        try:
            seen[row] = look_at(image, thumbnail=thumbnails)
        except FormatError as error:
            lost[row] = ("image", str(error))
    return seen, {}, lost
