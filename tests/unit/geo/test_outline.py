"""The outline of many cells."""

from __future__ import annotations

import numpy as np
import pytest
import shapely

from hexes import disk
from placevec.errors import DataError
from placevec.geo.boxes import box_polygon
from placevec.geo.cells import H3Cells
from placevec.geo.outline import outline


@pytest.mark.parametrize(
    ("box", "resolution"),
    [
        ((4.2, 51.9, 4.5, 52.1), 8),
        ((178.5, -18.5, -178.5, -16.5), 5),  # across the antimeridian
        ((-180.0, 85.0, 180.0, 90.0), 3),  # around the pole
        ((-0.1, -0.1, 0.1, 0.1), 7),
    ],
)
def test_it_is_the_union_of_the_hexagons(box: tuple[float, float, float, float], resolution: int) -> None:
    system = H3Cells(resolution)
    cells = system.cover(box_polygon(box))
    # Islands and a hole: every third cell is left out.
    for some in (cells, cells[::3], np.delete(cells, len(cells) // 2)):
        found = outline(some, resolution)
        whole = shapely.union_all(shapely.make_valid(system.polygons(some)))
        assert found.is_valid
        assert found.symmetric_difference(whole).area < 1e-7 * whole.area
        west, south, east, north = found.bounds
        assert -180.0 <= west <= east <= 180.0
        assert -90.0 <= south <= north <= 90.0


def test_no_cells_have_none() -> None:
    with pytest.raises(DataError, match="no cells"):
        outline(np.zeros(0, dtype=np.uint64), 5)
    with pytest.raises(DataError, match="no H3 cell of resolution 5"):
        outline(H3Cells(6).cover(box_polygon((0.0, 0.0, 0.1, 0.1))), 5)


def test_equal_cells_have_equal_outlines() -> None:
    cells = disk(9, 12)
    first = outline(cells, 9)
    assert all(outline(np.random.default_rng(k).permutation(cells), 9).wkb == first.wkb for k in range(4))
