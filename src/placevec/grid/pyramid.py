"""A raster and its overviews, written together from north to south.

Each level halves the one before it. Only rows that do not yet fill a row of tiles are held in memory, and a tile is
written once and whole: a tile that is added to is compressed again each time, in another place of the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from placevec.grid.raster import BLOCK, EXTRA
from placevec.registry import need

TILE_BYTES = 2**23  # of a tile: GDAL's cache must hold some, and each level has buffers of that size
ROW_BYTES = 2**27  # of a row of tiles, which is held in memory


def block_side(width: int, dims: int, itemsize: int) -> int:
    """The side of a tile, in pixels: BLOCK, and less where vectors are long or rows are wide."""
    side = BLOCK
    while side > 16 and dims * itemsize * side * max(side / TILE_BYTES, width / ROW_BYTES) > 1:
        side //= 2
    return side


def levels(
    path: Path, shape: tuple[int, int], bounds: tuple[float, float, float, float], profile: Mapping[str, Any], side: int
) -> list[Level]:
    """The raster of `shape` (rows, columns) at `path` and its overviews down to one of at most BLOCK pixels a side.

    GDAL takes the file NAME.ovr as the overview of NAME, and NAME.ovr.ovr as that of the overview.
    """
    shapes = [shape]
    while max(shapes[-1]) > BLOCK:
        shapes.append((-(-shapes[-1][0] // 2), -(-shapes[-1][1] // 2)))
    found: list[Level] = []
    for at, part in reversed(list(enumerate(shapes))):
        name = path.with_name(path.name + ".ovr" * at)
        # Tiles shrink with their level, lest memory grow with the number of levels.
        found.insert(0, Level(name, part, bounds, profile, max(16, side >> at), found[0] if found else None))
    return found


class Level:
    """One raster of the pyramid.

    Args:
        path: the file.
        shape: (rows, columns).
        bounds: (left, bottom, right, top) in units of the CRS.
        profile: what else rasterio is to make.
        side: of a tile, in pixels; a multiple of 16.
        coarser: the level that gets the halves of the rows.
    """

    def __init__(
        self,
        path: Path,
        shape: tuple[int, int],
        bounds: tuple[float, float, float, float],
        profile: Mapping[str, Any],
        side: int,
        coarser: Level | None,
    ) -> None:
        rasterio, affine = need("rasterio", **EXTRA), need("affine", **EXTRA)
        height, width = shape
        left, bottom, right, top = bounds
        place = affine.Affine((right - left) / width, 0.0, left, 0.0, -(top - bottom) / height, top)
        self.path, self.side, self.coarser = path, side, coarser
        tile = {"blockxsize": side, "blockysize": side}
        self.raster = rasterio.open(path, "w", width=width, height=height, transform=place, **profile, **tile)
        self._window = rasterio.windows.Window
        self._held = np.empty((side, width, profile["count"]), dtype=profile["dtype"])
        self._count = 0  # rows held
        self._row = 0  # the first row that is not yet in the file

    def add(self, rows: NDArray[Any]) -> None:
        """Add the next rows (n, columns, d)."""
        while len(rows):
            if not self._count and len(rows) >= self.side:
                self._write(rows[: self.side])  # without a copy
                rows = rows[self.side :]
                continue
            count = min(self.side - self._count, len(rows))
            self._held[self._count : self._count + count] = rows[:count]
            self._count += count
            rows = rows[count:]
            if self._count == self.side:
                self._flush()

    def close(self) -> None:
        """Write what is held, and close the file."""
        if self._count:
            self._flush()
        self._held = self._held[:0]
        self.raster.close()

    def _flush(self) -> None:
        self._write(self._held[: self._count])
        self._count = 0

    def _write(self, rows: NDArray[Any]) -> None:
        for start in range(0, rows.shape[1], self.side):
            tile = rows[:, start : start + self.side]
            window = self._window(start, self._row, tile.shape[1], tile.shape[0])
            self.raster.write(np.moveaxis(tile, 2, 0), window=window)
        self._row += len(rows)
        if self.coarser is not None:
            self.coarser.add(halved(rows))


def halved(rows: NDArray[Any]) -> NDArray[Any]:
    """Pixels (n, w, d) at half the resolution, (n/2, w/2, d) rounded up: the mean of those of four that hold a value.

    Integers are codes of a codec, which have no mean: of them the first of the four is kept.
    """
    if rows.dtype.kind == "i":
        return rows[::2, ::2]
    high, wide = -(-rows.shape[0] // 2), -(-rows.shape[1] // 2)
    total = np.zeros((high, wide, rows.shape[2]), dtype=np.float32)
    count = np.zeros((high, wide, 1), dtype=np.float32)
    for row, column in ((0, 0), (0, 1), (1, 0), (1, 1)):
        part = rows[row::2, column::2]
        here = ~np.isnan(part).any(axis=2, keepdims=True)
        at = np.s_[: part.shape[0], : part.shape[1]]
        np.add(total[at], part, out=total[at], where=here)
        count[at] += here
    with np.errstate(invalid="ignore"):
        total /= count  # 0/0 is NaN, the pixel without a value
    return total
