"""Tiles cover their region, once, at every depth."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from placevec.geo.sphere import LonLat, distance_m
from placevec.sources.crawl.tiles import LEAST_SECONDS, LEAST_SIDE_M, Tile, root_tiles

BOXES = st.tuples(
    st.floats(-179.0, 178.0), st.floats(-85.0, 84.0), st.floats(0.0005, 30.0), st.floats(0.0005, 30.0)
).map(lambda v: (v[0], v[1], min(v[0] + v[2], 180.0), min(v[1] + v[3], 90.0)))


def area(tile: Tile) -> float:
    west, south, east, north = tile.box
    return (east - west) * (north - south)


@given(BOXES)
def test_parts_cover_a_tile_and_do_not_overlap(box) -> None:
    tile = Tile("0.", box)
    parts = tile.split()
    assert len(parts) in (2, 4)
    assert sum(map(area, parts)) == pytest.approx(area(tile))
    assert shapely.union_all([shapely.box(*part.box) for part in parts]).equals(shapely.box(*box))
    assert len({part.path for part in parts}) == len(parts)
    assert all(part.path.startswith("0.") and part.root == "0" for part in parts)


@given(BOXES)
def test_splitting_makes_tiles_square(box) -> None:
    tile = Tile("0.", box)
    for _ in range(30):
        parts = tile.split()
        if not parts:
            break
        tile = parts[-1]
    width, height = tile.sides_m
    assert max(width, height) <= LEAST_SIDE_M
    assert 0.3 < width / height < 3.0 or min(width, height) < LEAST_SIDE_M / 4  # it was thin from the beginning


@given(BOXES, st.integers(0, 2**32))
def test_the_circle_holds_the_box(box, seed) -> None:
    tile = Tile("0.", box)
    while tile.circle[2] > 50_000.0:  # what is asked for
        tile = tile.split()[0]
    rng = np.random.default_rng(seed)
    west, south, east, north = tile.box
    points = LonLat(rng.uniform(west, east, 50), rng.uniform(south, north, 50))
    lon, lat, radius = tile.circle
    assert (distance_m(points, LonLat.of(lon, lat)) <= radius + 0.01).all()


def test_the_first_grid_has_sides_within_the_limit() -> None:
    tiles = root_tiles((60.0, 23.0, 77.0, 37.0), side_m=100_000.0)
    assert all(side <= 100_001.0 for tile in tiles for side in tile.sides_m)
    assert sum(map(area, tiles)) == pytest.approx(17.0 * 14.0)
    assert len({tile.root for tile in tiles}) == len(tiles)


def test_a_box_across_the_antimeridian_is_two_tiles() -> None:
    tiles = root_tiles((176.0, -20.0, -178.0, -15.0))
    assert [tile.box for tile in tiles] == [(176.0, -20.0, 180.0, -15.0), (-180.0, -20.0, -178.0, -15.0)]


def test_the_least_tile_is_split_in_time_and_then_not_at_all() -> None:
    tile = Tile("0.", (10.0, 50.0, 10.0001, 50.0001), 0, 10 * LEAST_SECONDS)
    first, second = tile.split()
    assert (first.start, second.stop) == (tile.start, tile.stop)
    assert second.start == first.stop + 1
    assert first.box == tile.box
    assert Tile("0.", tile.box, 0, LEAST_SECONDS).split() == ()
    assert Tile("0.", tile.box).split() == ()
