"""The photo list of a crawl, made of its journal."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from placevec.geo.sphere import LonLat
from placevec.provenance import SourceRef
from placevec.sources.crawl.journal import Journal
from placevec.sources.photos.lists import PhotoCard, write_photo_list
from placevec.table import Places

LIST = "photos.parquet"

# name -> type; absent values are null
_COLUMNS = {
    "taken": pa.string(),  # ISO 8601 by the camera's clock
    "hour": pa.float64(),
    "month": pa.int64(),
    "focal_mm": pa.float64(),
    "heading": pa.float64(),  # degrees clockwise from north
    "tags": pa.string(),  # separated by commas
    "title": pa.string(),
    "licence": pa.string(),
    "licence_url": pa.string(),
    "author": pa.string(),
    "author_url": pa.string(),
    "source_url": pa.string(),
    "accuracy": pa.int64(),  # of the position, as Flickr counts it: 16 a street, 11 a city
    "retrieved": pa.string(),  # ISO 8601, UTC: when the file was fetched
    "sha256": pa.string(),  # of the file
}


def write_listing(folder: Path, journal: Journal, name: str, settings: Mapping[str, Any]) -> Path:
    """Write the photos that a crawl has so far, by id, and beside them those that it skipped; returns the list's path.

    Args:
        folder: the crawl's.
        journal: of the crawl.
        name: of the service.
        settings: of the crawl, kept in the list's footer.
    """
    path = folder / LIST
    ids = sorted(journal.kept)
    rows = [journal.kept[each] for each in ids]
    places = Places.create(
        ids,
        LonLat(np.array([row["lon"] for row in rows], float), np.array([row["lat"] for row in rows], float)),
        place=pa.array([row["place"] for row in rows], pa.string()),
        asset=pa.array([row["file"] for row in rows], pa.string()),
        attributes={column: pa.array([row.get(column) for row in rows], kind) for column, kind in _COLUMNS.items()},
    )
    licences = ", ".join(sorted({str(row.get("licence")) for row in rows}))
    source = SourceRef(href=name, licence=licences, attribution="the author of each photo: column author")
    write_photo_list(
        places, path, skipped=journal.skipped.values(), card=PhotoCard(settings=dict(settings), sources=(source,))
    )
    return path
