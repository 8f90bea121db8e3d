"""A tiny city of hexagons: one hidden field, and three modalities that each tell something of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from placevec.geo.cells import ring_index
from placevec.provenance import Saw, Space
from placevec.table import EmbeddingTable, write_table
from placevec.tasks.inputs import cell_places

ROADS = ("street_m", "intersections", "dead_ends")
STOPS = ("stops", "departures")


def field(cells: NDArray[np.uint64], seed: int = 0) -> NDArray[np.float64]:
    """A field (n,) that is smooth over the cells."""
    values = np.random.default_rng(seed).normal(size=len(cells))
    near = ring_index(cells, 1)
    for _ in range(4):
        values = np.where(near >= 0, values[near], np.nan)
        values = np.nanmean(values, axis=1)
    return (values - values.mean()) / values.std()


def modalities(cells: NDArray[np.uint64], seed: int = 0) -> dict[str, tuple[NDArray[np.float32], NDArray[np.bool_]]]:
    """Values (n, d) and presence (n,) of roads, transit and pictures (vectors of an encoder, absent at each ninth)."""
    draw = np.random.default_rng([seed, 1])
    hidden = field(cells, seed)
    n = len(cells)
    roads = np.stack([hidden, np.maximum(hidden, 0.0), -hidden], axis=1) + 0.3 * draw.normal(size=(n, 3))
    stops = np.stack([np.maximum(hidden - 0.3, 0.0), np.exp(hidden)], axis=1) + 0.05 * draw.normal(size=(n, 2))
    pictures = np.tanh(hidden)[:, None] * np.linspace(-1, 1, 4) + 0.3 * draw.normal(size=(n, 4))
    everywhere = np.ones(n, dtype=bool)
    some = np.arange(n) % 9 != 0
    return {
        "roads": (roads.astype(np.float32), everywhere),
        "transit": (stops.astype(np.float32), everywhere),
        "pictures": (pictures.astype(np.float32), some),
    }


def write_modalities(folder: Path, cells: NDArray[np.uint64], saw: tuple[Saw, ...] = ()) -> dict[str, Path]:
    """The tables of the modalities of a city, by name; `saw` is what roads have seen."""
    resolution = int(cells[0] >> np.uint64(52)) & 15
    found = {}
    for name, (values, present) in modalities(cells).items():
        places = cell_places(cells[present], resolution)
        row = {int(cell): k for k, cell in enumerate(cells.tolist())}
        order = [row[int(cell)] for cell in places.column("h3").tolist()]
        names = {"roads": ROADS, "transit": STOPS}.get(name, ())
        space = Space.published(f"city-{name}@1", values.shape[1], metric="l2" if names else "cosine")
        table = EmbeddingTable.of(
            places, values[order], space, dims=names, saw=saw if name == "roads" else (), encoder=f"modality:{name}"
        )
        found[name] = folder / f"{name}.parquet"
        write_table(table, found[name])
    return found
