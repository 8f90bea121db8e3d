"""A raster of many tiles on a regular grid, of which only those are opened that a window touches."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from placevec.errors import FormatError, UsageError
from placevec.sources.remote.http import Absent
from placevec.sources.tiles import PixelReader

if TYPE_CHECKING:
    from placevec.sources.gdal import GdalReader

_OPEN = 24  # tiles that are kept open


@dataclass(frozen=True)
class TileGrid:
    """Square tiles of one size in degrees, one band each.

    Attributes:
        west: longitude of the left edge.
        north: latitude of the upper edge.
        degrees: side of a tile.
        rows: tiles from north to south.
        cols: tiles from west to east.
        pixels: side of a tile.
        overviews: by how much each overview is coarser; all divide `pixels`.
        block: side of a storage block.
        dtype: type of the values.
        nodata: the value that stands for nothing, also where there is no tile.
        address: the address of the tile at (row, column).
    """

    west: float
    north: float
    degrees: float
    rows: int
    cols: int
    pixels: int
    overviews: tuple[int, ...]
    block: int
    dtype: str
    nodata: int
    address: Callable[[int, int], str]


class MosaicReader(PixelReader):
    """The tiles of a grid as one raster in longitude and latitude; where there is no tile there is nothing.

    Args:
        name: for errors.
        grid: where tiles lie.
        refresh: fetch again what is kept of each tile.

    Attributes:
        bands, dtype, transform, crs_wkt, nodata, overviews, width, height: as of `GdalReader`.
    """

    sequential = False
    local = False

    def __init__(self, name: str, grid: TileGrid, *, refresh: bool = False) -> None:
        from pyproj import CRS

        self.href = name
        self.bands = (1,)
        self.dtype = np.dtype(grid.dtype)
        self.nodata: float | None = float(grid.nodata)
        self.height, self.width = grid.rows * grid.pixels, grid.cols * grid.pixels
        step = grid.degrees / grid.pixels
        self.transform = (step, 0.0, grid.west, 0.0, -step, grid.north)
        self.crs_wkt = CRS("EPSG:4326").to_wkt()
        self.block = (grid.block, grid.block)
        self.overviews = tuple((self.height // by, self.width // by) for by in grid.overviews)
        self._grid = grid
        self._refresh = refresh
        self._asked: set[tuple[int, int]] = set()
        self._absent: set[tuple[int, int]] = set()
        self._tiles: OrderedDict[tuple[int, int], GdalReader] = OrderedDict()
        self._lock = threading.RLock()

    def __getstate__(self) -> dict[str, Any]:
        state = {name: value for name, value in self.__dict__.items() if name not in ("_lock", "_tiles")}
        # What was fetched again here holds for the processes that go on with it.
        return {**state, "_refresh": False}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock = threading.RLock()
        self._tiles = OrderedDict()

    def shape(self, overview: int) -> tuple[int, int]:
        """(rows, columns) at an overview, -1 for the raster itself."""
        return (self.height, self.width) if overview < 0 else self.overviews[overview]

    def read(
        self, overview: int, row: int, col: int, height: int, width: int
    ) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
        """Values (1, height, width) of a window, and their validity, or None where all are valid."""
        side = self._grid.pixels // (1 if overview < 0 else self._grid.overviews[overview])
        values = np.full((1, height, width), self._grid.nodata, dtype=self.dtype)
        for tile_row in range(row // side, -(-(row + height) // side)):
            for tile_col in range(col // side, -(-(col + width) // side)):
                tile = self._tile(tile_row, tile_col)
                if tile is None:
                    continue
                top, left = max(row, tile_row * side), max(col, tile_col * side)
                below, right = min(row + height, (tile_row + 1) * side), min(col + width, (tile_col + 1) * side)
                part, _ = tile.read(overview, top - tile_row * side, left - tile_col * side, below - top, right - left)
                values[:, top - row : below - row, left - col : right - col] = part
        valid = values != self._grid.nodata
        return values, None if valid.all() else valid

    def _tile(self, row: int, col: int) -> GdalReader | None:
        """The tile at (row, col), None where there is none."""
        from placevec.sources.gdal import GdalReader

        key = (row, col)
        with self._lock:
            if key in self._absent:
                return None
            if key in self._tiles:
                self._tiles.move_to_end(key)
                return self._tiles[key]
            try:
                tile = GdalReader(self._grid.address(row, col), refresh=self._refresh and key not in self._asked)
            except Absent:
                self._absent.add(key)
                return None
            self._check(tile, row, col)
            self._asked.add(key)
            self._tiles[key] = tile
            while len(self._tiles) > _OPEN:
                self._tiles.popitem(last=False)
            return tile

    def _check(self, tile: GdalReader, row: int, col: int) -> None:
        grid = self._grid
        step = grid.degrees / grid.pixels
        corner = (step, 0.0, grid.west + col * grid.degrees, 0.0, -step, grid.north - row * grid.degrees)
        shapes = (
            [tile.shape(i) for i in range(-1, len(grid.overviews))]
            if len(tile.overviews) >= len(grid.overviews)
            else []
        )
        wanted = [(grid.pixels // by, grid.pixels // by) for by in (1, *grid.overviews)]
        if shapes != wanted or not np.allclose(tile.transform or (0.0,) * 6, corner, rtol=0.0, atol=step / 100):
            raise FormatError(
                f"{tile.href} is not the tile of {self.href} that lies there; open it by itself, or refresh it"
            )


def only_band(name: str, bands: Any) -> None:
    """UsageError unless `bands` asks for band 1, or for none in particular."""
    if bands is not None and tuple(bands) != (1,):
        raise UsageError(f"{name} has one band; leave the bands out")
