"""Geocells as a partition with levels, and as bytes."""

from __future__ import annotations

import json
import pickle
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import shapely

pytest.importorskip("hdbscan")

from placevec.errors import DataError, FormatError, UsageError
from placevec.geo.geocells import CoarseCells, GeoCellConfig, GeoCells, build_geocells
from placevec.geo.geocells.adjacency import ring_rows, touching
from placevec.geo.regions import Regions, spherical_areas_m2
from placevec.geo.sphere import LonLat

REGIONS = Regions.of(
    {"west": shapely.box(0, 40, 3, 44), "none": shapely.box(0, 46, 3, 47), "east": shapely.box(3, 40, 6, 44)}
)


@pytest.fixture(scope="module")
def cells() -> GeoCells:
    rng = np.random.default_rng(0)
    points = LonLat(rng.uniform(0, 6, 600), rng.uniform(40, 44, 600))
    config = GeoCellConfig(min_points=10, min_samples=4, dense_km=5, sparse_km=40, levels_km=(80.0, 160.0))
    return build_geocells(points, REGIONS, config)


def parts(cells: GeoCells) -> dict[str, Any]:
    """The arguments that make these cells."""
    names = ("regions", "centres", "region", "radius_m", "limit_m", "count", "levels", "outside")
    return {name: getattr(cells, name) for name in names}


def test_levels(cells: GeoCells) -> None:
    assert cells.at(0) is cells
    sizes = [cells.at(level).size for level in range(4)]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] == len(cells)
    assert sizes[3] == 2
    assert cells.at(1).name == f"{cells.name}/1"
    assert cells.at(1) == CoarseCells(cells, 1)
    assert cells.at(1) != cells.at(2)
    assert hash(cells.at(1)) == hash(CoarseCells(cells, 1))
    assert repr(cells.at(3)) == f"CoarseCells(<level 3: 2 groups of {len(cells)} cells>)"
    for level in (4, -1, 1.5, True):
        with pytest.raises(UsageError, match="no level"):
            cells.at(level)


def test_the_last_level_is_the_regions_that_have_cells(cells: GeoCells) -> None:
    found = cells.at(3).polygons([1, 2])
    for outline, row in zip(found, (0, 2), strict=True):
        assert shapely.symmetric_difference(outline, REGIONS.polygons[row]).area <= 1e-9
    points = LonLat(np.array([1.0, 5.0, 1.0, 20.0]), np.array([41.0, 41.0, 46.5, 41.0]))
    np.testing.assert_array_equal(cells.at(3).assign(points), [1, 2, 0, 0])


def test_groups_are_unions_of_their_cells(cells: GeoCells) -> None:
    numbers = np.arange(1, len(cells) + 1)
    area = spherical_areas_m2(cells.polygons(numbers))
    for level in (1, 2, 3):
        coarse = cells.at(level)
        own = spherical_areas_m2(coarse.polygons(np.arange(1, coarse.size + 1)))
        np.testing.assert_allclose(own, np.bincount(cells.levels[level - 1], area), rtol=1e-9)
        np.testing.assert_array_equal(cells.parent(numbers, level), cells.levels[level - 1] + 1)
        children = coarse.children(np.arange(1, coarse.size + 1), 0)
        assert sorted(np.concatenate(list(children.lists())).tolist()) == numbers.tolist()
    with pytest.raises(UsageError, match="level 0 is finer than level 1"):
        cells.at(1).parent([1], 0)
    with pytest.raises(UsageError, match="level 2 is coarser than level 1"):
        cells.at(1).children([1], 2)


def test_neighbours_touch_across_borders_of_regions_too(cells: GeoCells) -> None:
    numbers = np.arange(1, len(cells) + 1)
    outlines = cells.polygons(numbers)
    near = list(cells.neighbours(numbers, 1).lists())
    crossing = 0
    for row, own in enumerate(near):
        away = shapely.distance(outlines[row], outlines)
        slow = np.flatnonzero(away < 1e-7) + 1
        assert set(own.tolist()) == set(slow.tolist())
        crossing += len(np.unique(cells.region[own.astype(np.int64) - 1])) > 1
    assert crossing > 0
    with pytest.raises(UsageError, match="no ring -1"):
        cells.rings([1], -1)


def test_rings_are_those_of_a_walk_step_by_step(cells: GeoCells) -> None:
    one, two = cells.touching
    beside = {row: set(two[one == row].tolist()) for row in range(len(cells))}
    rings = ring_rows(cells.touching, len(cells), np.array([3, 0]), 3)
    for start, found in zip((3, 0), rings, strict=True):
        seen, ring, expected = {start}, {start}, [start]
        for _ in range(3):
            ring = set().union(*(beside[row] for row in ring)) - seen
            seen |= ring
            expected += sorted(ring)
        assert found[found >= 0].tolist() == expected


def test_outlines_touch_across_the_antimeridian() -> None:
    outlines = np.array([shapely.box(179, 0, 180, 1), shapely.box(-180, 0, -179, 1), shapely.box(-178, 0, -177, 1)])
    one, two = touching(outlines)
    assert sorted(zip(one.tolist(), two.tolist(), strict=True)) == [(0, 1), (1, 0)]


def test_cover_and_numbers_that_are_no_cells(cells: GeoCells) -> None:
    area = shapely.box(2.5, 41, 3.5, 42)
    numbers = np.arange(1, len(cells) + 1)
    np.testing.assert_array_equal(cells.cover(area), numbers[shapely.intersects(cells.polygons(numbers), area)])
    assert len(cells.cover(shapely.box(50, 0, 51, 1))) == 0
    np.testing.assert_array_equal(cells.at(3).cover(area), [1, 2])
    for wrong in (0, len(cells) + 1):
        with pytest.raises(DataError, match=f"{wrong} is no cell"):
            cells.centre([wrong])


def test_there_and_back_as_bytes(cells: GeoCells) -> None:
    again = GeoCells.from_bytes(cells.to_bytes())
    assert again == cells
    assert again.to_bytes() == cells.to_bytes()
    assert again.regions == cells.regions
    assert again.outside == cells.outside
    np.testing.assert_array_equal(again.starts, cells.starts)
    np.testing.assert_array_equal(again.levels, cells.levels)
    points = LonLat(np.linspace(-1, 7, 200), np.linspace(39, 45, 200))
    np.testing.assert_array_equal(again.rows(points), cells.rows(points))


def test_the_fingerprint_tells_other_cells(cells: GeoCells) -> None:
    moved = parts(cells)
    moved["regions"] = Regions(("west", "none", "orient"), REGIONS.polygons)
    others = [GeoCells(**moved), GeoCells(**{**parts(cells), "limit_m": cells.limit_m + 1.0})]
    assert len({cells.fingerprint(), *(other.fingerprint() for other in others)}) == 3


def test_bytes_that_are_no_geocells_are_refused(cells: GeoCells) -> None:
    good = cells.to_bytes()
    for data in (b"", b"PAR1", good[: len(good) // 2], pickle.dumps([1]), good[:-20]):
        with pytest.raises(FormatError, match="geocells"):
            GeoCells.from_bytes(data)


def rewritten(cells: GeoCells, change: Any, facts: dict[str, Any] | None = None) -> bytes:
    with pa.ipc.open_file(pa.BufferReader(cells.to_bytes())) as reader:
        table = reader.read_all()
    told = json.loads(table.schema.metadata[b"placevec.geocells"]) | (facts or {})
    table = change(table).replace_schema_metadata({"placevec.geocells": json.dumps(told)})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


@pytest.mark.parametrize(
    ("change", "facts", "words"),
    [
        (lambda table: table.drop_columns(["radius_m"]), {}, "column radius_m"),
        (lambda table: table.set_column(0, "lon", pa.nulls(len(table), pa.float64())), {}, "column lon"),
        (lambda table: table.set_column(2, "region", pa.array(["a"] * len(table))), {}, "column region"),
        (lambda table: table, {"version": 2}, "placevec.geocells 2"),
        (lambda table: table, {"format": "else"}, "format else"),
        (lambda table: table, {"regions": []}, "damaged"),
        (lambda table: table, {"regions": [{"name": "a", "wkb": "AAAA"}]}, "damaged"),
        (lambda table: table.slice(0, 0), {}, "damaged"),
        (lambda table: table.set_column(0, "lon", pa.array([999.0] * len(table))), {}, "damaged.*999"),
        (lambda table: table.drop_columns(["level_1", "level_2", "level_3"]), {}, "damaged.*levels"),
    ],
)
def test_damaged_geocells_are_refused(cells: GeoCells, change: Any, facts: dict[str, Any], words: str) -> None:
    with pytest.raises(FormatError, match=words):
        GeoCells.from_bytes(rewritten(cells, change, facts))


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("radius_m", lambda v: v + 1e6, "reaches .* its limit"),
        ("radius_m", lambda v: v * np.nan, "reaches nan"),
        ("limit_m", lambda v: v[:-1], "limit_m has the shape"),
        ("region", lambda v: v[::-1].copy(), "ascending"),
        ("region", lambda v: v + 1, "rows of 3 regions"),
        ("count", lambda v: v * 0, "no training point"),
        ("levels", lambda v: v[:, :-1], "levels have the shape"),
        ("levels", lambda v: v[::-1].copy(), "no grouping"),
        ("levels", lambda v: v + 1, "no grouping"),
    ],
)
def test_a_broken_promise_is_named(cells: GeoCells, name: str, change: Any, words: str) -> None:
    with pytest.raises(DataError, match=words):
        GeoCells(**{**parts(cells), name: change(getattr(cells, name))})


def test_rows_by_given_regions(cells: GeoCells) -> None:
    points = LonLat(np.array([2.99, 3.01, 1.0]), np.array([42.0, 42.0, 42.0]))
    own = cells.rows(points)
    assert (cells.region[own] == [0, 2, 0]).all()
    swapped = cells.rows(points, np.array([2, 0, -1]))
    assert (cells.region[swapped[:2]] == [2, 0]).all()
    assert swapped[2] == -1
    assert cells.rows(points, np.array([1, 1, 1])).tolist() == [-1, -1, -1]
    with pytest.raises(DataError, match="regions of 3 points"):
        cells.rows(points, np.array([0]))
