"""Photo lists: places in a Parquet file whose column `asset` leads to an image each."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from placevec.errors import FormatError, SchemaError
from placevec.provenance import SourceRef
from placevec.table import Places, Skipped, open_table, skipped_counts, write_skipped
from placevec.table.parquet import open_parquet
from placevec.table.places import check_ids
from placevec.table.stored_places import FOOTER as PARTS_FOOTER
from placevec.table.stored_places import PlacesSink, StoredPlaces

FOOTER = "placevec-photos"
WINDOW = "#xywh="
"""What parts the address of a raster from the pixels of a chip in it; see `Places`."""

_PART_ROWS = 16_384


@dataclass(frozen=True)
class PhotoCard:
    """What a photo list says of itself, in the footer of its file."""

    photos: int = 0  # rows
    skipped: Mapping[str, int] = field(default_factory=dict)  # how many were left out for each "stage: reason"
    regions: tuple[str, ...] = ()  # the names of the regions that its column `region` is of
    settings: Mapping[str, Any] = field(default_factory=dict)  # of the filter
    sources: tuple[SourceRef, ...] = ()  # where the photos come from, with licence and attribution where known

    def to_json(self) -> str:
        """A JSON object."""
        return json.dumps({"version": 1, **asdict(self)}, ensure_ascii=False, default=str)

    @classmethod
    def from_json(cls, text: str | bytes) -> PhotoCard:
        """The card of a footer; FormatError if it is none."""
        try:
            kept = json.loads(text)
            if kept.pop("version") != 1:
                raise FormatError("the photo list was written by a newer placevec; update, or make it again")
            sources = tuple(SourceRef(**ref) for ref in kept.pop("sources"))
            return cls(**{**kept, "regions": tuple(kept["regions"])}, sources=sources)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise FormatError(f"the footer {FOOTER} is damaged ({error}); make the photo list again") from None


def write_photo_list(
    places: Places,
    path: str | Path,
    *,
    skipped: Iterable[Skipped] = (),
    card: PhotoCard | None = None,
) -> PhotoCard:
    """Write a photo list, and ``NAME.skipped.parquet`` beside it; each whole or not at all.

    Args:
        places: with the column `asset`: paths of image files. One that is relative is below the folder of the list.
        path: a Parquet file.
        skipped: what was left out of it.
        card: what else the file says of itself; its counts are made here.

    Returns:
        The card as it was written.

    Raises:
        SchemaError: there is no column `asset`, or a row has none.
    """
    _check(places, path)
    lost = list(skipped)
    said = card or PhotoCard()
    said = PhotoCard(len(places), skipped_counts(lost), said.regions, said.settings, said.sources)
    with PlacesSink(path) as sink:
        sink.write(places.take(np.empty(0, dtype=np.int64)))
        for start in range(0, len(places), _PART_ROWS):
            sink.write(places.take(np.arange(start, min(start + _PART_ROWS, len(places)))))
        sink.footers[FOOTER] = said.to_json()
    write_skipped(path, lost)
    return said


def read_photo_list(path: str | Path) -> Places:
    """The rows of a photo list; `asset` is absolute where it is a path.

    Any table of places with a column `asset` is one: a file of `write_photo_list`, an embedding table of photos, a
    GeoParquet file of others with `id`, `geometry` and `asset`.

    Raises:
        FormatError: it is no Parquet file.
        SchemaError: it has no ids or assets, or ids repeat.
    """
    file, footer = open_parquet(path)
    if PARTS_FOOTER.encode() in footer:
        places = StoredPlaces(path).places()
    elif b"emb" in footer:
        places = open_table(path).places()
    else:
        data = file.read()
        if "id" not in data.schema.names:
            raise SchemaError(
                f"{path} has no column 'id'; a photo list has id, geometry and asset; its columns: "
                f"{', '.join(data.schema.names[:20])}"
            )
        if "geometry" not in data.schema.names:
            data = data.append_column("geometry", pa.nulls(len(data), pa.binary()))
        places = Places(data.drop_columns([name for name in ("bbox",) if name in data.schema.names]))
        check_ids(places.data["id"])
    _check(places, path)
    home = Path(path).absolute().parent
    return places.with_column("asset", np.array([_absolute(home, one) for one in places.column("asset")], dtype=object))


def read_photo_card(path: str | Path) -> PhotoCard:
    """What a photo list says of itself; a bare card where another program has written it."""
    footer = open_parquet(path)[1]
    return PhotoCard.from_json(footer[FOOTER.encode()]) if FOOTER.encode() in footer else PhotoCard()


def is_photo_list(path: str | Path) -> bool:
    """Whether a file is Parquet with ids and addresses of image files; only its ends are read."""
    where = Path(path)
    if where.suffix != ".parquet" or not where.is_file():
        return False
    try:
        file, _ = open_parquet(where)
    except FormatError:
        return False
    if not {"id", "asset"} <= set(file.schema_arrow.names):
        return False
    for batch in file.iter_batches(1, columns=["asset"]):
        first = batch.column(0)[0].as_py()
        return isinstance(first, str) and WINDOW not in first  # chips of a raster are read from the raster
    return True


def _check(places: Places, path: str | Path) -> None:
    if not places.has("asset"):
        raise SchemaError(
            f"{path}: a photo list has the column 'asset', the path of each image; there are: "
            f"{', '.join(places.data.schema.names[:20])}"
        )
    absent = places.data["asset"].null_count
    if absent:
        raise SchemaError(f"{path}: {absent:,} rows have no asset: leave them out")


def _absolute(home: Path, asset: str) -> str:
    if "://" in asset or WINDOW in asset:
        return asset
    return os.path.normpath(home / asset)
