"""Regions: which holds a point, areas, names, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import shapely
from shapely.geometry import MultiPolygon

from placevec.errors import CoordinateError, DataError, FormatError
from placevec.geo.areas import polygon_areas
from placevec.geo.boxes import in_polygon
from placevec.geo.regions import Regions, spherical_areas_m2
from placevec.geo.sphere import EARTH_RADIUS_M, LonLat


def squares() -> Regions:
    """West and east of a common border at 10 E."""
    return Regions.of({"west": shapely.box(0, 0, 10, 10), "east": shapely.box(10, 0, 20, 10)})


def test_points_are_assigned_and_the_first_region_has_the_border() -> None:
    points = LonLat(np.array([5.0, 15.0, 10.0, 25.0, 0.0, 20.0]), np.array([5.0, 5.0, 5.0, 5.0, 0.0, 10.0]))
    found = squares().assign(points)
    assert found.dtype == np.int64
    np.testing.assert_array_equal(found, [0, 1, 0, -1, 0, 1])
    assert squares().assign(points[[]]).shape == (0,)


def test_the_whole_earth_holds_every_point_and_has_its_area() -> None:
    rng = np.random.default_rng(0)
    lon = np.concatenate([rng.uniform(-180, 180, 500), [-180.0, 180.0, 0.0, 7.0]])
    lat = np.concatenate([rng.uniform(-90, 90, 500), [0.0, 0.0, 90.0, -90.0]])
    earth = Regions.whole_earth()
    assert (earth.assign(LonLat(lon, lat)) == 0).all()
    assert earth.areas_m2[0] == pytest.approx(4 * np.pi * EARTH_RADIUS_M**2, rel=1e-12)


def test_a_region_across_the_antimeridian_holds_both_of_its_names() -> None:
    fiji = Regions.single(shapely.box(177, -20, 183, -15), "Fiji")
    points = LonLat(np.array([178.0, -178.0, 180.0, 170.0]), np.array([-17.0, -17.0, -17.0, -17.0]))
    np.testing.assert_array_equal(fiji.assign(points), [0, 0, 0, -1])
    east_only = Regions.single(shapely.box(177, -20, 180, -15))
    np.testing.assert_array_equal(east_only.assign(points), [0, -1, 0, -1])


def test_assignment_is_that_of_each_polygon_alone() -> None:
    rng = np.random.default_rng(1)
    shapes = [shapely.Point(*rng.uniform(-40, 40, 2)).buffer(rng.uniform(3, 25)) for _ in range(8)]
    regions = Regions(tuple("abcdefgh"), np.array(shapes, dtype=object))
    points = LonLat(rng.uniform(-60, 60, 700), rng.uniform(-60, 60, 700))
    inside = np.stack([in_polygon(points.lon, points.lat, shape) for shape in shapes])
    np.testing.assert_array_equal(regions.assign(points), np.where(inside.any(axis=0), inside.argmax(axis=0), -1))


def test_areas_are_those_of_the_sphere() -> None:
    octant = shapely.box(0, 0, 90, 90)
    holed = shapely.difference(shapely.box(0, 40, 4, 44), shapely.box(1, 41, 2, 42))
    islands = MultiPolygon([shapely.box(0, 0, 1, 1), shapely.box(5, 0, 6, 1)])
    found = spherical_areas_m2([octant, holed, islands, shapely.Point(0, 0)])
    assert found[0] == pytest.approx(4 * np.pi * EARTH_RADIUS_M**2 / 8, rel=1e-12)
    parts = spherical_areas_m2([shapely.box(0, 40, 4, 44), shapely.box(1, 41, 2, 42), shapely.box(0, 0, 1, 1)])
    assert found[1] == pytest.approx(parts[0] - parts[1], rel=1e-12)
    assert found[2] == pytest.approx(2 * parts[2], rel=1e-12)
    assert found[3] == 0.0
    # WGS84 and the sphere of its mean radius differ by half a percent at most.
    fine = shapely.segmentize(holed, 0.05)
    assert found[1] == pytest.approx(polygon_areas(np.array([fine], dtype=object))[0], rel=6e-3)


def test_geojson_there_and_back() -> None:
    regions = squares()
    again = Regions.from_geojson(json.loads(json.dumps(regions.to_geojson())))
    assert again == regions
    assert hash(again) == hash(regions)
    assert Regions.of({"west": shapely.box(0, 0, 10, 9), "east": shapely.box(10, 0, 20, 10)}) != regions
    assert regions != "squares"
    assert [name for name, _ in regions] == ["west", "east"]
    assert regions.row("east") == 1
    assert repr(regions) == "Regions(<2: west, east>)"
    with pytest.raises(DataError, match="no region 'north'"):
        regions.row("north")


def test_wide_regions_mean_the_same_when_they_are_read_again() -> None:
    wide = Regions.of(
        {"a": shapely.box(-60, 0, 200, 80), "b": shapely.box(0, -80, 181, -10), "c": shapely.box(-180, -90, 180, -80)}
    )
    assert Regions(wide.names, wide.polygons) == wide
    assert Regions.from_geojson(json.loads(json.dumps(wide.to_geojson()))) == wide
    points = LonLat(np.array([0.0, -170.0, -100.0, 90.0]), np.array([40.0, 40.0, 40.0, -40.0]))
    np.testing.assert_array_equal(wide.assign(points), [0, 0, -1, 1])


@pytest.mark.parametrize(
    "value",
    [{}, {"features": [{}]}, {"features": 3}, {"features": [{"properties": {"name": 7}, "geometry": None}]}],
)
def test_what_is_no_geojson_of_regions_is_refused(value: dict[str, object]) -> None:
    with pytest.raises(FormatError, match="property name"):
        Regions.from_geojson(value)


def test_a_name_that_is_no_text_is_refused() -> None:
    value = squares().to_geojson()
    value["features"][0]["properties"]["name"] = 7
    with pytest.raises(FormatError, match="not a text"):
        Regions.from_geojson(value)


@pytest.mark.parametrize(
    ("names", "shapes", "words"),
    [
        ((), [], "no region"),
        (("a",), [shapely.box(0, 0, 1, 1)] * 2, "1 names and 2 polygons"),
        (("a", "a"), [shapely.box(0, 0, 1, 1)] * 2, "two regions are called 'a'"),
        (("a", " "), [shapely.box(0, 0, 1, 1)] * 2, "region 2 of 2 has no name"),
        (("a",), [shapely.Point(0, 0)], "region 'a'.*not Point"),
        (("a",), [shapely.Polygon()], "region 'a'.*empty"),
    ],
)
def test_regions_that_contradict_themselves_are_refused(
    names: tuple[str, ...], shapes: list[object], words: str
) -> None:
    column = np.empty(len(shapes), dtype=object)
    column[:] = shapes
    with pytest.raises(DataError, match=words):
        Regions(names, column)


def test_swapped_coordinates_are_named() -> None:
    with pytest.raises(CoordinateError, match="region 'a'"):
        Regions.single(shapely.box(0, 0, 1, 120), "a")


@pytest.mark.real
def test_the_provinces_of_pakistan(data_dir: Path) -> None:
    data = json.loads((data_dir / "pakistan" / "geoBoundaries-PAK-ADM1.geojson").read_text())
    shapes = {item["properties"]["shapeName"]: shapely.geometry.shape(item["geometry"]) for item in data["features"]}
    regions = Regions.of(shapes)
    cities = LonLat(np.array([67.01, 74.34, 73.05, 72.88]), np.array([24.86, 31.55, 33.69, 19.08]))
    names = [regions.names[row] if row >= 0 else None for row in regions.assign(cities)]
    assert names == ["Sindh", "Punjab", "Islamabad Capital Territory", None]
    np.testing.assert_allclose(regions.areas_m2, polygon_areas(regions.polygons), rtol=2e-3)
