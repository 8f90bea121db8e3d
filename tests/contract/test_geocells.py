"""Geocells keep the contract of cells: of the whole Earth, of its parts, and at each of their levels."""

from __future__ import annotations

import numpy as np
import pytest
import shapely

pytest.importorskip("hdbscan")

from placevec.geo.geocells import GeoCellConfig, GeoCells, build_geocells
from placevec.geo.regions import Regions
from placevec.geo.sphere import LonLat
from placevec.testing import check_cells

CONFIG = GeoCellConfig(min_points=10, min_samples=4, dense_km=300, sparse_km=1500, levels_km=(2500.0, 5000.0))


@pytest.fixture(scope="module", params=["earth", "quarters"])
def cells(request: pytest.FixtureRequest) -> GeoCells:
    rng = np.random.default_rng(0)
    points = LonLat(rng.uniform(-180, 180, 900), np.degrees(np.arcsin(rng.uniform(-1, 1, 900))))
    parts = {f"{x} {y}": shapely.box(x, y, x + 180, y + 90) for x in (-180, 0) for y in (-90, 0)}
    return build_geocells(points, Regions.whole_earth() if request.param == "earth" else Regions.of(parts), CONFIG)


def test_the_cells_themselves(cells: GeoCells) -> None:
    check_cells(cells, whole_earth=True)
    check_cells(cells, whole_earth=False)


@pytest.mark.parametrize("level", [1, 2, 3])
def test_each_level_is_a_partition_of_its_own_and_a_family_with_the_finer_one(cells: GeoCells, level: int) -> None:
    coarse = cells.at(level)
    check_cells(coarse, level=level, fine=(cells.at(level - 1), level - 1))
    check_cells(cells, level=0, coarse=(coarse, level), whole_earth=False)
