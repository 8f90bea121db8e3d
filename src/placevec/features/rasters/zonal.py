"""Statistics of the pixels of rasters by cell."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from placevec.errors import SchemaError
from placevec.features.modality import Told
from placevec.features.rasters.moments import Moments
from placevec.features.rasters.percentiles import Percentiles, check_percentiles
from placevec.features.rasters.zones import OnRaster, Window, Zones, on_raster, positions, windows
from placevec.sources.rasters import Raster, Resampling

MIN_VALID = 0.5
"""The share of a cell that has to be known for the cell to have a row."""

_VALUES = 1 << 22  # values that are gathered at once: 16 MB, and some copies

Prepare = Callable[[NDArray[np.float32], NDArray[np.bool_]], tuple[NDArray[np.float32], NDArray[np.bool_]]]
"""From values (m, bands) and where they are valid to values (m, d) and which rows of them count."""


@dataclass(frozen=True, eq=False)
class Zonal:
    """Statistics of n cells in d columns.

    Attributes:
        mean: (n, d); rows of cells that are not `present` mean nothing, here and below.
        sd: (n, d) standard deviation.
        low: (n, d) the least value.
        high: (n, d) the greatest.
        pixels: (n,) valid pixels whose centre lies in the cell.
        share: (n,) share of the cell of which the value is known.
        sampled: (n,) cells that hold no pixel centre: their value is that of the raster at their centre.
        present: (n,) cells of which enough is known.
        percentiles: one (n, d) for each percentile that was asked for.
    """

    mean: NDArray[np.float64]
    sd: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    pixels: NDArray[np.int64]
    share: NDArray[np.float64]
    sampled: NDArray[np.bool_]
    present: NDArray[np.bool_]
    percentiles: tuple[NDArray[np.float64], ...] = ()

    def notes(self) -> tuple[str, ...]:
        """Lines for people."""
        count = int((self.sampled & self.present).sum())
        if not count:
            return ()
        return (
            f"{count:,} cells hold no pixel centre, as the raster is coarser: their value is that at their own centre",
        )


class Cover:
    """How much of each cell rasters have covered: what decides whether it has a row.

    Attributes:
        seen: (n,) pixels whose centre lies in the cell, valid or not.
        area: (n,) area of the cell in pixels, of the raster that knows most of it.
        inside: (n,) cells that lie on one raster as a whole.
    """

    def __init__(self, n: int) -> None:
        self.seen = np.zeros(n, dtype=np.int64)
        self.area = np.zeros(n)
        self.inside = np.zeros(n, dtype=bool)

    def add(self, where: OnRaster) -> None:
        """Take the outlines on one raster along."""
        self.area = np.maximum(self.area, where.pixels)
        self.inside |= where.inside

    def share(self, valid: NDArray[np.int64]) -> NDArray[np.float64]:
        """The share (n,) of each cell that `valid` pixels are; of a cell across a rim, of the area of the cell."""
        # Within a raster the pixels that are there count, as the centres in a small cell are not as many as its area.
        whole = np.where(self.inside, self.seen, np.maximum(self.seen, self.area))
        share: NDArray[np.float64] = np.minimum(valid / np.maximum(whole, 1e-9), 1.0)
        return share


def zonal_statistics(
    rasters: Sequence[Raster],
    zones: Zones,
    *,
    prepare: Prepare | None = None,
    columns: int | None = None,
    min_valid: float = MIN_VALID,
    at_centre: Resampling = "bilinear",
    spread: bool = True,
    percentiles: Sequence[float] = (),
    told: Told | None = None,
) -> Zonal:
    """Statistics of the pixels whose centres lie in cells, over one raster or the tiles of one.

    Only the windows that cells touch are read, each once; memory grows with the cells, not with the rasters. A pixel
    counts if all its bands are valid. A cell within which no pixel centre lies has the value at its own centre, and no
    deviation.

    Args:
        rasters: of the same bands; where they overlap, pixels of both count.
        zones: the cells.
        prepare: what is made of the values before they are counted; by default nothing.
        columns: how many columns `prepare` makes; by default as many as there are bands.
        min_valid: cells of which a smaller share is known are absent.
        at_centre: how the value at a centre is taken: "bilinear" between pixels, or "nearest" where stored values are
            no quantities.
        spread: whether more than means is wanted: without it deviations are 0 and extremes infinite.
        percentiles: numbers from 0 to 100, see `percentiles.Percentiles` for how exact they are and the memory.
        told: progress.

    Raises:
        UsageError: a percentile is none.
        SchemaError: the rasters have different numbers of bands.
    """
    bands = {raster.count for raster in rasters}
    if len(bands) != 1:
        raise SchemaError(f"rasters of {' and '.join(map(str, sorted(bands)))} bands are no tiles of one raster")
    wide = columns or bands.pop()
    prepare = prepare or _all_bands
    asked = check_percentiles(percentiles)
    ranks = Percentiles(len(zones), wide) if asked else None
    moments, cover = Moments(len(zones), wide, spread=spread), Cover(len(zones))
    for raster, window in each_window(rasters, zones, cover, told):
        step = max(4096, _VALUES // max(wide, raster.count))
        hit = np.flatnonzero(window.cell >= 0)
        for first in range(0, len(hit), step):
            part = hit[first : first + step]
            values, good = _read(raster, window, part, prepare)
            cell = window.cell[part]
            moments.add(cell[good], values[good])
            if ranks is not None:
                ranks.add(cell[good], values[good])
    sampled = cover.seen == 0
    share = cover.share(moments.count)
    mean, low, high = moments.mean, moments.low, moments.high
    between = () if ranks is None else tuple(ranks.at(each) for each in asked)
    if sampled.any():
        at = np.flatnonzero(sampled)
        single, known = _at_centres(rasters, zones, at, prepare, wide, at_centre)
        for out in (mean, low, high, *between):
            out[at] = single
        share[at] = known
        sampled[at] = known
    present = share >= max(min_valid, 1e-9)
    return Zonal(mean, moments.sd, low, high, moments.count, share, sampled, present, between)


def each_window(
    rasters: Sequence[Raster], zones: Zones, cover: Cover, told: Told | None
) -> Iterator[tuple[Raster, Window]]:
    """The windows of all rasters that cells touch; `cover` is kept up to date."""
    for number, raster in enumerate(rasters):
        where = on_raster(zones, raster)
        cover.add(where)
        for window, done, total in windows(zones, raster, where):
            cover.seen += np.bincount(window.cell[window.cell >= 0], minlength=len(zones))
            yield raster, window
            if told is not None and len(rasters) == 1:
                told("windows", done + 1, total)
        if told is not None and len(rasters) > 1:
            told("rasters", number + 1, len(rasters))


def _all_bands(values: NDArray[np.float32], valid: NDArray[np.bool_]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    return values, np.asarray(valid.all(axis=1))


def _read(
    raster: Raster, window: Window, at: NDArray[np.int64], prepare: Prepare
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Prepared values (m, d) of the pixels `at` (m,) of a window, and which rows count."""
    row, col = np.divmod(at, window.width)
    centre = window.col + col + 0.5, window.row + row + 0.5
    return prepare(*raster.gather(*centre, resampling="nearest"))


def _at_centres(
    rasters: Sequence[Raster], zones: Zones, at: NDArray[np.int64], prepare: Prepare, wide: int, how: Resampling
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Values (k, d) at the centres of the cells `at` (k,), of the first raster that has any, and where one has."""
    centre = zones.centre()[at]
    values, known = np.zeros((len(at), wide)), np.zeros(len(at), dtype=bool)
    for raster in rasters:
        left = np.flatnonzero(~known)
        if not len(left):
            break
        own = centre[left]
        found, good = prepare(*raster.gather(*positions(raster, own.lon, own.lat), resampling=how))
        values[left[good]] = found[good]
        known[left] = good
    return values, known
