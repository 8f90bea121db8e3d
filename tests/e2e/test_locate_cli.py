"""`placevec locate` as processes: a pipe that is closed early, an interruption, and its vectors as a table."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("hdbscan")
pytest.importorskip("PIL")

from PIL import Image

import tiny_locator as tiny
from placevec.cli.main import run
from placevec.encoders.locator import Locator
from placevec.table import open_table

COMMAND = [sys.executable, "-c", "from placevec.cli.main import main; main()", "locate"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A locator and 300 photos."""
    folder = tmp_path_factory.mktemp("made")
    tiny.tiny_locator(steps=20).save(folder / "locator")
    (folder / "photos").mkdir()
    held = tiny.country(300, seed=3)
    for row, image in enumerate(held.images):
        Image.fromarray(image.transpose(1, 2, 0)).save(folder / "photos" / f"{row:03d}.png")
    return folder


def started(made: Path, *words: str) -> subprocess.Popen[str]:
    command = [*COMMAND, str(made / "photos"), "--model", str(made / "locator"), *words]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)


def test_guesses_come_one_by_one_and_the_reader_may_go(made: Path) -> None:
    with started(made, "--batch-size", "4", "-q") as process:
        assert process.stdout is not None
        first = json.loads(process.stdout.readline())
        assert process.poll() is None, "the first guess comes before the last one is made"
        process.stdout.close()
        assert process.stderr is not None
        errors = process.stderr.read()
        assert process.wait(timeout=60) in (0, 1)  # click ends so when a pipe is closed
    assert first["id"] == "000.png"
    assert "Traceback" not in errors
    assert "Error" not in errors


def test_an_interruption_leaves_no_half_file(made: Path, tmp_path: Path) -> None:
    out = tmp_path / "guesses.geojson"
    with started(made, "-o", str(out), "--batch-size", "4", "-q") as process:
        limit = time.monotonic() + 60
        while not any(tmp_path.iterdir()):  # the file that is being written
            assert time.monotonic() < limit
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted" in errors
    assert "Traceback" not in errors
    assert not list(tmp_path.iterdir())


def test_photos_become_places_with_vectors(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The locator is an encoder: what it sees of photos is a table, in the Space of its gallery."""
    out = tmp_path / "photos.parquet"
    photos = str(made / "photos")
    assert run(["embed", "-e", str(made / "locator"), "--images", photos, "--limit", "20", "-o", str(out), "-q"]) == 0
    capsys.readouterr()
    table, gallery = open_table(out), open_table(made / "locator" / "gallery.parquet")
    assert table.meta.space == gallery.meta.space
    rows = table.read()
    held = tiny.country(300, seed=3)
    wanted = Locator.load(made / "locator").encode({"image": held.images[:20]})
    order = np.argsort(rows.ids)
    np.testing.assert_allclose(rows.vectors()[order], wanted, atol=1e-5)
    found = run(["search", str(made / "locator" / "gallery.parquet"), "--like", "train-0003", "-k", "3"])
    assert found == 0
    hits = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(hits) == 3
    assert run(["info", str(made / "locator")]) == 0
    assert "locator" in capsys.readouterr().out
