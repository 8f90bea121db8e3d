"""Values of cells or points as a Cloud Optimized GeoTIFF of any size: written strip by strip, then tiled.

A Cloud Optimized GeoTIFF has square blocks, overviews down to one block, and its directories first, so that a map
program reads a window of it over HTTP (OGC 21-026).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from placevec.atlas.frames import Frame
from placevec.atlas.geotiff import as_cog
from placevec.atlas.rasterise import RowMap
from placevec.errors import SchemaError, UsageError
from placevec.files import whole
from placevec.registry import need

BLOCK = 512
STRIP_PIXELS = 8_000_000  # drawn at a time: 64 MB of row numbers
MOST_PIXELS = 20_000_000_000
_EXTRA = {"extra": "raster", "purpose": "writing GeoTIFF"}

Draw = Callable[[Frame], RowMap]


@dataclass(frozen=True, eq=False)
class Band:
    """One band of a raster.

    Attributes:
        name: what it shows.
        values: (n,) one for each row; NaN where there is none.
        units: of the values.
        classes: names of the values 1, 2, ...; empty for numbers.
        coded: whether the values are codes, of which no mean is taken.
    """

    name: str
    values: NDArray[Any]
    units: str = ""
    classes: tuple[str, ...] = ()
    coded: bool = False


@dataclass(frozen=True)
class Raster:
    """What was written: its size in pixels, and how many rows no pixel shows."""

    width: int
    height: int
    hidden: int


def write_cog(
    path: str | Path,
    frame: Frame,
    draw: Draw,
    bands: Sequence[Band],
    *,
    rows: int,
    tags: Mapping[str, str] | None = None,
    progress: Callable[[int, int, Mapping[str, Any]], None] | None = None,
) -> Raster:
    """Write `bands` on the pixels of `frame`: float32 (float64 where whole numbers need it), nodata NaN.

    Overviews take the mean, or the most frequent value if any of the bands holds codes.

    Args:
        path: ends in .tif; written whole or not at all.
        frame: the whole grid; it is never in memory at once.
        draw: gives the row of each pixel of a part of the frame, see `rasterise.rows_of_cells`.
        bands: at least one, each with `rows` values.
        rows: how many rows there are.
        tags: metadata of the file.
        progress: called with the strips done and all strips.

    Raises:
        UsageError: more than 20 billion pixels.
        SchemaError: no band, or one of another length.
    """
    if not bands or any(len(band.values) != rows for band in bands):
        raise SchemaError(f"a raster needs bands of {rows} values each, not {[len(band.values) for band in bands]}")
    if frame.width * frame.height > MOST_PIXELS:
        raise UsageError(
            f"a raster of {frame.width:,} x {frame.height:,} pixels is too large: choose larger pixels, or a part"
        )
    rasterio = need("rasterio", **_EXTRA)
    windows = need("rasterio.windows", **_EXTRA)
    values = [np.asarray(band.values, dtype=np.float64) for band in bands]
    # Beyond 2^24 float32 no longer holds every whole number.
    dtype = "float64" if any(_whole_beyond(one) for one in values) else "float32"
    seen = np.zeros(rows, dtype=bool)
    strips = list(_strips(frame))
    with whole(path) as part:
        plain = part.with_name(f"{part.name}.tif")
        try:
            with rasterio.open(
                plain,
                "w",
                driver="GTiff",
                width=frame.width,
                height=frame.height,
                count=len(bands),
                dtype=dtype,
                crs=frame.crs,
                transform=rasterio.transform.Affine(frame.pixel, 0, frame.left, 0, -frame.pixel, frame.top),
                nodata=float("nan"),
                tiled=True,
                blockxsize=BLOCK,
                blockysize=BLOCK,
                compress="zstd",
                BIGTIFF="IF_SAFER",
                SPARSE_OK=True,
            ) as raster:
                raster.descriptions = tuple(band.name for band in bands)
                raster.units = tuple(band.units for band in bands)
                for number, band in enumerate(bands, 1):
                    if band.classes:
                        raster.update_tags(number, CLASSES=json.dumps(dict(enumerate(band.classes, 1))))
                raster.update_tags(**dict(tags or {}))
                for number, (top, strip) in enumerate(strips):
                    shown = draw(strip).rows
                    here = shown >= 0
                    seen[shown[here]] = True
                    window = windows.Window(0, top, strip.width, strip.height)
                    if here.any():
                        for band_number, one in enumerate(values, 1):
                            drawn = np.full(shown.shape, np.nan, dtype=dtype)
                            drawn[here] = one[shown[here]]
                            raster.write(drawn, band_number, window=window)
                    if progress is not None:
                        progress(number + 1, len(strips), {})
            as_cog(plain, part, "MODE" if any(band.coded for band in bands) else "AVERAGE", BLOCK)
        finally:
            plain.unlink(missing_ok=True)
    return Raster(frame.width, frame.height, rows - int(seen.sum()))


def _strips(frame: Frame) -> Iterator[tuple[int, Frame]]:
    """The frame in strips of whole blocks, each with the row at which it begins."""
    tall = max(BLOCK, STRIP_PIXELS // frame.width // BLOCK * BLOCK)
    for top in range(0, frame.height, tall):
        height = min(tall, frame.height - top)
        yield top, replace(frame, top=frame.top - top * frame.pixel, height=height)


def _whole_beyond(values: NDArray[np.float64]) -> bool:
    """Whether these are whole numbers that float32 cannot hold."""
    known = values[np.isfinite(values)]
    return bool(len(known)) and bool(np.abs(known).max() > 2**24) and bool((known == np.rint(known)).all())
