from __future__ import annotations

import math

import numpy as np
import pytest

from placevec.errors import CoordinateError, DataError
from placevec.geo.sphere import (
    EARTH_RADIUS_M,
    LonLat,
    chord_m,
    chord_of,
    destination,
    distance_m,
    from_tangent,
    haversine_m,
    pairwise_m,
    spherical_mean,
    tangent_offset,
)

HALF_ROUND = math.pi * EARTH_RADIUS_M


def test_known_distance():
    porto, alegre = LonLat.of(-8.6291, 41.1579), LonLat.of(-51.2177, -30.0346)
    # The spherical law of cosines, written out by hand.
    lat1, lat2, dlon = (math.radians(v) for v in (41.1579, -30.0346, 42.5886))
    by_hand = EARTH_RADIUS_M * math.acos(
        math.sin(lat1) * math.sin(lat2) + math.cos(lat1) * math.cos(lat2) * math.cos(dlon)
    )
    assert distance_m(porto, alegre)[0] == pytest.approx(by_hand, rel=1e-12)
    assert haversine_m(porto, alegre)[0] == pytest.approx(by_hand, rel=1e-12)


@pytest.mark.parametrize(
    ("a", "b", "metres"),
    [
        ((0, 0), (180, 0), HALF_ROUND),
        ((10, 90), (-170, -90), HALF_ROUND),
        ((30, 40), (-150, -40), HALF_ROUND),
        ((0, 90), (77, 90), 0.0),
        ((-180, 12), (180, 12), 0.0),
        ((5, 5), (5, 5), 0.0),
        ((179.9999999, 0), (-179.9999999, 0), HALF_ROUND / 180 * 2e-7),
    ],
)
def test_special_places(a, b, metres):
    p, q = LonLat.of(*a), LonLat.of(*b)
    assert distance_m(p, q)[0] == pytest.approx(metres, abs=1e-8)
    assert pairwise_m(p, q)[0, 0] == pytest.approx(metres, abs=1e-8)
    assert haversine_m(p, q)[0] == pytest.approx(metres, abs=0.3)


def test_near_antipodes_keep_their_digits():
    p, q = LonLat.of(0, 0), LonLat.of(180 - 1e-6, 0)
    assert HALF_ROUND - distance_m(p, q)[0] == pytest.approx(HALF_ROUND / 180 * 1e-6, rel=1e-6)


def test_chord_is_the_straight_line():
    assert chord_m(LonLat.of(0, 0), LonLat.of(180, 0))[0] == pytest.approx(2 * EARTH_RADIUS_M)
    assert chord_of(1e9) == pytest.approx(2.0)
    p, q = LonLat.of(3, 4), LonLat.of(5, 6)
    assert chord_of(distance_m(p, q))[0] * EARTH_RADIUS_M == pytest.approx(chord_m(p, q)[0])


def test_longitudes_are_normalised_and_others_keep_every_bit():
    p = LonLat(np.array([180.0, 360.0, 270.0, -180.0, 0.1 + 0.2]), np.zeros(5))
    assert p.lon.tolist() == [-180.0, 0.0, -90.0, -180.0, 0.1 + 0.2]
    with pytest.raises(ValueError, match="read-only"):
        p.lon[0] = 1.0


def test_the_input_is_not_changed_or_held():
    lon = np.array([190.0])
    p = LonLat(lon, np.array([0.0]))
    lon[0] = 5.0
    assert p.lon[0] == -170.0


@pytest.mark.parametrize(
    ("lon", "lat", "says"),
    [
        ([0.0, 41.2], [0.0, -97.0], "looks like lat, lon; placevec takes lon, lat"),
        ([500_000.0], [4_500_000.0], "reproject"),
        ([-181.0], [0.0], "longitude -181"),
        ([0.0, np.nan], [0.0, 0.0], "row 1: longitude is nan"),
        ([0.0], [np.inf], "row 0: latitude is inf"),
        ([0.0, 1.0], [0.0], "2 longitudes and 1 latitudes"),
        ([[0.0]], [0.0], "1-D"),
        (["north"], [0.0], "not a column of numbers"),
    ],
)
def test_bad_coordinates(lon, lat, says):
    with pytest.raises(CoordinateError, match=says):
        LonLat(np.array(lon), np.array(lat))


def test_swapped_is_not_said_of_what_swapping_does_not_mend():
    with pytest.raises(CoordinateError) as caught:
        LonLat(np.array([120.0, 10.0]), np.array([10.0, 95.0]))
    assert "looks like" not in str(caught.value)
    assert "row 1" in str(caught.value)


def test_rows():
    p = LonLat(np.array([1.0, 2.0, 3.0]), np.array([4.0, 5.0, 6.0]))
    assert p[1] == LonLat.of(2, 5)
    assert p[-1] == LonLat.of(3, 6)
    assert p[np.array([2, 0])] == LonLat(np.array([3.0, 1.0]), np.array([6.0, 4.0]))
    assert p[p.lon > 1.5] == p[1:]
    assert [q.lat[0] for q in p] == [4.0, 5.0, 6.0]
    assert len(p[:0]) == 0
    with pytest.raises(IndexError):
        p[3]


def test_from_unit_needs_directions():
    with pytest.raises(CoordinateError, match="row 1"):
        LonLat.from_unit(np.array([[0.0, 0.0, 1.0], [0.0, 0.0, 0.0]]))
    with pytest.raises(DataError, match=r"\(n, 3\)"):
        LonLat.from_unit(np.zeros(3))


def test_broadcast_of_one_and_no_other():
    many = LonLat(np.arange(4.0), np.zeros(4))
    assert len(distance_m(many, LonLat.of(0, 0))) == 4
    assert len(distance_m(LonLat.of(0, 0), many)) == 4
    with pytest.raises(DataError, match="4 points cannot be paired with 2"):
        distance_m(many, many[:2])


def test_destination_by_hand():
    quarter = HALF_ROUND / 2
    assert destination(LonLat.of(0, 0), 90.0, quarter).lon[0] == pytest.approx(90.0)
    assert destination(LonLat.of(0, 0), 0.0, quarter).lat[0] == pytest.approx(90.0)
    over_the_pole = destination(LonLat.of(20, 80), 0.0, HALF_ROUND / 180 * 20)
    assert (over_the_pole.lon[0], over_the_pole.lat[0]) == pytest.approx((-160, 80))
    assert len(destination(LonLat.of(0, 0), np.arange(8) * 45.0, 1000.0)) == 8


def test_tangent_of_coincident_and_antipodal_points():
    origin = LonLat.of(10, 20)
    assert [v[0] for v in tangent_offset(origin, origin)] == [0.0, 0.0]
    east, north = tangent_offset(origin, LonLat.of(-170, -20))
    assert np.hypot(east, north)[0] == pytest.approx(HALF_ROUND)
    assert distance_m(from_tangent(origin, east, north), LonLat.of(-170, -20))[0] < 1e-6


def test_tangent_directions_across_the_antimeridian():
    east, north = tangent_offset(LonLat.of(179.9, 0), LonLat.of(-179.9, 0))
    assert east[0] == pytest.approx(HALF_ROUND / 180 * 0.2)
    assert north[0] == pytest.approx(0.0, abs=1e-6)


def test_spherical_mean():
    assert spherical_mean(LonLat(np.array([170.0, -170.0]), np.zeros(2))).lon[0] == -180.0
    pole = spherical_mean(LonLat(np.array([0.0, 90.0, 180.0, -90.0]), np.full(4, 80.0)))
    assert pole.lat[0] == pytest.approx(90.0)
    weighted = spherical_mean(LonLat(np.array([0.0, 90.0]), np.zeros(2)), [1.0, 0.0])
    assert weighted == LonLat.of(0, 0)


def test_undefined_means():
    with pytest.raises(CoordinateError, match="antipodes"):
        spherical_mean(LonLat(np.array([0.0, 180.0]), np.array([30.0, -30.0])))
    with pytest.raises(CoordinateError, match="no points"):
        spherical_mean(LonLat(np.zeros(0), np.zeros(0)))
    for weights in ([1.0], [0.0, 0.0], [-1.0, 2.0], [np.nan, 1.0]):
        with pytest.raises(DataError, match="weights"):
            spherical_mean(LonLat(np.zeros(2), np.zeros(2)), weights)
