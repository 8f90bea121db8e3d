"""Blocks of a raster at one level of detail, read once each and kept in a bounded cache.

A level is the full raster or one of its overviews, further reduced by averaging blocks of `gx` x `gy` pixels: what a
mipmap is to a texture. Tiles carry one more column and row than they own, so that the four neighbours of any sample
lie in one tile.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Decode = Callable[[NDArray[Any]], NDArray[np.float32]]

_HOLD_BYTES = 64 << 20  # a level smaller than this is one tile: it is read once, in one pass
_TILE_BYTES = 4 << 20


@dataclass(frozen=True)
class Level:
    """One level of detail.

    Attributes:
        overview: index of the overview that is read, -1 for the raster itself.
        gx: columns of the overview that are one column of the level.
        gy: rows of the overview that are one row of the level.
        width: columns of the level.
        height: rows of the level.
        sx: columns of the raster that are one column of the level.
        sy: rows of the raster that are one row of the level.
        mode: whether classes are reduced by majority instead of by averaging.
    """

    overview: int
    gx: int
    gy: int
    width: int
    height: int
    sx: float
    sy: float
    mode: bool = False


@dataclass(frozen=True)
class Tile:
    """Pixels of a level: `values` (h·w, bands) and, where some are not valid, `valid` of the same shape."""

    values: NDArray[Any]
    valid: NDArray[np.bool_] | None
    width: int

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return int(self.values.nbytes + (0 if self.valid is None else self.valid.nbytes))


class PixelReader:
    """What tiles are read from: a GDAL dataset (see `rasters`) or an array.

    Attributes:
        block: (rows, columns) of a storage block of the full raster.
        sequential: whether a block can only be reached by reading all before it (JPEG, PNG).
        local: whether reading more than needed is cheap.
    """

    block: tuple[int, int] = (256, 256)
    sequential: bool = False
    local: bool = True

    def shape(self, overview: int) -> tuple[int, int]:
        """(rows, columns) at an overview, -1 for the raster itself."""
        raise NotImplementedError

    def read(
        self, overview: int, row: int, col: int, height: int, width: int
    ) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
        """Values (bands, height, width) of a window, and their validity, or None where all are valid."""
        raise NotImplementedError


class ArrayReader(PixelReader):
    """An array (bands, rows, columns) as a raster is read."""

    def __init__(self, values: NDArray[Any], nodata: float | None) -> None:
        self._values, self._nodata = values, nodata

    def shape(self, overview: int) -> tuple[int, int]:
        """(rows, columns)."""
        return int(self._values.shape[1]), int(self._values.shape[2])

    def read(
        self, overview: int, row: int, col: int, height: int, width: int
    ) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
        """Values (bands, height, width) of a window, and their validity."""
        part = self._values[:, row : row + height, col : col + width]
        return part, None if self._nodata is None else part != self._nodata


class TileCache:
    """Tiles by level and position, the least recently used dropped beyond `limit` bytes."""

    def __init__(self, reader: PixelReader, *, wraps: bool, itemsize: int, decode: Decode | None, limit: int) -> None:
        self._reader = reader
        self._wraps = wraps
        self._itemsize = itemsize  # bytes of one pixel in all bands
        self._decode = decode
        self._limit = limit
        self._tiles: OrderedDict[tuple[Level, int, int], Tile] = OrderedDict()
        self._held = 0
        self.reads = 0

    def tile_shape(self, level: Level) -> tuple[int, int]:
        """(rows, columns) that a tile of `level` owns."""
        source_rows, source_cols = self._reader.shape(level.overview)
        size = source_rows * source_cols * self._itemsize
        if self._reader.sequential or (self._reader.local and size <= _HOLD_BYTES):
            return level.height, level.width
        block_rows, block_cols = self._reader.block
        if block_cols >= source_cols:  # strips: as many as make a reasonable read
            rows = max(block_rows, _TILE_BYTES // (source_cols * self._itemsize) // block_rows * block_rows)
            return max(1, rows // level.gy), level.width
        # Whole blocks, few at a time: samples may be sparse, and a remote block costs its transfer.
        side = min(int((_TILE_BYTES / self._itemsize) ** 0.5), 512 if self._reader.local else 256)
        rows, cols = (max(1, side // block) * block for block in (block_rows, block_cols))
        return max(8, rows // level.gy), max(8, cols // level.gx)

    def get(self, level: Level, tile_row: int, tile_col: int) -> Tile:
        """The tile at a position of the level's grid of tiles."""
        key = (level, tile_row, tile_col)
        if key in self._tiles:
            self._tiles.move_to_end(key)
            return self._tiles[key]
        tile = self._make(level, tile_row, tile_col)
        self.reads += 1
        self._tiles[key] = tile
        self._held += tile.nbytes
        while self._held > self._limit and len(self._tiles) > 1:
            self._held -= self._tiles.popitem(last=False)[1].nbytes
        return tile

    def window(
        self, level: Level, row: int, col: int, height: int, width: int, band: int
    ) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
        """Values (height, width) of one band in a window of a level, which may reach over its rim, and validity.

        What lies beyond the rim is not valid; on a raster that goes around the globe columns go on at the other side.
        A level that is one tile is taken from it; else the window is read as it is, and nothing is kept of it.
        """
        values: NDArray[Any] | None = None
        valid: NDArray[np.bool_] | None = None
        y0, y1 = max(row, 0), min(row + height, level.height)
        for x0, x1, at in _columns(col, width, level.width, self._wraps):
            if y0 >= y1:
                break
            part, ok = self._part(level, y0, y1, x0, x1, band)
            if values is None:
                if part.shape == (height, width):
                    return part, ok
                values = np.zeros((height, width), dtype=part.dtype)
                valid = np.zeros((height, width), dtype=bool)
            assert valid is not None
            target = slice(y0 - row, y1 - row), slice(at, at + x1 - x0)
            values[target] = part
            valid[target] = True if ok is None else ok
        if values is None:
            return np.zeros((height, width), dtype=np.uint8), np.zeros((height, width), dtype=bool)
        return values, valid

    def _part(
        self, level: Level, y0: int, y1: int, x0: int, x1: int, band: int
    ) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
        if self.tile_shape(level) != (level.height, level.width):
            values, valid = self._reduced(level, y0, y1, x0, x1)
            return values[band], None if valid is None else valid[band]
        tile = self.get(level, 0, 0)
        shape = (-1, tile.width, tile.values.shape[1])
        cut = slice(y0, y1), slice(x0, x1), band
        return tile.values.reshape(shape)[cut], None if tile.valid is None else tile.valid.reshape(shape)[cut]

    def clear(self) -> None:
        """Forget all tiles."""
        self._tiles.clear()
        self._held = 0

    def _make(self, level: Level, tile_row: int, tile_col: int) -> Tile:
        rows, cols = self.tile_shape(level)
        y0, x0 = tile_row * rows, tile_col * cols
        y1, x1 = min(y0 + rows + 1, level.height), min(x0 + cols + 1, level.width)
        values, valid = self._reduced(level, y0, y1, x0, x1)
        right, below = x0 + cols >= level.width, y0 + rows >= level.height
        if right:  # the column after the last is the first one around the globe, else a copy of the last
            if self._wraps:
                more, ok = (values, valid) if x0 == 0 else self._reduced(level, y0, y1, 0, 1)
                column, ok_column = more[:, :, :1], None if ok is None else ok[:, :, :1]
            else:
                column, ok_column = values[:, :, -1:], None if valid is None else valid[:, :, -1:]
            if (valid is None) != (ok_column is None):
                valid = np.ones(values.shape, dtype=bool) if valid is None else valid
                ok_column = np.ones(column.shape, dtype=bool) if ok_column is None else ok_column
            values = np.concatenate([values, column], axis=2)
            valid = None if valid is None or ok_column is None else np.concatenate([valid, ok_column], axis=2)
        if below:
            values = np.concatenate([values, values[:, -1:]], axis=1)
            valid = None if valid is None else np.concatenate([valid, valid[:, -1:]], axis=1)
        return Tile(_interleave(values), None if valid is None else _interleave(valid), values.shape[2])

    def _reduced(
        self, level: Level, y0: int, y1: int, x0: int, x1: int
    ) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
        """Values (bands, y1 - y0, x1 - x0) of a window of the level."""
        source_rows, source_cols = self._reader.shape(level.overview)
        row, col = y0 * level.gy, x0 * level.gx
        height = min(y1 * level.gy, source_rows) - row
        width = min(x1 * level.gx, source_cols) - col
        # A strongly reduced tile is read and averaged in strips, so that memory follows the tile, not its source.
        strip = max(1, _HOLD_BYTES // 8 // max(1, width * self._itemsize * level.gy)) * level.gy
        parts = [
            self._strip(level, row + first, col, min(strip, height - first), width) for first in range(0, height, strip)
        ]
        if len(parts) == 1:
            return parts[0]
        values = np.concatenate([part for part, _ in parts], axis=1)
        if all(ok is None for _, ok in parts):
            return values, None
        masks = [np.ones(part.shape, dtype=bool) if ok is None else ok for part, ok in parts]
        return values, np.concatenate(masks, axis=1)

    def _strip(
        self, level: Level, row: int, col: int, height: int, width: int
    ) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
        values, valid = self._reader.read(level.overview, row, col, height, width)
        if self._decode is not None:
            values = self._decode(values)
        if values.dtype.kind == "f":
            finite = np.isfinite(values)
            if not finite.all():
                valid = finite if valid is None else valid & finite
        if valid is not None and valid.all():
            valid = None
        if level.gx == level.gy == 1:
            return values, valid
        if level.mode:
            return _majority(values, valid, level.gy, level.gx)
        return _average(values, valid, level.gy, level.gx)


def _columns(col: int, width: int, whole: int, wraps: bool) -> Iterator[tuple[int, int, int]]:
    """The runs of columns (first, end, position in the window) of a level of `whole` columns in a window."""
    if not wraps:
        first, end = max(col, 0), min(col + width, whole)
        if first < end:
            yield first, end, first - col
        return
    at = 0
    while at < width:
        first = (col + at) % whole
        end = min(whole, first + width - at)
        yield first, end, at
        at += end - first


def _interleave(values: NDArray[Any]) -> NDArray[Any]:
    # Pixel by pixel, so that one sample gathers its bands from one cache line.
    return np.ascontiguousarray(values.reshape(values.shape[0], -1).T)


def _sums(values: NDArray[Any], gy: int, gx: int) -> NDArray[Any]:
    """Sums (bands, rows, columns) of blocks of gy x gx; the last blocks may be smaller."""
    bands, height, width = values.shape
    if values.dtype.kind == "f":
        wide: Any = np.float64
    else:  # exact, and narrow where that is enough
        wide = np.int32 if values.dtype.itemsize <= 2 and gy * gx <= 1 << 15 else np.int64
    down = np.zeros((bands, -(-height // gy), width), dtype=wide)
    for first in range(gy):
        part = values[:, first::gy]
        down[:, : part.shape[1]] += part
    across = np.zeros((bands, down.shape[1], -(-width // gx)), dtype=wide)
    for first in range(gx):
        part = down[:, :, first::gx]
        across[:, :, : part.shape[2]] += part
    return across


def _sizes(values: NDArray[Any], gy: int, gx: int) -> NDArray[np.int64]:
    """How many pixels are in each block of gy x gx."""
    _, height, width = values.shape
    heights = np.minimum(np.arange(gy, height + gy, gy), height) - np.arange(0, height, gy)
    widths = np.minimum(np.arange(gx, width + gx, gx), width) - np.arange(0, width, gx)
    return np.outer(heights, widths)


def _average(
    values: NDArray[Any], valid: NDArray[np.bool_] | None, gy: int, gx: int
) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
    """Means of blocks of gy x gx over their valid pixels. As of a single pixel, half of a block must be there."""
    sizes = _sizes(values, gy, gx)
    if valid is None:
        return (_sums(values, gy, gx) / sizes).astype(np.float32), None
    counts = _sums(valid, gy, gx)
    sums = _sums(np.where(valid, values, values.dtype.type(0)), gy, gx)
    return (sums / np.maximum(counts, 1)).astype(np.float32), 2 * counts >= sizes


def _majority(
    values: NDArray[Any], valid: NDArray[np.bool_] | None, gy: int, gx: int
) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
    """The most frequent valid value of each block of gy x gx, the smallest among equals."""
    best = np.zeros((values.shape[0], -(-values.shape[1] // gy), -(-values.shape[2] // gx)), dtype=values.dtype)
    most = np.zeros(best.shape, dtype=np.int64)
    for value in np.unique(values if valid is None else values[valid]):
        counts = _sums(values == value if valid is None else (values == value) & valid, gy, gx)
        better = counts > most
        most[better], best[better] = counts[better], value
    if valid is None:
        return best, None
    return best, 2 * _sums(valid, gy, gx) >= _sizes(values, gy, gx)
