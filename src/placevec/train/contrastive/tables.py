"""What is learned from: places, image vectors of some or all of them from one or more tables, and captions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from placevec.errors import DataError, UsageError
from placevec.nn.text import TextConfig, tokens
from placevec.provenance import Space


@dataclass(frozen=True, eq=False)
class ImageTable:
    """Frozen image vectors, one each for some of the places."""

    name: str  # of the table
    vectors: NDArray[np.float32]  # (m, d)
    rows: NDArray[np.int64] | None = None  # (m,) the places that they belong to; None: all places, in their order
    space: Space | None = None  # of the vectors; None: unknown


def image_tables(
    given: NDArray[np.float32] | Sequence[ImageTable], count: int, space: Space | None = None
) -> tuple[ImageTable, ...]:
    """Checked tables of `count` places; a bare array (count, d) is one table called "image", in `space`.

    Raises:
        DataError: vectors that are not finite, or do not fit the places.
        UsageError: no table, or two of one name.
    """
    found = (ImageTable("image", given, None, space),) if isinstance(given, np.ndarray) else tuple(given)
    names = [table.name for table in found]
    if not found or len(set(names)) < len(names):
        raise UsageError(f"the tables of image vectors are called {', '.join(names) or 'nothing'}: give each a name")
    for table in found:
        rows = np.arange(count) if table.rows is None else np.asarray(table.rows)
        if table.vectors.ndim != 2 or len(table.vectors) != len(rows):
            raise DataError(
                f"{len(rows)} places and {table.name} vectors of shape {table.vectors.shape}: give one vector a place"
            )
        if len(np.unique(rows)) < len(rows) or (len(rows) and not 0 <= rows.min() <= rows.max() < count):
            raise DataError(f"{table.name}: its rows must be different numbers from 0 to {count - 1}")
        if not np.isfinite(table.vectors).all():
            raise DataError(f"an {table.name} vector is not finite: embed the chips again, or leave that place out")
    return found


@dataclass(frozen=True, eq=False)
class Part:
    """The training or the validation places, as tensors.

    Attributes:
        count: number of places, n.
        degrees: (n, 2) float64, longitude first.
        encoded: (n, position dims) their position encodings, or None where those are made anew for each batch.
        unit: (n, 3) float32 unit vectors.
        vectors: for each table, (m, d).
        slots: for each table, (n,) the row of a place in `vectors`, -1 without; None where each has its own row.
        tokens: (distinct captions, width), or None.
        captions: (n,) the row of a place in `tokens`, -1 without; or None.
    """

    count: int
    degrees: Tensor
    encoded: Tensor | None
    unit: Tensor
    vectors: tuple[Tensor, ...]
    slots: tuple[Tensor | None, ...]
    tokens: Tensor | None
    captions: Tensor | None

    def places(self, picked: Tensor) -> dict[str, Tensor]:
        """The places of rows: `encoded`, or `lonlat` where that is to be made."""
        if self.encoded is not None:
            return {"encoded": self.encoded.index_select(0, picked)}
        return {"lonlat": self.degrees[picked]}

    def images(self, index: int, picked: Tensor) -> dict[str, Tensor]:
        """`vector/INDEX` (rows, d), and `has/INDEX` where not every place has one: absent vectors are zeros."""
        slots = self.slots[index]
        if slots is None:
            return {f"vector/{index}": self.vectors[index].index_select(0, picked)}
        slot = slots[picked]
        has = slot >= 0
        if len(self.vectors[index]) == 0:
            vectors = self.vectors[index].new_zeros(len(picked), self.vectors[index].shape[1])
        else:
            vectors = self.vectors[index].index_select(0, slot.clamp(min=0)) * has[:, None]
        return {f"vector/{index}": vectors, f"has/{index}": has.to(torch.uint8)}

    def texts(self, picked: Tensor) -> dict[str, Tensor]:
        """`tokens` (rows, width) and `caption` (rows,), -1 and padding where there is none; nothing without any."""
        if self.tokens is None or self.captions is None:
            return {}
        caption = self.captions[picked]
        return {"tokens": self.tokens[caption], "caption": caption}


def slots_of(table: ImageTable, rows: NDArray[np.int64], count: int) -> tuple[Tensor, Tensor | None]:
    """The vectors (m, d) of the places `rows`, and the slot (len(rows),) of each; None where each has its own."""
    own = np.arange(count) if table.rows is None else table.rows
    where = np.full(count, -1, dtype=np.int64)
    where[own] = np.arange(len(own))
    slot = where[rows]
    has = slot >= 0
    vectors = torch.from_numpy(np.ascontiguousarray(table.vectors[slot[has]], dtype=np.float32))
    if has.all():
        return vectors, None
    return vectors, torch.from_numpy(np.where(has, np.cumsum(has) - 1, -1))


def captions_of(texts: Sequence[str | None], config: TextConfig) -> tuple[Tensor, Tensor]:
    """The tokens (distinct + 1, width) of texts and the row (n,) of each in them.

    Places with one caption share a row, by which they are known as positives of each other. Without a caption (None,
    or nothing but blanks) the row is -1, which is the last one: padding.
    """
    plain = [text.strip() if isinstance(text, str) else "" for text in texts]
    distinct = {text: row for row, text in enumerate(sorted(set(plain) - {""}))}
    found = tokens([*distinct, ""], config)
    return found, torch.tensor([distinct.get(text, -1) for text in plain], dtype=torch.int64)
