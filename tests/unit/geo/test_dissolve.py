"""Dissolved cells: the same ground as the cells one by one, wherever they lie."""

from __future__ import annotations

import h3
import numpy as np
import pytest
import shapely

from placevec.errors import DataError
from placevec.geo.cells import H3Cells
from placevec.geo.dissolve import dissolve


@pytest.mark.parametrize(("lat", "lon", "resolution"), [(-30.0, -51.2, 9), (-17.0, 180.0, 7), (89.9, 0.0, 4)])
def test_dissolved_cells_cover_what_they_cover_one_by_one(lat: float, lon: float, resolution: int) -> None:
    disk = sorted(h3.str_to_int(cell) for cell in h3.grid_disk(h3.latlng_to_cell(lat, lon, resolution), 6))
    cells = np.array(disk, dtype=np.uint64)
    cells = cells[np.random.default_rng(0).random(len(cells)) < 0.7]
    found = dissolve(cells)
    assert found.is_valid
    apart = H3Cells(resolution).polygons(cells)
    assert shapely.area(found) == pytest.approx(shapely.area(apart).sum(), rel=1e-6)
    centres = H3Cells(resolution).centre(cells)
    assert shapely.intersects_xy(found, centres.lon, centres.lat).all()
    # Joined: fewer parts than cells, and where a cell is absent inside, a hole.
    assert len(found.geoms) < len(cells) / 3


def test_one_cell_and_no_cells() -> None:
    cell = h3.str_to_int(h3.latlng_to_cell(52.0, 5.0, 8))
    assert shapely.symmetric_difference(dissolve([cell, cell]), H3Cells(8).polygons([cell])[0]).area < 1e-12
    for bad in ([], [7], [cell, h3.str_to_int(h3.latlng_to_cell(52.0, 5.0, 7))]):
        with pytest.raises(DataError, match="give H3 cells of one resolution"):
            dissolve(bad)
