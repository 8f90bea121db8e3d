"""Geocells: limits hold, cells tile their regions, the order of points does not matter, and edge cases."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from numpy.typing import NDArray
from shapely.geometry import MultiPolygon

pytest.importorskip("hdbscan")

from generated import arcadia
from placevec.errors import DataError, MissingExtra, UsageError
from placevec.geo.geocells import GeoCellConfig, GeoCells, build_geocells
from placevec.geo.regions import Regions, spherical_areas_m2
from placevec.geo.sphere import LonLat, distance_m, pairwise_m

SMALL = GeoCellConfig(min_points=10, min_samples=4, dense_km=3.0, sparse_km=30.0)


def towns(seed: int = 0, n: int = 900, box: tuple[float, float, float, float] = (0, 40, 6, 44)) -> LonLat:
    """Points about a dozen towns of different extent, and a quarter of them anywhere."""
    rng = np.random.default_rng(seed)
    west, south, east, north = box
    town, wide = rng.uniform((west, south), (east, north), (12, 2)), 10 ** rng.uniform(-2.5, -0.5, 12)
    own = rng.integers(0, 12, n)
    xy = np.where(
        rng.random(n)[:, None] < 0.25,
        rng.uniform((west, south), (east, north), (n, 2)),
        town[own] + wide[own, None] * rng.standard_normal((n, 2)),
    )
    return LonLat(np.clip(xy[:, 0], west, east), np.clip(xy[:, 1], south, north))


def halves() -> Regions:
    return Regions.of({"west": shapely.box(0, 40, 2.5, 44), "east": shapely.box(2.5, 40, 6, 44)})


def check(cells: GeoCells, p: LonLat) -> None:
    """All that is promised of cells that were built from the points `p`."""
    region = cells.regions.assign(p)
    rows = cells.rows(p)
    np.testing.assert_array_equal(rows < 0, region < 0)
    inside = np.flatnonzero(rows >= 0)
    assert cells.outside == len(p) - len(inside)
    np.testing.assert_array_equal(cells.region[rows[inside]], region[inside])
    np.testing.assert_array_equal(np.bincount(rows[inside], minlength=len(cells)), cells.count)
    away = distance_m(cells.centres[rows[inside]], p[inside])
    assert (away <= cells.limit_m[rows[inside]]).all()
    radius = np.zeros(len(cells))
    np.maximum.at(radius, rows[inside], away)
    np.testing.assert_allclose(radius, cells.radius_m, atol=1e-3)
    assert (cells.radius_m <= cells.limit_m).all()
    np.testing.assert_array_equal(cells.assign(cells.centres), np.arange(1, len(cells) + 1))
    tiles(cells)


def tiles(cells: GeoCells) -> None:
    outlines = cells.polygons(np.arange(1, len(cells) + 1))
    assert shapely.is_valid(outlines).all()
    areas = spherical_areas_m2(outlines)
    assert (areas > 0.0).all()
    for row, polygon in enumerate(cells.regions.polygons):
        own = slice(cells.starts[row], cells.starts[row + 1])
        if own.start == own.stop:
            continue
        # As much area as the region, all of it within the region, none missing: so no two overlap either.
        assert areas[own].sum() == pytest.approx(cells.regions.areas_m2[row], rel=1e-9)
        apart = shapely.symmetric_difference(shapely.union_all(outlines[own]), polygon)
        assert apart.area <= 1e-9 * polygon.area


def test_every_promise_holds_for_towns_in_two_regions() -> None:
    points = towns()
    cells = build_geocells(points, halves(), SMALL)
    check(cells, points)
    assert len(cells) > 50
    assert {record["region"]: record["cells"] for record in cells.records()} == {
        "west": int(cells.starts[1]),
        "east": int(cells.starts[2] - cells.starts[1]),
    }
    # Small where points are dense, up to the limit where they are sparse.
    assert cells.limit_m.min() == 3000.0
    assert cells.limit_m.max() == 30_000.0


def test_a_limit_is_the_circle_that_holds_twice_the_least_points() -> None:
    points = towns()
    cells = build_geocells(points, halves(), SMALL)
    circle = np.sort(pairwise_m(cells.centres, points), axis=1)[:, 2 * SMALL.min_points - 1]
    np.testing.assert_allclose(cells.limit_m, np.clip(circle, 3000.0, 30_000.0), rtol=1e-9)


def test_a_cell_is_small_only_where_the_limits_keep_its_points_apart() -> None:
    points = towns()
    cells = build_geocells(points, halves(), SMALL)
    unmerged = cells.count < SMALL.min_points
    rows = cells.rows(points)
    away = pairwise_m(points, cells.centres)
    away[cells.region[rows][:, None] != cells.region] = np.inf
    away[np.arange(len(points)), rows] = np.inf
    second = away.argmin(axis=1)
    fits = away[np.arange(len(points)), second] <= cells.limit_m[second] - 1e-3
    for row in np.flatnonzero(unmerged):
        own = rows == row
        assert not fits[own].all(), f"cell {row} of {own.sum()} points could have been merged"


def test_the_order_of_points_does_not_matter() -> None:
    points = towns(3)
    again = np.random.default_rng(1).permutation(len(points))
    one, two = build_geocells(points, halves(), SMALL), build_geocells(points[again], halves(), SMALL)
    assert one == two
    assert hash(one) == hash(two)
    assert one.to_bytes() == two.to_bytes()
    assert one != build_geocells(towns(4), halves(), SMALL)


def test_regions_do_not_depend_on_each_others_clusters() -> None:
    points = towns(5)
    both = build_geocells(points, halves(), SMALL)
    assert both.starts[1] > 0
    assert both.starts[2] > both.starts[1]
    # The regions of points can be given: then their names decide, and only these points count.
    given = halves().assign(points)
    assert build_geocells(points, halves(), SMALL, region=given) == both
    west = build_geocells(points, halves(), SMALL, region=np.where(given == 1, -1, given))
    assert west.outside == int((given == 1).sum())
    assert (west.rows(points)[given == 1] == -1).all()


def test_a_region_with_one_photo_and_an_empty_region() -> None:
    regions = Regions.of({"empty": shapely.box(-5, 40, -1, 44), **dict(halves()), "lonely": shapely.box(6, 40, 9, 44)})
    points = towns(6)
    points = LonLat(np.append(points.lon, 7.0), np.append(points.lat, 41.0))
    cells = build_geocells(points, regions, SMALL)
    check(cells, points)
    assert cells.starts[0] == cells.starts[1] == 0
    lonely = int(cells.starts[3])
    assert cells.starts[4] - cells.starts[3] == 1
    assert cells.count[lonely] == 1
    assert cells.radius_m[lonely] == pytest.approx(0.0, abs=1e-6)
    assert cells.polygons([lonely + 1])[0].equals(regions.polygons[3])
    assert cells.rows(LonLat.of(-2.0, 41.0))[0] == -1
    assert cells.assign(LonLat.of(-2.0, 41.0))[0] == 0
    assert cells.records()[0] == {
        "region": "empty",
        "points": 0,
        "cells": 0,
        "largest_km": None,
        "of_limit": None,
    }


@pytest.mark.parametrize("n", [1, 2, 39, 200])
def test_points_that_all_coincide_are_one_cell_of_radius_0(n: int) -> None:
    points = LonLat(np.full(n, 3.0), np.full(n, 42.0))
    cells = build_geocells(points, Regions.single(shapely.box(0, 40, 6, 44)))
    check(cells, points)
    assert len(cells) == 1
    assert cells.count[0] == n
    assert cells.radius_m[0] == pytest.approx(0.0, abs=1e-6)


def test_many_photos_at_each_of_a_few_places() -> None:
    rng = np.random.default_rng(7)
    sites = rng.uniform((0, 40), (6, 44), (12, 2))
    points = LonLat(*np.repeat(sites, 60, axis=0).T)
    cells = build_geocells(points, Regions.single(shapely.box(0, 40, 6, 44)))
    check(cells, points)
    assert len(cells) <= 12


def test_points_outside_are_counted_and_left_out() -> None:
    points = towns(8, box=(-2, 38, 8, 46))
    cells = build_geocells(points, halves(), SMALL)
    check(cells, points)
    assert cells.outside > 100
    with pytest.raises(DataError, match="none of the 900 training points lies in a region"):
        build_geocells(points, Regions.single(shapely.box(100, 0, 110, 5)), SMALL)
    with pytest.raises(DataError, match="none of the 0"):
        build_geocells(points[[]], halves(), SMALL)


def test_a_country_across_the_antimeridian() -> None:
    rng = np.random.default_rng(9)
    points = LonLat(rng.uniform(177, 183, 500), rng.uniform(-20, -15, 500))
    cells = build_geocells(points, Regions.single(shapely.box(177, -20, 183, -15), "Fiji"), SMALL)
    check(cells, points)
    across = [shapely.bounds(outline)[2] == 180.0 for outline in cells.polygons(np.arange(1, len(cells) + 1))]
    split = [outline.geom_type == "MultiPolygon" for outline in cells.polygons(np.arange(1, len(cells) + 1))]
    assert np.any(np.array(across) & np.array(split))
    # The same points and country a quarter of the Earth away have as many cells, but for ties.
    moved = LonLat(points.lon % 360.0 - 90.0, points.lat)
    same = build_geocells(moved, Regions.single(shapely.box(87, -20, 93, -15)), SMALL)
    assert abs(len(same) - len(cells)) <= 0.05 * len(cells)
    assert spherical_areas_m2(same.polygons(np.arange(1, len(same) + 1))).sum() == pytest.approx(
        cells.regions.areas_m2[0], rel=1e-9
    )


def test_a_region_of_islands_has_centres_on_land() -> None:
    islands = MultiPolygon([shapely.Point(x, y).buffer(0.12) for x, y in [(0, 0), (1, 0), (0, 1), (0.4, 0.35)]])
    rng = np.random.default_rng(10)
    xy = rng.uniform(-0.2, 1.2, (4000, 2))
    xy = xy[shapely.intersects_xy(islands, xy[:, 0], xy[:, 1])]
    points = LonLat(xy[:, 0], xy[:, 1])
    wide = GeoCellConfig(min_points=40, dense_km=100.0, sparse_km=200.0)
    for config in (wide, SMALL):
        check(build_geocells(points, Regions.single(islands, "isles"), config), points)
    one = build_geocells(points[:30], Regions.single(islands, "isles"), wide)
    assert len(one) == 1
    assert shapely.intersects_xy(islands, one.centres.lon, one.centres.lat).all()


def test_opposite_points_have_no_mean_and_yet_cells() -> None:
    points = LonLat(np.array([0.0, 180.0, 90.0, -90.0]), np.zeros(4))
    cells = build_geocells(points, Regions.whole_earth())
    check(cells, points)
    assert len(cells) == 4


def test_targets_by_area_and_by_points() -> None:
    points = towns(11, n=3000)
    few = build_geocells(points, halves(), GeoCellConfig(min_points=10, min_samples=4, dense_km=80, sparse_km=400))
    area = halves().areas_m2 / 1e9
    size = np.bincount(halves().assign(points))
    config = GeoCellConfig(
        min_points=10, min_samples=4, dense_km=80, sparse_km=400, per_1000_km2=0.2, per_1000_points=10.0
    )
    more = build_geocells(points, halves(), config)
    check(more, points)
    wanted = np.minimum(np.rint(0.2 * area + 0.01 * size), size // 10)
    np.testing.assert_allclose(np.diff(more.starts), wanted, rtol=0.1)
    assert len(more) > 2 * len(few)
    # Fewer than the limits allow cannot be; as few as they allow are.
    fewer = build_geocells(points, halves(), GeoCellConfig(min_points=10, min_samples=4, per_1000_points=0.5))
    check(fewer, points)
    assert len(fewer) <= len(build_geocells(points, halves(), GeoCellConfig(min_points=10, min_samples=4)))


def test_progress_and_what_is_said() -> None:
    told: list[tuple[int, int, dict[str, Any]]] = []
    cells = build_geocells(
        towns(), halves(), SMALL, progress=lambda done, total, facts: told.append((done, total, dict(facts)))
    )
    assert [done for done, _, _ in told] == [0, 1, 2, 3, 4, 5]
    assert {total for _, total, _ in told} == {5}
    assert told[-1][2]["cells"] == len(cells)
    assert repr(cells) == f"GeoCells(<{len(cells)} cells of 2 regions>)"
    assert cells.name == f"geocells:{cells.fingerprint()[:12]}"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"min_points": 1}, "min_points is 1"),
        ({"min_points": 2.5}, "min_points is 2.5"),
        ({"min_samples": 0}, "min_samples is 0"),
        ({"dense_km": 60.0}, "at most 60 km where dense and 50 km"),
        ({"dense_km": 0.0}, "at most 0 km"),
        ({"sparse_km": float("nan")}, "sparse_km is nan"),
        ({"per_1000_km2": -1.0}, "per_1000_km2 is -1"),
        ({"levels_km": (300.0, 100.0)}, "ascending radii"),
        ({"levels_km": (0.0,)}, "ascending radii"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        GeoCellConfig(**settings)


@pytest.mark.parametrize(
    ("region", "words"),
    [
        (np.zeros(3, dtype=np.int64), "shape"),
        (np.zeros(900), "float64"),
        (np.full(900, 2), "there are 2"),
        (np.full(900, -2), "-2"),
    ],
)
def test_regions_of_points_that_do_not_fit_are_refused(region: NDArray[Any], words: str) -> None:
    with pytest.raises(DataError, match=words):
        build_geocells(towns(), halves(), SMALL, region=region)


def test_without_hdbscan_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "hdbscan", None)
    with pytest.raises(MissingExtra, match=r"placevec\[geocells\]"):
        build_geocells(towns(), halves(), SMALL)


def test_the_generated_country() -> None:
    world = arcadia()
    outlines = np.empty(len(world.provinces), dtype=object)
    outlines[:] = world.provinces
    points = world.photo_places().lonlat()
    cells = build_geocells(
        points,
        Regions(tuple(world.province_names), outlines),
        GeoCellConfig(min_points=10, min_samples=4, sparse_km=15),
    )
    check(cells, points)
    assert (np.diff(cells.starts) > 5).all()


@pytest.mark.real
def test_real_photos_of_the_world_and_the_provinces_of_pakistan(data_dir: Path) -> None:
    table = np.loadtxt(data_dir / "photos" / "coordinates_100K.csv", delimiter=",", skiprows=1)
    lonlat = LonLat(table[:, 1], table[:, 0])
    world = lonlat[np.arange(0, 100_000, 10)]
    cells = build_geocells(world, Regions.whole_earth())
    check(cells, world)
    data = json.loads((data_dir / "pakistan" / "geoBoundaries-PAK-ADM1.geojson").read_text())
    regions = Regions.of(
        {item["properties"]["shapeName"]: shapely.geometry.shape(item["geometry"]) for item in data["features"]}
    )
    here = lonlat[regions.assign(lonlat) >= 0]
    found = build_geocells(here, regions, GeoCellConfig(min_points=5, min_samples=3))
    check(found, here)
    assert found.outside == 0
    assert (np.diff(found.starts) > 0).all()
