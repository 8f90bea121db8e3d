from __future__ import annotations

import numpy as np
import pytest
import shapely
from pyproj import CRS, Geod

from placevec.errors import CrsError, DataError
from placevec.geo.frames import LONLAT, LocalFrame, read_crs, square_window, to_lonlat, transform
from placevec.geo.sphere import LonLat, distance_m

GEOD = Geod(ellps="WGS84")


@pytest.mark.parametrize("centre", [(0, 0), (-51.2, -30.0), (179.99, 10), (0, 90), (33, -90)])
def test_local_frame_there_and_back(centre):
    frame = LocalFrame.at(LonLat.of(*centre))
    east, north = np.meshgrid([-50_000.0, 0.0, 30_000.0], [-20_000.0, 0.0, 60_000.0])
    p = frame.inverse(east.ravel(), north.ravel())
    back_east, back_north = frame.forward(p)
    # PROJ's series of the authalic latitude closes to 1.3 mm.
    np.testing.assert_allclose(back_east, east.ravel(), atol=2e-3)
    np.testing.assert_allclose(back_north, north.ravel(), atol=2e-3)
    _, _, geodesic = GEOD.inv(np.full(9, centre[0]), np.full(9, centre[1]), p.lon, p.lat)
    np.testing.assert_allclose(geodesic, np.hypot(east, north).ravel(), rtol=1e-3, atol=1e-3)


def test_local_frame_keeps_areas():
    frame = LocalFrame.at(LonLat.of(-8, 40))
    square = shapely.segmentize(shapely.box(200_000, 200_000, 300_000, 300_000), 1000)
    xy = shapely.get_coordinates(square)
    p = frame.inverse(xy[:, 0], xy[:, 1])
    area, _ = GEOD.polygon_area_perimeter(p.lon, p.lat)
    assert abs(area) == pytest.approx(1e10, rel=1e-5)


def test_local_frame_has_one_centre():
    with pytest.raises(DataError, match="one centre, not 2"):
        LocalFrame.at(LonLat(np.zeros(2), np.zeros(2)))


def test_square_window():
    centres = LonLat(np.array([-51.2, 0.0]), np.array([-30.0, 60.0]))
    windows = square_window(centres, 2000.0)
    for window in windows:
        assert abs(GEOD.geometry_area_perimeter(window)[0]) == pytest.approx(4e6, rel=1e-4)
        assert window.exterior.is_ccw


def test_square_window_at_the_antimeridian_and_the_pole():
    across, polar = square_window(LonLat(np.array([180.0, 12.0]), np.array([10.0, 89.999])), 10_000.0)
    assert across.is_valid
    assert len(across.geoms) == 2
    assert across.bounds[0] == -180
    assert across.bounds[2] == 180
    assert polar.is_valid
    assert polar.bounds[3] == 90
    assert shapely.intersects_xy(polar, [-170.0, 0.0, 100.0], [89.99, 89.99, 89.99]).all()
    for bad in (0.0, -5.0, np.nan):
        with pytest.raises(DataError, match="side of a window"):
            square_window(LonLat.of(0, 0), bad)


def test_transform_reads_any_crs():
    point = shapely.Point(-51.23, -30.03)
    for crs in ("EPSG:31982", 31982, CRS.from_epsg(31982), CRS.from_epsg(31982).to_wkt()):
        moved = transform(point, "EPSG:4326", crs)
        assert (moved.x, moved.y) == pytest.approx((477_800, 6_677_800), abs=500)
        back = transform(moved, crs, LONLAT)
        assert (back.x, back.y) == pytest.approx((point.x, point.y), abs=1e-7)


def test_transform_of_arrays_and_points():
    shapes = np.array([shapely.Point(0, 1), None, shapely.box(0, 0, 1, 1)], dtype=object)
    moved = transform(shapes, LONLAT, "EPSG:3857")
    assert moved[1] is None
    assert moved[2].bounds[2] == pytest.approx(111_319.49, abs=0.01)
    x, y = transform(LonLat.of(1, 0), "EPSG:4326", "EPSG:3857")
    assert (x[0], y[0]) == pytest.approx((111_319.49, 0), abs=0.01)
    p = to_lonlat(x, y, "EPSG:3857")
    assert distance_m(p, LonLat.of(1, 0))[0] < 1e-3


@pytest.mark.parametrize("crs", [None, "", "  "])
def test_missing_crs(crs):
    with pytest.raises(CrsError, match="missing"):
        read_crs(crs)


def test_unknown_crs_and_coordinates_outside():
    with pytest.raises(CrsError, match="'EPSG:999999'"):
        transform(shapely.Point(0, 0), "EPSG:999999", LONLAT)
    with pytest.raises(CrsError, match="check the system"):
        to_lonlat(1e12, 1e12, "EPSG:32629")
    with pytest.raises(CrsError, match="to_lonlat"):
        transform(LonLat.of(0, 0), "EPSG:3857", LONLAT)
