"""Image-text retrieval as a user meets it: trained, searched, explained and measured by the command line."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("faiss")

import rsicd_form
from placevec.cli.main import run
from placevec.encoders.pair import open_pair
from placevec.table import open_table

RECIPE = Path(__file__).parents[2] / "examples" / "retrieval" / "rsicd.toml"
ENV = {**os.environ, "PYTHONWARNINGS": "ignore"}  # as many threads as here: the weights depend on it
TRAIN = [
    *("train", "image-text", "--captions", "set", "--pixels", "32", "--dims", "32", "--epochs", "30", "-o", "models/m"),
    *("--batch-size", "36", "--learning-rate", "5e-3", "--accelerator", "cpu", "--quiet"),
    *("--config", "image.width=12", "--config", "text.width=32", "--config", "text.layers=0"),
    *("--config", "augment.min_scale=0.8", "--config", "loop.ema=0.9", "--config", "loop.checkpoint_every=5"),
]


def start(folder: Path, words: list[str]) -> subprocess.Popen[str]:
    # A shell without job control starts what is in the background with SIGINT ignored; a terminal does not.
    code = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    code += "from placevec.cli.main import main; main()"
    return subprocess.Popen(
        [sys.executable, "-c", code, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=ENV,
        cwd=folder,
    )


def stopped(folder: Path, words: list[str], how: signal.Signals) -> tuple[int, str]:
    """Start a training and stop it when it is well under way; returns the exit code and what it said."""
    log = folder / "models" / "m.run" / "train.csv"
    before = log.stat().st_size if log.exists() else 0
    process = start(folder, words)
    deadline = time.monotonic() + 90
    while process.poll() is None and not (log.exists() and log.stat().st_size > before + 150):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(how)
    _, error = process.communicate(timeout=60)
    return process.returncode, error


class Told:
    """Runs commands in a folder; answers with their records and what they said."""

    def __init__(self, capfd: pytest.CaptureFixture[str]) -> None:
        self.capfd = capfd

    def __call__(self, *words: str) -> tuple[list[dict[str, Any]], str]:
        self.capfd.readouterr()
        code = run(list(words))
        out, err = self.capfd.readouterr()
        assert code == 0, err
        return [json.loads(line) for line in out.splitlines() if line.startswith("{")], err


@pytest.fixture
def told(capfd: pytest.CaptureFixture[str]) -> Told:
    return Told(capfd)


@pytest.mark.slow
def test_from_captions_to_evidence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: Told) -> None:
    rsicd_form.write(tmp_path / "set", labels=True)
    monkeypatch.chdir(tmp_path)

    # Killed, then interrupted, and run to the end: as if nothing had happened.
    code, _ = stopped(tmp_path, TRAIN, signal.SIGKILL)
    assert code == -signal.SIGKILL
    assert not Path("models/m").exists()
    code, error = stopped(tmp_path, TRAIN, signal.SIGINT)
    assert (code, len(error.strip().splitlines())) == (130, 1)
    assert "Traceback" not in error
    (made,), said = told(*TRAIN)
    assert (made["rows"], made["validation"], made["buffered"]) == (72, 24, 0)
    assert "bare cosines" not in said
    undisturbed = [word.replace("models/m", "models/again") for word in TRAIN]
    assert told(*undisturbed)[0][0]["space"] == made["space"]
    shutil.rmtree("models/again")

    (images,), _ = told("embed", "-e", "models/m", "--captions", "set", "-o", "images.parquet", "-q")
    assert (images["rows"], images["skipped"], images["space"]) == (120, 0, made["space"])
    words = ("embed", "-e", "models/m", "--captions", "set", "--split", "test", "--reads", "text")
    (texts,), _ = told(*words, "-o", "captions.parquet", "-q")
    assert texts["rows"] == 72
    told("index", "images.parquet", "-q")
    assert told("index", "images.parquet", "--check")[0]

    # In words: what is asked for stands first, with a relevance; what no image shows is told so.
    hits, said = told("search", "images.parquet", "--text", "two red houses on grass", "-k", "5")
    assert {hit["label"] for hit in hits[:3]} == {"house"}
    assert [hit["rank"] for hit in hits] == [1, 2, 3, 4, 5]
    assert all(hit["match"] and 0.3 < hit["relevance"] <= 1 for hit in hits[:3])
    assert "no good match" not in said
    hits, said = told("search", "images.parquet", "--text", "an avocado armchair", "-k", "3")
    assert "no good match" in said
    assert len(hits) == 3
    assert not any(hit["match"] for hit in hits)

    # By a picture; by a picture and words; without what is not wanted.
    pond = "set/images/test/pond_1.jpg"
    hits, _ = told("search", "images.parquet", "--image", pond, "-k", "4")
    assert hits[0]["id"] == "test/pond_1.jpg"
    assert {hit["label"] for hit in hits} == {"pond"}
    mixed, _ = told("search", "images.parquet", "--image", pond, "--text", "one red house", "-k", "120")
    ranks = {label: [hit["rank"] for hit in mixed if hit["label"] == label] for label in rsicd_form.KINDS}
    means = {label: sum(own) / len(own) for label, own in ranks.items()}
    assert set(sorted(means, key=means.__getitem__)[:2]) == {"pond", "house"}
    only, _ = told("search", "images.parquet", "--text", "ponds", "--where", "split == 'test'", "-k", "3")
    assert {hit["split"] for hit in only} == {"test"}

    # Why: an overlay, its figures, and regions of which the best lies on a house.
    regions, said = told(
        *("explain", "images.parquet", "--id", "test/house_0.jpg", "--text", "red house", "-o", "evidence.png")
    )
    assert Path("evidence.png").read_bytes().startswith(b"\x89PNG")
    found = json.loads(Path("evidence.json").read_text())
    assert found["query"] == {"text": "red house"}
    assert found["regions"][0]["rank"] == 1
    assert regions[0]["score"] > 0
    assert _red(Path("set/images/test/house_0.jpg"), regions[0]) > 0.25
    assert "the whole image" in said

    # Classes in words, without training on them; found parted at words that the captions have ("storage tanks").
    scores, _ = told(
        *("classify", "images.parquet", "--truth", "label", "--where", "split == 'test'", "-o", "classes.parquet")
    )
    accuracy = {row["features"]: row["mean"] for row in scores if row["metric"] == "accuracy"}
    assert accuracy["zero-shot"] > 2 * accuracy["chance"]
    assert "predicted" in open_table("classes.parquet").read().data.schema.names

    # Measured, from the model and from its tables alike.
    rows, said = told("evaluate", "retrieval", "models/m", "--on", "set", "-q", "--draws", "50", "-o", "retrieval.json")
    recall = next(row for row in rows if row["measure"] == "mean recall" and row["definition"] == "official")
    assert recall["value"] > 2 * recall["chance"]
    assert recall["value"] <= recall["ceiling"]
    assert all(Path(f"retrieval.{ending}").exists() for ending in ("json", "md", "html"))
    told("embed", "-e", "models/m", "--captions", "set", "--split", "test", "-o", "test.parquet", "-q")
    again, _ = told("evaluate", "retrieval", "test.parquet", "captions.parquet", "-q", "--draws", "50")
    assert [row["value"] for row in again] == pytest.approx([row["value"] for row in rows], nan_ok=True)
    words = ("evaluate", "evidence", "set", "--model", "models/m", "--side", "2", "--count", "8", "--tile", "48")
    rows, _ = told(*words, "--method", "dense", "--method", "grid", "-q", "-o", "evidence-scores.json")
    dense = next(row for row in rows if row["method"] == "dense")
    assert dense["pointing"] > dense["chance"]
    assert json.loads(Path("evidence-scores.json").read_text())["records"]
    assert [path.name for path in tmp_path.rglob("*") if ".part-" in path.name or path.name.endswith(".job")] == []


def _red(path: Path, box: dict[str, Any]) -> float:
    """The share of red pixels in a box."""
    from placevec.sources.images import read_image

    x, y, width, height = (int(box[name]) for name in ("x", "y", "width", "height"))
    red, green, blue = read_image(path)[:, y : y + height, x : x + width].astype(int)
    return float(((red > green + 60) & (red > blue + 60)).mean())


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The recipe beside a set in the form of RSICD that has no labels, which the command runs in."""
    rsicd_form.write(tmp_path / "work" / "rsicd", counts={"train": 4, "valid": 3, "test": 2}, size=32)
    shutil.copy(RECIPE, tmp_path / "work")
    monkeypatch.chdir(tmp_path)
    return Path("work/rsicd.toml")


QUICK = ["--smoke", "-q", "--set", "vars.shown=test/house_0.jpg", "--set", "vars.query=two red houses"]
STEPS = ["towers", "images", "captions", "index", "retrieval", "augmented-captions", "search", "search-nothing"]


def check(recipe: Path, told: Told, *words: str) -> dict[str, Any]:
    """Run the recipe twice; returns the report of its evaluation."""
    rows, _ = told("run", str(recipe), *QUICK, *words)
    assert [row["step"] for row in rows] == [*STEPS, "explain"]
    assert {row["state"] for row in rows[1:]} == {"done"}
    folder = recipe.parent
    table = open_table(folder / "tables/images.parquet")
    pair = open_pair(folder / "models/rsicd")
    assert (table.num_rows, table.space.id) == (54, pair.space.id)
    assert open_table(folder / "tables/captions.parquet").num_rows == 36
    augmented = json.loads((folder / "results/augmented-captions.json").read_text())
    assert augmented["about"]["protocol"] == "augmented-captions"
    assert len(json.loads((folder / "results/search.json").read_text())["hits"]) == 8
    assert (folder / "figures/evidence.png").is_file()
    again, _ = told("run", str(recipe), *QUICK, *words)
    assert {row["state"] for row in again} == {"skipped"}
    report: dict[str, Any] = json.loads((folder / "results/retrieval.json").read_text())
    return report


@pytest.mark.slow
def test_the_recipe_from_scratch(recipe: Path, told: Told) -> None:
    told("train", str(recipe), "--smoke", "-q")
    assert not (recipe.parent / "tables").exists()
    report = check(recipe, told)
    assert report["about"]["baselines"] == []
    card = open_pair("work/models/rsicd").card
    assert card.recipe["image"]["kind"] == "small-cnn"
    assert card.recipe["loop"]["epochs"] == 4


@pytest.mark.slow
def test_the_recipe_with_a_clip_of_transformers(recipe: Path, told: Told) -> None:
    pytest.importorskip("transformers")
    from tiny_transformers import write_clip

    write_clip(Path("clip"))
    # As one line of `train`: a folder is named from where the command is given, not from where the recipe lies.
    told("train", str(recipe), "--smoke", "-q", "--captions", "work/rsicd", "--model", "hf:clip")
    card = open_pair("work/models/rsicd").card
    assert card.recipe["tune"]["image"]["mode"] == "lora"
    assert "image" not in card.recipe
    assert card.recipe["loop"]["epochs"] == 2
    report = check(recipe, told, "--set", f"vars.model=hf:{Path('clip').absolute()}")
    (baseline,) = report["about"]["baselines"]
    assert baseline["name"] == f"hf:{Path('clip').absolute()}"


@pytest.mark.slow
def test_the_recipe_with_a_checkpoint_of_open_clip(recipe: Path, told: Told) -> None:
    pytest.importorskip("transformers")
    import torch

    from open_clip_oracle import checkpoint
    from tiny_transformers import bpe_vocabulary, write_bpe

    state = checkpoint(vocabulary=len(bpe_vocabulary()), layers=(2, 2))
    torch.save({"epoch": 1, "state_dict": {f"module.{name}": value for name, value in state.items()}}, "RemoteCLIP.pt")
    write_bpe(Path("bpe"))
    told("import", "RemoteCLIP.pt", "--as", "open-clip", "--tokenizer", "bpe", "-o", "work/models/remoteclip")
    report = check(recipe, told, "--set", "vars.model=models/remoteclip")
    assert [one["name"] for one in report["about"]["baselines"]] == ["remoteclip"]
    assert open_pair("work/models/rsicd").space.id != open_pair("work/models/remoteclip").space.id
