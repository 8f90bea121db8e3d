"""Images with places, as a locator learns from them: which rows serve for what, and their content by row."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from placevec.errors import DataError, UsageError
from placevec.geo.sphere import LonLat
from placevec.provenance import digest_json
from placevec.sources.base import Source
from placevec.table import Places
from placevec.train.data import digest
from placevec.train.locate.store import IMAGE, Store, open_store

Rows = NDArray[np.int64]
Told = Callable[[str, int, int], None]

_SAMPLED = 64  # rows by which a source is known that cannot say what it reads


@dataclass(frozen=True, eq=False)
class Parts:
    """Rows of a source by what they serve for; a row may be in none."""

    train: Rows  # what is learned from; geocells and the gallery are made of them alone
    val: Rows  # by which the best weights are chosen
    calibration: Rows  # on which probabilities and regions are calibrated

    def each(self) -> tuple[Rows, Rows, Rows]:
        """All three."""
        return self.train, self.val, self.calibration


@dataclass(frozen=True, eq=False)
class Examples:
    """Rows of one part, their content and their truth."""

    store: Store  # of all parts
    at: Rows  # (n,) positions in the store
    lonlat: LonLat  # (n) where they were taken
    region: Rows  # (n,) the region of each
    ids: NDArray[Any]  # (n,) names
    assets: NDArray[Any]  # (n,) addresses, "" where unknown

    def __len__(self) -> int:
        return len(self.at)

    def take(self, rows: slice) -> Examples:
        """Some of the rows."""
        own = (self.at[rows], self.lonlat[rows], self.region[rows], self.ids[rows], self.assets[rows])
        return Examples(self.store, *own)

    def images(self, rows: Rows) -> NDArray[np.uint8]:
        """The images (m, bands, S, S) of some of the n rows."""
        return self.store.read(self.at[rows])

    def columns(self, rows: Rows) -> dict[str, NDArray[Any]]:
        """The further columns of some of the n rows."""
        return {name: values[self.at[rows]] for name, values in self.store.columns.items()}

    def batch(self, rows: Rows) -> dict[str, NDArray[Any]]:
        """All content of some of the n rows."""
        return {IMAGE: self.images(rows), **self.columns(rows)}


@dataclass(frozen=True, eq=False)
class LocateData:
    """The three parts, and the key by which a run knows them."""

    train: Examples
    val: Examples
    calibration: Examples
    store: Store
    key: str
    outside: int  # rows outside of all regions

    @property
    def skipped(self) -> int:
        """Rows that cannot be read."""
        return int((~self.store.readable).sum())


def gather(
    source: Source,
    parts: Parts,
    assign: Callable[[LonLat], Rows],
    folder: Path,
    *,
    extras: Sequence[str] = (),
    cache_gb: float = 8.0,
    progress: Told | None = None,
) -> LocateData:
    """Read what a training needs, once.

    Args:
        source: images with places.
        parts: its rows; all have coordinates.
        assign: the region of points, -1 outside all.
        folder: of the content that is kept.
        extras: further keys that are read of the source, such as "metadata" and "tags".
        cache_gb: see `config.LocateTraining.cache_gb`.
        progress: called with a label, what is done and all of it.

    Raises:
        UsageError: the source gives no images, or lacks one of `extras`; or too few rows are left to learn from.
        DataError: rows without coordinates, or images that differ in size.
    """
    places = source.places()
    wanted = np.concatenate(parts.each()).astype(np.int64)
    if not (np.isfinite(places.lon[wanted]) & np.isfinite(places.lat[wanted])).all():
        raise DataError("images without coordinates are among those to learn from: leave them out")
    lonlat = places.lonlat(wanted)
    region = assign(lonlat)
    ids, assets = places.ids[wanted], _assets(places, wanted)
    key = digest_json(
        {
            "places": digest(wanted, lonlat.lon, lonlat.lat, np.array([str(one) for one in ids], dtype=np.str_)),
            "content": _content(source, wanted, (IMAGE, *extras)),
            "extras": list(extras),
        }
    )
    told = None if progress is None else (lambda done, total: progress("images", done, total))
    store = open_store(source, wanted, folder, key, extras=extras, cache_gb=cache_gb, progress=told)
    inside = region >= 0
    keep = store.readable & inside
    ends = np.cumsum([0, *(len(part) for part in parts.each())])
    made = []
    for start, stop in itertools.pairwise(ends):
        at = np.arange(start, stop)
        at = at[keep[at]]
        made.append(Examples(store, at, lonlat[at], region[at], ids[at], assets[at]))
    if len(made[0]) < 2:
        raise UsageError(
            f"{len(made[0])} images are left to learn from ({int((~inside).sum())} lie outside of all regions, "
            f"{int((~store.readable).sum())} cannot be read): give more, or larger regions"
        )
    return LocateData(made[0], made[1], made[2], store, key, int((~inside).sum()))


def _content(source: Source, rows: Rows, names: Sequence[str]) -> str:
    """What tells the content of a source from another at the same places: its own word, or some of its rows."""
    own = getattr(source, "fingerprint", None)
    said = str(own()) if callable(own) else ""
    if said or not len(rows):
        return said
    # Other pixels, another raster or another stretch show in any of the images.
    some = source.read(rows[np.unique(np.linspace(0, len(rows) - 1, _SAMPLED).astype(np.int64))])
    found = [some.data[name] for name in names if name in some.data]
    return digest(some.rows, *(array.astype(np.str_) if array.dtype == object else array for array in found))


def _assets(places: Places, rows: Rows) -> NDArray[Any]:
    """The addresses (n,) of the images of some rows, "" where unknown."""
    if "asset" not in places.data.schema.names:
        return np.full(len(rows), "", dtype=object)
    listed = places.data.column("asset").to_pylist()
    return np.array([listed[row] or "" for row in rows.tolist()], dtype=object)
