from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from placevec.area import StudyArea
from placevec.cli.main import app
from placevec.errors import DataError, SchemaError, UsageError
from placevec.features.graphs import load_graph
from placevec.table import read_table
from placevec.tasks.area_graph import area_graph
from placevec.tasks.features import cell_features
from placevec.tasks.run import run
from placevec.tasks.verbs import VERBS
from road_fakes import grid_city, osm_xml

pytest.importorskip("osmium")


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an area of two resolutions, its roads, and what waits in it."""
    folder = tmp_path_factory.mktemp("city")
    (folder / "city.osm").write_text(osm_xml(grid_city(7, 7, step_m=200.0)))
    rows = ["lon,lat,jobs,name", "10.004,50.004,7,a", "10.0041,50.004,5,b", "10.009,50.009,,c", "0,0,9,d", ""]
    (folder / "jobs.csv").write_text("\n".join(rows))
    StudyArea.from_bbox((9.99, 49.99, 10.03, 50.02), name="city", resolutions=(9, 8)).save(folder / "area")
    return folder


def test_the_graph_of_an_area_is_written_and_told(city: Path) -> None:
    made = area_graph(city / "area", city / "city.osm")
    assert made.graph == city / "area/graphs/walk.parquet"
    graph = load_graph(made.graph)
    cells = StudyArea.open(city / "area").cells()
    assert graph.cells.tolist() == cells.tolist()
    assert len(graph) == made.edges > 50
    assert 0 < made.uncovered < made.cells == len(cells) > made.alone
    assert any("outside of what city.osm covers" in line for line in made.notes)
    coarse = area_graph(city / "area", city / "city.osm", mode="drive", resolution=8)
    assert coarse.graph.name == "drive-r8.parquet"
    assert load_graph(coarse.graph).resolution == 8


def test_what_waits_in_a_cell_is_the_sum_over_its_places(city: Path) -> None:
    plain = load_graph(area_graph(city / "area", city / "city.osm").graph)
    jobs = area_graph(city / "area", city / "city.osm", mass=city / "jobs.csv", mass_column="jobs").graph
    counted = area_graph(
        city / "area", city / "city.osm", mass=city / "jobs.csv", out=city / "counted.parquet", resolution=9
    ).graph
    factor = load_graph(jobs).weight / plain.weight
    assert sorted(set(np.round(factor, 3).tolist())) == [0.0, 12.0]
    assert sorted(set(np.round(load_graph(counted).weight / plain.weight, 3).tolist())) == [0.0, 1.0, 2.0]


def test_what_cannot_be_is_refused(city: Path) -> None:
    osm = city / "city.osm"
    with pytest.raises(SchemaError, match="has no column 'job'; its columns: jobs, name"):
        area_graph(city / "area", osm, mass=city / "jobs.csv", mass_column="job")
    with pytest.raises(SchemaError, match="'name' holds no numbers"):
        area_graph(city / "area", osm, mass=city / "jobs.csv", mass_column="name")
    with pytest.raises(UsageError, match="of which file"):
        area_graph(city / "area", osm, mass_column="jobs")
    with pytest.raises(UsageError, match="ends in .parquet"):
        area_graph(city / "area", osm, out=city / "walk.csv")
    with pytest.raises(UsageError, match="where shall the graph go"):
        area_graph(StudyArea.from_bbox((0, 0, 1, 1), resolutions=(4,)), osm)
    with pytest.raises(UsageError, match="holds no study area"):
        area_graph(city, osm)
    with pytest.raises(DataError):
        area_graph(city / "area", city / "none.osm.pbf")


def test_the_command_prints_what_became_of_it(city: Path) -> None:
    done = CliRunner().invoke(
        app, ["area", "graph", str(city / "area"), "--osm", str(city / "city.osm"), "--mode", "bike", "-q"]
    )
    assert done.exit_code == 0, done.output
    record = json.loads(done.stdout.splitlines()[-1])
    assert record["mode"] == "bike"
    assert record["resolution"] == 9
    assert record["edges"] > 50


def test_a_recipe_has_the_step(city: Path) -> None:
    (city / "city.toml").write_text(
        f"""
[recipe]
name = "city"
[[step]]
do = "graph"
osm = "{city / "city.osm"}"
mode = "bike"
beta = 0.5
out = "graphs/recipe.parquet"
"""
    )
    notes: list[str] = []
    area = StudyArea.open(city / "area")
    run(city / "city.toml", VERBS, area=area, folder=city / "area", note=notes.append)
    graph = load_graph(city / "area/graphs/recipe.parquet")
    assert (graph.mode, graph.beta) == ("bike", 0.5)
    assert any("outside of what city.osm covers" in line for line in notes)
    with pytest.raises(UsageError, match="the cells of which area"):
        run(city / "city.toml", VERBS, folder=city / "elsewhere")


def test_the_modality_writes_a_table_and_says_what_it_does_not_cover(city: Path) -> None:
    made = cell_features("roads", area=city / "area", options={"osm": str(city / "city.osm"), "centrality": 20})
    table = read_table(made.path)
    assert made.rows == len(table)
    assert made.absent > 0
    assert made.dims == 34 == table.meta.space.dims
    again = cell_features(
        "roads", city / "again.parquet", area=city / "area", options={"osm": str(city / "city.osm"), "centrality": 20}
    )
    assert np.array_equal(read_table(again.path).vectors(), table.vectors())
    assert (table.meta.chip_layout or {})["ground_m"] == 1000.0
    far = StudyArea.from_bbox((20.0, 20.0, 20.01, 20.01), resolutions=(9,))
    with pytest.raises(DataError, match="outside of what city.osm covers"):
        cell_features("roads", city / "far.parquet", area=far, options={"osm": str(city / "city.osm")})
