"""`placevec explain` on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from evidence_fakes import painted, pair
from placevec.cli.main import run


@pytest.fixture
def picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    from placevec.encoders import pair as pairs

    monkeypatch.setattr(pairs, "open_pair", lambda name, **_: pair())
    Image.fromarray(painted(64, blue=(40, 8, 16)).transpose(1, 2, 0)).save(tmp_path / "p.png")
    return tmp_path / "p.png"


def test_regions_are_records_and_the_files_are_named(picture: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = picture.with_name("evidence.png")
    command = ["explain", str(picture), "--text", "blue", "--model", "m", "--pool", "0.05", "-o", str(out)]
    assert run(command) == 0
    told = capsys.readouterr()
    records = [json.loads(line) for line in told.out.splitlines()]
    assert records[0]["rank"] == 1
    assert {"x", "y", "width", "height", "score", "share"} <= set(records[0])
    assert "lon" not in records[0]
    assert str(out) in told.err
    assert "the whole image: cosine" in told.err
    assert out.exists()
    assert json.loads(out.with_suffix(".json").read_text())["method"]["pool"] == 0.05


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--text", "blue"], "--model"),
        (["--model", "m"], "one query"),
        (["--text", "blue", "--model", "m", "--bands", "x"], "--bands x"),
        (["--text", "blue", "--model", "m", "--stretch", "odd"], "stretch is 'odd'"),
        (["--text", "blue", "--model", "m", "-o", "x.jpg"], "ends in .png"),
        (["--text", "blue", "--model", "m", "--id", "p0"], "no table"),
    ],
)
def test_mistakes_are_one_line_and_exit_2(
    picture: Path, more: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["explain", str(picture), *more]) == 2
    told = capsys.readouterr().err
    assert words in told
    assert "Traceback" not in told


def test_methods_and_selection_by_options(picture: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["explain", str(picture), "--text", "blue", "--model", "m", "--method", "grid", "--cells", "8"]
    assert run([*command, "--top", "2", "--most", "2"]) == 0
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(records) == 2
    assert {(record["width"], record["height"]) for record in records} == {(8, 8)}
    np.testing.assert_allclose([records[0]["x"] % 8, records[0]["y"] % 8], 0)


def test_an_unreadable_image_is_one_line(picture: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (picture.parent / "bad.jpg").write_text("not an image")
    assert run(["explain", str(picture.parent / "bad.jpg"), "--text", "blue", "--model", "m"]) == 1
    assert "bad.jpg" in capsys.readouterr().err
