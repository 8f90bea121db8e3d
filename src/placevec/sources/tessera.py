"""Tiles of TESSERA as geotessera keeps them: int8 vectors and their scales in NumPy files, the place in a GeoTIFF.

A tile called ``grid_LON_LAT`` is ``grid_LON_LAT.npy`` (rows, columns, 128) int8, ``grid_LON_LAT_scales.npy`` (rows,
columns) or (rows, columns, 128) float32, and somewhere below the same folder a land mask ``grid_LON_LAT.tiff`` with
as many pixels, which says where it lies. A component is the stored number times its scale. Source: geotessera, "NPY
format" in its architecture guide.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from placevec.errors import FormatError
from placevec.sources.gdal import GdalReader
from placevec.sources.reader_raster import ReaderRaster
from placevec.sources.tiles import PixelReader

BANDS = 128
_SCALES = "_scales"


def tessera_tiles(folder: str | Path) -> list[Path]:
    """The files of vectors below a folder, by name; none if there are none."""
    return sorted(path for path in Path(folder).rglob("*.npy") if not path.stem.endswith(_SCALES))


def open_tessera(path: str | Path, masks: Sequence[str | Path] = ()) -> ReaderRaster:
    """One tile as a raster of 128 bands of float32, NaN where a scale is none.

    Args:
        path: the file of its vectors.
        masks: folders in which its land mask may lie; by default the folders above the file, up to three.

    Raises:
        FormatError: a file of the tile is absent, damaged, a pickle, or of another shape.
    """
    where = Path(path)
    vectors = _array(where)
    if vectors.ndim != 3 or vectors.shape[2] != BANDS or vectors.dtype != np.int8:
        raise FormatError(f"{path}: {vectors.dtype} of the shape {vectors.shape}; TESSERA has int8 (h, w, {BANDS})")
    scales = _array(where.with_name(f"{where.stem}{_SCALES}.npy"))
    if scales.shape not in (vectors.shape, vectors.shape[:2]) or scales.dtype.kind != "f":
        raise FormatError(f"{path}: its scales are {scales.dtype} of the shape {scales.shape}; fetch the tile again")
    mask = _mask(where, masks)
    place = GdalReader(str(mask))
    if place.shape(-1) != vectors.shape[:2] or place.transform is None or place.crs_wkt is None:
        raise FormatError(f"{mask} has {place.shape(-1)} pixels or no place, {path} has {vectors.shape[:2]}: no pair")
    reader = _TesseraReader(vectors, scales)
    return ReaderRaster(str(path), reader, place.crs_wkt, place.transform, bands=BANDS, dtype=np.float32)


class _TesseraReader(PixelReader):
    """Windows of a tile; the files are mapped, not read as a whole."""

    # A row of pixels is one piece of the file: read as from afar, so that tiles stay small whatever the size.
    local = False
    block = (256, 256)

    def __init__(self, vectors: NDArray[np.int8], scales: NDArray[Any]) -> None:
        self._vectors, self._scales = vectors, scales

    def shape(self, overview: int) -> tuple[int, int]:
        """(rows, columns)."""
        return int(self._vectors.shape[0]), int(self._vectors.shape[1])

    def read(
        self, overview: int, row: int, col: int, height: int, width: int
    ) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
        """Values (128, height, width) of a window, and where they are valid."""
        cut = slice(row, row + height), slice(col, col + width)
        scale = np.asarray(self._scales[cut], dtype=np.float32)
        values = self._vectors[cut].astype(np.float32) * (scale[..., None] if scale.ndim == 2 else scale)
        values = np.moveaxis(values, 2, 0)
        valid = np.isfinite(values)
        return np.where(valid, values, np.float32(0)), valid


def _array(path: Path) -> NDArray[Any]:
    try:
        found: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
        return found
    except FileNotFoundError:
        raise FormatError(f"{path} does not exist, and a tile of TESSERA needs it; fetch the tile again") from None
    except (ValueError, OSError, EOFError) as error:
        raise FormatError(f"{path}: no array of NumPy ({str(error)[:100]}); fetch the tile again") from None


def _mask(where: Path, folders: Sequence[str | Path]) -> Path:
    for folder in [Path(one) for one in folders] or list(where.resolve().parents)[:3]:
        found = sorted(one for suffix in ("tiff", "tif") for one in folder.rglob(f"{where.stem}.{suffix}"))
        if found:
            return found[0]
    raise FormatError(f"{where}: no land mask {where.stem}.tiff says where it lies; fetch it into the same folder")
