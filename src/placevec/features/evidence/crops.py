"""Evidence from any encoder, a black box: windows cut from the image, each encoded as an image of its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from placevec.encoders.base import Vectors
from placevec.errors import UsageError
from placevec.features.evidence.field import Encode, Field, Image

POSITIONS = 64  # positions on the longer side, at most
STEPS = 4  # positions on the side of the smallest window

Windows = NDArray[np.int64]
"""(m, 4) x, y, width, height in pixels."""


@dataclass(frozen=True)
class Crops:
    """Which windows are cut."""

    shares: tuple[float, ...] = (0.5, 0.25)  # sides of the windows, as shares of the unit (the shorter side, or a tile)
    overlap: float = 0.5  # share of a window that the next one covers again
    batch: int = 64  # windows encoded at once

    def __post_init__(self) -> None:
        if not self.shares or not all(0 < share <= 1 for share in self.shares):
            raise UsageError(f"shares = {self.shares}: give sides of windows above 0, at most 1")
        if not 0 <= self.overlap < 1 or self.batch < 1:
            raise UsageError(f"overlap {self.overlap}, batch {self.batch}: give an overlap of 0 ... <1, a batch from 1")


def windows(height: int, width: int, side: int, overlap: float) -> Windows:
    """Square windows of `side` pixels that cover the image evenly, the outer ones flush with its edges.

    Args:
        height: of the image in pixels.
        width: of the image in pixels.
        side: of a window; cut down to the image where that is smaller.
        overlap: share of a window that the next one covers at least.
    """
    tall, wide = min(side, height), min(side, width)

    def starts(length: int, part: int) -> NDArray[np.int64]:
        step = max(part * (1 - overlap), 1.0)
        count = 1 + int(np.ceil((length - part) / step - 1e-9))
        return np.rint(np.linspace(0, length - part, count)).astype(np.int64)

    top, left = np.meshgrid(starts(height, tall), starts(width, wide), indexing="ij")
    return np.stack([left.ravel(), top.ravel(), np.full(top.size, wide), np.full(top.size, tall)], axis=1)


def cut_cells(height: int, width: int, rows: int, columns: int) -> Windows:
    """Windows side by side, `rows` times `columns` of them, that tile the image (sides differ by a pixel at most)."""
    if not (1 <= rows <= height and 1 <= columns <= width):
        raise UsageError(f"{rows} x {columns} cells of an image of {height} x {width} pixels: give fewer")
    y, x = (np.linspace(0, n, k + 1).round().astype(np.int64) for n, k in ((height, rows), (width, columns)))
    top, left = np.repeat(np.arange(rows), columns), np.tile(np.arange(columns), rows)
    return np.stack([x[left], y[top], x[left + 1] - x[left], y[top + 1] - y[top]], axis=1)


def encode_windows(encode: Encode, image: Image, boxes: Windows, batch: int = 64) -> Vectors:
    """The unit vectors (m, dims) of windows of an image (bands, h, w), those of one size encoded together."""
    out: dict[int, NDArray[np.float32]] = {}
    for rows in _by_size(boxes):
        for start in range(0, len(rows), batch):
            part = rows[start : start + batch]
            cut = np.stack([image[:, y : y + h, x : x + w] for x, y, w, h in boxes[part].tolist()])
            out.update(zip(part.tolist(), encode(cut), strict=True))
    return np.stack([out[row] for row in range(len(boxes))])


def crop_field(encode: Encode, image: Image, crops: Crops | None = None, *, unit: int = 0) -> Field:
    """The field of an image from overlapping windows of several sizes.

    The score of a position is the mean of the scores of the windows that cover it, each weighted by how central the
    position is in it (a raised cosine in both directions), so that the map has no edges of windows.

    Args:
        encode: the encoder.
        image: (bands, h, w).
        crops: which windows.
        unit: pixels of which the sides of windows are shares; 0: the shorter side of the image.
    """
    chosen = crops or Crops()
    _, height, width = image.shape
    unit = unit or min(height, width)
    sides = sorted({max(1, round(share * unit)) for share in chosen.shares}, reverse=True)
    boxes = np.unique(np.concatenate([windows(height, width, side, chosen.overlap) for side in sides]), axis=0)
    step = max(max(height, width) / POSITIONS, min(sides) / STEPS)
    shape = max(1, round(height / step)), max(1, round(width / step))
    vectors = encode_windows(encode, image, boxes, chosen.batch)
    return Field(vectors, shape, (height, width), _whole(encode, image), spread(boxes, shape, (height, width)))


def grid_field(encode: Encode, image: Image, cells: int | tuple[int, int] = 4, *, one_by_one: bool = False) -> Field:
    """The field of an image from a plain grid of cells, each encoded by itself: the simple way, to compare with.

    Args:
        encode: the encoder, which brings each cell to its own size.
        image: (bands, h, w).
        cells: rows and columns, or one number for both.
        one_by_one: encode each cell in a batch of its own, as a loop over cells does.
    """
    _, height, width = image.shape
    rows, columns = (cells, cells) if isinstance(cells, int) else cells
    boxes = cut_cells(height, width, rows, columns)
    vectors = encode_windows(encode, image, boxes, 1 if one_by_one else len(boxes))
    return Field(vectors, (rows, columns), (height, width), _whole(encode, image), cells=True)


def spread(boxes: Windows, shape: tuple[int, int], size: tuple[int, int]) -> sparse.csr_array:
    """The weights (rows·columns, m) by which scores of windows become scores of positions; each row adds up to 1."""
    rows, columns = shape
    y = (np.arange(rows) + 0.5) * size[0] / rows
    x = (np.arange(columns) + 0.5) * size[1] / columns
    parts = []
    for left, top, wide, tall in boxes.tolist():
        weight = np.outer(bump(y, top, tall), bump(x, left, wide)).ravel()
        parts.append(sparse.csr_array(weight[None]))
    each: Any = sparse.csr_array(sparse.vstack(parts).T)
    total = np.asarray(each.sum(axis=1)).ravel()
    if not (total > 0).all():
        raise UsageError("the windows leave a part of the image uncovered: give larger ones, or more overlap")
    return sparse.csr_array(sparse.diags_array(1 / total) @ each)


def bump(at: NDArray[np.float64], start: int, length: int) -> NDArray[np.float64]:
    """How central positions are in a window along one axis: 1 in its middle, a little at its rim, 0 outside."""
    share = (at - start) / length
    inside = (share >= 0) & (share <= 1)
    # A little is left at the rim: a position at the edge of the image is covered by rims alone.
    return np.where(inside, 0.02 + 0.98 * np.sin(np.pi * np.clip(share, 0, 1)) ** 2, 0.0)


def _by_size(boxes: Windows) -> Iterator[NDArray[np.int64]]:
    sizes: Sequence[tuple[int, int]] = [(w, h) for _, _, w, h in boxes.tolist()]
    for size in sorted(set(sizes)):
        yield np.array([row for row, other in enumerate(sizes) if other == size], dtype=np.int64)


def _whole(encode: Encode, image: Image) -> Vectors:
    found: Vectors = encode(image[None])[0]
    return found
