from __future__ import annotations

import numpy as np
import pytest
import shapely
from shapely.geometry import MultiPolygon, Polygon

from placevec.errors import CoordinateError, DataError, UsageError
from placevec.geo.boxes import (
    box_polygon,
    check_box,
    circle_box,
    in_box,
    in_circle,
    in_polygon,
    parse_bbox,
    parse_distance,
    parse_near,
    split_box,
    unwrap_polygon,
    unwrap_polygons,
)
from placevec.geo.sphere import LonLat, destination

WORLD = 360.0 * 180.0


@pytest.mark.parametrize(
    ("box", "lon", "lat", "inside"),
    [
        ((-10, 35, 4, 44), 0, 40, True),
        ((-10, 35, 4, 44), -10, 35, True),
        ((-10, 35, 4, 44), 4.0001, 40, False),
        ((170, -20, -170, 20), 180, 0, True),
        ((170, -20, -170, 20), -180, 0, True),
        ((170, -20, -170, 20), 0, 0, False),
        ((170, -20, 190, 20), -175, 0, True),
        ((170, -20, 180, 20), -180, 0, True),
        ((170, -20, 180, 20), -179, 0, False),
        ((-180, -20, -170, 20), 180, 0, True),
        ((-180, -90, 180, 90), 77, 90, True),
        ((0, -90, 360, 90), -77, 0, True),
        ((0, 0, 10, 10), np.nan, 5, False),
        ((0, 0, 10, 10), 5, np.nan, False),
        ((-180, -90, 180, 90), np.nan, np.nan, False),
    ],
)
def test_in_box(box, lon, lat, inside):
    assert in_box(np.array([lon]), np.array([lat]), box).tolist() == [inside]


def test_split_box():
    assert split_box((1, 2, 3, 4)) == [(1, 2, 3, 4)]
    assert split_box((170, -5, -170, 5)) == [(170, -5, 180, 5), (-180, -5, -170, 5)]
    assert split_box((170, -5, 180, 5)) == [(170, -5, 180, 5)]
    assert split_box((-180, -5, 180, 5)) == [(-180, -5, 180, 5)]
    assert all(w <= e for w, _, e, _ in split_box((179, -5, -180, 5)))


@pytest.mark.parametrize(
    ("box", "says"),
    [
        ((0, 5, 1, 4), "south <= north"),
        ((36, -97, 40, -95), "south, west, north, east"),
        ((0, 0, np.nan, 1), "finite"),
        ((0, 0, 1), "four"),
        ((500_000, 0, 600_000, 1), "longitude out of range"),
    ],
)
def test_bad_boxes(box, says):
    with pytest.raises(CoordinateError, match=says):
        check_box(box)


@pytest.mark.parametrize(("west", "east"), [(180, 180), (-180, -180), (180, -180), (540 - 360, 180)])
def test_one_meridian_is_not_the_whole_round(west, east):
    assert check_box((west, 0, east, 1)) == (-180.0, 0.0, -180.0, 1.0)
    assert in_box([180.0, -180.0, 0.0], [0.5] * 3, (west, 0, east, 1)).tolist() == [True, True, False]


def test_box_polygon_means_the_box():
    for box in ((-170, -50, 170, 50), (170, -50, -170, 50), (-100, -20, 110, 30), (-180, -90, 180, 90)):
        polygon = box_polygon(box)
        lon, lat = np.meshgrid(np.arange(-180.0, 180.0, 7.0), np.arange(-90.0, 90.0, 7.0))
        np.testing.assert_array_equal(
            in_polygon(lon.ravel(), lat.ravel(), polygon), in_box(lon.ravel(), lat.ravel(), box)
        )


@pytest.mark.parametrize("lat", [0.0, 45.0, -80.0, 89.5, 90.0, -90.0])
@pytest.mark.parametrize("lon", [0.0, 179.9, -180.0])
@pytest.mark.parametrize("metres", [0.0, 1000.0, 200_000.0, 8_000_000.0, 19_000_000.0])
def test_circle_box_holds_its_circle(lon, lat, metres):
    box = circle_box(lon, lat, metres)
    rim = destination(LonLat.of(lon, lat), np.arange(0.0, 360.0, 1.0), metres)
    assert in_box(rim.lon, rim.lat, box).all()


def test_circle_box_is_tight_and_polar_ones_go_round():
    west, south, east, north = circle_box(-8.0, 40.0, 10_000.0)
    rim = destination(LonLat.of(-8, 40), np.arange(0.0, 360.0, 0.1), 10_000.0)
    assert (west, south, east, north) == pytest.approx(
        (rim.lon.min(), rim.lat.min(), rim.lon.max(), rim.lat.max()), abs=1e-5
    )
    assert circle_box(5, 89.9, 20_000.0)[0::2] == (-180.0, 180.0)
    assert circle_box(5, 89.9, 20_000.0)[3] == 90.0
    west, _, east, _ = circle_box(179.99, 0, 10_000.0)
    assert west > east
    with pytest.raises(UsageError, match="radius"):
        circle_box(0, 0, -1.0)


def test_in_circle():
    lon, lat = np.array([0.0, 179.95, 180.0, np.nan, -179.95]), np.array([0.0, 0.0, 0.0, 0.0, 0.0])
    assert in_circle(lon, lat, LonLat.of(180, 0), 6000.0).tolist() == [False, True, True, False, True]
    assert in_circle([10.0, -170.0], [89.9, 89.9], LonLat.of(0, 90), 12_000.0).all()


CROSSING = [
    Polygon([(170, -10), (190, -10), (190, 10), (170, 10)]),
    Polygon([(170, -10), (-170, -10), (-170, 10), (170, 10)]),
    Polygon([(-190, -10), (-170, -10), (-170, 10), (-190, 10)]),
    shapely.box(170, -10, -170, 10),
    Polygon([(170, -10), (180, -10), (-170, -10), (-170, 10), (-175, 10), (170, 10)]),
    MultiPolygon([shapely.box(170, -10, 180, 10), shapely.box(180, -10, 190, 10)]),
]


@pytest.mark.parametrize("polygon", CROSSING)
def test_crossing_polygons_are_split(polygon):
    area = unwrap_polygon(polygon)
    assert area.is_valid
    assert isinstance(area, MultiPolygon)
    assert area.area == pytest.approx(400.0)
    assert area.bounds == (-180.0, -10.0, 180.0, 10.0)
    found = in_polygon(np.array([175.0, -175.0, 180.0, -180.0, 0.0, 165.0]), np.zeros(6), polygon)
    assert found.tolist() == [True, True, True, True, False, False]


def test_a_hole_across_the_antimeridian():
    ring = [(160, -20), (-160, -20), (-160, 20), (160, 20)]
    for hole in ([(175, -5), (185, -5), (185, 5), (175, 5)], [(-185, -5), (-175, -5), (-175, 5), (-185, 5)]):
        area = unwrap_polygon(Polygon(ring, [hole]))
        assert area.area == pytest.approx(40 * 40 - 100)
        assert not in_polygon([180.0], [0.0], area).any()
        assert in_polygon([170.0, -170.0], [0.0, 0.0], area).all()


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("clockwise", [False, True])
def test_a_ring_around_a_pole(sign, clockwise):
    lon = np.arange(-170.0, 180.0, 20.0)[:: -1 if clockwise else 1]
    ring = Polygon(np.stack([lon, np.full(len(lon), 60.0 * sign)], axis=1))
    area = unwrap_polygon(ring)
    assert area.is_valid
    assert area.area == pytest.approx(360 * 30)
    hole = np.stack([lon, np.full(len(lon), 80.0 * sign)], axis=1)
    annulus = unwrap_polygon(Polygon(ring.exterior.coords, [hole]))
    assert annulus.area == pytest.approx(360 * 20)


def test_ordinary_polygons_are_left_as_they_are():
    for polygon in (shapely.box(-10, 35, 4, 44), shapely.box(-180, -90, 180, 90), shapely.box(-170, -50, 170, 50)):
        assert unwrap_polygon(polygon) is polygon
    antarctica = Polygon([(-180, -90), (180, -90), (180, -70), (0, -65), (-180, -70)])
    assert unwrap_polygon(antarctica).area == antarctica.area


def test_invalid_polygons_are_made_valid():
    bow_tie = Polygon([(0, 0), (2, 2), (2, 0), (0, 2)])
    area = unwrap_polygon(bow_tie)
    assert area.is_valid
    assert area.area == pytest.approx(2.0)
    spike = Polygon([(0, 0), (2, 0), (2, 2), (2, 5), (2, 2), (0, 2)])
    assert unwrap_polygon(spike).area == pytest.approx(4.0)


def test_what_is_no_region():
    with pytest.raises(DataError, match="not Point"):
        unwrap_polygon(shapely.Point(0, 0))
    with pytest.raises(DataError, match="empty"):
        unwrap_polygon(Polygon())
    with pytest.raises(DataError, match="no area"):
        unwrap_polygon(Polygon([(0, 0), (1, 1), (0, 0)]))
    with pytest.raises(CoordinateError, match="latitude 95"):
        unwrap_polygon(shapely.box(0, 0, 5, 95))
    with pytest.raises(CoordinateError, match="beyond 540"):
        unwrap_polygon(shapely.box(0, 0, 700, 5))


def test_many_at_once():
    out = unwrap_polygons(np.array([shapely.box(0, 0, 1, 1), CROSSING[0]], dtype=object))
    assert out[0].area == 1.0
    assert len(out[1].geoms) == 2


def test_in_polygon_with_hole_border_and_nan():
    area = Polygon([(0, 0), (10, 0), (10, 10), (0, 10)], [[(4, 4), (6, 4), (6, 6), (4, 6)]])
    found = in_polygon([1.0, 5.0, 0.0, np.nan, 361.0], [1.0, 5.0, 5.0, 1.0, 1.0], area)
    assert found.tolist() == [True, False, True, False, True]


def test_parse_bbox():
    assert parse_bbox("-9.6, 36,3.3,43.8") == (-9.6, 36.0, 3.3, 43.8)
    assert parse_bbox("170,-5,-170,5") == (170.0, -5.0, -170.0, 5.0)
    for bad in ("", "1,2,3", "a,b,c,d", "1,2,3,4,5", "0,50,1,40", "nan,0,1,1"):
        with pytest.raises(UsageError):
            parse_bbox(bad)


def test_parse_distance():
    assert [parse_distance(text) for text in ("25km", " 1.5 KM", "300m", ".5 km")] == [25_000.0, 1500.0, 300.0, 500.0]
    for bad in ("", "25", "km", "-5km", "5 miles", "1,5km", "inf m"):
        with pytest.raises(UsageError, match="is no distance: write it like 60km"):
            parse_distance(bad)


def test_parse_near():
    assert parse_near("-8.41,40.21,25km") == (-8.41, 40.21, 25_000.0)
    assert parse_near("-8.41, 40.21, 1.5 KM") == (-8.41, 40.21, 1500.0)
    assert parse_near("0,0,300m") == (0.0, 0.0, 300.0)
    for bad in ("", "1,2", "1,2,25", "1,2,3miles", "1,2,-5km", "x,2,3km", "1,2,3,4km"):
        with pytest.raises(UsageError, match="LON,LAT"):
            parse_near(bad)
    with pytest.raises(UsageError, match="looks like lat, lon"):
        parse_near("41,-97,3km")
