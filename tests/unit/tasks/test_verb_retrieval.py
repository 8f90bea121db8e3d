"""The story of a caption set as steps of a recipe: embed, index, search, classify, explain, evaluate."""

from __future__ import annotations

import json
import shutil
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from pair_fakes import small_pair
from placevec.config import parse_recipe
from placevec.encoders.pair import PairModel
from placevec.errors import RecipeError, UsageError
from placevec.tasks.run import run
from placevec.tasks.trained_pairs import trained_pair
from placevec.tasks.verbs import VERBS
from tiny_pairs import write_set
from tiny_transformers import write_clip

STEPS = tomllib.loads("""
[[step]]
do = "embed"
name = "images"
encoder = "models/small"
captions = "set"
out = "tables/images.parquet"

[[step]]
do = "embed"
name = "texts"
encoder = "models/small"
captions = "set"
split = "{split}"
reads = "text"
out = "tables/texts.parquet"

[[step]]
do = "index"
table = "tables/images.parquet"
kind = "flat"

[[step]]
do = "search"
table = "tables/images.parquet"
text = "a river"
k = 3
out = "results/search.json"

[[step]]
do = "search"
name = "mixed"
table = "tables/images.parquet"
image = ["set/images/000.png"]
not_text = ["a forest"]
out = "results/mixed.json"
model = "{model}"

[[step]]
do = "classify"
table = "tables/images.parquet"
out = "tables/classes.parquet"
truth = "split"
classes = ["train", "val", "test"]
scores = "results/classes.json"

[[step]]
do = "explain"
image = "tables/images.parquet"
id = "001.png"
text = "a river"
out = "figures/e.png"

[[step]]
do = "evaluate"
name = "retrieval"
what = "retrieval"
model = "models/small"
captions = "set"
draws = 5
duplicates = -1
baselines = ["models/small.untrained"]
out = "results/retrieval.json"

[[step]]
do = "evaluate"
name = "tables"
what = "retrieval"
split = "all"
draws = 5
model = ["tables/images.parquet", "tables/texts.parquet"]
out = "results/tables.json"

[[step]]
do = "evaluate"
name = "evidence"
what = "evidence"
model = "models/small"
captions = "labelled"
split = ""
sides = [2]
count = 2
tile = 16
draws = 5
methods = ["grid", "dense"]
out = "results/evidence.json"
""")["step"]


def recipe(*steps: Mapping[str, Any], model: str = "") -> Any:
    variables = {"model": model, "split": "test"}
    return parse_recipe({"recipe": {"name": "tiny"}, "vars": variables, "step": [dict(step) for step in steps]})


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("home")
    small_pair().save(folder / "models" / "small")
    small_pair(1).save(folder / "models" / "small.untrained")
    write_set(folder / "set")
    entries = json.loads((folder / "set" / "captions.json").read_text())["images"][:12]
    for row, entry in enumerate(entries):
        entry["label"] = ("river", "forest", "harbour", "court")[row % 4]
    (folder / "labelled").mkdir()
    (folder / "labelled" / "captions.json").write_text(json.dumps(entries))
    (folder / "labelled" / "images").symlink_to(folder / "set" / "images")
    return folder


def test_the_whole_story_is_done_once(home: Path) -> None:
    said: list[str] = []
    first = run(recipe(*STEPS), VERBS, folder=home, note=said.append)
    assert len(first.done) == len(STEPS)
    made = {step.name: step for step in first.steps}
    assert made["index"].outputs == ("tables/images.index",)
    assert made["images"].summary["rows"] == 48
    assert made["texts"].summary["rows"] == 8
    assert len(json.loads((home / "results/search.json").read_text())["hits"]) == 3
    assert len(json.loads((home / "results/mixed.json").read_text())["hits"]) == 10
    assert (home / "figures/e.png").exists()
    assert (home / "figures/e.json").exists()
    figures = json.loads((home / "results/retrieval.json").read_text())
    assert figures["about"]["baselines"][0]["name"] == "small.untrained"
    assert json.loads((home / "results/evidence.json").read_text())["records"]
    assert {row["metric"] for row in json.loads((home / "results/classes.json").read_text())} >= {"accuracy"}
    assert any("mean recall" in line for line in said)
    again = run(recipe(*STEPS), VERBS, folder=home)
    assert again.done == ()
    shutil.rmtree(home / "tables" / "images.index")
    assert run(recipe(*STEPS), VERBS, folder=home).done == ("index",)


def test_a_model_of_transformers_in_the_folder_is_part_of_the_key(home: Path) -> None:
    write_clip(home / "clip")
    step = {"do": "embed", "encoder": "{model}", "captions": "set", "limit": 4, "out": "tables/clip.parquet"}
    chosen = recipe(step, model="hf:clip")
    assert run(chosen, VERBS, folder=home).done == ("embed",)
    assert run(chosen, VERBS, folder=home).done == ()
    write_clip(home / "clip", seed=1)
    assert run(chosen, VERBS, folder=home).done == ("embed",)


@pytest.mark.parametrize(
    ("step", "told"),
    [
        ({"do": "index", "table": "set/images/000.png", "sort": 3}, "unknown key 'sort'"),
        ({"do": "search", "table": "set/captions.json", "out": "x.json", "texts": "a"}, "did you mean 'text'"),
        ({"do": "evaluate", "what": "retrieval", "out": "x.json"}, "needs 'model'"),
        ({"do": "evaluate", "out": "x.json", "compared": ["sincos"]}, "needs 'targets'"),
        ({"do": "evaluate", "what": "evidence", "out": "x", "targets": ["a"]}, "unknown key 'targets'"),
        ({"do": "evaluate", "what": "retrieval", "out": "x", "model": "models/small", "protocol": {"k": 3}}, "a name"),
        ({"do": "evaluate", "what": "retrieval", "out": "x", "model": ["models/small"]}, "two tables"),
        ({"do": "explain", "image": "set/images/000.png", "out": "x.png"}, "one query"),
        ({"do": "classify", "table": "set/captions.json", "out": "x", "classes": "a", "classes_file": "b.c"}, "same"),
        ({"do": "classify", "table": "set/captions.json", "out": "x.parquet", "scores": "s.json"}, "give truth"),
    ],
)
def test_what_a_step_cannot_do_is_said_before_anything_is_done(home: Path, step: dict[str, Any], told: str) -> None:
    with pytest.raises(RecipeError, match=told):
        run(recipe(step), VERBS, folder=home)


def test_places_and_files_do_not_mix(home: Path) -> None:
    step = {"do": "embed", "encoder": "models/small", "captions": "set", "ground_m": 5.0, "out": "x.parquet"}
    with pytest.raises(UsageError, match="ground_m is for places"):
        run(recipe(step), VERBS, folder=home)


def test_the_one_trained_pair_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="no pair of image and text towers"):
        trained_pair(tmp_path)
    pair = small_pair()
    trained = PairModel.of(pair.image, pair.text, recipe={"captions": "dataset:ucm"})
    pair.save(tmp_path / "area" / "models" / "untrained")
    pair.image.save(tmp_path / "models" / "image")
    trained.save(tmp_path / "area" / "models" / "ucm")
    trained.save(tmp_path / ".hidden" / "models" / "ucm")
    monkeypatch.chdir(tmp_path)
    assert trained_pair() == Path("area/models/ucm")
    with pytest.raises(UsageError, match="2 models here: area/models/ucm, area/models/untrained"):
        trained_pair(named=False)
    trained.save(tmp_path / "examples" / "retrieval" / "models" / "ucm")
    with pytest.raises(UsageError, match="name one of them"):
        trained_pair()
    (tmp_path / "area" / "models" / "ucm" / "card.json").write_text("{")
    assert trained_pair() == Path("examples/retrieval/models/ucm")


def test_pictures_of_other_bands(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    Image.new("L", (9, 7), 80).save(tmp_path / "photos" / "grey.png")
    step = {"do": "embed", "encoder": "features:pixels", "images": "photos", "bands": [1], "pixels": 4}
    made = run(recipe({**step, "out": "t.parquet"}), VERBS, folder=tmp_path)
    assert made.steps[0].summary["rows"] == 1
