"""`placevec embed` of images and captions, and `placevec evaluate retrieval` without a model, on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pair_fakes import small_pair
from placevec.cli.main import run
from placevec.encoders.pair import PairModel
from placevec.table import read_table
from tiny_pairs import write_set


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    pair = small_pair()
    PairModel.of(pair.image, pair.text, recipe={"captions": "set/captions.json"}).save(tmp_path / "models" / "small")
    write_set(tmp_path / "set")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_images_captions_and_their_figures(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    embed = ["embed", "-e", "models/small", "--captions", "set", "--split", "test", "-q"]
    assert run([*embed, "-o", "images.parquet"]) == 0
    assert run([*embed, "--reads", "text", "-o", "texts.parquet"]) == 0
    assert run(["embed", "-e", "models/small", "--images", "set/images", "--limit", "3", "-o", "f.parquet", "-q"]) == 0
    rows = [json.loads(line)["rows"] for line in capsys.readouterr().out.splitlines()]
    assert rows == [4, 8, 3]
    assert list(read_table("f.parquet").ids) == ["000.png", "001.png", "002.png"]
    assert run(["evaluate", "retrieval", "images.parquet", "texts.parquet", "--draws", "5", "-q"]) == 0
    by_tables = capsys.readouterr().out
    assert run(["evaluate", "retrieval", "--draws", "5", "-q"]) == 0
    told = capsys.readouterr()
    assert "the model models/small" in told.err
    assert told.out == by_tables


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--captions", "set", "--raster", "x.tif"], "--raster is for places"),
        (["--captions", "set", "--area", "x"], "area is for places"),
        (["--captions", "set", "--on", "grid"], "--on grid takes no --captions"),
        (["--captions", "set", "--split", "tset"], "there is no split 'tset'"),
        (["--captions", "none.json"], "does not exist"),
        (["--images", "none"], "does not exist"),
        (["--images", "models"], "holds no image"),
        (["--images", "set/images", "--reads", "text"], "give captions"),
        (["--images", "set/images", "--bands", "x"], "--bands x"),
        (["--images", "set/images", "--stretch", "odd"], "stretch is 'odd'"),
        (["--split", "test"], "split is for images and captions"),
    ],
)
def test_mistakes_are_one_line_and_exit_2(
    home: Path, more: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["embed", "-e", "models/small", *more, "-o", "t.parquet", "-q"]) == 2
    said = capsys.readouterr().err
    assert told in said
    assert "Traceback" not in said
    assert not (home / "t.parquet").exists()


def test_evidence_is_a_command_of_evaluate(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["evaluate", "evidence", "set", "--model", "models/small", "-q"]) == 2
    assert "no labels" in capsys.readouterr().err
