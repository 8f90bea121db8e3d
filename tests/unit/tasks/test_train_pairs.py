"""`train image-text` from files: which images are learned from, what is written, what is refused."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tiny_pairs as tiny
import tiny_transformers
from placevec.cli.main import run as placevec
from placevec.encoders.model import read_card
from placevec.encoders.pair import open_pair
from placevec.errors import CheckpointError, DataError, UsageError
from placevec.sources.captions import CaptionSet, read_captions
from placevec.tasks.sweep import sweep
from placevec.tasks.train import train
from placevec.tasks.train_pairs import choose, of_case, set_identity, with_words

SETTINGS: dict[str, Any] = {
    **tiny.CONFIG,
    "augment": tiny.STILL,
    "captions_per_image": 0,
    "loop": {**tiny.CONFIG["loop"], "epochs": 2},
}
RULE = ("h3:3", 10, None)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tiny.write_set(tmp_path / "set")


def test_a_pair_is_written_with_what_it_saw(folder: Path, tmp_path: Path) -> None:
    told: list[dict[str, float]] = []
    made = train(
        "image-text",
        tmp_path / "m",
        captions=folder,
        config=SETTINGS,
        untrained=tmp_path / "u",
        progress=lambda done, total, figures: told.append(dict(figures)),
    )
    assert (made.objective, made.dims, made.rows + made.validation, made.buffered) == ("image-text", 12, 44, 0)
    pair = open_pair(tmp_path / "m")
    assert pair.space.id == made.space
    assert pair.card.recipe["captions"] == str(folder)
    assert pair.card.recipe["images"] == ""
    assert pair.card.recipe["image"]["kind"] == "vit"
    assert pair.card.seed == 3
    (saw,) = pair.card.saw
    assert (saw.table, saw.column) == (set_identity(read_captions(folder)), "captions")
    assert saw.split == {"rule": "named", "names": ["train", "val"]}
    assert pair.text.card.saw == pair.card.saw
    assert set(told[-1]) == {"epoch", "loss", "mean_recall"}
    assert made.scores["mean_recall"] == pair.card.scores["mean_recall"]
    assert (tmp_path / "m.run" / "checkpoint.safetensors").is_file()
    assert open_pair(tmp_path / "u").card.config.keys() == pair.card.config.keys()
    record = made.to_record()
    json.dumps(record)
    # The same call again is answered from the checkpoint, and the folder is as it was.
    before = (tmp_path / "m" / "card.json").read_text()
    assert train("image-text", tmp_path / "m", captions=folder, config=SETTINGS).space == made.space
    assert (tmp_path / "m" / "card.json").read_text() == before
    with pytest.raises(CheckpointError, match="other settings or data"):
        train("image-text", tmp_path / "m", captions=folder, config={**SETTINGS, "temperature": 0.1})


def test_relevance_is_fitted_where_there_is_enough(folder: Path, tmp_path: Path) -> None:
    made = train("image-text", tmp_path / "m", captions=folder, config=SETTINGS)
    relevance = open_pair(tmp_path / "m").relevance
    said = [note for note in made.notes if "bare cosines" in note]
    assert (relevance is None) == bool(said)


def test_the_test_split_is_never_looked_at(folder: Path, tmp_path: Path) -> None:
    first = train("image-text", tmp_path / "a", captions=folder, config=SETTINGS)
    listed = json.loads(folder.read_text())
    for entry in listed["images"]:
        if entry["split"] == "test":
            entry["sentences"] = [{"raw": "something else altogether"}]
            shutil.copy(folder.parent / "images" / "000.png", folder.parent / "images" / entry["filename"])
    folder.write_text(json.dumps(listed))
    second = train("image-text", tmp_path / "b", captions=folder, config=SETTINGS)
    assert (second.space, second.scores) == (first.space, first.scores)


def test_images_that_cannot_be_read_are_counted(folder: Path, tmp_path: Path) -> None:
    images = folder.parent / "images"
    (images / "001.png").write_bytes(b"")
    (images / "002.png").write_text("no image")
    listed = json.loads(folder.read_text())
    listed["images"][3]["sentences"] = [{"raw": "..."}]
    listed["images"][4]["sentences"].append({"raw": " - "})
    folder.write_text(json.dumps(listed))
    made = train("image-text", tmp_path / "m", captions=folder, config=SETTINGS)
    assert made.rows + made.validation == 48 - 4 - 3
    assert made.skipped == 2
    assert any("2 captions without a word left out, and 1 images without another" in note for note in made.notes)
    assert sum("images left out" in note for note in made.notes) >= 1
    assert made.to_record()["skipped"] == 2
    for path in images.iterdir():
        path.write_bytes(b"")
    with pytest.raises(DataError, match="none of 43 images could be read"):
        train("image-text", tmp_path / "n", captions=folder, config=SETTINGS)


def captioned(splits: list[str], lonlat: np.ndarray | None = None) -> CaptionSet:
    n = len(splits)
    ids = np.array([f"{row}.png" for row in range(n)], dtype=object)
    files = np.array([Path(name) for name in ids], dtype=object)
    return CaptionSet(
        ids, files, tuple((f"text {row}",) for row in range(n)), np.array(splits, dtype=object), None, lonlat
    )


def test_which_images_are_chosen() -> None:
    named = choose(captioned(["train", "val", "test", "", "train", "restval"]), RULE)
    assert (named.rows.tolist(), named.val.tolist()) == ([0, 1, 4], [False, True, False])
    assert named.splits == ("train", "val")
    without = choose(captioned(["train"] * 60 + ["test"] * 40), RULE)
    assert without.rows.tolist() == list(range(60))
    assert 2 <= without.val.sum() <= 12
    assert without.splits == ("train",)
    bare = choose(captioned([""] * 80), RULE)
    assert (len(bare.rows), bare.splits) == (80, ())
    assert 2 <= bare.val.sum() <= 16
    np.testing.assert_array_equal(choose(captioned([""] * 80), RULE).val, bare.val)
    with pytest.raises(UsageError, match="no split 'train'; the splits are test"):
        choose(captioned(["test"] * 9), RULE)


def test_images_with_coordinates_are_held_out_by_blocks() -> None:
    rng = np.random.default_rng(0)
    lonlat = np.stack([rng.uniform(-9, 3, 400), rng.uniform(36, 43, 400)], axis=1)
    found = choose(captioned([""] * 400, lonlat), ("grid:1", 5, 10_000.0))
    block = np.floor(lonlat[found.rows]).astype(int)
    held = {tuple(cell) for cell in block[found.val]}
    assert not held & {tuple(cell) for cell in block[~found.val]}
    assert len(found.rows) < 400  # some lie within 10 km of the held-out blocks
    lonlat[7] = np.nan
    assert len(choose(captioned([""] * 400, lonlat), ("grid:1", 5, 10_000.0)).rows) == 400


def test_captions_without_words() -> None:
    given = replace(captioned(["train"] * 3), captions=(("a", "!"), ("?",), ("b",)))
    found, notes = with_words(given)
    assert (found.captions, found.ids.tolist()) == ((("a",), ("b",)), ["0.png", "2.png"])
    assert notes == ["2 captions without a word left out, and 1 images without another"]
    assert with_words(captioned(["train"]))[1] == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"captions": None}, "give captions, such as dataset:ucm"),
        ({"captions": "nothing.json"}, r"nothing\.json does not exist"),
        ({"config": {"imgae": {}}}, "imgae"),
        ({"model": "nothing"}, "nothing is no folder"),
    ],
)
def test_what_is_refused(folder: Path, tmp_path: Path, words: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        train("image-text", tmp_path / "m", **{"captions": folder, "config": SETTINGS, **words})


def test_a_clip_is_fine_tuned(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    clip = tiny_transformers.write_clip(tmp_path / "clip")
    settings = {"loop": SETTINGS["loop"], "augment": tiny.STILL, "tune": {"image": {"mode": "locked"}}}
    words = {"captions": folder, "model": f"hf:{clip}"}
    made = train("image-text", tmp_path / "m", config=settings, **words)
    pair = open_pair(tmp_path / "m")
    assert (pair.space.id, made.dims) == (made.space, tiny_transformers.DIMS)
    assert pair.card.recipe["model"] == f"hf:{clip}"
    assert "image" not in pair.card.recipe
    assert len(pair.card.parents) == 1
    again = train("image-text", tmp_path / "n", captions=folder, model=tmp_path / "m", config=settings)
    assert open_pair(tmp_path / "n").card.saw == pair.card.saw  # inherited, and the same set again
    assert again.space != made.space
    for wrong, said in (
        ({"dims": 5}, "dims = 5 is for new towers"),
        ({"image": {"width": 8}}, "is for new towers"),
        ({"pixels": 64}, "pixels = 64, and the model reads images of 32 pixels"),
    ):
        with pytest.raises(UsageError, match=said):
            train("image-text", tmp_path / "o", config={**settings, **wrong}, **words)
    with pytest.raises(UsageError, match="untrained pair is made of new towers"):
        train("image-text", tmp_path / "o", config=settings, untrained=tmp_path / "u", **words)


def test_a_sweep_ranks_by_mean_recall(folder: Path, tmp_path: Path) -> None:
    values = {"positives": ["own", "equal"]}
    made = sweep("image-text", tmp_path / "m", values, captions=str(folder), config=SETTINGS)
    assert made.rank_by == "mean_recall"
    assert [run.figures["mean_recall"] for run in made.runs] == sorted(
        (run.figures["mean_recall"] for run in made.runs), reverse=True
    )
    assert all(run.parameters > 1000 for run in made.runs)
    assert read_card(tmp_path / "m").recipe["sweep"]["rank_by"] == "mean_recall"
    assert open_pair(tmp_path / "m").space.id == made.space
    notes: list[str] = []
    sweep("image-text", tmp_path / "m", values, captions=str(folder), config=SETTINGS, note=notes.append)
    assert all("complete already" in note for note in notes)


def test_the_command_line(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    quick = ["--epochs", "1", "--batch-size", "8", "--accelerator", "cpu", "--format", "json", "--pixels", "16"]
    small = ["--config", "image.width=4", "--config", "text.layers=0", "--dims", "6", "--quiet"]
    (folder.parent / "images" / "001.png").write_bytes(b"")
    words = ["train", "image-text", "--captions", str(folder), *quick, *small, "-o", str(tmp_path / "m")]
    assert placevec(words) == 0
    out, err = capsys.readouterr()
    record = json.loads(out)
    assert (record["objective"], record["dims"], record["skipped"]) == ("image-text", 6, 1)
    assert "1 images left out" in err
    card = read_card(tmp_path / "m")
    assert (card.recipe["pixels"], card.recipe["image"]["pixels"], card.recipe["image"]["width"]) == (16, 16, 4)
    # The captions say what is learned, too.
    assert placevec(["train", "--captions", str(folder), *quick, *small, "-o", str(tmp_path / "m")]) == 0
    assert json.loads(capsys.readouterr().out) == record
    for wrong, said in (
        (["image-text", "-o", "x"], "give captions, such as dataset:ucm"),
        (["image", "--captions", "x", "-o", "x"], "--captions is for --objective image-text"),
        (["image-text", "--objective", "image", "-o", "x"], "contradict each other"),
        (["image-text", "--captions", "x", "--table", "t", "-o", "x"], "--table is for --objective location"),
        (["--captions", "x", "--config", "image.widht=3", "-o", "x"], "did you mean 'image.width'"),
        (["--captions", "x", "--config", "image.dims=3", "-o", "x"], "image.dims = 3 cannot be set: it is always 128"),
    ):
        assert placevec(["train", *wrong]) == 2
        assert said in capsys.readouterr().err


def test_a_recipe(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = tmp_path / "pair.toml"
    recipe.write_text(
        f"""[recipe]
name = "pair"
seed = 4

[[step]]
do = "train"
objective = "image-text"
captions = "{folder.as_posix()}"
out = "models/pair"
pixels = 16

[step.config]
dims = 6
image = {{ width = 4 }}
text = {{ layers = 0 }}
loop = {{ epochs = 1, batch_size = 8, accelerator = "cpu" }}
"""
    )
    assert placevec(["train", str(recipe), "--quiet"]) == 0, capsys.readouterr().err
    card = read_card(tmp_path / "models" / "pair")
    assert (card.kind, card.seed, card.recipe["dims"]) == ("pair", 4, 6)


@pytest.mark.real
def test_on_the_real_photographs(data_dir: Path, tmp_path: Path) -> None:
    whole = read_captions(data_dir / "ucm" / "captions.json")
    assert whole.split_counts() == {"train": 1680, "test": 210, "val": 210}
    some = whole.take(np.arange(0, len(whole), 9))
    settings = {"pixels": 24, "image": {"width": 6}, "text": {"layers": 0}, "loop": {"epochs": 4, "accelerator": "cpu"}}
    made = train("image-text", tmp_path / "m", captions=some, config=settings)
    assert made.rows == some.split_counts()["train"]
    assert made.buffered == 0
    assert made.validation == some.split_counts()["val"]
    run = (tmp_path / "m.run" / "validation.csv").read_text().splitlines()
    losses = [float(line.split(",")[run[0].split(",").index("loss")]) for line in run[1:]]
    assert losses[-1] < losses[0]


def test_one_set_of_settings_for_new_towers_and_for_a_model() -> None:
    both = {
        "captions_per_image": 2,
        "loop": {"batch_size": 16},
        "new": {"dims": 12, "loop": {"epochs": 60}},
        "further": {"loop": {"epochs": 3, "batch_size": 8}},
    }
    new, further = of_case(both, further=False), of_case(both, further=True)
    assert new == {"captions_per_image": 2, "loop": {"batch_size": 16, "epochs": 60}, "dims": 12}
    assert further == {"captions_per_image": 2, "loop": {"batch_size": 8, "epochs": 3}}
    assert of_case({"dims": 3}, further=True) == {"dims": 3}
    with pytest.raises(UsageError, match=r"further = 3: it is a table of settings"):
        of_case({"further": 3}, further=False)
