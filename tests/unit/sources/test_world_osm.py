"""The generated country as OpenStreetMap: streets that hang together, tags that readers know, the same every time."""

from __future__ import annotations

import builtins
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

pytest.importorskip("osmium")

from generated import arcadia
from placevec.errors import MissingExtra
from placevec.geo.sphere import LonLat, distance_m
from placevec.sources.osm import CATEGORIES, read_pois, read_roads
from placevec.sources.osm.road_rules import ROAD_CLASSES
from placevec.sources.world import World
from placevec.sources.world.osm import TAGS, country_extract, write_osm
from placevec.sources.world.osm_ways import Ways, highway_ways, inside, street_ways
from placevec.sources.world.places import CATEGORIES as KINDS_OF_PLACES
from placevec.sources.world.places import WILD
from placevec.sources.world.streets import NEEDS, STEP_M, make_streets
from placevec.sources.world.write import _osm


@pytest.fixture(scope="module")
def world():
    return arcadia()


@pytest.fixture(scope="module")
def extract(world):
    return country_extract(world)


@pytest.fixture(scope="module")
def written(extract, tmp_path_factory):
    path = tmp_path_factory.mktemp("osm") / "country.osm.pbf"
    write_osm(path, extract)
    return path


@pytest.fixture(scope="module")
def roads(written):
    return read_roads(written)


def _parts(roads, use):
    graph = coo_matrix((np.ones(int(use.sum())), (roads.a[use], roads.b[use])), shape=(len(roads.lon),) * 2)
    return connected_components(graph, directed=False)[1]


def test_one_can_walk_from_any_street_to_any_other_of_the_shore(roads):
    """Two shores, the mainland and the island; nothing else is cut off."""
    assert len(set(_parts(roads, np.ones(len(roads), dtype=bool)).tolist())) == 2


def test_cars_reach_nearly_every_street_that_is_for_them(roads):
    part = _parts(roads, roads.drive)
    used = np.unique(np.concatenate([roads.a[roads.drive], roads.b[roads.drive]]))
    sizes = np.bincount(part[used])
    assert np.sort(sizes)[-2:].sum() > 0.98 * len(used)


def test_roads_are_read_with_their_classes_speeds_and_directions(world, roads):
    assert roads.counts == {"ways": roads.way.max() + 1}
    found = {ROAD_CLASSES[kind] for kind in np.unique(roads.kind)}
    assert found == {"primary", "secondary", "tertiary", "unclassified", "residential", "pedestrian", "footway"}
    foot = np.isin(roads.kind, [ROAD_CLASSES.index("footway"), ROAD_CLASSES.index("pedestrian")])
    assert not roads.drive[foot].any()
    assert roads.walk.all()
    one = roads.oneway != 0
    assert (roads.kind[one] == ROAD_CLASSES.index("residential")).all()
    assert 0.005 < one.mean() < 0.1
    assert (roads.kmh[roads.kind == ROAD_CLASSES.index("residential")] == 30).all()
    middle = world.grid.lonlat(world.towns.col, world.towns.row)
    for k in range(len(world.towns)):  # every town has its middle, at a crossing
        gap = distance_m(LonLat(np.full(len(roads.lon), middle.lon[k]), np.full(len(roads.lon), middle.lat[k])),
                         LonLat(roads.lon, roads.lat))  # fmt: skip
        assert gap.min() < 0.05


def test_highways_meet_the_streets_of_the_towns_that_they_pass(world, extract):
    """A primary road through a town shares many nodes with its streets."""
    of_streets = {n for nodes, tags in extract.ways if tags["highway"] in ("tertiary", "residential") for n in nodes}
    highway = [n for nodes, tags in extract.ways if "ref" in tags for n in nodes]
    col, row = world.grid.position(extract.where)
    in_town = [n for n in highway if world.ground.built(col[[n]], row[[n]])[0] > 1.0]
    assert len(in_town) > 300
    assert np.mean([n in of_streets for n in in_town]) > 0.8


def test_the_more_built_up_the_denser_the_streets(world):
    streets = make_streets(world.ground, 0)
    ends = np.stack([streets.col, streets.row], axis=1)[streets.ends]
    km = np.hypot(*(ends[:, 0] - ends[:, 1]).T) * world.grid.metres / 1000
    assert 0.5 * STEP_M < np.median(km) * 1000 < 1.5 * STEP_M
    col, row = ends.mean(axis=1).T
    cell = np.floor(row / 3).astype(int) * 1000 + np.floor(col / 3).astype(int)
    density = np.bincount(cell, km)
    at = np.flatnonzero(density)
    built = world.ground.urban((at % 1000) * 3 + 1.5, (at // 1000) * 3 + 1.5)
    assert np.corrcoef(np.log(density[at]), np.log(built + 0.1))[0, 1] > 0.65
    assert (world.ground.urban(col, row) > 0.7 * min(NEEDS)).mean() > 0.98
    assert world.ground.land(streets.col, streets.row)[1:].all()


def test_streets_of_neighbouring_towns_do_not_overlap(world):
    """Every segment is nearer, in terms of the towns' reach, to its own town than to any other."""
    towns = world.towns
    reach = (towns.people / 10_000) ** 0.42
    for town in (0, 3):
        streets = make_streets(world.ground, town)
        gap = np.hypot(streets.col[:, None] - towns.col, streets.row[:, None] - towns.row) / reach
        assert (gap[1:].argmin(axis=1) == town).all()


def test_every_category_of_places_has_a_tag_that_is_read_as_a_place(world, extract, written):
    kinds = {f"{group}/{kind}" for group, each in KINDS_OF_PLACES.items() for kind in each} | set(WILD)
    assert set(TAGS) == kinds
    pois = read_pois(written)
    assert (
        len(pois.lon)
        == len(extract.tags)
        == len(world.pois.col) + len({stop for _, _, stops, _, _ in world.transit.lines for stop in stops})
    )
    names = np.array(CATEGORIES.names)[pois.category]
    assert (names == "school").sum() == (world.pois.category == "education/school").sum()
    assert (names == "bus_stop").sum() > 100
    assert (names == "railway_station").sum() >= len(world.towns) - 1


def test_the_header_names_the_whole_country(world, roads):
    west, south, east, north = roads.covered.bounds
    np.testing.assert_allclose((west, south, east, north), world.grid.bounds, atol=1e-6)


def test_a_window_is_a_cut_of_the_whole(world, extract):
    """The slow way: of the ways of the whole country, the segments with both ends in the window."""
    col, row = float(world.towns.col[0]), float(world.towns.row[0])
    window = (col - 6.0, row - 6.0, col + 6.0, row + 6.0)
    part = country_extract(world, window)

    def lines(one, inner):
        x, y = world.grid.position(one.where)
        there = inside(inner, x, y)
        found = set()
        for nodes, tags in one.ways:
            for a, b in pairwise(nodes):
                if there[a] and there[b]:
                    place = tuple(np.round([one.where.lon[a], one.where.lat[a], one.where.lon[b], one.where.lat[b]], 7))
                    found.add((place, tags["highway"], tags.get("oneway")))
        return found

    assert lines(part, None) == lines(extract, window)
    x, y = world.grid.position(part.points)
    assert len(x) == len(part.tags) > 50
    assert inside(window, x, y).all()
    assert part.box is not None
    left, top = world.grid.position(LonLat.of(part.box[0], part.box[3]))
    assert (float(left[0]), float(top[0])) == pytest.approx(window[:2])


def test_one_way_streets_are_drawn_in_their_direction(world):
    """Segments of a way follow each other, whichever way a street goes."""
    streets = make_streets(world.ground, 0)
    ways = Ways()
    street_ways(ways, streets, 0, ["A", "B"])
    _, _, found = ways.cut(None)
    assert sum(len(nodes) - 1 for nodes, _ in found) == len(streets.ends)
    drawn = {pair for nodes, tags in found if tags.get("oneway") == "yes" for pair in pairwise(nodes)}
    col, row, _ = ways.cut(None)
    at = {(c, r): k for k, (c, r) in enumerate(zip(col.tolist(), row.tolist(), strict=True))}
    number = [at[c, r] for c, r in zip(streets.col.tolist(), streets.row.tolist(), strict=True)]
    assert drawn == {(number[a], number[b]) for a, b in streets.ends[streets.oneway].tolist()}


def test_highways_without_any_street(world):
    """Far from all towns of which streets are asked for."""
    ways = Ways()
    highway_ways(ways, world.roads, {}, world.ground)
    _, _, found = ways.cut(None)
    assert len(found) == int((world.roads.kind <= 2).sum())
    assert all(len(nodes) > 1 for nodes, _ in found)


def test_other_seeds_have_other_streets(world):
    """That the same seed gives the same bytes is tested with all files of the country, in test_world."""
    assert len(make_streets(World(1).ground, 0).col) != len(world.streets(0).col)


def test_across_the_antimeridian(tmp_path):
    world = World(0, centre=(180.0, -17.0))
    town = int(np.argmin(np.abs(world.towns.col - world.grid.width / 2)))
    col, row = float(world.towns.col[town]), float(world.towns.row[town])
    half = abs(col - world.grid.width / 2) + 8
    extract = country_extract(world, (col - half, row - 8, col + half, row + 8))
    assert extract.box is None
    write_osm(tmp_path / "x.osm.pbf", extract)
    roads = read_roads(tmp_path / "x.osm.pbf")
    assert roads.lon.min() < -179.9
    assert roads.lon.max() > 179.9
    assert roads.metres.max() < 3000


def test_without_osmium_the_rest_is_written_and_that_is_said(world, tmp_path, monkeypatch):
    real = builtins.__import__

    def hidden(name, *rest):
        if name.split(".")[0] == "osmium":
            raise ModuleNotFoundError("No module named 'osmium'", name="osmium")
        return real(name, *rest)

    monkeypatch.setattr("importlib.import_module", hidden)
    small = SimpleNamespace(where=LonLat(np.zeros(0), np.zeros(0)))
    with pytest.raises(MissingExtra, match=r"placevec\[osm\]"):
        write_osm(tmp_path / "x.osm.pbf", small)
    monkeypatch.setattr("placevec.sources.world.write.country_extract", lambda _: small)
    with pytest.warns(UserWarning, match=r"x\.osm\.pbf is left out.*osmium"):
        assert not _osm(world, tmp_path / "x.osm.pbf")
    assert not list(tmp_path.iterdir())
