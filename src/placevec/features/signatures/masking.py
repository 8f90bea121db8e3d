"""Patches whose centre is hidden, so that it can be asked what a representation expects there."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from placevec.errors import UsageError
from placevec.sources.base import Batch, Rows, Source
from placevec.table import Places


def centre(pixels: int, side: int) -> slice:
    """The rows, and the columns, of the square in the middle of a patch.

    Raises:
        UsageError: a square of no pixel, or one that leaves nothing around it.
    """
    if not 1 <= side < pixels:
        raise UsageError(f"the masked centre of a patch of {pixels} pixels has 1 to {pixels - 1} pixels, not {side}")
    first = (pixels - side) // 2
    return slice(first, first + side)


def default_side(pixels: int) -> int:
    """A quarter of a patch's side, at least one pixel."""
    return max(1, pixels // 4)


def mask_centre(patches: NDArray[Any], side: int) -> NDArray[Any]:
    """A copy of patches (m, rows, columns) with nothing in the middle: 0 for classes, NaN for values."""
    out = patches.copy()
    rows, columns = (centre(size, side) for size in patches.shape[1:])
    out[:, rows, columns] = np.nan if patches.dtype.kind == "f" else 0
    return out


def centre_classes(patches: NDArray[np.uint8], side: int, classes: int) -> NDArray[np.int64]:
    """The most frequent class (m,) in the middle of patches, the smallest where several are; 0 where nothing is."""
    from placevec.features.signatures.counts import class_counts

    rows, columns = (centre(size, side) for size in patches.shape[1:])
    counts = class_counts(np.ascontiguousarray(patches[:, rows, columns]), classes)[:, 1:]
    return np.where(counts.any(axis=1), counts.argmax(axis=1) + 1, 0)


class MaskedCentre:
    """A source of patches with the middle of all layers hidden.

    Args:
        source: patches, see `sources.patches`.
        side: of the hidden square in pixels; by default a quarter of the patch's.

    Raises:
        UsageError: the source has no layers, or nothing would be left.
    """

    def __init__(self, source: Source, side: int | None = None) -> None:
        self.source = source
        self.layers = tuple(getattr(source, "layers", ()))
        pixels = getattr(source, "pixels", None)
        if not self.layers or pixels is None:
            raise UsageError(f"{type(source).__name__} has no patches whose centre could be masked")
        self.pixels = int(pixels)
        self.side = default_side(self.pixels) if side is None else int(side)
        centre(self.pixels, self.side)
        for name in ("ground_m", "refs", "chip_layout", "parents", "notes"):
            if hasattr(source, name):
                setattr(self, name, getattr(source, name))

    def places(self) -> Places:
        """All places of the source."""
        return self.source.places()

    def read(self, rows: Rows) -> Batch:
        """The patches of `rows` with their middle hidden; all else as it is."""
        batch = self.source.read(rows)
        names = {str(layer.name) for layer in self.layers}
        data: Mapping[str, NDArray[Any]] = {
            name: mask_centre(values, self.side) if name in names else values for name, values in batch.data.items()
        }
        return Batch(batch.rows, data, batch.skipped)

    def fingerprint(self) -> str:
        """What tells it from another: the source's own, and the side."""
        own = getattr(self.source, "fingerprint", None)
        return hashlib.sha256(f"{own() if callable(own) else ''} masked {self.side}".encode()).hexdigest()
