"""Tiles and their captions as a folder that `read_captions` reads: the way from a region to a training."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from placevec.errors import DataError, UsageError
from placevec.files import whole, write_text
from placevec.registry import need
from placevec.sources.base import Source
from placevec.sources.images.stretch import Stretch, check_stretch, stretched
from placevec.table import Places, Skipped

CAPTIONS = "captions.json"
_BATCH = 256
_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")


def write_caption_set(
    folder: str | Path,
    tiles: Source,
    captions: Places,
    *,
    splits: Mapping[str, str] | None = None,
    stretch: Stretch = "auto",
) -> list[Skipped]:
    """Write `folder/images/TILE.png` and `folder/captions.json` (the Karpathy form, with lon and lat).

    Args:
        folder: is replaced as a whole if it exists.
        tiles: gives "image" (m, 1 or 3 bands, h, w) of each tile, such as a `ChipSource` of red, green and blue.
        captions: rows of `tag_captions`: `place` is the tile's key, `text` the caption.
        splits: the split of a tile by its key; without it the file says none, and training holds out its own part.
        stretch: how images of other than 8 bits become pictures, see `images.read_image`.

    Returns:
        The tiles that were not written, with the reason.

    Raises:
        UsageError: images have another number of bands.
        DataError: no tile is left.
    """
    pil = need("PIL.Image", extra="raster", purpose="writing images")
    how = check_stretch(stretch)
    places = tiles.places()
    texts: dict[str, list[str]] = {}
    for key, text in zip(captions.keys.tolist(), captions.column("text").tolist(), strict=True):
        texts.setdefault(str(key), []).append(str(text))
    keys = [str(key) for key in places.keys]
    told = np.array([key in texts for key in keys], dtype=bool)
    skipped = [Skipped(str(places.ids[row]), "caption", "it has no caption") for row in np.flatnonzero(~told)]
    rows = np.flatnonzero(told).astype(np.int64)
    records: list[dict[str, Any]] = []
    with whole(folder) as part:
        (part / "images").mkdir(parents=True)
        for first in range(0, len(rows), _BATCH):
            batch = tiles.read(rows[first : first + _BATCH])
            skipped += batch.skipped
            for row, image in zip(batch.rows.tolist(), batch.data["image"], strict=True):
                name = f"{_file(str(places.ids[row]), row)}.png"
                pil.fromarray(_picture(image, how)).save(part / "images" / name)
                record: dict[str, Any] = {"filename": name, "sentences": [{"raw": raw} for raw in texts[keys[row]]]}
                if splits is not None:
                    record["split"] = splits.get(keys[row], "")
                if np.isfinite(places.lon[row]):
                    record |= {"lon": round(float(places.lon[row]), 7), "lat": round(float(places.lat[row]), 7)}
                records.append(record)
        if not records:
            raise DataError(f"{folder}: none of the {len(places):,} tiles has both an image and a caption")
        write_text(part / CAPTIONS, json.dumps({"images": records}, ensure_ascii=False) + "\n")
    return skipped


def _picture(image: NDArray[Any], stretch: Stretch) -> NDArray[np.uint8]:
    if len(image) not in (1, 3):
        raise UsageError(f"images of {len(image)} bands are no pictures: read three bands, red, green and blue")
    picture = stretched(image, stretch).transpose(1, 2, 0)
    return picture[..., 0] if picture.shape[2] == 1 else np.ascontiguousarray(picture)


def _file(name: str, row: int) -> str:
    """The id where it can be the name of a file, else the row's number."""
    return name if _PLAIN.fullmatch(name) else f"tile-{row:07d}"
