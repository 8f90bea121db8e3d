"""Voronoi polygons on the sphere: every point lies in the polygon of its nearest centre, and the polygons tile."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from shapely.geometry import MultiPolygon
from shapely.geometry.base import BaseGeometry

from placevec.geo.boxes import unwrap_polygon
from placevec.geo.geocells.voronoi import voronoi_polygons
from placevec.geo.regions import spherical_areas_m2
from placevec.geo.sphere import LonLat, pairwise_m

WORLD = shapely.box(-180, -90, 180, 90)


def inside(area: BaseGeometry, n: int, seed: int) -> LonLat:
    """Random points of an area."""
    rng = np.random.default_rng(seed)
    west, south, east, north = area.bounds
    lon = rng.uniform(west, east, 40 * n)
    low, high = np.sin(np.radians([south, north]))
    lat = np.degrees(np.arcsin(rng.uniform(low, high, 40 * n)))
    held = np.flatnonzero(shapely.intersects_xy(area, lon, lat))[:n]
    return LonLat(lon[held], lat[held])


def check(centres: LonLat, area: BaseGeometry, seed: int = 0, slack_m: float = 60.0) -> np.ndarray:
    """Hold polygons against the nearest centre; near an edge, where steps leave the great circle, either is right."""
    found = voronoi_polygons(centres, area)
    assert shapely.is_valid(found).all()
    whole = spherical_areas_m2([area])[0]
    assert spherical_areas_m2(found).sum() == pytest.approx(whole, rel=1e-9)
    assert shapely.symmetric_difference(shapely.union_all(found), area).area <= 1e-9 * area.area
    points = inside(area, 400, seed)
    away = pairwise_m(points, centres)
    nearest = np.sort(away, axis=1)
    sure = nearest[:, 1] - nearest[:, 0] > slack_m if len(centres) > 1 else np.ones(len(points), dtype=bool)
    own = found[away.argmin(axis=1)]
    assert sure.mean() > 0.9
    assert shapely.intersects_xy(own[sure], points.lon[sure], points.lat[sure]).all()
    return found


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 17, 300])
def test_the_whole_earth_in_any_number_of_cells(n: int) -> None:
    check(inside(WORLD, n, n), WORLD)


def test_centres_of_one_town_divide_the_whole_earth() -> None:
    rng = np.random.default_rng(0)
    check(LonLat(10 + 0.01 * rng.standard_normal(12), 50 + 0.01 * rng.standard_normal(12)), WORLD, slack_m=0.1)


@pytest.mark.parametrize(
    "area",
    [
        shapely.box(60, 24, 78, 37),
        shapely.box(-20, -30, 35, 25),
        shapely.box(-60, -60, 30, -10),
        unwrap_polygon(shapely.box(170, -25, 190, -10)),
        unwrap_polygon(shapely.box(100, 40, 195, 80)),
        shapely.box(-180, 66, 180, 90),
        shapely.box(-180, -90, 180, -60),
        shapely.box(-30, 75, 25, 90),
        MultiPolygon([shapely.Point(x, y).buffer(1.5) for x, y in [(0, 50), (4, 51), (5, 47)]]),
        shapely.difference(shapely.Point(8, 47).buffer(4), shapely.Point(8, 47).buffer(2)),
    ],
    ids=["country", "equator", "wide", "antimeridian", "siberia", "arctic", "antarctic", "wedge", "islands", "ring"],
)
def test_areas_of_every_kind(area: BaseGeometry) -> None:
    check(inside(area, 40, 1), area)


def test_a_few_metres_across() -> None:
    # The size of a courtyard, and far from the origin of degrees.
    area = shapely.box(151.2, -33.86, 151.2003, -33.8597)
    check(inside(area, 25, 2), area, slack_m=1e-3)


def test_a_regular_grid_of_centres_where_four_cells_meet() -> None:
    x, y = np.meshgrid(np.arange(0.5, 10), np.arange(0.5, 10))
    area = shapely.box(0, 0, 10, 10)
    found = check(LonLat(x.ravel(), y.ravel()), area)
    assert (shapely.get_type_id(found) == 3).all()


def test_centres_on_one_great_circle() -> None:
    check(LonLat(np.linspace(-170, 170, 18), np.zeros(18)), WORLD)
    check(LonLat(np.full(9, 12.0), np.linspace(41, 49, 9)), shapely.box(10, 40, 15, 50))


def test_centres_at_the_poles() -> None:
    lon, lat = np.array([0.0, 0.0, 0.0, 90.0, 180.0, -90.0]), np.array([90.0, -90.0, 0.0, 0.0, 0.0, 0.0])
    found = check(LonLat(lon, lat), WORLD)
    np.testing.assert_allclose(spherical_areas_m2(found), spherical_areas_m2([WORLD])[0] / 6, rtol=1e-4)


def test_centres_outside_of_the_area_divide_it_too() -> None:
    area = shapely.box(0, 40, 2, 42)
    check(LonLat(np.array([-5.0, 60.0, 1.0]), np.array([41.0, -20.0, 46.0])), area)
    one = voronoi_polygons(LonLat(np.array([1.0, 100.0]), np.array([41.0, -41.0])), area)
    assert one[0].equals(area)
    assert one[1].is_empty


def test_neighbours_share_the_vertices_of_their_edge() -> None:
    area = shapely.box(0, 40, 8, 46)
    found = voronoi_polygons(inside(area, 30, 3), area)
    one, two = shapely.STRtree(found).query(found, predicate="intersects")
    once = one < two
    shared = shapely.intersection(found[one[once]], found[two[once]])
    assert (shapely.area(shared) <= 1e-15).all()
    assert (shapely.length(shared) > 0.0).sum() > 60
