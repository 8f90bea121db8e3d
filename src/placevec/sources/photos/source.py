"""Photo lists as a source: images, where they were taken, and what the camera and its owner say of them."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from placevec.errors import UsageError
from placevec.provenance import SourceRef
from placevec.sources.base import Batch, Rows
from placevec.sources.images import MAX_PIXELS, Fit, ImageFiles, Stretch
from placevec.sources.photos.lists import WINDOW, read_photo_card, read_photo_list
from placevec.table import Places

METADATA = ("sin_hour", "cos_hour", "sin_heading", "cos_heading", "log_focal_mm", "day_of_year")
"""The columns of "metadata" in a batch of photos, NaN where unknown.

The hour of the day by the camera's clock and the direction of view as sine and cosine of their angle; the natural
logarithm of the focal length in millimetres as of 35 mm film; the day of the year, 1 to 366, over 366.
"""

METADATA_OF = ("hour", "heading", "focal_mm", "taken", "month")
"""The columns of a photo list that they are made of."""

_MONTH_STARTS = np.array([0, 31, 60, 91, 121, 152, 182, 213, 244, 274, 305, 335, 366])


class PhotoList(ImageFiles):
    """A Source of the photos of a list; one whose file cannot be read is skipped with the reason.

    It pickles, so that worker processes are given the rows as they were read.

    A batch holds "image" (m, 3, pixels, pixels) uint8, "lonlat" (m, 2) degrees (NaN for a row without geometry), and
    where the list has the columns, "metadata" (m, 6) float32 as `METADATA` names it and "tags" (m,) texts ("" where
    there are none).

    Args:
        where: a photo list, or its rows (with `asset`).
        pixels: side of the square that images are made.
        fit: "crop" keeps their shape: the shorter side is brought to `pixels`, and the middle is taken; "squash" keeps
            all of the image.
        bands: see `read_image`.
        stretch: see `read_image`.
        max_pixels: see `read_image`.
        limit: only the first so many rows.
        threads: how many images are decoded at once; by default one for each processor, eight at most.

    Raises:
        UsageError: it has no rows, a file is named twice, or a row is a chip of a raster.
        SchemaError: it is no photo list.
    """

    def __init__(
        self,
        where: str | Path | Places,
        *,
        pixels: int = 224,
        fit: Fit = "crop",
        bands: tuple[int, ...] | None = None,
        stretch: Stretch = "auto",
        max_pixels: int = MAX_PIXELS,
        limit: int | None = None,
        threads: int | None = None,
    ) -> None:
        rows = where if isinstance(where, Places) else read_photo_list(where)
        rows = rows if limit is None else rows.take(np.arange(min(limit, len(rows))))
        assets = rows.column("asset")
        window = next((asset for asset in assets if WINDOW in asset), None)
        if window is not None:
            raise UsageError(f"{window} is a part of a raster: name the raster to be read, with its ground and pixels")
        self._rows = rows
        refs: tuple[SourceRef, ...] = ()
        if not isinstance(where, Places):
            refs = (SourceRef(href=Path(where).name), *read_photo_card(where).sources)
        super().__init__(
            [Path(asset) for asset in assets],
            pixels=pixels,
            bands=bands,
            stretch=stretch,
            fit=fit,
            max_pixels=max_pixels,
            ids=rows.ids,
            refs=refs,
            threads=threads,
        )
        self._points = np.column_stack([rows.lon, rows.lat])
        known = any(rows.has(name) for name in METADATA_OF)
        self._metadata = photo_metadata(rows) if known else None
        self._tags = _texts(rows.column("tags")) if rows.has("tags") else None

    def __repr__(self) -> str:
        return f"PhotoList({len(self):,} photos, {self.pixels} pixels)"

    def places(self) -> Places:
        """The rows of the list."""
        return self._rows

    def read(self, rows: Rows) -> Batch:
        """The content of `rows`; see the class."""
        batch = super().read(rows)
        data: dict[str, NDArray[Any]] = {**batch.data, "lonlat": self._points[batch.rows]}
        if self._metadata is not None:
            data["metadata"] = self._metadata[batch.rows]
        if self._tags is not None:
            data["tags"] = self._tags[batch.rows]
        return Batch(batch.rows, data, batch.skipped)


def photo_metadata(places: Places) -> NDArray[np.float32]:
    """What cameras say of photos (n, 6) as `METADATA` names it, NaN where unknown."""
    hour, heading, focal = (_numbers(places, name) for name in ("hour", "heading", "focal_mm"))
    around = np.concatenate([hour[:, None] * (2.0 * np.pi / 24.0), np.radians(heading)[:, None]], axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        log_focal = np.where(focal > 0.0, np.log(focal), np.nan)
    columns = [np.sin(around[:, 0]), np.cos(around[:, 0]), np.sin(around[:, 1]), np.cos(around[:, 1])]
    return np.column_stack([*columns, log_focal, _days(places) / 366.0]).astype(np.float32)


def _days(places: Places) -> NDArray[np.float64]:
    """The day of the year (n,), 1 to 366; the middle of the month where only that is known."""
    month = _numbers(places, "month")
    known = np.isfinite(month) & (month >= 1) & (month <= 12)
    days = np.full(len(places), np.nan)
    at = month[known].astype(np.int64)
    days[known] = (_MONTH_STARTS[at - 1] + _MONTH_STARTS[at] + 1) / 2.0
    if places.has("taken"):
        for row, text in enumerate(_texts(places.column("taken"))):
            try:
                when = datetime.fromisoformat(text)
            except ValueError:
                continue
            days[row] = float(_MONTH_STARTS[when.month - 1] + when.day)
    return days


def _numbers(places: Places, name: str) -> NDArray[np.float64]:
    if not places.has(name):
        return np.full(len(places), np.nan)
    values = places.column(name)
    if values.dtype.kind in "iuf":
        return values.astype(np.float64)
    out = np.full(len(values), np.nan)
    for row, value in enumerate(values):
        try:
            out[row] = np.nan if value is None else float(value)
        except (TypeError, ValueError):
            continue
    return out


def _texts(values: NDArray[Any]) -> NDArray[Any]:
    out = np.empty(len(values), dtype=object)
    out[:] = ["" if value is None else str(value) for value in values]
    return out
