"""A city by its recipe: the generated one always, Porto Alegre and the figures that are quoted where its files are."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("osmium")
pytest.importorskip("rasterio")
pytest.importorskip("matplotlib")

from placevec.config import load_recipe
from placevec.errors import UsageError
from placevec.table import open_table
from placevec.tasks.area import recipe_area
from placevec.tasks.demo import demo
from placevec.tasks.run import run
from placevec.tasks.verbs import VERBS

FULL = os.environ.get("PLACEVEC_STORIES") == "full"
EXAMPLES = Path(__file__).parents[2] / "examples" / "fusion"
QUOTED = {
    # R² of ln(1 + y), random and block, by the reference protocol
    "population": {"coordinates · kNN": (0.50, 0.20), "concat": (0.52, 0.51), "ring-stack:1": (0.60, 0.58)},
    "jobs": {"coordinates · kNN": (0.54, 0.39), "concat": (0.60, 0.59), "ring-stack:1": (0.63, 0.61)},
}


def check(folder: Path, report: Path) -> None:
    html = report.read_text()
    assert not re.findall(r"(?:src|href)=[\"']https?://", html)
    assert html.count("<img") >= 8
    found = json.loads((folder / "results/fusion.json").read_text())
    assert [one["target"] for one in found["targets"]] == ["population", "jobs"]
    for one in found["targets"]:
        rows = {row["features"] for row in one["rows"]}
        assert {"mean", "concat", "ring-stack:1", "coordinates · kNN", "coordinates · GP", "fused"} <= rows
        assert "untrained fused" in rows
    fused = open_table(folder / "tables/fused.parquet")
    assert {"schools", "healthcare"} <= {saw.column for saw in fused.meta.saw}
    assert not {"population", "jobs"} & {saw.column for saw in fused.meta.saw}
    words = json.loads((folder / "tables/landscapes.profiles.json").read_text())
    assert [level["resolution"] for level in words] == [9, 8, 7]


@pytest.mark.slow
def test_a_generated_city_where_there_is_no_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLACEVEC_DATA", "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    notes: list[str] = []
    made = demo("porto-alegre", tmp_path / "city", smoke=not FULL, note=notes.append)
    assert made.generated
    assert any("generated city" in note for note in notes)
    check(tmp_path / "city", made.report)
    assert "This city does not exist" in made.report.read_text()
    again = demo("porto-alegre", tmp_path / "city", smoke=not FULL)
    assert again.run.done == ()


@pytest.mark.slow
@pytest.mark.real
def test_porto_alegre(tmp_path: Path, data_dir: Path) -> None:
    made = demo("Porto Alegre", tmp_path / "city", smoke=not FULL)
    assert not made.generated
    check(tmp_path / "city", made.report)
    assert len(open_table(tmp_path / "city/tables/fused.parquet")) == 1227
    if FULL:
        for one in json.loads((tmp_path / "city/results/fusion.json").read_text())["targets"]:
            rows = {row["features"]: row for row in one["rows"] if row["split"] == "block"}
            assert rows["fused"]["mean"] > rows["ring-stack:1"]["mean"] + rows["ring-stack:1"]["sd"]


def test_a_city_has_its_own_cells(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="its own cells"):
        demo("porto-alegre", tmp_path / "city", resolution=8)


@pytest.mark.slow
@pytest.mark.real
def test_the_figures_that_are_quoted(tmp_path: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Our tables under the reference protocol give what others have measured, within noise."""
    monkeypatch.chdir(tmp_path)
    rules = {"steps.measure.rules.rings": 1}
    recipe = load_recipe(EXAMPLES / "porto_alegre_reference.toml", overrides=rules)
    area = recipe_area(recipe, EXAMPLES)
    run(recipe, VERBS, area=area)
    found = json.loads((tmp_path / "porto-alegre-reference/results/fusion.json").read_text())
    for one in found["targets"]:
        for features, figures in QUOTED[one["target"]].items():
            for split, figure in zip(("random", "block"), figures, strict=True):
                row = next(row for row in one["rows"] if (row["features"], row["split"]) == (features, split))
                assert row["mean"] == pytest.approx(figure, abs=0.02), (one["target"], features, split)


def test_the_recipe_of_the_demo_is_the_example() -> None:
    here = load_recipe(EXAMPLES / "porto_alegre.toml")
    assert [step.name for step in here.steps][-1] == "colours"
    assert here.area is not None
