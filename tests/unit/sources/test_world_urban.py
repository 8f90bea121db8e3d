"""Population and price of the towns of the generated country: their cells, and what is known of their making."""

from __future__ import annotations

import csv
import io
import json

import numpy as np
import pytest

pytest.importorskip("rasterio")

from generated import arcadia
from placevec.geo.cells import H3Cells, are_cells
from placevec.sources.classes import class_table
from placevec.sources.world import CLASSES, World
from placevec.sources.world.cover import COLOURS
from placevec.sources.world.targets import people_per_km2, price_of
from placevec.sources.world.urban import LEAST, RESOLUTIONS
from placevec.sources.world.write import _classes, _urban
from placevec.tasks.modalities.landcover import LandCoverModality
from placevec.tasks.modality_settings import input_paths


def _best(seen, expected):
    return 1 - ((seen - expected) ** 2).sum() / ((seen - seen.mean()) ** 2).sum()


@pytest.mark.parametrize(("size", "low", "high"), [("small", 800, 1300), ("medium", 8000, 12_000)])
def test_a_size_has_its_number_of_cells(size, low, high):
    urban = (arcadia() if size == "small" else World(0, size)).urban
    cells = urban["h3"]
    assert low < len(cells) < high
    assert (np.diff(cells.astype(object)) > 0).all()
    assert are_cells(cells).all()
    assert set((cells >> np.uint64(52) & np.uint64(15)).tolist()) == {RESOLUTIONS[size]}
    assert _best(np.log1p(urban["population"]), np.log1p(urban["population_expected"])) == pytest.approx(0.96, abs=0.01)
    assert _best(urban["price"], urban["price_expected"]) == pytest.approx(0.965, abs=0.01)


def test_the_cells_are_those_of_towns_on_land():
    """Against the pixels, for the cells that hold enough of them."""
    world = arcadia()
    cells = world.urban["h3"]
    row, col = np.indices(world.grid.shape)
    own = H3Cells(7).assign(world.grid.lonlat((col + 0.5).ravel(), (row + 0.5).ravel()))
    every, number = np.unique(own, return_inverse=True)
    count = np.bincount(number)
    land = np.bincount(number, (world.terrain.land & ~world.terrain.lake).ravel()) / count
    dry = np.bincount(number, np.where(world.terrain.land, world.cover.urban, 0).ravel()) / np.maximum(land * count, 1)
    sure = (land > 0.9) & (np.abs(dry - LEAST) > 0.04)
    np.testing.assert_array_equal(np.isin(every, cells)[sure], (dry > LEAST)[sure])


def test_population_and_price_follow_the_functions_of_the_country():
    """Over the country's own cells of resolution 6, whose fields are written."""
    t = arcadia().targets
    people = people_per_km2(t["urban"], t["cropland_share"], t["coast_km"], t["slope"])
    price = price_of(t["urban"], t["coast_km"], t["town_km"], t["temperature"])
    np.testing.assert_allclose(people, t["population_expected"], rtol=1e-12)
    np.testing.assert_allclose(price, t["price_expected"], rtol=1e-12)


def test_the_noise_is_what_is_said():
    urban = arcadia().urban
    assert np.log(urban["population"] / urban["population_expected"]).std() == pytest.approx(0.25, abs=0.03)
    assert (urban["price"] - urban["price_expected"]).std() == pytest.approx(140, abs=15)


def test_the_written_table():
    world = arcadia()
    rows = list(csv.DictReader(io.StringIO(_urban(world))))
    assert list(rows[0]) == ["h3", "lon", "lat", "population", "price", "population_expected", "price_expected"]
    np.testing.assert_array_equal([int(row["h3"], 16) for row in rows], world.urban["h3"])
    np.testing.assert_allclose([float(row["price"]) for row in rows], world.urban["price"], rtol=1e-6)


def test_the_class_table_of_the_land_cover(tmp_path):
    path = tmp_path / "classes.json"
    path.write_text(_classes())
    table = class_table(path)
    assert dict(zip(table.codes, table.names, strict=True)) == CLASSES
    assert table.colours[0] == "#{:02x}{:02x}{:02x}".format(*COLOURS[1])
    assert table.indices[0] == 0
    assert json.loads(path.read_text())["name"] == "arcadia"


def test_a_recipe_knows_that_a_class_table_is_a_file_and_a_name_is_none():
    own = LandCoverModality(raster=("a.tif",), classes="world/classes.json")
    assert input_paths(own) == ["a.tif", "world/classes.json"]
    assert input_paths(LandCoverModality(raster=("a.tif",), classes="WorldCover")) == ["a.tif"]
