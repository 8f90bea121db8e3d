"""Population and price of the cells in and around the towns of the generated country, at three sizes.

All H3 cells that are land for the better part, and over which the built-up intensity is above 0.1 on average: every
town and what lies around it. Their resolution goes with the size of the country, so that there are

    small    resolution 7    1,000 cells
    medium   resolution 8   10,000
    large    resolution 9  100,000

or so. The functions are those of `targets` for population (per km²) and price, with the same noise; the intensity is
that between the pixels (`Ground.urban`, at most 2), which streets follow too.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from placevec.geo.cells import H3Cells
from placevec.geo.sphere import distance_m
from placevec.sources.world.cover import CROPLAND
from placevec.sources.world.ground import Floats, Ground
from placevec.sources.world.noise import stream
from placevec.sources.world.targets import people_per_km2, price_of

RESOLUTIONS = {"small": 7, "medium": 8, "large": 9}
LEAST = 0.1
_FINE = 9  # at least: what is averaged over a cell is looked at in the centres of finer ones, 300 m apart


def make_urban(ground: Ground, resolution: int) -> dict[str, NDArray[np.generic]]:
    """Columns by name, one row for each cell, sorted: h3, population, price, and both as NAME_expected."""
    rng = stream(ground.seed, "urban targets")
    cells, fine, owner = _cells(ground, resolution)
    col, row = ground.grid.position(H3Cells(max(resolution + 1, _FINE)).centre(fine))
    land = ground.land(col, row)
    dry = np.maximum(np.bincount(owner, land, len(cells)), 1.0)

    def mean(values: NDArray[np.generic]) -> Floats:
        return np.asarray(np.bincount(owner, np.where(land, values, 0.0), len(cells)) / dry)

    share = np.bincount(owner, land, len(cells)) / np.bincount(owner, minlength=len(cells))
    kept = (share > 0.5) & (mean(ground.built(col, row)) > LEAST)
    urban = mean(np.minimum(ground.urban(col, row), 2.0))
    coast_km, slope, temperature = (
        mean(ground.between(field, col, row))
        for field in (ground.terrain.coast_km, ground.terrain.slope, ground.terrain.temperature)
    )
    crops = mean(ground.between(ground.cover.now == CROPLAND, col, row))
    people = people_per_km2(urban, crops, coast_km, slope)[kept]
    price = price_of(urban, coast_km, _town_km(ground, cells, resolution), temperature)[kept]
    n = len(people)
    return {
        "h3": cells[kept],
        "population": people * np.exp(0.25 * rng.standard_normal(n)),
        "price": price + 140 * rng.standard_normal(n),
        "population_expected": people,
        "price_expected": price,
    }


def _cells(ground: Ground, resolution: int) -> tuple[NDArray[np.uint64], NDArray[np.uint64], NDArray[np.int64]]:
    """Cells that may be built-up enough, the finer cells in them, and the row of the cell to which each belongs."""
    # Pixels that might be in such a cell, in quarters that are finer than cells of resolution 9.
    row, col = np.nonzero(ground.cover.urban > LEAST / 4)
    part = (np.arange(4) + 0.5) / 4
    cols = (col[:, None, None] + part[None, :, None] + np.zeros((1, 1, 4))).ravel()
    rows = (row[:, None, None] + part[None, None, :] + np.zeros((1, 4, 1))).ravel()
    cells = np.unique(H3Cells(resolution).assign(ground.grid.lonlat(cols, rows)))
    fine = H3Cells(resolution).children(cells, max(resolution + 1, _FINE))
    return cells, fine.cells, np.repeat(np.arange(len(cells)), np.diff(fine.offsets))


def _town_km(ground: Ground, cells: NDArray[np.uint64], resolution: int) -> Floats:
    """From the centre of each cell to the nearest town."""
    towns, centre = ground.towns, H3Cells(resolution).centre(cells)
    where = np.stack(ground.grid.position(centre), axis=1)
    near = np.asarray(cKDTree(np.stack([towns.col, towns.row], axis=1)).query(where)[1], dtype=np.int64)
    return distance_m(centre, ground.grid.lonlat(towns.col, towns.row)[near]) / 1000
