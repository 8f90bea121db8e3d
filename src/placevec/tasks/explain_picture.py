"""The picture that is explained: an image file, or the pixels that a row of a table was made from."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from placevec.errors import DataError, UsageError
from placevec.provenance import Space
from placevec.sources.images import MAX_PIXELS, Footprint, Stretch, footprint, read_image
from placevec.sources.images.decode import check_bands
from placevec.table import open_table

WINDOW = re.compile(r"^(?P<href>.+)#xywh=(?P<box>-?\d+,-?\d+,\d+,\d+)$")
TABLES = (".parquet", ".lance")


@dataclass(frozen=True)
class Picture:
    """An image with where it comes from."""

    pixels: NDArray[np.uint8]  # (bands, height, width)
    name: str  # for people: the file's name, or the row's id
    path: str  # the file, or the address of the raster
    footprint: Footprint | None  # where it lies on the Earth, if that is known
    near: Path | None = None  # the table, beside which models are looked for
    space: Space | None = None  # of the table's vectors


def open_picture(
    where: str | Path, id: str | None = None, *, bands: Sequence[int] | None = None, stretch: Stretch = "auto"
) -> Picture:
    """The picture of an image file, or of the row `id` of a table.

    Args:
        where: an image file; with `id`, a table with the column `asset`.
        id: of the row.
        bands: numbers of the bands, from 1.
        stretch: how values of more than 8 bits become 8, see `sources.images.read_image`.

    Raises:
        UsageError: a table without an id, an id without a table, or an id that is in no row.
        DataError: the table or the row does not say where its pixels are, or they cannot be read.
    """
    table = str(where).rstrip("/").endswith(TABLES)
    if table and id is None:
        raise UsageError(f"{where} is a table: name the row with --id")
    if not table and id is not None:
        raise UsageError(f"{where} is no table (.parquet, .lance): leave out the id {id!r}")
    if id is not None:
        return _row(Path(where), id, bands, stretch)
    pixels = read_image(where, bands=bands, stretch=stretch)
    return Picture(pixels, Path(where).name, str(where), footprint(where))


def _row(path: Path, id: str, bands: Sequence[int] | None, stretch: Stretch) -> Picture:
    table = open_table(path)
    if not table.has("asset"):
        raise DataError(f"{path} has no column `asset`, which leads to the pixels: give the image file itself")
    row = table.rows_of([id])
    if row[0] < 0:
        raise UsageError(f"no row of {path} has the id {id!r}: look ids up with placevec search or export")
    asset = table.places(["asset"], row).column("asset")[0]
    if not isinstance(asset, str) or not asset:
        raise DataError(f"the row {id!r} of {path} has no asset: give the image file itself")
    window = WINDOW.match(asset)
    if window is None:
        file = _found(asset, path)
        pixels, place = read_image(file, bands=bands, stretch=stretch), footprint(file)
        return Picture(pixels, id, str(file), place, path, table.space)
    check_bands(bands)
    box = [int(part) for part in window["box"].split(",")]
    pixels, place = _cut(str(_found(window["href"], path)), (box[0], box[1], box[2], box[3]), bands, stretch)
    return Picture(pixels, id, window["href"], place, path, table.space)


def _found(name: str, table: Path) -> str | Path:
    """A file as the table names it, from here or from the table's folder on; other addresses as they are."""
    if "://" in name or ":" in name.split("/")[0] or Path(name).exists():
        return name
    beside = table.absolute().parent / name
    if beside.exists():
        return beside
    raise DataError(f"{name}, which {table} names, is neither here nor beside the table: work where it was made")


def _cut(
    href: str, box: tuple[int, int, int, int], bands: Sequence[int] | None, stretch: Stretch
) -> tuple[NDArray[np.uint8], Footprint]:
    """The pixels (bands, height, width) of a window of a raster, and where it lies."""
    from placevec.sources.images.stretch import check_stretch, stretched
    from placevec.tasks.inputs import open_raster

    raster = open_raster(href)[0]
    column, row, wide, tall = box
    if not 0 < wide * tall <= MAX_PIXELS or (bands is not None and max(bands) > raster.count):
        raise DataError(f"{href}: a window of {wide} x {tall} pixels, bands {bands or 'all'}, cannot be read")
    y, x = np.mgrid[row : row + tall, column : column + wide] + 0.5
    values, valid = raster.gather(x.ravel(), y.ravel(), resampling="nearest")
    chosen = [band - 1 for band in bands] if bands is not None else list(range(raster.count))
    chosen = chosen * 3 if len(chosen) == 1 else chosen
    picked = values.T[chosen].reshape(len(chosen), tall, wide)
    if raster.dtype == np.uint8:
        picked = picked.astype(np.uint8)
    pixels = stretched(picked, check_stretch(stretch), valid.all(axis=1).reshape(tall, wide))
    a, b, c, d, e, f = raster.transform
    moved = (a, b, a * column + b * row + c, d, e, d * column + e * row + f)
    return pixels, Footprint(wide, tall, moved, raster.crs.to_wkt())
