"""Land cover from raster to store as a user meets it: the recipes, small, and the verbs one by one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("rasterio")
pytest.importorskip("lance")

import world_files
from commands import placevec
from placevec.cli.main import run
from placevec.config import load_recipe
from placevec.index.stores import open_store
from placevec.sources.world import World
from placevec.table import open_table, read_skipped, read_table

RECIPES = Path(__file__).parents[2] / "examples" / "landcover"
GENERATED = {"planet"}  # their small settings read the generated country, those of others real data


def printed(folder: Path, *words: str) -> list[dict[str, Any]]:
    """The records that a command prints."""
    return [json.loads(line) for line in placevec(folder, *words)[0].splitlines()]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> tuple[World, Path]:
    """The generated country, and a folder with its rasters and outline."""
    folder = tmp_path_factory.mktemp("country") / "world"
    return world_files.write(folder), folder


@pytest.fixture
def country(world: tuple[World, Path]) -> Path:
    """The folder."""
    return world[1]


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.toml")), ids=lambda path: path.stem)
def test_the_small_settings_of_a_recipe(
    path: Path, country: Path, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    if path.stem in GENERATED:
        monkeypatch.setenv("PLACEVEC_DATA", "")
        (tmp_path / path.stem).mkdir()
        (tmp_path / path.stem / "world").symlink_to(country)
    else:
        request.getfixturevalue("data_dir")
    done = printed(tmp_path, "run", str(path), "--smoke", "--quiet")
    assert [step["step"] for step in done] == [step.name for step in load_recipe(path, smoke=True).steps]
    assert {step["state"] for step in done} == {"done"}
    again = printed(tmp_path, "run", str(path), "--smoke", "--quiet")
    assert {step["state"] for step in again} == {"skipped"}
    for step in load_recipe(path, smoke=True).steps:
        if step.do == "embed":
            assert_complete(tmp_path / path.stem, str(step.options["out"]), path.stem, step.name)


def assert_complete(folder: Path, out: str, recipe: str, step: str) -> None:
    """Every place of a table is a row of it or stands among the skipped ones."""
    summary = json.loads((folder / "results" / "run.json").read_text())["recipes"][recipe][step]["summary"]
    rows, lost = open_table(folder / out).num_rows, len(read_skipped(folder / out))
    assert summary["places"] == rows + lost == summary["rows"] + summary["skipped"]


def test_a_trial_of_the_planet_touches_nothing_else(country: Path, tmp_path: Path) -> None:
    (tmp_path / "planet").mkdir()
    (tmp_path / "planet" / "world").symlink_to(country)
    small = ["run", str(RECIPES / "planet.toml"), "--smoke", "--quiet"]
    stores = tmp_path / "planet" / "stores"
    placevec(tmp_path, *small, "--set", "vars.test=20")
    assert [store.name for store in stores.iterdir()] == ["planet-test.lance"]
    done = printed(tmp_path, *small)
    assert [step["step"] for step in done if step["state"] == "done"] == ["index"]
    made = open_store(f"lance://{stores}/planet.lance").card()
    placevec(tmp_path, *small, "--set", "vars.test=50")
    assert open_store(f"lance://{stores}/planet.lance").card() == made
    trial, table = open_store(f"lance://{stores}/planet-test.lance").card(), tmp_path / "planet/tables/cells.parquet"
    assert trial is not None
    assert made is not None
    assert (trial.rows, made.rows) == (50, open_table(table).num_rows)


def verb(capsys: pytest.CaptureFixture[str], *words: str) -> list[dict[str, Any]]:
    """What a command prints, run within this process."""
    assert run([*words]) == 0, capsys.readouterr().err
    out = capsys.readouterr().out
    return [json.loads(line) for line in out.splitlines() if line.startswith("{")]


def test_the_story_verb_by_verb(
    world: tuple[World, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "world").symlink_to(world[1])
    square = ("--ground", "6km", "--pixels", "16")
    dem = ("--layer", "elevation=world/dem.tif")

    def cover(year: int) -> tuple[str, str]:
        return "--layer", f"cover=world/landcover_{year}.tif,classes=world/arcadia.json"

    (cells,) = verb(capsys, "area", "stencil", "world/boundary.geojson", "--resolution", "6", "-o", "cells.parquet")
    assert cells["cells"] > 800
    (pairs,) = verb(
        capsys, "area", "patches", "world/boundary.geojson", *cover(2025), *dem, *square, "--samples", "300",
        "--inner", "6km", "--outer", "15km", "--per-file", "200", "-j", "2", "-o", "pairs", "-q",
    )  # fmt: skip
    assert (pairs["places"], pairs["written"] + pairs["skipped"], pairs["files"]) == (600, 600, 3)
    verb(
        capsys, "train", "landscape", "--on", "pairs", "--epochs", "1", "--config", "dims=16", "--block", "h3:4",
        "-o", "models/land", "-q",
    )  # fmt: skip
    for year in (2015, 2025):
        (made,) = verb(
            capsys, "embed", "-e", "models/land", "--on", "cells.parquet", *cover(year), *dem, *square,
            "-o", f"cells-{year}.parquet", "-q",
        )  # fmt: skip
        assert made["places"] == cells["cells"] == made["rows"] + made["skipped"]
    table = read_table(tmp_path / "cells-2025.parquet")
    classes = {code["name"] for code in world_files.CLASS_TABLE["classes"]}
    assert set(table.places().column("main_class").tolist()) <= classes | {""}

    # Searched in the file, beside an index and in a store: the same answer.
    verb(capsys, "index", "cells-2025.parquet", "--kind", "flat", "-q")
    (loaded,) = verb(capsys, "index", "cells-2025.parquet", "--to", f"lance://{tmp_path}/cells.lance", "-q")
    assert (loaded["rows"], loaded["added"]) == (table.num_rows, table.num_rows)
    (again,) = verb(capsys, "index", "cells-2025.parquet", "--to", f"lance://{tmp_path}/cells.lance", "-q")
    assert again["unchanged"] == table.num_rows
    like = str(table.ids[table.num_rows // 2])
    near = ("--near", "13,43.5,120km")
    asked = ("--like", like, "-k", "9", *near)
    here = verb(capsys, "search", "cells-2025.parquet", *asked)
    there = verb(capsys, "search", f"lance://{tmp_path}/cells.lance", *asked)
    assert [hit["id"] for hit in here] == [hit["id"] for hit in there]
    assert len(here) == 9
    verb(capsys, "search", "cells-2025.parquet", "--like", like, "--coverage", "0.1", "-o", "like.geojson")
    assert len(json.loads((tmp_path / "like.geojson").read_text())["features"]) > 20

    verb(capsys, "map", "cells-2025.parquet", "--like", like, "-o", "like.png")
    assert (tmp_path / "like.png").stat().st_size > 5_000

    # What changed between the two dates is what the country knows to have changed.
    (change,) = verb(capsys, "change", "cells-2015.parquet", "cells-2025.parquet", "-o", "change.parquet", "-q")
    assert 0 < change["changed"] < change["rows"]
    assert rank_agreement(tmp_path / "change.parquet", world[0]) > 0.5

    # A few cells are known: the others get the class, and those that would teach most are named.
    places = table.places()
    known = np.flatnonzero(np.isin(places.column("main_class"), ["forest", "cropland", "grass"]))[::8]
    rows = [f"{places.ids[row]},{places.column('main_class')[row]}" for row in known.tolist()]
    (tmp_path / "known.csv").write_text("id,class\n" + "\n".join(rows) + "\n")
    verb(capsys, "classify", "cells-2025.parquet", "--examples", "known.csv", "--ask", "3", "-o", "classes.parquet")
    found = read_table(tmp_path / "classes.parquet")
    assert found.num_rows == table.num_rows
    right = found.column("predicted") == found.column("main_class")
    sure = np.isin(found.column("main_class"), ["forest", "cropland", "grass"])
    assert right[sure].mean() > 0.6

    for name in ("change.geojson", "change.pmtiles", "change.tif"):
        extra = ("--columns", "change,changed") if name.endswith(("pmtiles", "tif")) else ()
        (out,) = verb(capsys, "export", "change.parquet", "-o", name, *extra)
        assert out["rows"] == change["rows"]


def rank_agreement(path: Path, world: World) -> float:
    """Spearman's correlation of `change` with the share of pixels that changed within 3 km, where any did."""
    from scipy import ndimage
    from scipy.stats import spearmanr

    share = ndimage.uniform_filter(world.cover.changed.astype(np.float64), 10)
    places = read_table(path).places()
    raster = world.raster("landcover_2025")
    col, row = raster.pixel(places.lon, places.lat)
    on = raster.contains(col, row)
    y, x = np.minimum(row[on].astype(int), 447), np.minimum(col[on].astype(int), 511)
    return float(spearmanr(share[y, x], places.column("change")[on]).statistic)
