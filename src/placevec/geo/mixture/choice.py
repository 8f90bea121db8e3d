"""From the logits of regions and cells to weighted hypotheses: the best cells of the best regions."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import logsumexp

from placevec.errors import DataError

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]


def temper(
    region_logs: ArrayLike,
    cell_logs: ArrayLike,
    starts: ArrayLike,
    *,
    region_temperature: float = 1.0,
    cell_temperature: float = 1.0,
) -> tuple[Floats, Floats]:
    """Log probabilities at a temperature: log p(region), over the regions that have cells, and log p(cell | region).

    Args:
        region_logs: (n, P) logits or log probabilities of the regions.
        cell_logs: (n, N) logits or log probabilities of the cells, sorted by region.
        starts: (P + 1,) the cells of region r are starts[r] to starts[r + 1]; a region may have none.
        region_temperature: what the logits of regions are divided by; above 1 is less sure.
        cell_temperature: the same of the cells.

    Returns:
        (n, P), −inf for a region without cells, and (n, N): each region's own add up to 1.

    Raises:
        DataError: shapes that do not fit, a temperature that is not positive, a logit that is NaN or +inf.
    """
    if not (region_temperature > 0 and cell_temperature > 0):
        raise DataError(f"temperatures are positive, not {region_temperature} and {cell_temperature}")
    regions, cells, bounds = _checked(region_logs, cell_logs, starts)
    regions = np.where(np.diff(bounds) > 0, regions / region_temperature, -np.inf)
    regions = regions - _finite(logsumexp(regions, axis=1, keepdims=True))
    cells = cells / cell_temperature
    filled = np.flatnonzero(np.diff(bounds) > 0)
    first, sizes = bounds[filled], np.diff(bounds)[filled]
    most = _finite(np.maximum.reduceat(cells, first, axis=1))
    shifted = cells - np.repeat(most, sizes, axis=1)
    with np.errstate(divide="ignore"):
        total = np.log(np.add.reduceat(np.exp(shifted), first, axis=1))
    return regions, shifted - np.repeat(_finite(total), sizes, axis=1)


def hypotheses(
    region_logs: ArrayLike, cell_logs: ArrayLike, starts: ArrayLike, *, regions: int = 2, cells: int = 5
) -> tuple[Rows, Floats]:
    """The best `cells` cells of each of the best `regions` regions, with their joint probability.

    p(cell) = p(region) p(cell | region), where p(region) is shared among the regions that have cells. Equal values go
    to the lower number.

    Args:
        region_logs: (n, P), see `temper`.
        cell_logs: (n, N), see `temper`.
        starts: (P + 1,), see `temper`.
        regions: how many regions are looked into.
        cells: how many cells of each.

    Returns:
        rows (n, m) of cells, the most probable first, and weights (n, m), which add up to at most 1; m is at most
        regions · cells. Where regions have fewer cells, the last have the weight 0 and the row 0.

    Raises:
        DataError: see `temper`; or fewer than one region or cell was asked for, or no region has a cell.
    """
    if regions < 1 or cells < 1:
        raise DataError(f"{regions} regions with {cells} cells each make no hypotheses; ask for at least one of each")
    region, cell = temper(region_logs, cell_logs, starts)
    bounds = np.asarray(starts, dtype=np.int64)
    sizes = np.diff(bounds)
    n, width = len(region), min(cells, int(sizes.max()))
    filled = np.flatnonzero(sizes > 0)
    best = np.zeros((n, len(sizes), width), dtype=np.int64)
    logs = np.full((n, len(sizes), width), -np.inf)
    for r in filled:
        own = cell[:, bounds[r] : bounds[r + 1]]
        top = _largest(own, width)
        best[:, r, : top.shape[1]] = top + bounds[r]
        logs[:, r, : top.shape[1]] = np.take_along_axis(own, top, axis=1) + region[:, r, None]
    chosen = _largest(region, min(regions, len(filled)))
    m = chosen.shape[1] * width
    rows = np.take_along_axis(best, chosen[:, :, None], axis=1).reshape(n, m)
    weights = np.exp(np.take_along_axis(logs, chosen[:, :, None], axis=1)).reshape(n, m)
    order = np.argsort(-weights, axis=1, kind="stable")
    rows, weights = np.take_along_axis(rows, order, axis=1), np.take_along_axis(weights, order, axis=1)
    return np.where(weights > 0, rows, 0), weights


def joint_at(region_logs: Floats, cell_logs: Floats, starts: ArrayLike, rows: ArrayLike) -> Floats:
    """The joint probability (n, m) of chosen cells, by logs that `temper` gave.

    No temperature changes which cells `hypotheses` chooses, only their weights. So rows can be chosen once.

    Args:
        region_logs: (n, P) from `temper`.
        cell_logs: (n, N) from `temper`.
        starts: (P + 1,) see `temper`.
        rows: (n, m) from `hypotheses`; a cell that stands there again only fills the row, and gets 0.
    """
    cells = np.asarray(rows, dtype=np.int64)
    region = np.searchsorted(np.asarray(starts, dtype=np.int64), cells, side="right") - 1
    logs = np.take_along_axis(region_logs, region, axis=1) + np.take_along_axis(cell_logs, cells, axis=1)
    again = np.tril(cells[:, :, None] == cells[:, None, :], -1).any(axis=2)
    found: Floats = np.where(again, 0.0, np.exp(logs))
    return found


def _checked(region_logs: ArrayLike, cell_logs: ArrayLike, starts: ArrayLike) -> tuple[Floats, Floats, Rows]:
    regions, cells = np.asarray(region_logs, dtype=np.float64), np.asarray(cell_logs, dtype=np.float64)
    bounds = np.asarray(starts, dtype=np.int64)
    fits = regions.ndim == cells.ndim == 2 and len(regions) == len(cells)
    if not fits or bounds.shape != (regions.shape[1] + 1,):
        raise DataError(
            f"logits of regions (n, P), of cells (n, N) and starts (P + 1,) are wanted, not {regions.shape}, "
            f"{cells.shape} and {bounds.shape}"
        )
    if bounds[0] != 0 or bounds[-1] != cells.shape[1] or (np.diff(bounds) < 0).any():
        raise DataError(f"the starts of the regions do not go from 0 up to the {cells.shape[1]} cells")
    if cells.shape[1] == 0:
        raise DataError("no region has a cell, so there is nothing to choose; build geocells from training points")
    for name, logs in (("region", regions), ("cell", cells)):
        bad = np.isnan(logs) | (logs == np.inf)
        if bad.any():
            row, column = (int(at) for at in np.argwhere(bad)[0])
            raise DataError(f"the logit of {name} {column} in row {row} is {logs[row, column]}; the model is broken")
    return regions, cells, bounds


def _largest(values: Floats, k: int) -> Rows:
    """The columns (n, min(k, w)) of the largest values (n, w), the largest first, equal ones by column."""
    width = values.shape[1]
    if width <= max(2 * k, 16):
        return np.argsort(-values, axis=1, kind="stable")[:, :k]
    # The k-th largest value; all larger ones are in, and of those equal to it the first.
    least = -np.partition(-values, k - 1, axis=1)[:, k - 1 : k]
    more, equal = values > least, values == least
    room = k - more.sum(axis=1, keepdims=True)
    taken = more | (equal & (np.cumsum(equal, axis=1) <= room))
    columns: Rows = np.nonzero(taken)[1].reshape(len(values), k)
    order = np.argsort(-np.take_along_axis(values, columns, axis=1), axis=1, kind="stable")
    return np.take_along_axis(columns, order, axis=1)


def _finite(values: Floats) -> Floats:
    """0 where all of a sum is −inf: −inf less −inf has no value."""
    return np.where(np.isfinite(values), values, 0.0)
