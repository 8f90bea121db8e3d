"""Targets per H3 cell of the generated country, each with the function that generates it.

For every target `NAME` the table holds `NAME_expected`, what the function gives without chance: the best that any
model could predict, and with it the best possible R². The functions (urban u, land-cover shares,
temperature t in °C, rain r in mm, slope s; town distance d in km; soil q, a hidden field of 40 km waves):

    population   exp(2.2 + 2.9·u + 1.1·cropland share + 0.8·coast − 6·s) per km²,   noise log-normal, σ 0.25
    price        900 + 1500·u + 700·exp(−coast km / 8) + 500·exp(−d / 12) + 12·t,      noise normal, σ 140
    crop_yield   cropland share · 9·exp(−((t − 12) / 5)²)·min(r / 750, 1.15)·(1 + 0.25·q),  noise normal, σ 0.25
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from placevec.geo.cells import H3Cells
from placevec.geo.sphere import distance_m
from placevec.sources.world.cover import CLASSES, CROPLAND, Cover
from placevec.sources.world.grid import Grid
from placevec.sources.world.noise import fractal, stream
from placevec.sources.world.settlement import Towns
from placevec.sources.world.terrain import Terrain

Floats = NDArray[np.float64]


def make_targets(
    seed: int, grid: Grid, terrain: Terrain, cover: Cover, towns: Towns, province: NDArray[np.int8], resolution: int
) -> dict[str, NDArray[np.generic]]:
    """Columns by name, one row for each cell of `resolution` whose pixels are land for the better part, sorted."""
    rng = stream(seed, "targets")
    y, x = np.indices(grid.shape)
    cells = H3Cells(resolution).assign(grid.lonlat((x + 0.5).ravel(), (y + 0.5).ravel()))
    unique, number = np.unique(cells, return_inverse=True)
    total = np.bincount(number)
    land = np.bincount(number, terrain.land.ravel()) / total

    def mean(field: NDArray[np.generic]) -> NDArray[np.float64]:
        return np.bincount(number, np.where(terrain.land, field, 0).ravel()) / np.maximum(land * total, 1e-9)

    columns: dict[str, NDArray[np.generic]] = {"h3": unique}
    fields = {
        "elevation": terrain.elevation,
        "slope": terrain.slope,
        "temperature": terrain.temperature,
        "rain": terrain.rain,
        "coast_km": terrain.coast_km,
        "urban": np.minimum(cover.urban, 2.0),
        "soil": fractal(rng, grid.shape, 40_000 / grid.metres, 3.0),
    }
    for name, field in fields.items():
        columns[name] = mean(field)
    for key, name in CLASSES.items():
        columns[f"{name}_share"] = np.bincount(number, (cover.now == key).ravel()) / total
    columns["changed_share"] = np.bincount(number, (cover.changed & terrain.land).ravel()) / total
    votes = np.stack(
        [np.bincount(number, (province == p).ravel(), minlength=len(unique)) for p in range(int(province.max()) + 1)]
    )
    columns["province"] = votes.argmax(axis=0)
    kept = land > 0.5
    columns = {name: values[kept] for name, values in columns.items()}

    c = {name: values.astype(np.float64) for name, values in columns.items() if name != "h3"}
    centre = H3Cells(resolution).centre(columns["h3"])
    col, row = grid.position(centre)
    near = np.asarray(
        cKDTree(np.stack([towns.col, towns.row], axis=1)).query(np.stack([col, row], axis=1))[1], np.int64
    )
    town_km = distance_m(centre, grid.lonlat(towns.col, towns.row)[near]) / 1000
    columns["town_km"] = town_km
    share = c[f"{CLASSES[CROPLAND]}_share"]
    people = people_per_km2(c["urban"], share, c["coast_km"], c["slope"])
    price = price_of(c["urban"], c["coast_km"], town_km, c["temperature"])
    warm = np.exp(-(((c["temperature"] - 12) / 5) ** 2))
    crop = share * 9 * warm * np.minimum(c["rain"] / 750, 1.15) * (1 + 0.25 * c["soil"])
    n = len(people)
    columns["population"] = people * np.exp(0.25 * rng.standard_normal(n))
    columns["population_expected"] = people
    columns["price"] = price + 140 * rng.standard_normal(n)
    columns["price_expected"] = price
    columns["crop_yield"] = np.maximum(crop + 0.25 * rng.standard_normal(n), 0)
    columns["crop_yield_expected"] = crop
    return columns


def people_per_km2(urban: Floats, cropland: Floats, coast_km: Floats, slope: Floats) -> Floats:
    """The function of `population`, of means over cells (n,)."""
    found: Floats = np.exp(2.2 + 2.9 * urban + 1.1 * cropland + 0.8 * np.exp(-coast_km / 8) - 6 * slope)
    return found


def price_of(urban: Floats, coast_km: Floats, town_km: Floats, temperature: Floats) -> Floats:
    """The function of `price`, of means over cells (n,)."""
    by_coast, by_town = np.exp(-coast_km / 8), np.exp(-town_km / 12)
    found: Floats = 900 + 1500 * urban + 700 * by_coast + 500 * by_town + 12 * temperature
    return found
