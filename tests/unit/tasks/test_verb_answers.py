"""Change, map and export as steps of a recipe."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely

from placevec.config import parse_recipe
from placevec.errors import RecipeError
from placevec.geo.cells import H3Cells
from placevec.provenance import Space
from placevec.table import EmbeddingTable, Places, write_table
from placevec.tasks.run import run
from placevec.tasks.verbs import VERBS

pytest.importorskip("rasterio")
pytest.importorskip("pmtiles")
CELLS = H3Cells(6).cover(shapely.box(-4, 39, -3.5, 39.5))
STEPS = f"""
[[step]]
do = "change"
before = "tables/a.parquet"
after = "tables/b.parquet"
stable = "rock == 1"
out = "tables/change.parquet"

[[step]]
do = "map"
tables = ["tables/b.parquet"]
out = ["figures/like.png"]
like = ["{CELLS[0]:x}", "{CELLS[5]:x}"]
unlike = "{CELLS[9]:x}"
near = [-3.75, 39.25, 20000]
coverage = 0.3
layer = "figures/like.geojson"

[[step]]
do = "export"
name = "web"
table = "tables/change.parquet"
columns = ["change", "changed"]
out = "figures/change.pmtiles"

[[step]]
do = "export"
name = "raster"
table = "tables/change.parquet"
columns = "change"
where = "changed"
pixel_m = 400
out = "figures/change.tif"
"""


def folder_of(path: Path) -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(len(CELLS), 4))
    space = Space("trained:dates", 4)
    places = Places.create(
        [f"{cell:x}" for cell in CELLS],
        H3Cells(6).centre(CELLS),
        h3=CELLS,
        attributes={"rock": (np.arange(len(CELLS)) % 3 == 0).astype(int)},
    )
    (path / "tables").mkdir()
    for name, moved in (("a", 0.0), ("b", 1.0)):
        shift = moved * (np.arange(len(CELLS)) % 3 == 1)[:, None]
        write_table(EmbeddingTable.of(places, (vectors + shift).astype("f4"), space), path / f"tables/{name}.parquet")


def recipe(text: str) -> Any:
    return parse_recipe({"recipe": {"name": "answers"}, **tomllib.loads(text)})


def test_the_steps_run_and_are_complete_the_second_time(tmp_path: Path) -> None:
    folder_of(tmp_path)
    summary = run(recipe(STEPS), VERBS, folder=tmp_path)
    by_name = {step.name: step for step in summary.steps}
    assert by_name["change"].summary["changed"] == sum(np.arange(len(CELLS)) % 3 == 1)
    assert by_name["web"].summary["form"] == "pmtiles"
    assert by_name["raster"].summary["rows"] == by_name["change"].summary["changed"]
    for name in ("like.png", "like.geojson", "change.pmtiles", "change.tif"):
        assert (tmp_path / "figures" / name).stat().st_size > 0
    again = run(recipe(STEPS), VERBS, folder=tmp_path)
    assert {step.state for step in again.steps} == {"skipped"}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("coverage = 0.3", "coverage = 3"),
        ('stable = "rock == 1"', 'measure = "l1"'),
        ('stable = "rock == 1"', "floor = 2"),
        ("pixel_m = 400", "pixel_m = -1"),
    ],
)
def test_options_that_cannot_be_are_refused(tmp_path: Path, old: str, new: str) -> None:
    with pytest.raises(RecipeError, match=new.split(" ", maxsplit=1)[0]):
        run(recipe(STEPS.replace(old, new)), VERBS, folder=tmp_path)
