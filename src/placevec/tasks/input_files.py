"""Image files and captions as the input of a verb: opened, cut to a split, and read as an encoder wants them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from placevec.engine.work import Spec
from placevec.errors import SchemaError, UsageError
from placevec.provenance import SourceRef
from placevec.sources.base import ArraySource, Source
from placevec.sources.captions import read_captions
from placevec.sources.images import ImageFiles
from placevec.sources.photos import is_photo_list
from placevec.table import Places
from placevec.tasks.photo_inputs import as_photos, open_photos

if TYPE_CHECKING:
    from placevec.sources.images import Fit
    from placevec.tasks.inputs import Input

PIXELS = 224  # side of images for an encoder that does not say what it was made for
TABLE = ".parquet"


@dataclass(frozen=True, eq=False)
class Opened:
    """Files as a source."""

    source: Source  # images by "image", or captions by "text"
    places: Places  # its places, with addresses that hold in any working directory
    refs: tuple[SourceRef, ...]  # where they come from, for provenance
    notes: tuple[str, ...]  # what was left out, counted by reason


def open_files(given: Input) -> Opened:
    """The images, or the captions, that an input names.

    Args:
        given: with `images`, `captions` or both.

    Raises:
        UsageError: there is no such folder, file, dataset or split.
        DataError: nothing in it can be used.
    """
    if given.captions is None:
        return _folder(given)
    if Path(given.captions).suffix == TABLE:
        places = read_caption_table(given.captions)
        places = places if given.limit is None else places.take(np.arange(min(given.limit, len(places))))
        source = ArraySource(places, {"text": places.column("text")})
        return Opened(source, places, (SourceRef(href=Path(given.captions).name),), ())
    whole = read_captions(given.captions, images=given.images)
    some = whole if given.split is None else whole.split(given.split)
    if given.limit is not None:
        some = some.take(np.arange(min(given.limit, len(some))))
    if given.reads == "text":
        texts = some.texts()
        return Opened(texts, texts.places(), some.refs, whole.notes)
    images = some.images(given.pixels or PIXELS, **_options(given))
    return Opened(images, _addressed(images), some.refs, whole.notes)


def read_caption_table(path: str | Path) -> Places:
    """The captions of a Parquet file that `area_captions` wrote: `text`, and the `place` that each belongs to.

    Raises:
        FormatError: it is no Parquet file.
        SchemaError: a column is missing, or ids repeat.
    """
    from placevec.table.parquet import open_parquet
    from placevec.table.places import check_ids

    file, _ = open_parquet(path)
    data = file.read()
    for name in ("id", "text"):
        if name not in data.schema.names:
            raise SchemaError(
                f"{path} has no column {name!r}: captions in a Parquet file are rows of id, text, and place where "
                f"several belong to one; its columns: {', '.join(data.schema.names[:20])}"
            )
    if data["text"].null_count:
        raise SchemaError(f"{path}: {data['text'].null_count:,} rows have no text: leave them out")
    check_ids(data["id"])
    kept = [name for name in data.schema.names if name not in ("embedding", "bbox")]
    if "geometry" not in kept:
        data = data.append_column("geometry", pa.nulls(len(data), pa.binary()))
        kept.append("geometry")
    return Places(data.select(kept))


def prepared(given: Input, encoder: str) -> tuple[Input, Spec]:
    """An input with the images as the encoder wants them, and how a process builds that encoder.

    An encoder that works at one size is given images of that size, decoded once from the original; a model of
    transformers that crops its images is given them cropped, not squashed, as in training.

    Args:
        given: what is read.
        encoder: see `tasks.encoders.encoder_spec`.

    Raises:
        UsageError: the encoder reads something else, or larger images than were asked for.
    """
    from placevec.tasks.encoders import encoder_spec

    given = as_photos(given, encoder)
    if not given.files:
        layers = given.sample_layers()
        if layers is not None:
            return given, patch_encoder(given, layers, encoder)
        return given, encoder_spec(encoder, bands=given.band_count())
    # Images are only decoded here for the one encoder that cannot say how many bands it reads.
    bands = given.band_count() if encoder.removeprefix("features:") == "pixels" else 3
    spec = encoder_spec(encoder, bands=bands, reads=given.reads)
    if given.reads == "text":
        return given, spec
    side, fit = image_size(spec.build())
    if given.pixels is not None and given.pixels < side:
        raise UsageError(
            f"images of {given.pixels} pixels are smaller than the {side} that {encoder} works at: leave pixels out"
        )
    return given.model_copy(update={"pixels": given.pixels or side or PIXELS, "fit": given.fit or fit}), spec


def patch_encoder(given: Input, patches: Any, encoder: str) -> Spec:
    """How a process builds an encoder of patches, held against their layers.

    Args:
        given: what is read.
        patches: a source of some of them.
        encoder: see `tasks.encoders.encoder_spec`.

    Raises:
        SchemaError: it was trained on other layers, classes, or another size.
    """
    from placevec.tasks.encoders import encoder_spec, is_signature, signature_options

    if is_signature(encoder):
        return encoder_spec(encoder, signature=signature_options(patches))
    spec = encoder_spec(encoder)
    check = getattr(spec.build(), "check_patches", None)
    if callable(check):
        check(patches)
    return spec


def image_size(encoder: Any) -> tuple[int, Fit]:
    """The side in pixels at which an encoder works, 0 for any, and how images become squares for it."""
    tower = getattr(encoder, "image", encoder)
    net = tower.card.config.get("net")
    config = getattr(getattr(tower, "model", None), "config", None)
    said = [
        encoder.card.recipe.get("pixels"),
        net.get("pixels") if isinstance(net, dict) else None,
        getattr(getattr(config, "vision_config", config), "image_size", None),
    ]
    crops = getattr(getattr(tower, "processor", None), "do_center_crop", getattr(tower, "fit", "") == "crop")
    return next((one for one in said if isinstance(one, int) and one > 0), 0), "crop" if crops else "squash"


def _folder(given: Input) -> Opened:
    assert given.images is not None
    if is_photo_list(given.images):
        photos = open_photos(given, PIXELS)
        return Opened(photos, photos.places(), photos.refs, ())
    found = ImageFiles(given.images, pixels=given.pixels or PIXELS, **_options(given))
    if given.limit is not None and given.limit < len(found):
        files, names = found.files[: given.limit], found.names[: given.limit]
        found = ImageFiles(
            files, pixels=found.pixels, ids=names, attributes={"file": np.array(names, dtype=object)}, **_options(given)
        )
    return Opened(found, _addressed(found), (SourceRef(href=Path(given.images).name),), ())


def _options(given: Input) -> dict[str, Any]:
    return {"bands": given.bands, "stretch": given.stretch, "fit": given.fit or "squash"}


def _addressed(images: ImageFiles) -> Places:
    """The places of images; the address of each is absolute, so that a table leads to them from anywhere."""
    assets = [os.path.normpath(path.absolute()) for path in images.files]
    return images.places().with_column("asset", np.array(assets, dtype=object))
