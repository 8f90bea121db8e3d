from __future__ import annotations

import numpy as np
import shapely
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from placevec.errors import DataError
from placevec.geo.boxes import box_polygon, circle_box, in_box, in_circle, in_polygon, split_box, unwrap_polygon
from placevec.geo.cells import H3Cells, ring_index
from placevec.geo.grids import GridCells
from placevec.geo.hilbert import hilbert_order
from placevec.geo.sphere import (
    EARTH_RADIUS_M,
    LonLat,
    chord_of,
    destination,
    distance_m,
    from_tangent,
    haversine_m,
    pairwise_m,
    spherical_mean,
    tangent_offset,
)
from placevec.measure.splits import block_split, seen

LON = st.one_of(st.floats(-180, 180), st.sampled_from([-180.0, 180.0, 0.0, 179.9999999, -179.9999999]))
LAT = st.one_of(st.floats(-90, 90), st.sampled_from([-90.0, 90.0, 0.0, 89.9999999]))
POINT = st.builds(LonLat.of, LON, LAT)


def points(least: int, most: int) -> st.SearchStrategy[LonLat]:
    pairs = st.lists(st.tuples(LON, LAT), min_size=least, max_size=most)
    return pairs.map(lambda v: LonLat(np.array([p[0] for p in v]), np.array([p[1] for p in v])))


@given(POINT, POINT, POINT)
def test_distance_is_a_metric(a, b, c):
    ab, ba, bc, ac = (distance_m(*pair)[0] for pair in ((a, b), (b, a), (b, c), (a, c)))
    assert ab == ba
    assert 0.0 <= ab <= np.pi * EARTH_RADIUS_M * (1 + 1e-15)
    assert ac <= ab + bc + 1e-6
    assert distance_m(a, a)[0] == 0.0
    assert abs(pairwise_m(a, b)[0, 0] - ab) < 1e-6
    assert abs(haversine_m(a, b)[0] - ab) < 0.5


@given(POINT)
def test_unit_vectors_there_and_back(p):
    assert abs(np.linalg.norm(p.unit()) - 1.0) < 1e-15
    assert distance_m(LonLat.from_unit(p.unit()), p)[0] < 1e-8


@given(POINT, st.floats(0, 360), st.floats(0, np.pi * EARTH_RADIUS_M))
def test_destination_is_as_far_as_asked(p, bearing, metres):
    assert abs(distance_m(p, destination(p, bearing, metres))[0] - metres) < 1e-6


@given(POINT, POINT)
def test_tangent_there_and_back(origin, p):
    east, north = tangent_offset(origin, p)
    assert abs(np.hypot(east, north)[0] - distance_m(origin, p)[0]) < 1e-6
    assert distance_m(from_tangent(origin, east, north), p)[0] < 1e-6


@given(POINT, st.floats(-2e7, 2e7), st.floats(-2e7, 2e7))
def test_tangent_back_and_there(origin, east, north):
    assume(np.hypot(east, north) < 0.999 * np.pi * EARTH_RADIUS_M)
    back = tangent_offset(origin, from_tangent(origin, east, north))
    # Directions are ill-conditioned towards the antipode: a thousand times there.
    assert abs(back[0][0] - east) < 1e-4
    assert abs(back[1][0] - north) < 1e-4


@given(POINT, points(1, 20))
def test_the_mean_of_near_points_is_near_them(centre, spread):
    near = from_tangent(centre, spread.lon * 100.0, spread.lat * 100.0)
    mean = spherical_mean(near)
    assert distance_m(mean, near).max() <= 2 * distance_m(centre, near).max() + 1e-6


@given(LON, LON, LAT, LAT, points(1, 30))
def test_boxes_and_their_polygons_agree(west, east, south, north, p):
    box = (west, min(south, north), east, max(south, north))
    inside = in_box(p.lon, p.lat, box)
    halves = [in_box(p.lon, p.lat, part) for part in split_box(box)]
    np.testing.assert_array_equal(inside, np.any(halves, axis=0))
    assume(all(e - w > 1e-6 for w, _, e, _ in split_box(box)) and box[3] - box[1] > 1e-6)
    np.testing.assert_array_equal(in_polygon(p.lon, p.lat, box_polygon(box)), inside)


@given(POINT, st.floats(0, 2.1e7), points(1, 30))
def test_circles_and_their_boxes(centre, metres, p):
    inside = in_circle(p.lon, p.lat, centre, metres)
    np.testing.assert_array_equal(inside, distance_m(p, centre) <= metres)
    box = circle_box(float(centre.lon[0]), float(centre.lat[0]), metres)
    assert in_box(p.lon, p.lat, box)[inside].all()


@given(
    st.floats(-180, 180), st.floats(-60, 60), st.floats(0.01, 60), st.floats(0.01, 20), st.sampled_from([-360, 0, 360])
)
def test_a_shifted_polygon_is_the_same_region(west, south, width, height, turn):
    east, north = west + width, south + height
    lon = np.array([west, (west + east) / 2, east, (west + east) / 2])
    lat = np.array([(south + north) / 2, south, (south + north) / 2, north])
    plain = shapely.Polygon(np.stack([lon, lat], axis=1))
    wrapped = shapely.Polygon(np.stack([(lon + 180) % 360 - 180, lat], axis=1))
    assume(np.abs(lon + turn).max() <= 540)
    moved = shapely.Polygon(np.stack([lon + turn, lat], axis=1))
    for other in (plain, wrapped, moved):
        area = unwrap_polygon(other)
        assert area.is_valid
        assert abs(area.area - plain.area) < 1e-6
        assert -180 <= area.bounds[0] <= area.bounds[2] <= 180
        middle = np.array([(west + east) / 2])
        assert in_polygon(middle, np.array([(south + north) / 2]), other).all()


@given(points(1, 40), st.sampled_from([0, 3, 7, 15]))
def test_h3_hierarchy(p, resolution):
    system = H3Cells(resolution)
    cells = system.assign(p)
    assert (ring_index(cells, 1) >= -1).all()
    for coarse in range(0, resolution + 1, 3):
        up = system.parent(cells, coarse)
        assert all(
            c in H3Cells(coarse).children([u], min(coarse + 2, resolution)).cells
            for u, c in zip(up, system.parent(cells, min(coarse + 2, resolution)), strict=True)
        )


@given(points(1, 40), st.sampled_from([0.1, 0.25, 7.5, 90.0]))
def test_grid_cells_hold_their_points(p, degrees):
    system = GridCells(degrees)
    cells = system.assign(p)
    bounds = shapely.bounds(system.polygons(cells))
    assert (bounds[:, 0] <= p.lon).all()
    assert (p.lon <= bounds[:, 2]).all()
    assert (bounds[:, 1] <= p.lat).all()
    assert (p.lat <= bounds[:, 3]).all()


@given(points(0, 60))
def test_hilbert_order_is_a_permutation(p):
    assert sorted(hilbert_order(p.lon, p.lat).tolist()) == list(range(len(p)))


@st.composite
def splits(draw):
    n = draw(st.integers(5, 150))
    rng = np.random.default_rng(draw(st.integers(0, 2**31)))
    lon0, lat0, spread = draw(st.sampled_from([(0, 40, 5), (180, 0, 5), (10, 88, 10), (0, 0, 170)]))
    lon = (lon0 + rng.uniform(-spread, spread, n) + 180) % 360 - 180
    lat = np.clip(lat0 + rng.uniform(-spread, spread, n), -90, 90)
    copies = rng.integers(0, n, n)
    rows = np.where(rng.random(n) < 0.2, copies, np.arange(n))
    groups = rng.integers(0, n, n) if draw(st.booleans()) else None
    return (
        LonLat(lon, lat)[rows],
        draw(st.sampled_from(["h3:2", "h3:4", "grid:1", "grid:5"])),
        draw(st.integers(2, 6)),
        draw(st.integers(0, 99)),
        draw(st.sampled_from([0.0, 100.0, 50_000.0, 1_000_000.0])),
        groups,
        draw(st.sampled_from(["join", "drop"])),
    )


@settings(max_examples=150, deadline=None)
@given(splits())
def test_block_splits_never_leak(case):
    p, cells, k, seed, buffer_m, groups, strays = case
    try:
        split = block_split(p, cells, k, seed, buffer_m, groups, strays)
        pairs = list(split.pairs())
    except DataError:
        return
    tested = np.concatenate([test for _, test in pairs])
    assert len(np.unique(tested)) == len(tested)
    if groups is None or strays == "join":
        assert len(tested) == len(p)
    else:
        np.testing.assert_array_equal(np.sort(tested), np.flatnonzero(split.fold >= 0))
    for fold, (train, test) in enumerate(pairs):
        assert len(test)
        assert not np.intersect1d(train, test).size
        if buffer_m:
            assert pairwise_m(p[train], p[test]).min() > buffer_m
        else:
            assert len(train) == (split.fold >= 0).sum() - len(test)
        if groups is not None:
            assert not np.intersect1d(groups[train], groups[test]).size
        mask = seen(split.spec, [fold], p, None)
        np.testing.assert_array_equal(mask | (split.fold < 0), (split.fold == fold) | (split.fold < 0))


@given(st.floats(0, 3e7), st.floats(0, 3e7))
def test_chords_rise_with_distance(a, b):
    assert (chord_of(a) <= chord_of(b)) == (min(a, np.pi * EARTH_RADIUS_M) <= b) or np.isclose(chord_of(a), chord_of(b))
