"""Photo lists as the input of a verb: their rows as places, and their images where an encoder reads images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from placevec.sources.photos import PhotoList, is_photo_list, read_photo_list
from placevec.table import Places
from placevec.table.parquet import open_parquet

if TYPE_CHECKING:
    from placevec.sources.images import Fit
    from placevec.tasks.inputs import Input


def listed_places(path: str | Path) -> Places | None:
    """The rows of a photo list, or of a list of chips; None where the file is something else, such as a table."""
    where = Path(path)
    if where.suffix != ".parquet" or not where.is_file():
        return None
    file, footer = open_parquet(where)
    if b"emb" in footer or not {"id", "asset"} <= set(file.schema_arrow.names):
        return None
    return read_photo_list(where)


def as_photos(given: Input, encoder: str) -> Input:
    """The same input, with the files of a photo list to be read where the encoder reads images; else as it is.

    Photos keep their shape: the middle of each is read, unless `fit` says otherwise.

    Args:
        given: what is read.
        encoder: see `tasks.encoders.encoder_spec`.
    """
    from placevec.tasks.encoders import encoder_spec

    found = photos_of(given)
    if found is given or given.files:
        return found
    return found if "image" in encoder_spec(encoder, bands=3).build().inputs else given


def photos_of(given: Input, pixels: int | None = None) -> Input:
    """The same input, where its places are a photo list, with the photos to be read; else as it is.

    Args:
        given: what is read.
        pixels: side to which photos are read, where the input does not say so.
    """
    from placevec.tasks.inputs import CELLS

    fit: Fit = given.fit or "crop"
    size = given.pixels or pixels
    if given.files:
        listed = given.captions is None and given.images is not None and is_photo_list(given.images)
        return given.model_copy(update={"fit": fit, "pixels": size}) if listed else given
    if given.chips is not None or given.patches is not None or given.on == CELLS or not is_photo_list(given.on):
        return given
    return given.model_copy(update={"on": CELLS, "images": given.on, "fit": fit, "pixels": size})


def open_photos(given: Input, pixels: int) -> PhotoList:
    """The photos of the list that an input names as its images."""
    assert given.images is not None
    options: dict[str, Any] = {"bands": given.bands, "stretch": given.stretch, "fit": given.fit or "crop"}
    return PhotoList(given.images, pixels=given.pixels or pixels, limit=given.limit, **options)
