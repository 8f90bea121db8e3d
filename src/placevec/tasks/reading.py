"""The images of a source, all at once in memory: what training goes over again and again."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from placevec.errors import DataError
from placevec.table import Skipped

if TYPE_CHECKING:
    from placevec.sources.base import Source

READ_ROWS = 1024
MEMORY_BYTES = 4 << 30


@dataclass(frozen=True, eq=False)
class Images:
    """What was read.

    Attributes:
        images: (n, bands, h, w).
        rows: (n,) the rows of the source that they are of, ascending.
        skipped: the rows that could not be read, each with its reason.
    """

    images: NDArray[Any]
    rows: NDArray[np.int64]
    skipped: tuple[Skipped, ...]

    def notes(self) -> list[str]:
        """What was left out, in words: how many images for which reason, and the first of them."""
        first: dict[str, str] = {}
        for row in self.skipped:
            first.setdefault(row.reason, row.id)
        counts = Counter(row.reason for row in self.skipped)
        return [
            f"{count:,} images left out, {first[reason]} the first: {reason}" for reason, count in counts.most_common()
        ]


def read_images(source: Source, smaller: str) -> Images:
    """All images of a source, in memory.

    Args:
        source: what is read.
        smaller: what to do against too many bytes, for the message.

    Raises:
        DataError: there are none, or more than 4 GiB of them.
    """
    count = len(source.places())
    out: NDArray[Any] | None = None
    rows: list[NDArray[np.int64]] = []
    skipped: list[Skipped] = []
    done = 0
    for start in range(0, count, READ_ROWS):
        batch = source.read(np.arange(start, min(start + READ_ROWS, count)))
        skipped += batch.skipped
        if not len(batch):
            continue
        part = batch.data["image"]
        if out is None:
            if count * part[0].nbytes > MEMORY_BYTES:
                raise DataError(f"{count:,} images of {part[0].nbytes:,} bytes take more than 4 GiB: {smaller}")
            out = np.empty((count, *part.shape[1:]), dtype=part.dtype)
        out[done : done + len(part)] = part
        rows.append(batch.rows)
        done += len(part)
    if out is None:
        reason = f" ({skipped[0].id}: {skipped[0].reason})" if skipped else ""
        raise DataError(f"none of {count:,} images could be read{reason}")
    return Images(out[:done], np.concatenate(rows), tuple(skipped))
