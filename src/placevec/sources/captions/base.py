"""Images with captions, whatever form they were read from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from numpy.typing import ArrayLike, NDArray

from placevec.errors import SchemaError, UsageError
from placevec.provenance import SourceRef
from placevec.sources.base import ArraySource
from placevec.sources.images import ImageFiles
from placevec.table import Places

_SPLITS = {"valid": "val", "validation": "val", "dev": "val", "training": "train", "testing": "test"}


@dataclass(frozen=True, eq=False)
class CaptionSet:
    """Images, each with at least one caption and a file that exists."""

    ids: NDArray[Any]  # (n,) object str, unique: the path of the image below the folder of images
    files: NDArray[Any]  # (n,) object Path
    captions: tuple[tuple[str, ...], ...]  # n times the captions, at least one, none empty
    splits: NDArray[Any]  # (n,) object str: "train", "val", "test" or what the file says; "" where it says nothing
    labels: NDArray[Any] | None = None  # (n,) object str or None, the class of the image; None where none has one
    lonlat: NDArray[np.float64] | None = None  # (n, 2) degrees, NaN where unknown; None where no image has a position
    notes: tuple[str, ...] = ()  # what was left out, counted by reason
    refs: tuple[SourceRef, ...] = ()  # where it comes from, for provenance

    def __post_init__(self) -> None:
        for name in ("files", "captions", "splits", "labels", "lonlat"):
            values = getattr(self, name)
            if values is not None and len(values) != len(self.ids):
                raise SchemaError(f"a set of {len(self.ids)} images has {len(values)} {name}")

    def __len__(self) -> int:
        return len(self.ids)

    def __repr__(self) -> str:
        parts = ", ".join(f"{name or 'without a split'} {count:,}" for name, count in self.split_counts().items())
        return f"CaptionSet({len(self):,} images, {sum(map(len, self.captions)):,} captions; {parts})"

    def split_counts(self) -> dict[str, int]:
        """How many images each split has, in the order in which they first stand."""
        counts: dict[str, int] = {}
        for name in self.splits.tolist():
            counts[name] = counts.get(name, 0) + 1
        return counts

    def take(self, rows: ArrayLike) -> CaptionSet:
        """The images with the numbers given, in their order; without the notes, which tell of the whole set."""
        found = np.asarray(rows, dtype=np.int64)
        return CaptionSet(
            self.ids[found],
            self.files[found],
            tuple(self.captions[row] for row in found.tolist()),
            self.splits[found],
            None if self.labels is None else self.labels[found],
            None if self.lonlat is None else self.lonlat[found],
            refs=self.refs,
        )

    def split(self, name: str) -> CaptionSet:
        """The images of a split ("val", "valid" and "validation" are one); UsageError if there is none."""
        rows = np.flatnonzero(self.splits == canonical_split(name))
        if not len(rows):
            known = ", ".join(f"{split} ({count:,})" for split, count in self.split_counts().items() if split)
            raise UsageError(f"there is no split {name!r}; {f'the splits are {known}' if known else 'there are none'}")
        return self.take(rows)

    def images(self, pixels: int, **options: Any) -> ImageFiles:
        """The images as a Source, resized to squares of `pixels`; places by the set's ids, with `split` and `label`.

        Args:
            pixels: side of an image.
            options: see `ImageFiles`: bands, stretch, fit, max_pixels, threads.
        """
        attributes: dict[str, Any] = {"split": self.splits} if any(self.splits) else {}
        if self.labels is not None:
            attributes["label"] = self.labels
        return ImageFiles(
            self.files.tolist(),
            pixels=pixels,
            ids=self.ids,
            lonlat=self.lonlat,
            attributes=attributes,
            refs=self.refs,
            **options,
        )

    def texts(self) -> ArraySource:
        """The captions as a Source: one row a caption, called IMAGE#K, at the `place` that is the image's id.

        The batch key is "text", objects; `text`, `split` and `label` are attributes.
        """
        owner = np.repeat(np.arange(len(self)), [len(own) for own in self.captions])
        text = np.array([caption for own in self.captions for caption in own], dtype=object)
        ids = [f"{self.ids[row]}#{k}" for row, own in enumerate(self.captions) for k in range(len(own))]
        attributes: dict[str, Any] = {"text": text}
        if any(self.splits):
            attributes["split"] = self.splits[owner]
        if self.labels is not None:
            attributes["label"] = self.labels[owner]
        geometry = None
        if self.lonlat is not None:
            known = np.isfinite(self.lonlat).all(axis=1)
            points = np.full(len(self), None, dtype=object)
            points[known] = shapely.points(self.lonlat[known])
            geometry = points[owner]
        places = Places.create(ids, geometry=geometry, place=self.ids[owner], attributes=attributes)
        return ArraySource(places, {"text": text})


def canonical_split(name: Any) -> str:
    """The name by which a split is kept: lower case, "valid", "validation" and "dev" being "val"."""
    short = str(name or "").strip().lower()
    return _SPLITS.get(short, short)


def as_objects(values: list[Any]) -> NDArray[Any]:
    """A list as a 1-D array of objects, whatever they are."""
    out = np.empty(len(values), dtype=object)
    out[:] = values
    return out
