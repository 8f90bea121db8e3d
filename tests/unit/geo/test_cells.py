from __future__ import annotations

import h3
import numpy as np
import pytest
import shapely
from shapely.geometry import MultiPolygon, Polygon

from placevec.errors import DataError, UsageError
from placevec.geo.boxes import unwrap_polygon
from placevec.geo.cells import Cells, H3Cells, parse_cells, ring_index
from placevec.geo.grids import GridCells
from placevec.geo.sphere import LonLat, distance_m

SYSTEMS = [H3Cells(0), H3Cells(2), H3Cells(5), GridCells(10), GridCells(0.1), GridCells(180)]
REGIONS = {
    "north cap": shapely.box(-180, 80, 180, 90),
    "at the north pole": shapely.box(0, 89.9, 10, 90),
    "south quarter": shapely.box(100, -90, 180, -60),
    "whole world": shapely.box(-180, -90, 180, 90),
    "across": shapely.box(170, -5, -170, 5),
    "wide": shapely.box(-100, -20, 110, 20),
    "islands": MultiPolygon([shapely.box(1, 1, 1.001, 1.001), shapely.box(5, 40, 5.0001, 40.0001)]),
    "strip": shapely.box(-179.9, 10, -20, 10.01),
    "ring": Polygon([(0, 0), (30, 0), (30, 30), (0, 30)], [[(5, 5), (25, 5), (25, 25), (5, 25)]]),
}


def everywhere(n: int = 2000, seed: int = 0) -> LonLat:
    rng = np.random.default_rng(seed)
    special = [(-180, 0), (180, 0), (0, 90), (0, -90), (77, 90), (0, 0), (90, 45), (-180, 90)]
    lon = np.concatenate([rng.uniform(-180, 180, n), [s[0] for s in special]])
    lat = np.concatenate([np.degrees(np.arcsin(rng.uniform(-1, 1, n))), [s[1] for s in special]])
    return LonLat(lon, lat)


def base_cells(resolution: int) -> np.ndarray:
    base = np.array([h3.str_to_int(c) for c in h3.get_res0_cells()], dtype=np.uint64)
    return np.sort(H3Cells(0).children(base, resolution).cells)


def pentagons(resolution: int) -> np.ndarray:
    return np.array([h3.str_to_int(c) for c in h3.get_pentagons(resolution)], dtype=np.uint64)


@pytest.mark.parametrize("system", SYSTEMS, ids=str)
def test_every_point_lies_in_its_cell(system):
    p = everywhere()
    cells = system.assign(p)
    assert cells.dtype == np.uint64
    assert (cells > 0).all()
    outlines = system.polygons(cells)
    assert shapely.is_valid(outlines).all()
    # H3's edges are great circles, those of the outlines straight in degrees: a fine cell differs by little.
    slack = 1e-9 if isinstance(system, GridCells) else {0: 6.0, 2: 0.7, 5: 0.03}[system.resolution]
    inside = shapely.dwithin(outlines, shapely.points(p.lon, p.lat), slack)
    polar = np.abs(p.lat) > 85
    assert inside[~polar & (p.lon > -180)].all()
    np.testing.assert_array_equal(system.assign(system.centre(cells)), cells)
    assert isinstance(system, Cells)
    assert parse_cells(system.name) == system
    assert hash(parse_cells(system.name)) == hash(system)


def test_h3_against_h3():
    p = everywhere(200)
    for resolution in (0, 3, 9, 15):
        system = H3Cells(resolution)
        want = [h3.str_to_int(h3.latlng_to_cell(b, a, resolution)) for a, b in zip(p.lon, p.lat, strict=True)]
        cells = system.assign(p)
        assert cells.tolist() == want
        lat, lon = np.array([h3.cell_to_latlng(h3.int_to_str(c)) for c in want]).T
        assert distance_m(system.centre(cells), LonLat(lon, lat)).max() < 1e-3
        up = system.parent(cells, resolution // 2)
        assert up.tolist() == [h3.str_to_int(h3.cell_to_parent(h3.int_to_str(c), resolution // 2)) for c in want]


@pytest.mark.parametrize("system", [H3Cells(1), H3Cells(2), GridCells(7.5)], ids=str)
def test_outlines_are_a_partition_of_the_world(system):
    cells = system.cover(shapely.box(-180, -90, 180, 90))
    outlines = system.polygons(cells)
    assert shapely.is_valid(outlines).all()
    assert shapely.area(outlines).sum() == pytest.approx(360 * 180)
    bounds = shapely.bounds(outlines)
    assert bounds[:, [0, 2]].min() >= -180
    assert bounds[:, [0, 2]].max() <= 180
    crossing = [g for g in outlines if isinstance(g, MultiPolygon)]
    assert bool(crossing) == isinstance(system, H3Cells)


@pytest.mark.parametrize("resolution", [0, 1, 3])
@pytest.mark.parametrize("region", REGIONS)
def test_h3_cover_against_all_cells(resolution, region):
    every = base_cells(resolution)
    system, polygon = H3Cells(resolution), REGIONS[region]
    want = every[shapely.intersects(system.polygons(every), unwrap_polygon(polygon))]
    np.testing.assert_array_equal(system.cover(polygon), want)


@pytest.mark.parametrize("degrees", [90, 10, 2.5])
@pytest.mark.parametrize("region", REGIONS)
def test_grid_cover_against_all_cells(degrees, region):
    system, polygon = GridCells(degrees), REGIONS[region]
    every = np.arange(1, system.rows * system.columns + 1, dtype=np.uint64)
    want = every[shapely.intersects(system.polygons(every), unwrap_polygon(polygon))]
    np.testing.assert_array_equal(system.cover(polygon), want)


@pytest.mark.parametrize("k", [0, 1, 3])
def test_h3_rings_against_h3(k):
    system = H3Cells(3)
    cells = np.concatenate([system.assign(everywhere(60)), pentagons(3), system.rings(pentagons(3), 1)[:, 1]])
    rings = system.rings(cells, k)
    assert rings.shape == (len(cells), 1 + 3 * k * (k + 1))
    np.testing.assert_array_equal(rings[:, 0], cells)
    for row, cell in zip(rings, cells, strict=True):
        for r in range(1, k + 1):
            part = row[1 + 3 * r * (r - 1) : 1 + 3 * r * (r + 1)]
            origin = h3.int_to_str(int(cell))
            want = {h3.str_to_int(c) for c in set(h3.grid_disk(origin, r)) - set(h3.grid_disk(origin, r - 1))}
            assert set(part[part > 0].tolist()) == want


def test_pentagons_have_five_neighbours():
    rings = H3Cells(2).rings(pentagons(2), 1)
    assert ((rings > 0).sum(axis=1) == 6).all()
    assert (rings[:, -1] == 0).all()
    assert (np.diff(H3Cells(2).neighbours(pentagons(2), 1).offsets) == 6).all()


@pytest.mark.parametrize("degrees", [180, 90, 60, 10])
@pytest.mark.parametrize("k", [0, 1, 2])
def test_grid_rings_by_counting_steps(degrees, k):
    system = GridCells(degrees)
    every = np.arange(1, system.rows * system.columns + 1, dtype=np.uint64)
    y, x = np.divmod(every.astype(int) - 1, system.columns)
    rings = system.rings(every, k)
    np.testing.assert_array_equal(rings[:, 0], every)
    for i, row in enumerate(rings):
        across = np.minimum((x - x[i]) % system.columns, (x[i] - x) % system.columns)
        want = every[np.maximum(across, np.abs(y - y[i])) <= k]
        present = row[row > 0]
        assert len(present) == len(set(present.tolist()))
        assert set(present.tolist()) == set(want.tolist())


@pytest.mark.parametrize("system", [H3Cells(3), GridCells(2.0)], ids=str)
@pytest.mark.parametrize("k", [1, 2])
def test_ring_index_against_a_dictionary(system, k):
    rng = np.random.default_rng(3)
    cells = system.cover(shapely.box(170, -15, -170, 15))
    cells = np.concatenate([rng.permutation(cells)[: len(cells) * 2 // 3], cells[:3]])
    first = {}
    for row, cell in enumerate(cells.tolist()):
        first.setdefault(cell, row)
    found = ring_index(cells, k, system)
    want = [[first.get(c, -1) for c in row] for row in system.rings(cells, k).tolist()]
    np.testing.assert_array_equal(found, want)
    assert found.dtype == np.int64
    if isinstance(system, H3Cells):
        np.testing.assert_array_equal(ring_index(cells, k), found)


def test_ring_index_of_nothing():
    assert ring_index(np.zeros(0, dtype=np.uint64), 2).shape == (0, 19)
    assert H3Cells(4).rings(np.zeros(0, dtype=np.uint64), 1).shape == (0, 7)
    assert len(list(H3Cells(4).neighbours([], 1).lists())) == 0


@pytest.mark.parametrize(("system", "fine", "coarse"), [(H3Cells(3), 5, 1), (GridCells(1.0), 0.25, 4.0)], ids=str)
def test_children_and_parents_are_inverse(system, fine, coarse):
    cells = system.assign(everywhere(50))
    offsets, members = system.children(cells, fine)
    finer = type(system)(fine)
    np.testing.assert_array_equal(
        finer.parent(members, fine if fine == 3 else getattr(system, "resolution", 1.0)),
        np.repeat(cells, np.diff(offsets)),
    )
    assert len(offsets) == len(cells) + 1
    up = system.parent(cells, coarse)
    for cell, inner in zip(cells, type(system)(coarse).children(up, 3 if fine == 5 else 1.0).lists(), strict=True):
        assert cell in inner


def test_levels_that_cannot_be():
    cells = H3Cells(3).assign(LonLat.of(0, 0))
    with pytest.raises(UsageError, match="use children"):
        H3Cells(3).parent(cells, 4)
    with pytest.raises(UsageError, match="use parent"):
        H3Cells(3).children(cells, 2)
    with pytest.raises(UsageError, match="no multiple"):
        GridCells(2.0).parent([1], 3.0)
    with pytest.raises(UsageError, match="no ring -1"):
        H3Cells(3).rings(cells, -1)


def test_cells_of_another_system():
    with pytest.raises(DataError, match="no H3 cell of resolution 4"):
        H3Cells(4).polygons(H3Cells(3).assign(LonLat.of(0, 0)))
    with pytest.raises(DataError, match="no H3 cell"):
        H3Cells(4).centre([0])
    for bad in (0, 2 * 18 * 18 + 1):
        with pytest.raises(DataError, match="no cell of grid:10"):
            GridCells(10).centre([bad])


@pytest.mark.parametrize("degrees", [0.1, 0.3, 1 / 3, 0.7 / 7])
def test_grid_borders_belong_to_the_cell_east_and_north_of_them(degrees):
    system = GridCells(degrees)
    step = np.arange(0, system.rows)
    edge_lon, edge_lat = -180.0 + step * 180.0 / system.rows, -90.0 + step * 180.0 / system.rows
    cells = system.assign(LonLat(edge_lon, edge_lat)).astype(int) - 1
    np.testing.assert_array_equal(cells % system.columns, step)
    np.testing.assert_array_equal(cells // system.columns, step)


def test_names_of_cells():
    assert parse_cells("h3:6") == H3Cells(6)
    assert parse_cells(" GRID: .5 ") == GridCells(0.5)
    assert GridCells(0.25).name == "grid:0.25"
    assert GridCells(1e-5).name == "grid:0.00001"
    assert repr(parse_cells("h3:0")) == "H3Cells(0)"
    for bad in ("", "h3", "h3:", "h3:6.5", "h3:-1", "s2:4", "grid:x", "h3:16", "grid:0", "grid:7", "grid:200"):
        with pytest.raises(UsageError):
            parse_cells(bad)
    with pytest.raises(UsageError, match="whole number from 0 to 15"):
        H3Cells(2.5)
