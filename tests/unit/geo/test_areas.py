"""How much ground cells and polygons cover."""

from __future__ import annotations

import h3
import numpy as np
import pytest
import shapely

from placevec.errors import DataError
from placevec.geo.areas import cell_areas, polygon_areas
from placevec.geo.cells import H3Cells
from placevec.geo.sphere import LonLat


def test_areas_of_cells_are_those_of_h3_whatever_the_resolutions() -> None:
    where = LonLat(np.array([0.0, 100.0, 179.99]), np.array([0.0, 45.0, -60.0]))
    cells = np.concatenate([H3Cells(level).assign(where) for level in (3, 6, 9)])
    slow = [h3.cell_area(h3.int_to_str(int(cell)), "m^2") for cell in cells]
    assert cell_areas(cells) == pytest.approx(slow)
    assert len(cell_areas([])) == 0
    with pytest.raises(DataError, match="7b is no H3 cell"):
        cell_areas([123])


def test_all_base_cells_cover_the_earth() -> None:
    cells = np.array([h3.str_to_int(cell) for cell in h3.get_res0_cells()], dtype=np.uint64)
    assert cell_areas(cells).sum() == pytest.approx(4 * np.pi * 6371007.2**2, rel=1e-5)


def test_polygons_count_without_their_holes_however_they_are_turned() -> None:
    shell, hole = shapely.box(0, 0, 1, 1), shapely.box(0.25, 0.25, 0.75, 0.75)
    both = shapely.Polygon(shell.exterior, [hole.exterior])  # the hole runs as its shell does
    given = np.array([shell, shapely.reverse(shell), hole, both, shapely.Point(0, 0), None], dtype=object)
    areas = polygon_areas(given)
    assert areas[0] == pytest.approx(12_308_778_361, rel=1e-6)  # one degree at the equator, Karney (2013)
    assert areas[1] == areas[0]
    assert areas[3] == pytest.approx(areas[0] - areas[2])
    assert areas[4] == 0
    assert np.isnan(areas[5])


def test_cells_as_polygons_have_about_the_area_of_cells() -> None:
    cells = H3Cells(5).assign(LonLat(np.array([10.0, 179.95]), np.array([50.0, -17.0])))
    assert polygon_areas(H3Cells(5).polygons(cells)) == pytest.approx(cell_areas(cells), rel=0.01)
