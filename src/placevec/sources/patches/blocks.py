"""Blocks of a layer as patches are cut from them, and the cutting.

Patches of neighbouring cells overlap, so that a block of the raster is prepared once (classes to indices, nodata to
what is missing, the rim padded) with a margin as wide as half a patch, and every patch whose centre lies in it is
gathered from there, by whole arrays.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from placevec.sources.classes import UNKNOWN
from placevec.sources.patches.layers import Layer
from placevec.sources.tiles import Level

Floats = NDArray[np.float64]

_SIDE = 1024  # pixels of a block without its margin; of a raster that is fetched, a quarter
LARGEST = 24 << 20  # pixels of a block with its margin: beyond, samples are read one by one
_AT_ONCE = 1 << 16  # samples that are gathered at once: their temporaries stay in the cache of the processor


@dataclass(frozen=True)
class Block:
    """A part of a level of a layer: `values` (height, width) begins at (row, col) of the level."""

    values: NDArray[Any]
    row: int
    col: int
    whole: bool  # whether every pixel has a value of a known class


class Blocks:
    """Blocks of one layer, the least recently used dropped beyond `limit` bytes."""

    def __init__(self, layer: Layer, limit: int) -> None:
        self.layer = layer
        self.side = _SIDE if layer.raster.local else _SIDE // 4
        self.reads = 0
        self._limit = limit
        self._held = 0
        self._blocks: OrderedDict[tuple[Level, int, int, int], Block] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, level: Level, number: tuple[int, int], margin: int) -> Block:
        """The block of a number (down, across) with `margin` pixels around it."""
        key = (level, *number, margin)
        with self._lock:
            if key in self._blocks:
                self._blocks.move_to_end(key)
                return self._blocks[key]
            side = self.side_of(margin)
            row, col = (n * side - margin for n in number)
            size = side + 2 * margin + 2  # one more for the neighbours of the last sample
            values = np.ascontiguousarray(self.layer.window(level, row, col, size, size))
            whole = not (np.isnan(values).any() if values.dtype.kind == "f" else ((values - 1) >= UNKNOWN - 1).any())
            block = Block(values, row, col, bool(whole))
            self.reads += 1
            self._blocks[key] = block
            self._held += values.nbytes
            while self._held > self._limit and len(self._blocks) > 1:
                self._held -= self._blocks.popitem(last=False)[1].values.nbytes
            return block

    def side_of(self, margin: int) -> int:
        """Pixels along a block with such a margin."""
        return max(self.side, 2 * margin)

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__.copy()
        del state["_lock"]
        return state | {"_blocks": OrderedDict(), "_held": 0}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock = threading.Lock()


def margin_of(reach: int) -> int:
    """The margin for patches that reach so many pixels from their centres: few different ones, little too large."""
    step = max(8, 1 << max(0, reach.bit_length() - 3))
    return -(-reach // step) * step


def cut(
    blocks: Blocks, level: Level, terms: Floats, reach: NDArray[np.int64], pixels: int
) -> Iterator[tuple[NDArray[np.int64], NDArray[Any], bool]]:
    """Patches by parts: which they are (some of m), their pixels (·, pixels, pixels), whether all are whole.

    Args:
        blocks: of the layer.
        level: the level of detail.
        terms: (2, k, k, m) coefficients, in pixels of the level; see `positions.Squares`.
        reach: (m,) how far the patches reach from their centres, in pixels of the level.
        pixels: side of a patch.
    """
    base = np.floor(terms[:, 0, 0]).astype(np.int64)  # (2, m) columns and rows of the centres
    margin = margin_of(int(reach.max()))
    number = base // blocks.side_of(margin)
    order = np.lexsort((number[0], number[1]))
    across, down = number[0][order], number[1][order]
    changed = (np.diff(across, prepend=across[0]) != 0) | (np.diff(down, prepend=down[0]) != 0)
    starts = np.concatenate([[0], np.flatnonzero(changed)])
    some = max(1, _AT_ONCE // pixels**2)
    for start, stop in zip(starts, np.append(starts[1:], len(order)), strict=True):
        block = blocks.get(level, (int(down[start]), int(across[start])), margin)
        for first in range(start, stop, some):
            part = order[first : min(first + some, stop)]
            # Positions count from a corner of the patch's own, so that float32 is enough, and they are positive.
            shift = terms[:, :, :, part].copy()
            shift[:, 0, 0] -= base[:, part] - reach[part]
            corner = base[:, part] - reach[part]
            offset = (corner[1] - block.row) * block.values.shape[1] + (corner[0] - block.col)
            yield part, _gather(blocks.layer, level, block, shift.astype(np.float32), offset, pixels), block.whole


def _gather(
    layer: Layer, level: Level, block: Block, terms: NDArray[np.float32], offset: NDArray[np.int64], pixels: int
) -> NDArray[Any]:
    """Patches (m, pixels, pixels) from a block, by coefficients (2, k, k, m) of positions from `offset` (m,)."""
    width = block.values.shape[1]
    flat = block.values.reshape(-1)
    if layer.resampling == "bilinear":
        terms[:, 0, 0] -= np.float32(0.5)
    col, row = _evaluate(terms[0], pixels), _evaluate(terms[1], pixels)
    x, y = col.astype(np.int32), row.astype(np.int32)
    at = y * np.int32(width)
    at += x
    at += offset.astype(np.int32)[:, None, None]
    index = at.astype(np.intp)
    if layer.resampling != "bilinear":
        out = flat.take(index, mode="clip")
        if not block.whole and layer.classes is not None and (out == UNKNOWN).any():
            layer.check_codes(block.values, level, block.row, block.col, index.reshape(-1))
        return out
    col -= x.astype(np.float32)
    row -= y.astype(np.float32)
    out = flat.take(index, mode="clip")
    right = flat[1:].take(index, mode="clip")
    right -= out
    right *= col
    out += right
    low = flat[width:].take(index, mode="clip")
    right = flat[width + 1 :].take(index, mode="clip")
    right -= low
    right *= col
    low += right
    low -= out
    low *= row
    out += low
    if not block.whole:
        holes = np.flatnonzero(np.isnan(out))
        if len(holes):
            out.reshape(-1)[holes] = _between_valid(
                flat, width, index.reshape(-1)[holes], col.reshape(-1)[holes], row.reshape(-1)[holes]
            )
    return out


def _between_valid(
    flat: NDArray[np.float32],
    width: int,
    at: NDArray[np.intp],
    fx: NDArray[np.float32],
    fy: NDArray[np.float32],
) -> NDArray[np.float32]:
    """Values between those of four neighbours that are there; NaN where the pixel that holds the sample is not."""
    total, weight = np.zeros(len(at), dtype=np.float32), np.zeros(len(at), dtype=np.float32)
    gx, gy = np.float32(1) - fx, np.float32(1) - fy
    for step, share in ((0, gx * gy), (1, fx * gy), (width, gx * fy), (width + 1, fx * fy)):
        value = flat[at + step]
        ok = ~np.isnan(value)
        total += np.where(ok, value, np.float32(0)) * share
        weight += ok * share
    held = ~np.isnan(flat[at + (fx >= 0.5) + width * (fy >= 0.5)]) & (weight > 0)
    return np.where(held, total / np.where(weight > 0, weight, np.float32(1)), np.float32(np.nan))


def _evaluate(terms: NDArray[np.float32], pixels: int) -> NDArray[np.float32]:
    """Values (m, pixels, pixels) of polynomials with coefficients (k, k, m) of y^i x^j, rows from the north."""
    at = ((2.0 * np.arange(pixels) + 1.0) / pixels - 1.0).astype(np.float32)
    degree = len(terms)
    one = terms[..., None]
    if degree == 3:
        down = (one[2, 0] * at + one[1, 0]) * at + one[0, 0]
        across = (one[0, 2] * at + one[0, 1]) * at
        twist = one[1, 1] * (at[:, None] * at).reshape(-1)
        out = twist.reshape(-1, pixels, pixels)
        out += down[:, :, None] + across[:, None, :]
        return np.asarray(out)
    along = np.empty((degree, terms.shape[2], pixels), dtype=np.float32)  # of x^j, on each row of the patch
    for j in range(degree):
        along[j] = one[degree - 1, j]
        for i in range(degree - 2, -1, -1):
            along[j] *= at
            along[j] += one[i, j]
    out = along[degree - 1][:, :, None] * at
    for j in range(degree - 2, 0, -1):
        out += along[j][:, :, None]
        out *= at
    out += along[0][:, :, None]
    return np.asarray(out)
