"""A small made-up town of hexagons: two modalities, one of them absent in places, and targets that neighbours share."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import h3
import numpy as np

from placevec.geo.cells import H3Cells
from placevec.geo.sphere import LonLat
from placevec.measure.fusion import Block, neighbour_mean
from placevec.provenance import Saw, Space
from placevec.table import EmbeddingTable, Places

MIDDLE = (-51.2, -30.05)
RESOLUTION = 9


@dataclass(frozen=True)
class Town:
    """Cells, what is known of them, and what is to be predicted."""

    cells: np.ndarray
    lonlat: LonLat
    blocks: dict[str, Block]
    targets: dict[str, np.ndarray]

    @property
    def places(self) -> Places:
        ids = [f"{int(cell):x}" for cell in self.cells]
        return Places.create(ids, self.lonlat, h3=self.cells, attributes=dict(self.targets))


def disk(rings: int, lon: float = MIDDLE[0], lat: float = MIDDLE[1], resolution: int = RESOLUTION) -> np.ndarray:
    """The cells within some rings of a point, in no order."""
    around = h3.grid_disk(h3.latlng_to_cell(lat, lon, resolution), rings)
    return np.array(sorted((h3.str_to_int(cell) for cell in around), key=lambda cell: cell * 7919 % 10007), np.uint64)


@lru_cache
def town(rings: int = 10, seed: int = 0) -> Town:
    """A town of 1 + 3 rings (rings + 1) cells; `population` follows roads here and around, `jobs` transit as well."""
    rng = np.random.default_rng(seed)
    cells = disk(rings)
    n = len(cells)
    mix = neighbour_mean(cells)
    raw = rng.standard_normal((n, 5))
    raw[:, :3] += mix @ (mix @ rng.standard_normal((n, 3))) * 3
    present = rng.uniform(size=n) > 0.1
    around = mix @ raw
    people = 2 * around[:, 0] + raw[:, 1] + 0.5 * rng.standard_normal(n)
    jobs = around[:, 1] + 2 * around[:, 3] + 0.5 * rng.standard_normal(n)
    return Town(
        cells,
        H3Cells(RESOLUTION).centre(cells),
        {
            "roads": Block(raw[:, :3] * [1, 10, 100] + 5, names=("a_m", "b_m", "c_m")),
            "transit": Block(raw[:, 3:], present, ("stops", "routes")),
        },
        {"population": np.exp(people / 2), "jobs": np.exp(jobs / 2), "schools": rng.poisson(1.0, n).astype(float)},
    )


def cell_table_of(
    place: Town,
    values: np.ndarray,
    rows: np.ndarray | None = None,
    *,
    dims: tuple[str, ...] = (),
    saw: tuple[Saw, ...] = (),
    **meta: object,
) -> EmbeddingTable:
    """A table of the town's cells, or of some of its rows."""
    at = np.arange(len(place.cells)) if rows is None else rows
    vectors = np.asarray(values, dtype=np.float32)[at]
    places = Places.create([f"{int(cell):x}" for cell in place.cells[at]], place.lonlat[at], h3=place.cells[at])
    return EmbeddingTable.of(places, vectors, Space.mint(vectors.shape[1], metric="l2"), dims=dims, saw=saw, **meta)


def tables_of(place: Town) -> dict[str, EmbeddingTable]:
    """The modalities as tables; rows of absent cells are absent."""
    return {
        name: cell_table_of(place, block.values, np.flatnonzero(block.mask), dims=block.names)
        for name, block in place.blocks.items()
    }
