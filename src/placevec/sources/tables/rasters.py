"""Rasters with one band for each component, such as the int8 tiles of AlphaEarth, read block by block."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from placevec.errors import CrsError, FormatError, SchemaError, UsageError
from placevec.geo.boxes import Box, in_box
from placevec.geo.cells import Cells
from placevec.geo.frames import read_crs, to_lonlat
from placevec.geo.sphere import LonLat
from placevec.grid import CellMeans, cell_rows, map_affine, pixel_windows
from placevec.registry import need
from placevec.sources.gdal import gdal_path
from placevec.sources.tables.options import Options
from placevec.sources.tables.piece import ForeignFile, Piece, rows_per_piece
from placevec.table.codec import decode
from placevec.table.embeddings import norms
from placevec.table.places import Places

ALPHAEARTH_BANDS = 64
ALPHAEARTH_NODATA = -128
_CODEC = {"method": "alphaearth"}
_EXTRA = {"extra": "raster", "purpose": "importing a raster of vectors"}
# A table of more pixels would outweigh its vectors: cells, or a box, are what is meant.
MOST_PIXELS = 4_000_000


class RasterFile(ForeignFile):
    """A raster of vectors: its pixels as rows, or the part of the cells' means that lies in it.

    int8 with 64 bands is AlphaEarth: value = sign(v)·(|v| / 127.5)², -128 where there is none, length 1 after
    decoding. Other rasters hold floats, taken as they are. North-up, south-up and rotated rasters are read alike.
    """

    kind = "pixel"

    def __init__(self, path: str, stem: str, options: Options) -> None:
        self.path, self._stem = path, stem
        self.notes = []
        self._box = options.bbox
        self.cells = options.cells
        with self._open() as raster:
            self.dims = int(raster.count)
            kinds = set(raster.dtypes)
            self._nodata = raster.nodata
            own = raster.crs.to_wkt() if raster.crs else None
            self._transform = raster.transform
            pixels = raster.width * raster.height
            size = (raster.width, raster.height)
        self.alphaearth = kinds == {"int8"} and self.dims == ALPHAEARTH_BANDS
        self._check(kinds)
        if own is None and options.crs is None:
            raise CrsError(f"{path}: the raster has no coordinate reference system: say which with --crs")
        if self._transform.is_identity:
            raise CrsError(
                f"{path}: the raster does not say where it lies (no geotransform): give it one with gdal_edit.py"
            )
        self._crs = read_crs(own if own is not None else options.crs)
        wanted = self._pixels_in_box(size) if self._box is not None else pixels
        if self.cells is None and wanted > MOST_PIXELS:
            raise UsageError(
                f"{path}: {wanted:,} pixels are more than a table should hold ({MOST_PIXELS:,}): take means with "
                "--cells h3:9, or a part with --bbox"
            )
        self._wanted = wanted
        self.normalize = self.alphaearth
        names = [("id", pa.string()), ("geometry", pa.binary())]
        if self.cells is not None:
            names += [("h3", pa.uint64())] if self.cells.name.startswith("h3:") else []
            names += [("pixels", pa.int64())]
            self.kind, self.chip_layout = "chip", {"layout_type": "named_grid", "grid_id": self.cells.name}
        elif self.alphaearth and options.dtype in (None, "int8"):
            self.codec = dict(_CODEC)
        self.schema = pa.schema(names)
        if self.alphaearth:
            self.notes.append("64 bands of int8: decoded as AlphaEarth, sign(v)·(|v|/127.5)², -128 is no data")

    @property
    def bytes(self) -> int:
        """About how much memory all rows take."""
        return 0 if self.cells is not None else self._wanted * (4 * self.dims + 64)

    def pieces(self) -> Iterator[Piece]:
        """The pixels that hold a value, block by block; for means see `aggregate`."""
        for stored, lonlat, rows, columns, counts in self._blocks():
            vectors = stored if self.codec is not None else self._decoded(stored)
            ids = np.char.add(np.char.add(np.char.add(f"{self._stem}:", rows.astype(str)), ":"), columns.astype(str))
            step = rows_per_piece(self.dims)
            for start in range(0, max(1, len(rows)), step):
                part = slice(start, start + step)
                places = Places.create(ids[part], lonlat[part]).data
                yield Piece(places, vectors[part], counts=counts if start == 0 else {})

    def add_to(self, means: CellMeans) -> dict[str, int]:
        """Add the unit vectors of all pixels to `means`; returns the counts of pixels that were left out."""
        total: dict[str, int] = {}
        for stored, lonlat, _, _, counts in self._blocks():
            for name, number in counts.items():
                total[name] = total.get(name, 0) + number
            means.add(lonlat, self._decoded(stored))
        return total

    def _blocks(
        self,
    ) -> Iterator[tuple[NDArray[Any], LonLat, NDArray[np.int64], NDArray[np.int64], dict[str, int]]]:
        rasterio = need("rasterio", **_EXTRA)
        keep = None if self._box is None else self._windows()
        with self._open() as raster:
            for block in _block_windows(raster, rasterio):
                if keep is not None and not any(rasterio.windows.intersect(block, part) for part in keep):
                    continue
                try:
                    stored = raster.read(window=block)
                except rasterio.errors.RasterioError as error:
                    where = f"rows from {block.row_off}, columns from {block.col_off}"
                    raise FormatError(f"{self.path}: {where} cannot be read ({error}); fetch the file again") from None
                yield self._block(stored, int(block.row_off), int(block.col_off))

    def _block(
        self, stored: NDArray[Any], row_off: int, col_off: int
    ) -> tuple[NDArray[Any], LonLat, NDArray[np.int64], NDArray[np.int64], dict[str, int]]:
        row, column = (axis.astype(np.int64) for axis in np.indices(stored.shape[1:]).reshape(2, -1))
        rows, columns = row + row_off, column + col_off
        x, y = map_affine(self._transform, columns + 0.5, rows + 0.5)
        lonlat = to_lonlat(x, y, self._crs)
        values = stored.reshape(self.dims, -1)
        valid = np.ones(len(row), dtype=bool)
        if self._box is not None:
            valid &= in_box(lonlat.lon, lonlat.lat, self._box)
        asked = int(valid.sum())
        missing = np.zeros(len(row), dtype=bool)
        if self.alphaearth:
            missing |= (values == ALPHAEARTH_NODATA).any(axis=0)
            # A vector of zeros has no direction either.
            missing |= ~values.any(axis=0)
        elif values.dtype.kind == "f":
            missing |= ~np.isfinite(values).all(axis=0)
        if self._nodata is not None and not math.isnan(self._nodata):
            missing |= (values == self._nodata).any(axis=0)
        valid &= ~missing
        counts = {"pixels without data": asked - int(valid.sum())}
        at = np.flatnonzero(valid)
        return np.ascontiguousarray(values[:, at].T), lonlat[at], rows[at], columns[at], counts

    def _decoded(self, stored: NDArray[Any]) -> NDArray[np.float32]:
        vectors = decode(stored, _CODEC if self.alphaearth else None)
        if self.normalize:
            vectors /= norms(vectors)[:, None]
        return vectors

    def _check(self, kinds: set[str]) -> None:
        if self.dims < 2:
            raise SchemaError(
                f"{self.path}: a raster of one band holds no vectors; read it as a source with `placevec embed`"
            )
        if kinds == {"int8"} and not self.alphaearth:
            raise SchemaError(
                f"{self.path}: {self.dims} bands of int8, and AlphaEarth has {ALPHAEARTH_BANDS}: it does not say "
                "how to decode them; write it as floats first"
            )
        if not kinds <= {"int8", "float32", "float64", "float16"}:
            raise SchemaError(
                f"{self.path}: bands of {', '.join(sorted(kinds))} are pictures, not vectors; read it as a source with "
                "`placevec embed`"
            )

    def _windows(self) -> list[Any]:
        """The windows of pixels around the parts of the box."""
        assert self._box is not None
        return pixel_windows(self._transform, self._crs, self._box)

    def _pixels_in_box(self, size: tuple[int, int]) -> int:
        total = 0
        for window in self._windows():
            width = min(window.col_off + window.width, size[0]) - max(window.col_off, 0)
            height = min(window.row_off + window.height, size[1]) - max(window.row_off, 0)
            total += max(0, width) * max(0, height)
        return int(total)

    def _open(self) -> Any:
        rasterio = need("rasterio", **_EXTRA)
        try:
            with warnings.catch_warnings():
                # The absence of a geotransform is told as an error of ours.
                warnings.filterwarnings("ignore", category=rasterio.errors.NotGeoreferencedWarning)
                return rasterio.open(gdal_path(self.path))
        except rasterio.errors.RasterioError as error:
            reason = str(error).splitlines()[-1][:160]
            raise FormatError(f"{self.path}: the raster cannot be read ({reason}); fetch it again") from None


def means(
    files: list[RasterFile], cells: Cells, box: Box | None
) -> tuple[pa.Table, NDArray[np.float32], dict[str, int]]:
    """The mean vector of the pixels in each cell over all `files`; of length 1 again where those of pixels are.

    Memory grows with the number of cells, not of pixels, and a cell across the border of two files is one cell.
    """
    gathered = CellMeans(cells, files[0].dims)
    counts: dict[str, int] = {}
    for file in files:
        for name, number in file.add_to(gathered).items():
            counts[name] = counts.get(name, 0) + number
    if len(gathered) == 0:
        where = "" if box is None else f" in the box {box}"
        raise SchemaError(f"{files[0].path}: no pixel holds a value{where}: nothing to import")
    known, vectors, pixels, left_out = gathered.result(unit=files[0].normalize)
    if left_out:
        counts["cells whose pixels cancel each other"] = left_out
    return cell_rows(cells, known, pixels).data, vectors, counts


def _block_windows(raster: Any, rasterio: Any) -> Iterator[Any]:
    """Windows of at most some millions of values: blocks of the file, cut where a block is a whole strip or raster."""
    height, width = raster.block_shapes[0]
    most = max(1, rows_per_piece(raster.count))
    height = max(1, min(height, most))
    width = max(1, min(width, max(1, most // height)))
    for row in range(0, raster.height, height):
        for column in range(0, raster.width, width):
            yield rasterio.windows.Window(
                column, row, min(width, raster.width - column), min(height, raster.height - row)
            )
