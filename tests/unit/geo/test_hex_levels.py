"""The levels of an area, against h3 asked cell by cell."""

from __future__ import annotations

import h3
import numpy as np
import pytest

from hexes import PENTAGON, disk, numbers, torn
from placevec.errors import DataError, UsageError
from placevec.geo.hex_levels import HexLevels, hex_levels


def check(levels: HexLevels) -> None:
    """Everything that the levels say, from h3 itself."""
    for at, (resolution, cells) in enumerate(zip(levels.resolutions, levels.cells, strict=True)):
        names = [h3.int_to_str(int(cell)) for cell in cells]
        assert {h3.get_resolution(name) for name in names} == {resolution}
        assert (np.diff(cells.astype(np.int64)) > 0).all()
        row = {name: i for i, name in enumerate(names)}
        for i, name in enumerate(names):
            around = {row[other] for other in h3.grid_disk(name, 1) if other in row}
            given = levels.near[at][i]
            assert given[0] == i
            assert sorted(given[given >= 0]) == sorted(around)
        if at + 1 < len(levels):
            parents = [h3.int_to_str(int(cell)) for cell in levels.cells[at + 1][levels.parent[at]]]
            assert parents == [h3.cell_to_parent(name, resolution - 1) for name in names]
            assert set(levels.parent[at]) == set(range(len(levels.cells[at + 1])))
            assert levels.lengths(at).sum() == len(cells)


@pytest.mark.parametrize("resolutions", [(9,), (9, 8), (9, 8, 7, 6)])
def test_levels_of_an_area_with_a_hole_and_an_island(resolutions: tuple[int, ...]) -> None:
    given = torn(9, 8)
    levels = hex_levels(given, resolutions)
    assert levels.sizes == tuple(len(cells) for cells in levels.cells)
    np.testing.assert_array_equal(given[levels.order], levels.cells[0])
    np.testing.assert_array_equal(levels.as_given(levels.cells[0]), given)
    check(levels)


def test_a_pentagon_has_five_neighbours() -> None:
    levels = hex_levels(numbers(h3.cell_to_children(PENTAGON, 8)), (8, 7, 6))
    check(levels)
    assert (levels.near[0] >= 0).sum(axis=1).max() == 7
    row = int(levels.rows_of(0, numbers([h3.cell_to_center_child(PENTAGON, 8)]))[0])
    assert (levels.near[0][row] >= 0).sum() == 6
    assert levels.sizes == (41, 6, 1)


def test_an_area_across_the_antimeridian() -> None:
    levels = hex_levels(disk(7, 3, h3.latlng_to_cell(-16.8, 180.0, 7)), (7, 6))
    check(levels)
    assert (levels.near[0] >= 0).all(axis=1).sum() == 19  # all but the outermost ring


def test_the_order_of_resolutions_does_not_matter() -> None:
    assert hex_levels(disk(9, 1), [7, 9, 8]).resolutions == (9, 8, 7)


def test_rows_and_ancestors() -> None:
    levels = hex_levels(disk(9, 4), (9, 8, 7))
    rows = levels.rows_of(1, levels.cells[1][::-1])
    np.testing.assert_array_equal(rows, np.arange(levels.sizes[1])[::-1])
    assert levels.rows_of(0, numbers([PENTAGON])) == [-1]
    top = [h3.str_to_int(h3.cell_to_parent(h3.int_to_str(int(cell)), 7)) for cell in levels.cells[0]]
    np.testing.assert_array_equal(levels.cells[2][levels.ancestor(2)], np.array(top, dtype=np.uint64))
    np.testing.assert_array_equal(levels.ancestor(0), np.arange(levels.sizes[0]))


def test_one_cell() -> None:
    levels = hex_levels(disk(9, 0), (9, 8))
    assert levels.near[0].tolist() == [[0, -1, -1, -1, -1, -1, -1]]


@pytest.mark.parametrize("resolutions", [(), (9, 7), (9, 9), (8, 9, 11)])
def test_resolutions_that_are_not_consecutive(resolutions: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match="not consecutive"):
        hex_levels(disk(9, 1), resolutions)


def test_no_such_resolution() -> None:
    with pytest.raises(UsageError, match="no resolution 16"):
        hex_levels(disk(9, 1), (16, 15))


def test_cells_that_cannot_be_used() -> None:
    with pytest.raises(DataError, match="without a cell"):
        hex_levels([], (9, 8))
    cells = disk(9, 1)
    with pytest.raises(DataError, match="is there twice"):
        hex_levels(np.append(cells, cells[3]), (9, 8))
    with pytest.raises(DataError, match="no H3 cell of resolution 9"):
        hex_levels(np.append(cells, disk(8, 0)), (9, 8))
