"""A town of the generated country as a city: its files agree with each other, and its numbers with their functions."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
import shapely

pytest.importorskip("osmium")
pytest.importorskip("rasterio")

from generated import arcadia
from placevec.area import StudyArea
from placevec.errors import UsageError
from placevec.geo.areas import cell_areas
from placevec.geo.cells import H3Cells
from placevec.geo.sphere import LonLat, distance_m
from placevec.sources.gtfs import read_feed
from placevec.sources.osm import CATEGORIES, read_pois, read_roads
from placevec.sources.rasters import Raster
from placevec.sources.world import World
from placevec.sources.world.ground import waves


@pytest.fixture(scope="module")
def city():
    return arcadia().city(radius_km=3.0)


@pytest.fixture(scope="module")
def written(city, tmp_path_factory):
    folder = tmp_path_factory.mktemp("city")
    return folder, city.write(folder)


@pytest.fixture(scope="module")
def rows(written):
    with written[1]["cells"].open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_city_is_about_a_thousand_cells_of_land():
    city = arcadia().city()
    assert 900 < len(city.cells) < 1300
    assert (np.diff(city.cells.astype(object)) > 0).all()
    where = H3Cells(9).centre(city.cells)
    middle = LonLat(np.repeat(city.centre.lon, len(where)), np.repeat(city.centre.lat, len(where)))
    assert distance_m(where, middle).max() <= 6500
    best = city.best_r2()
    assert 0.6 < best["population"] < 0.95
    assert 0.6 < best["jobs"] < 0.97


def test_the_cells_are_an_area(city, written):
    area = StudyArea.from_cells(city.cells, name=city.name)
    assert shapely.equals(area.boundary, city.boundary)
    np.testing.assert_array_equal(area.cells(), city.cells)
    from_file = StudyArea.from_geojson(written[1]["boundary"], resolutions=(9,))
    assert np.isin(city.cells, from_file.cells()).all()


def test_the_table_of_cells_holds_the_targets(city, rows):
    assert list(rows[0]) == ["id", "lon", "lat", "population", "schools", "jobs", "healthcare"]
    np.testing.assert_array_equal([int(row["id"], 16) for row in rows], city.cells)
    for name, values in city.targets.items():
        np.testing.assert_array_equal([int(row[name]) for row in rows], values)
        assert (values >= 0).all()
    centre = H3Cells(9).centre(city.cells)
    assert float(rows[7]["lon"]) == pytest.approx(centre.lon[7])


def test_the_truth_is_written_beside_them(city, written, rows):
    with written[1]["truth"].open(encoding="utf-8") as file:
        truth = list(csv.DictReader(file))
    assert [row["id"] for row in truth] == [row["id"] for row in rows]
    for name in ("population", "jobs"):
        np.testing.assert_allclose([float(row[name]) for row in truth], city.truth[name], rtol=1e-6)


def test_numbers_are_drawn_around_what_is_expected(city):
    truth, targets = city.truth, city.targets
    for name, sigma in (("population", 0.3), ("jobs", 0.4)):
        expected = truth[name] * np.exp(sigma**2 / 2)
        # The variance of a log-normal times its mean squared, and that of Poisson.
        spread = np.sqrt(truth[name] ** 2 * np.exp(sigma**2) * np.expm1(sigma**2) + expected)
        z = (targets[name] - expected) / spread
        assert abs(z.mean()) < 4 / np.sqrt(len(z))
        assert 0.8 < z.std() < 1.25
    assert city.best_r2()["jobs"] < 1


def test_more_people_live_where_it_is_more_built_up(city):
    """Against the fields at the centres of cells alone, by the function that the docs give."""
    col, row = city.world.grid.position(H3Cells(9).centre(city.cells))
    ground = city.world.ground
    km2 = cell_areas(city.cells) / 1e6
    people = km2 * 5200 * ground.urban(col, row) ** 1.3 * (1 - 0.7 * ground.business(col, row))
    people *= 1 - 0.9 * ground.park(col, row)
    assert np.corrcoef(np.log(people), np.log(city.truth["population"]))[0, 1] > 0.8


def test_schools_and_healthcare_are_those_of_the_map(city, written):
    pois = read_pois(written[1]["osm"])
    own = H3Cells(9).assign(LonLat(pois.lon, pois.lat))
    names = np.array(CATEGORIES.names)[pois.category]
    for column, leaves in (("schools", ["school"]), ("healthcare", ["pharmacy", "clinic", "hospital"])):
        count = [int(((own == cell) & np.isin(names, leaves)).sum()) for cell in city.cells]
        np.testing.assert_array_equal(count, city.targets[column])
        assert sum(count) > 20


def test_files_reach_beyond_the_cells(city, written):
    """Streets, stops and heights go on for a kilometre, so that nothing is lacking at the border."""
    west, south, east, north = shapely.bounds(city.boundary)
    roads = read_roads(written[1]["osm"])
    assert roads.covers(city.cells).all()
    box = roads.covered.bounds
    assert box[0] < west - 0.01
    assert box[1] < south - 0.008
    assert box[2] > east + 0.01
    assert box[3] > north + 0.008
    raster = Raster(written[1]["elevation"])
    heights = raster.sample(H3Cells(9).centre(city.cells))[:, 0]
    col, row = city.world.grid.position(H3Cells(9).centre(city.cells))
    np.testing.assert_allclose(heights, city.world.ground.elevation(col, row), atol=1.0)
    assert roads.metres.sum() / 1000 > 5 * cell_areas(city.cells).sum() / 1e6  # km of roads per km²


def test_buses_run_along_streets(city, written):
    feed = read_feed([written[1]["gtfs"], written[1]["rail"]])
    roads = read_roads(written[1]["osm"])
    at = city.streets.col, city.streets.row
    local = [line for line in city.transit.lines if line[0].startswith("B")]
    assert len(local) > 5
    assert {line[1] for line in city.transit.lines} == {2, 3}  # trains of the country call too
    nodes = set(zip(at[0].tolist(), at[1].tolist(), strict=True))
    for _, _, stops, after, every in local:
        assert 480 <= every <= 3600
        assert (np.diff(after) > 20).all()
        assert {(float(city.transit.stop_col[s]), float(city.transit.stop_row[s])) for s in stops} <= nodes
    served = {(kind, stop) for _, kind, stops, _, _ in city.transit.lines for stop in stops}
    assert len(feed.where) == len(served)  # a station of both feeds is a stop of each
    assert len(roads) > 1000


def test_another_town_and_the_same_bytes(tmp_path):
    first, again = arcadia().city(2, 1.5), World(0).city(2, 1.5)
    one, two = first.write(tmp_path / "one"), again.write(tmp_path / "two")
    assert set(one) == {"osm", "gtfs", "rail", "elevation", "cells", "truth", "boundary"}
    for name in one:
        assert one[name].read_bytes() == two[name].read_bytes(), name
    feature = json.loads(one["boundary"].read_text())["features"][0]
    assert feature["properties"]["name"] == first.name == arcadia().towns.name[2]


@pytest.mark.parametrize(("town", "radius"), [(28, 6.0), (-1, 6.0), (0, 0.1), (0, 50.0)])
def test_impossible_cities(town, radius):
    with pytest.raises(UsageError):
        arcadia().city(town, radius)


def test_waves_are_a_field_of_unit_variance():
    field = waves(0, "test", 100.0, 500.0, 2000.0)
    col, row = np.random.default_rng(0).uniform(0, 10_000, (2, 20_000))
    values = field(col, row)
    assert abs(values.mean()) < 0.1
    assert values.std() == pytest.approx(1, abs=0.05)
    step = field(col + 0.1, row) - values
    assert np.abs(step).max() < 0.5  # 10 m are little against waves of 500 m
    np.testing.assert_array_equal(waves(0, "test", 100.0, 500.0, 2000.0)(col, row), values)
    assert np.abs(np.corrcoef(values, waves(1, "test", 100.0, 500.0, 2000.0)(col, row))[0, 1]) < 0.2
