"""The recipe that fuses the towns of the generated country: all steps on a small one, and nothing to do again."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("osmium")
pytest.importorskip("rasterio")
pytest.importorskip("matplotlib")

from generated import arcadia
from placevec.cli.main import run
from placevec.config import load_recipe
from placevec.features.graphs import access_graph
from placevec.sources.osm import read_roads
from placevec.sources.world import World, write
from placevec.sources.world.osm import country_extract, write_osm
from placevec.table import open_table

FULL = os.environ.get("PLACEVEC_STORIES") == "full"
RECIPE = Path(__file__).parents[2] / "examples" / "fusion" / "country.toml"


def _write(world: World, folder: Path) -> None:
    """What the recipe reads of the files that `World.write` writes."""
    folder.mkdir(parents=True)
    write_osm(folder / "country.osm.pbf", country_extract(world))
    (folder / "gtfs.zip").write_bytes(write._gtfs(world))
    (folder / "urban.csv").write_text(write._urban(world))
    (folder / "pois.geojson").write_text(write._pois(world))
    (folder / "classes.json").write_text(write._classes())
    for name in ("dem", "landcover_2025"):
        write._raster(world, name, folder / f"{name}.tif", None)


@pytest.mark.slow
def test_the_small_settings_of_the_recipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    home = tmp_path / "country"
    _write(arcadia(), home / "world")
    assert run(["area", "new", "country", "--cells", str(home / "world" / "urban.csv")]) == 0, capsys.readouterr().err
    capsys.readouterr()

    def states() -> dict[str, str]:
        words = ["run", str(RECIPE), "--area", "country", "--smoke", "--quiet"]
        assert run(words) == 0, capsys.readouterr().err
        records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        return {record["step"]: record["state"] for record in records}

    steps = [step.name for step in load_recipe(RECIPE, smoke=True).steps]
    assert states() == dict.fromkeys(steps, "done")
    assert states() == dict.fromkeys(steps, "skipped")

    cells = arcadia().urban["h3"]
    fused = open_table(home / "tables" / "fused.parquet")
    np.testing.assert_array_equal(np.sort(fused.places().column("h3").astype(np.uint64)), cells)
    # Nothing was made of a target, and so none is refused.
    assert not {saw.column for saw in fused.meta.saw} & {"population", "price"}
    # Streets and land cover follow the same field as people; where towns lie, they do not.
    target = json.loads((home / "results" / "fusion.json").read_text())["targets"][0]
    scores = {row["features"]: row["mean"] for row in target["rows"] if row["split"] == "block"}
    assert target["target"] == "population"
    assert scores["concat"] > 0.6 > scores["coordinates · kNN"]
    assert {"fused", "untrained fused"} <= set(scores)


@pytest.mark.slow
@pytest.mark.skipif(not FULL, reason="PLACEVEC_STORIES=full makes the larger countries")
@pytest.mark.parametrize(("size", "low", "high"), [("medium", 8_000, 12_000), ("large", 80_000, 120_000)])
def test_larger_countries(tmp_path: Path, size: str, low: int, high: int) -> None:
    """Their cells lie in what the extract covers, and most have a road to a neighbour."""
    world = World(0, size)
    _write(world, tmp_path / "world")
    cells = world.urban["h3"]
    assert low < len(cells) < high
    roads = read_roads(tmp_path / "world" / "country.osm.pbf")
    assert roads.covers(cells).all()
    graph = access_graph(roads, cells, "drive")
    assert len(np.unique(graph.rows)) > 0.75 * len(cells)
