"""Pairs: where they lie, how far apart, and that they are uniform on the ground."""

import numpy as np
import pytest
import shapely

import patch_fakes as fakes
from placevec.errors import DataError, UsageError
from placevec.geo.frames import LocalFrame
from placevec.geo.sphere import LonLat
from placevec.sources.chips import authalic, authalic_inverse
from placevec.sources.patches import Layer, draw_pairs, pair_parts
from placevec.sources.patches import pairs as module
from placevec.sources.rasters import Raster

BOX = shapely.box(10, 40, 14, 44)


def ends(places):
    return (places.lon[::2], places.lat[::2]), (places.lon[1::2], places.lat[1::2])


def metres(a, b):
    from pyproj import Geod

    return Geod(ellps="WGS84").inv(*a, *b)[2]


def test_names_and_distances():
    found = draw_pairs(BOX, 3000, inner_m=2000, outer_m=8000, seed=4)
    assert len(found) == 6000
    assert found.ids[:3].tolist() == ["pair-000001-a", "pair-000001-b", "pair-000002-a"]
    assert found.keys[:3].tolist() == ["pair-000001", "pair-000001", "pair-000002"]
    a, b = ends(found)
    apart = metres(a, b)
    assert apart.min() >= 2000 - 0.1
    assert apart.max() <= 8000 + 0.1
    # Uniform by area: the square of the distance is uniform.
    share = (apart**2 - 2000**2) / (8000**2 - 2000**2)
    assert np.abs(np.sort(share) - (np.arange(3000) + 0.5) / 3000).max() < 1.63 / np.sqrt(3000)
    north = np.degrees(np.arctan2(b[0] - a[0], b[1] - a[1]))
    assert np.abs(np.histogram(north, bins=4, range=(-180, 180))[0] / 3000 - 0.25).max() < 0.08
    for lon, lat in (a, b):
        assert shapely.contains_xy(BOX, lon, lat).all()


def test_anchors_are_uniform_on_the_ground():
    """In a box from the equator to 75 degrees the half of all lies south of the parallel that halves the area."""
    area = shapely.box(0, 0, 60, 75)
    (_, lat), _ = ends(draw_pairs(area, 4000, inner_m=100, outer_m=2000, seed=0))
    middle = np.degrees(authalic_inverse(np.arcsin(np.sin(authalic(np.array([75.0]))) / 2)))[0]
    assert (lat < middle).mean() == pytest.approx(0.5, abs=0.025)
    assert (lat < 37.5).mean() > 0.6  # in degrees it would be half


def test_parts_of_an_area_count_by_their_ground():
    area = shapely.MultiPolygon(
        [shapely.box(0, 0, 1, 1), shapely.box(20, 0, 23, 1), shapely.box(-179.9, 10, -179, 10.5)]
    )
    (lon, _), (near, _) = ends(draw_pairs(area, 3000, inner_m=100, outer_m=2000, seed=0))
    assert (np.abs(lon - 0.5) < 0.6).mean() == pytest.approx(1 / 4.44, abs=0.03)
    assert (np.abs((near - lon + 180) % 360 - 180) < 0.1).all()


def test_across_the_antimeridian():
    area = shapely.MultiPolygon([shapely.box(179.9, 0, 180, 0.2), shapely.box(-180, 0, -179.9, 0.2)])
    found = draw_pairs(area, 500, inner_m=1000, outer_m=9000)
    a, b = ends(found)
    assert (np.sign(a[0]) != np.sign(b[0])).any()
    assert metres(a, b).max() <= 9000.1
    assert (np.abs(found.lon) <= 180).all()


def test_the_same_seed_gives_the_same_pairs():
    first, again = (draw_pairs(BOX, 300, inner_m=0, outer_m=500, seed=7) for _ in range(2))
    assert first.data.equals(again.data)
    other = draw_pairs(BOX, 300, inner_m=0, outer_m=500, seed=8)
    assert not np.isin(other.lon, first.lon).any()


def test_many_pairs_come_in_parts(monkeypatch):
    monkeypatch.setattr(module, "PART", 100)
    parts = list(pair_parts(BOX, 250, inner_m=0, outer_m=500))
    assert [len(part) for part in parts] == [200, 200, 100]
    whole = draw_pairs(BOX, 250, inner_m=0, outer_m=500)
    assert len(np.unique(whole.ids)) == len(np.unique(whole.lon)) == 500
    assert len(draw_pairs(BOX, 0, inner_m=0, outer_m=500)) == 0


def test_neighbours_in_the_order_of_the_curve():
    (lon, lat), _ = ends(draw_pairs(BOX, 2000, inner_m=100, outer_m=2000))
    steps = np.hypot(np.diff(lon), np.diff(lat))
    assert np.median(steps) < 0.2


def test_squares_on_the_rasters():
    raster = Raster.from_array(fakes.classes(200, 200), bounds=(10, 45, 10.2, 45.2))
    layer = Layer("cover", raster, fakes.TABLE)
    found = draw_pairs(None, 400, inner_m=500, outer_m=3000, layers=[layer], ground_m=2000)
    for i in range(0, 800, 37):
        frame = LocalFrame.at(LonLat(found.lon[i : i + 1], found.lat[i : i + 1]))
        corners = frame.inverse([-1000, 1000, 1000, -1000], [-1000, -1000, 1000, 1000])
        assert ((corners.lon >= 10) & (corners.lon <= 10.2) & (corners.lat >= 45) & (corners.lat <= 45.2)).all()
    beyond = draw_pairs(shapely.box(10.1, 45.1, 30, 60), 50, inner_m=500, outer_m=3000, layers=[layer])
    assert beyond.lon.max() <= 10.2


def test_all_of_a_raster_around_the_globe():
    raster = Raster.from_array(fakes.classes(90, 180), bounds=(-180, -90, 180, 90))
    (lon, lat), _ = ends(draw_pairs(None, 4000, inner_m=0, outer_m=5000, layers=[Layer("c", raster, fakes.TABLE)]))
    assert np.abs(np.histogram(lon, bins=4, range=(-180, 180))[0] / 4000 - 0.25).max() < 0.03
    assert (np.abs(lat) < 30).mean() == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"inner_m": 5, "outer_m": 5}, UsageError, "between 5 m and 5 m"),
        ({"inner_m": -1, "outer_m": 5}, UsageError, "between -1 m"),
        ({"inner_m": 1, "outer_m": float("inf")}, UsageError, "inf m"),
        ({"n": -1}, UsageError, "-1 pairs"),
        ({"area": None}, UsageError, "of which region"),
        ({"inner_m": 700_000, "outer_m": 800_000}, DataError, "has another 700000 to 800000 m away"),
        ({"area": shapely.Point(0, 0)}, DataError, "Polygon"),
    ],
)
def test_pairs_that_cannot_be(arguments, error, message):
    given = {"area": BOX, "n": 10, "inner_m": 100, "outer_m": 500} | arguments
    with pytest.raises(error, match=message):
        draw_pairs(given.pop("area"), given.pop("n"), **given)


def test_an_area_beside_the_raster():
    layer = Layer("c", Raster.from_array(fakes.classes(20, 20), bounds=(50, 0, 51, 1), href="far.tif"), fakes.TABLE)
    with pytest.raises(DataError, match=r"the area and far.tif .* have no ground in common"):
        draw_pairs(BOX, 5, inner_m=0, outer_m=500, layers=[layer])
