"""EmbeddingGrid: a raster of vectors, read by window and by block, whichever way up it was written."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pyproj import Transformer

from placevec.errors import CrsError, FormatError, SchemaError
from placevec.geo.boxes import Box, box_polygon, check_box, split_box
from placevec.geo.cells import Cells
from placevec.geo.frames import LONLAT, to_lonlat, transform
from placevec.geo.sphere import LonLat
from placevec.grid.means import CellMeans, cell_rows
from placevec.provenance import Space, TableMeta
from placevec.registry import need
from placevec.table.codec import decode
from placevec.table.embeddings import EmbeddingTable, norms

TAG = "PLACEVEC_EMB"
BLOCK = 256
CACHE_BYTES = 2**27  # of GDAL; its own choice, a share of the machine's memory, would hold the whole grid
EXTRA = {"extra": "raster", "purpose": "reading and writing an EmbeddingGrid"}


@dataclass(frozen=True)
class Window:
    """A rectangle of pixels: their vectors, and where their centres are.

    Attributes:
        vectors: (n, d) float32, decoded, of the n pixels that hold a value.
        lonlat: their centres.
        rows: pixel rows (n,) in the file, counted from the top of the file.
        columns: pixel columns (n,).
    """

    vectors: NDArray[np.float32]
    lonlat: LonLat
    rows: NDArray[np.int64]
    columns: NDArray[np.int64]


class Tile(NamedTuple):
    """A rectangle of pixels, whole, that is read in one go."""

    row: int  # the first
    column: int  # the first
    height: int
    width: int


class EmbeddingGrid:
    """A raster of vectors in a file, of which only the blocks asked for are read.

    Attributes:
        path: the file.
        meta: Space, codec and provenance, as in a table.
        crs: the coordinate reference system of the pixels, as rasterio gives it.
        shape: (rows, columns).
        transform: the affine transformation from (column, row) to coordinates of `crs`.
        renormalize: whether means of vectors are brought back to length 1.
    """

    def __init__(self, path: str | Path, meta: TableMeta | None = None) -> None:
        self.path = path
        with self._open() as raster:
            if raster.crs is None:
                raise CrsError(f"{path}: the raster has no CRS: give it one with `gdal_edit.py -a_srs EPSG:…`")
            footer = raster.tags().get(TAG)
            if meta is None and footer is None:
                raise FormatError(f"{path}: no EmbeddingGrid (the tag {TAG} is absent): use `placevec import`")
            self.meta = meta if meta is not None else TableMeta.from_footer(json.loads(footer))
            if raster.count != self.meta.space.dims:
                raise SchemaError(f"{path}: {raster.count} bands in a Space of {self.meta.space.dims} dims")
            self.crs: Any = raster.crs
            self.shape = (int(raster.height), int(raster.width))
            self._nodata = raster.nodata
            self.transform = raster.transform
            self._blocks = raster.block_shapes[0]
        self.renormalize = self.meta.normalized

    @property
    def space(self) -> Space:
        """The Space of the vectors."""
        return self.meta.space

    def windows(self, bbox: Box | None = None) -> Iterator[Window]:
        """The pixels of the grid, or of `bbox` (west, south, east, north in degrees), block by block."""
        rasterio = need("rasterio", **EXTRA)
        with self._open() as raster:
            keep = None if bbox is None else pixel_windows(raster.transform, raster.crs.to_wkt(), check_box(bbox))
            for _, block in raster.block_windows(1):
                if keep is not None and not any(rasterio.windows.intersect(block, part) for part in keep):
                    continue
                window = self._read(raster, block)
                if bbox is not None:
                    from placevec.geo.boxes import in_box

                    inside = in_box(window.lonlat.lon, window.lonlat.lat, bbox)
                    window = Window(
                        window.vectors[inside], window.lonlat[inside], window.rows[inside], window.columns[inside]
                    )
                if len(window.vectors):
                    yield window

    def window(self, bbox: Box | None = None) -> Window:
        """All pixels of `bbox` (of the grid by default) at once; those without a value are left out."""
        parts = list(self.windows(bbox))
        if not parts:
            none = np.empty(0)
            rows = np.empty(0, dtype=np.int64)
            return Window(np.empty((0, self.space.dims), np.float32), LonLat(none, none), rows, rows)
        return Window(
            np.concatenate([part.vectors for part in parts]),
            LonLat(
                np.concatenate([part.lonlat.lon for part in parts]), np.concatenate([part.lonlat.lat for part in parts])
            ),
            np.concatenate([part.rows for part in parts]),
            np.concatenate([part.columns for part in parts]),
        )

    def tiles(self) -> list[Tile]:
        """The grid cut into rectangles along the blocks of the file, north to south, each of moderate size."""
        # A file in strips is cut all the same: memory must not grow with its width.
        high, wide = (side if BLOCK // 2 <= side <= 2 * BLOCK else BLOCK for side in self._blocks)
        height, width = self.shape
        return [
            Tile(row, column, min(high, height - row), min(wide, width - column))
            for row in range(0, height, high)
            for column in range(0, width, wide)
        ]

    def read(self, tiles: Iterable[Tile]) -> Iterator[tuple[Tile, NDArray[np.float32], NDArray[np.bool_]]]:
        """Each tile with the vectors (n, d) of its pixels that hold a value, in rows, and the mask (height, width)."""
        rasterio = need("rasterio", **EXTRA)
        with rasterio.Env(GDAL_CACHEMAX=CACHE_BYTES), self._open() as raster:
            for tile in tiles:
                block = rasterio.windows.Window(tile.column, tile.row, tile.width, tile.height)
                yield tile, *self._values(raster.read(window=block))

    def centres(self, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> LonLat:
        """The centres of the pixels in these rows (n,) and columns (n,)."""
        return to_lonlat(*map_affine(self.transform, columns + 0.5, rows + 0.5), self.crs.to_wkt())

    def locate(self, lon: NDArray[np.float64], lat: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Row and column of the pixel that holds each point (n,), given in degrees; -1 for both outside the grid."""
        height, width = self.shape
        wkt = self.crs.to_wkt()
        x, y = Transformer.from_crs(LONLAT, wkt, always_xy=True).transform(lon, lat)
        if self.crs.is_geographic:
            # A grid may run past the antimeridian: 175 to 185 degrees is one piece.
            west = min(self.transform.c, self.transform.c + width * self.transform.a)
            x = (np.asarray(x) - west) % 360.0 + west
        # Far from a projection's region there are no coordinates (infinity), and no pixel.
        with np.errstate(invalid="ignore"):
            column, row = (np.floor(part) for part in map_affine(~self.transform, np.asarray(x), np.asarray(y)))
            here = (column >= 0) & (column < width) & (row >= 0) & (row < height)
        return np.where(here, row, -1).astype(np.int64), np.where(here, column, -1).astype(np.int64)

    def aggregate(self, cells: Cells, bbox: Box | None = None, *, dtype: str = "float32") -> EmbeddingTable:
        """The mean vector of the pixels in each cell, as a table; of length 1 again where the grid's vectors are.

        Memory grows with the number of cells, not of pixels. The column `pixels` says how many were averaged.
        Cells whose mean is the zero vector (opposite vectors) cannot be renormalised and are left out.
        """
        means = CellMeans(cells, self.space.dims)
        for window in self.windows(bbox):
            means.add(window.lonlat, window.vectors)
        if len(means) == 0:
            raise SchemaError(f"{self.path}: no pixel with a value lies in the area asked for")
        known, vectors, counts, _ = means.result(unit=self.renormalize)
        places = cell_rows(cells, known, counts)
        carried = {
            name: getattr(self.meta, name)
            for name in ("tower", "encoder", "weights_sha256", "recipe", "seed", "sources", "saw", "dims")
        }
        layout = {"layout_type": "named_grid", "grid_id": cells.name}
        return EmbeddingTable.of(places, vectors, self.space, dtype=dtype, chip_layout=layout, **carried)

    @contextmanager
    def _open(self) -> Iterator[Any]:
        rasterio = need("rasterio", **EXTRA)
        try:
            with rasterio.open(str(self.path)) as raster:
                yield raster
        except rasterio.errors.RasterioIOError as error:
            raise FormatError(f"{self.path}: the raster cannot be read: {str(error).splitlines()[0]}") from error

    def _read(self, raster: Any, block: Any) -> Window:
        vectors, valid = self._values(raster.read(window=block))
        row, column = np.nonzero(valid)
        rows, columns = row + block.row_off, column + block.col_off
        return Window(vectors, self.centres(rows, columns), rows, columns)

    def _values(self, stored: NDArray[Any]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        valid = np.ones(stored.shape[1:], dtype=bool)
        if self._nodata is not None:
            for band in stored:
                valid &= ~np.isnan(band) if math.isnan(self._nodata) else band != self._nodata
        vectors = decode(np.moveaxis(stored, 0, -1)[valid], self.meta.codec)
        if self.renormalize:
            vectors /= np.maximum(norms(vectors)[:, None], np.float32(1e-12))
        return vectors, valid


def pixel_windows(transform_of: Any, crs: Any, bbox: Box) -> list[Any]:
    """The rasterio windows of pixels that a box (degrees) touches, for a raster with this transform and CRS."""
    rasterio = need("rasterio", **EXTRA)
    found = []
    for part in split_box(bbox):
        # Many vertices: a straight edge of the box is curved in another system.
        left, bottom, right, top = transform(box_polygon(part).segmentize(0.25), LONLAT, crs).bounds
        x, y = np.array([left, left, right, right]), np.array([bottom, top, bottom, top])
        columns, rows = map_affine(~transform_of, x, y)
        column, row = math.floor(columns.min()), math.floor(rows.min())
        width, height = math.ceil(columns.max()) - column, math.ceil(rows.max()) - row
        found.append(rasterio.windows.Window(column, row, max(1, width), max(1, height)))
    return found


def map_affine(
    affine: Any, first: NDArray[Any], second: NDArray[Any]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """An affine transformation of pairs such as (column, row); its own operators differ between its versions."""
    a, b, c, d, e, f = (float(value) for value in affine[:6])
    return a * first + b * second + c, d * first + e * second + f
