"""Regions of a heat map: its peaks, each grown to the box of what stands out around it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from placevec.features.evidence.calibrate import HeatMap

LEVEL = 0.5  # share of a peak's height down to which its region reaches
APART = 0.08  # share of the map's shorter side that two peaks lie apart at least
OVERLAP = 0.5  # share of the smaller of two boxes that they may have in common
SMALLEST = 0.01  # share of the map that a region covers at least, but for the first: specks are no evidence
FINE = 40  # positions on the shorter side on which boxes are drawn: coarser maps are interpolated


@dataclass(frozen=True)
class Region:
    """A part of an image that speaks for the query."""

    x: int  # left edge in pixels
    y: int  # upper edge in pixels
    width: int  # in pixels
    height: int  # in pixels
    score: float  # calibrated score at its peak
    mean: float  # mean calibrated score over it
    share: float  # its area as a share of the image's
    peak: tuple[float, float]  # x and y of the peak, in pixels

    def to_json(self) -> dict[str, Any]:
        """A JSON object: the box as [x, y, width, height] in pixels, its share of the image and its scores."""
        found = asdict(self)
        box = [found.pop(name) for name in ("x", "y", "width", "height")]
        found["peak"] = [round(value, 1) for value in self.peak]
        return {"box": box, **{key: round(v, 4) if isinstance(v, float) else v for key, v in found.items()}}


def regions(heat: HeatMap, *, most: int = 32, level: float = LEVEL, apart: float = APART) -> list[Region]:
    """The regions of a heat map, the highest peak first, at most `most` of them.

    From the highest position that no region holds yet, a region grows over connected positions (by their sides) down
    to `level` of the peak's height above the background, or above the map's median where that is higher: where nearly
    all of an image fits the query, a region is what stands out of it. It never takes what an earlier region holds, nor
    climbs. Positions next to a peak are no peak of their own, and a box that shares more than half of itself with an
    earlier one, or of that one with itself, is left out (non-maximum suppression), and so is a speck. A map of `cells`
    has one region a cell.

    Args:
        heat: the map.
        most: how many, at most.
        level: share of the peak's height; for peaks below the background, of the way from the map's minimum to it.
        apart: peaks lie at least so far from each other, as a share of the map's shorter side.
    """
    values = heat.values
    if heat.cells:
        order = np.argsort(-values, axis=None, kind="stable")[:most]
        parts = [np.unravel_index(int(at), values.shape) for at in order]
        return [_region(heat, (int(r), int(c)), _only(values.shape, int(r), int(c))) for r, c in parts]
    fine = HeatMap(finer(values), heat.size, heat.whole)
    found: list[Region] = []
    for at, held in _grown(fine.values, level, apart):
        one = _region(fine, at, held)
        if found and one.share < SMALLEST:
            continue
        if all(_common(one, other) <= OVERLAP for other in found):
            found.append(one)
        if len(found) == most:
            break
    return found


def finer(values: NDArray[np.float64], positions: int = FINE) -> NDArray[np.float64]:
    """A map of at least `positions` on its shorter side, linear between the centres of those it has.

    Each position becomes an odd number of new ones along a side, so that its own value stands at its centre.
    """
    factor = 2 * (-(-positions // min(values.shape)) // 2) + 1
    if factor == 1:
        return values
    rows, columns = values.shape
    y, x = ((np.arange(n * factor) - factor // 2) / factor for n in (rows, columns))
    across = np.stack([np.interp(x, np.arange(columns), row) for row in values])
    return np.stack([np.interp(y, np.arange(rows), column) for column in across.T], axis=1)


def _grown(
    values: NDArray[np.float64], level: float, apart: float
) -> Iterator[tuple[tuple[int, int], NDArray[np.bool_]]]:
    low = float(values.min())
    ground = max(0.0, float(np.median(values)))
    reach = max(1, round(apart * min(values.shape)))
    free = np.ones(values.shape, dtype=bool)
    open_ = ndimage.maximum_filter(values, size=3, mode="nearest") == values  # local maxima
    for at in np.argsort(-values, axis=None, kind="stable"):
        row, column = (int(part) for part in np.unravel_index(int(at), values.shape))
        if not open_[row, column]:
            continue
        peak = float(values[row, column])
        if peak <= low and not free.all():
            return  # what is left is as low as the map goes
        under = ground if peak > ground else 0.0 if peak > 0 else low
        floor = under + (peak - under) * level
        # Downhill only: the flank of a higher peak, beyond that one's region, belongs to no lower peak.
        labels, _ = ndimage.label(free & (values >= floor) & (values <= peak))
        held = labels == labels[row, column]
        yield (row, column), held
        free &= ~held
        near = slice(max(0, row - reach), row + reach + 1), slice(max(0, column - reach), column + reach + 1)
        open_[near] = False
        open_ &= free


def _common(a: Region, b: Region) -> float:
    """The common area of two boxes as a share of the smaller one."""
    wide = min(a.x + a.width, b.x + b.width) - max(a.x, b.x)
    tall = min(a.y + a.height, b.y + b.height) - max(a.y, b.y)
    return max(wide, 0) * max(tall, 0) / min(a.width * a.height, b.width * b.height)


def _only(shape: tuple[int, ...], row: int, column: int) -> NDArray[np.bool_]:
    held = np.zeros(shape, dtype=bool)
    held[row, column] = True
    return held


def _region(heat: HeatMap, at: tuple[int, int], held: NDArray[np.bool_]) -> Region:
    rows, columns = heat.values.shape
    tall, wide = heat.size
    y = np.rint(np.arange(rows + 1) * tall / rows).astype(int)
    x = np.rint(np.arange(columns + 1) * wide / columns).astype(int)
    down, across = np.flatnonzero(held.any(axis=1)), np.flatnonzero(held.any(axis=0))
    left, top = int(x[across[0]]), int(y[down[0]])
    # A map finer than its image has positions of no pixel.
    right, bottom = max(int(x[across[-1] + 1]), left + 1), max(int(y[down[-1] + 1]), top + 1)
    return Region(
        x=left,
        y=top,
        width=right - left,
        height=bottom - top,
        score=float(heat.values[at]),
        mean=float(heat.values[held].mean()),
        share=(right - left) * (bottom - top) / (tall * wide),
        peak=((at[1] + 0.5) * wide / columns, (at[0] + 0.5) * tall / rows),
    )
