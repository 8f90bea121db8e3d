"""Bad input to image-text retrieval, by the command line: one clear line each, or a skipped row that is counted."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("faiss")
pytest.importorskip("PIL")

from PIL import Image

import rsicd_form
from placevec import files
from placevec.cli.main import run
from placevec.sources.captions import read_captions
from placevec.table import open_table, read_skipped, write_table
from placevec.tasks.embed import embed
from placevec.tasks.encoders import build_encoder
from placevec.tasks.train import train

Refused = Callable[..., str]
SMALL: dict[str, Any] = {
    "dims": 8,
    "pixels": 16,
    "image": {"kind": "small-cnn", "width": 4, "stages": 2},
    "text": {"kind": "words", "width": 8, "heads": 2, "layers": 0, "context": 12},
    "loop": {"epochs": 1, "batch_size": 12, "accelerator": "cpu"},
}
CONFIG = " ".join(
    f"--config {one}"
    for one in ("dims=8", "image.width=4", "image.stages=2", "text.width=8", "text.heads=2", "text.layers=0")
)
TRAIN = f"train image-text --pixels 16 --epochs 1 --batch-size 12 --accelerator cpu {CONFIG} -q"
PHOTO = "set/images/train/pond_0.jpg"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A captioned set, two pairs of towers that saw it, tables of one of them, an index, and bad files."""
    folder = tmp_path_factory.mktemp("made")
    rsicd_form.write(folder / "set", counts={"train": 3, "valid": 2, "test": 1}, size=24, kinds=["pond", "house"])
    for seed, name in enumerate(("first", "second")):
        settings = {**SMALL, "loop": {**SMALL["loop"], "seed": seed}}
        train("image-text", folder / name, captions=folder / "set", config=settings)
        shutil.rmtree(folder / f"{name}.run")
    # Not in `models` beside the tables, where they would be found by themselves.
    (folder / "pairs").mkdir()
    given = read_captions(folder / "set")
    for name in ("first", "second"):
        (folder / name).rename(folder / "pairs" / name)
    first, second = (str(folder / "pairs" / name) for name in ("first", "second"))
    embed(given.images(16), build_encoder(first), folder / "t.parquet")
    embed(given.images(16), build_encoder(second), folder / "other.parquet")
    assert run(["index", str(folder / "t.parquet"), "-q", "--format", "json"]) == 0
    for name, content in bad_files((folder / PHOTO).read_bytes()).items():
        (folder / name).write_bytes(content)
    return folder


def bad_files(photo: bytes) -> dict[str, bytes]:
    return {
        "bomb.png": png_head(100_000, 100_000),
        "zero.jpg": b"",
        "text.jpg": b"this is no picture, whatever its name says\n" * 20,
        "cut.jpg": photo[: len(photo) // 2],
    }


def png_head(width: int, height: int) -> bytes:
    """A PNG of one colour, as far as its header says: 100,000 x 100,000 pixels in some hundred bytes."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"\0" * 4096)) + chunk(b"IEND", b"")


@pytest.fixture
def work(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of that folder, which the commands run in."""
    shutil.copytree(made, tmp_path / "work", copy_function=shutil.copy2)
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"


@pytest.fixture
def refused(work: Path, capfd: pytest.CaptureFixture[str]) -> Refused:
    """Runs a command that must fail with one line, and leave every file as it was; returns the line."""

    def check(words: str | list[str], *said: str, code: int = 1) -> str:
        before = contents(work)
        capfd.readouterr()
        assert run(words.split() if isinstance(words, str) else words) == code
        out, err = capfd.readouterr()
        assert out == ""
        assert err.count("\n") == 1, err
        assert err.startswith("placevec: ")
        for word in said:
            assert word in err, f"{word!r} is not in {err!r}"
        assert contents(work) == before, "something was left behind"
        return err

    return check


@pytest.fixture
def answer(work: Path, capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[list[dict[str, Any]], str]]:
    """Runs a command that must succeed; returns its records and what it said."""

    def check(words: str | list[str]) -> tuple[list[dict[str, Any]], str]:
        capfd.readouterr()
        code = run(words.split() if isinstance(words, str) else words)
        out, err = capfd.readouterr()
        assert code == 0, err
        assert "Traceback" not in err
        return [json.loads(line) for line in out.splitlines()], err

    return check


def contents(folder: Path) -> dict[str, bytes]:
    """Every file but locks, which stay, so that nobody locks a file that another one removes."""
    found = [path for path in folder.rglob("*") if path.is_file() and not path.name.endswith(".lock")]
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


BAD = {
    "bomb.png": ("100,000 x 100,000 pixels",),
    "zero.jpg": ("empty",),
    "text.jpg": ("no JPEG, PNG, WebP, BMP or TIFF",),
    "cut.jpg": ("damaged or cut short",),
    "nowhere.jpg": ("does not exist",),
    "set": ("folder",),
}


@pytest.mark.parametrize("name", BAD)
def test_an_image_that_cannot_be_read(refused: Refused, name: str) -> None:
    refused(f"explain {name} --text pond --model pairs/first -o out.png", name, *BAD[name])
    refused(f"explain {PHOTO} --like-image {name} --model pairs/first -o out.png", name, *BAD[name])
    refused(f"search t.parquet --image {name} --model pairs/first", name, *BAD[name])


def test_images_of_a_set_that_cannot_be_read_are_skipped_and_counted(work: Path, answer: Any) -> None:
    """A set of twelve, of which four cannot be read, and one has 16 bits."""
    where = work / "set/images"
    bad = {"train/pond_0.jpg": "bomb.png", "train/house_0.jpg": "zero.jpg"}
    bad |= {"val/pond_0.jpg": "text.jpg", "test/house_0.jpg": "cut.jpg"}
    for name, source in bad.items():
        shutil.copy(work / source, where / name)
    (where / "train/pond_1.jpg").unlink()
    deep = np.linspace(0, 60_000, 24 * 24).astype(np.uint16).reshape(24, 24)
    Image.fromarray(deep).save(where / "train/pond_1.jpg", format="PNG")
    records, said = answer(f"{TRAIN} --captions set -o out")
    assert (records[0]["rows"], records[0]["validation"], records[0]["skipped"]) == (4, 3, 3)
    for reason in ("empty", "no JPEG, PNG", "100,000 x 100,000"):
        assert reason in said
    records, said = answer("embed -e pairs/first --captions set -o images.parquet -q")
    assert (records[0]["places"], records[0]["rows"], records[0]["skipped"]) == (12, 8, 4)
    assert {row.id for row in read_skipped("images.parquet")} == set(bad)
    assert open_table("images.parquet").num_rows == 8
    _, said = answer("evaluate retrieval pairs/first --on set -q --draws 10")
    assert "1 image" in said
    assert "cut short" in said


def test_no_image_can_be_read(work: Path, refused: Refused) -> None:
    for path in (work / "set/images").rglob("*.jpg"):
        path.write_bytes(b"")
    refused(f"{TRAIN} --captions set -o out", "none of 10 images could be read", "empty")
    refused("evaluate retrieval pairs/first --on set -q", "empty", "can be read")


def test_no_images_at_all(work: Path, refused: Refused) -> None:
    (work / "none").mkdir()
    refused("embed -e pairs/first --images none -o out.parquet -q", "none holds no image", ".jpg", code=2)
    refused("embed -e pairs/first --images nowhere -o out.parquet -q", "nowhere", code=2)
    shutil.rmtree(work / "set/images")
    for command in (f"{TRAIN} -o out", "embed -e pairs/first -o out.parquet -q", "evaluate retrieval pairs/first -q"):
        option = "--on" if command.startswith("evaluate") else "--captions"
        refused(f"{command} {option} set", "12 images whose file is absent", "give the folder of the images")
        refused(f"{command} {option} set --images nowhere", "nowhere is no folder", code=2)


def captioned(work: Path, *captions: object) -> None:
    """Write c.json: the photos with these captions, one a photo; the last two are for validation."""
    photos = sorted(path.relative_to(work).as_posix() for path in (work / "set/images").rglob("*.jpg"))
    rows = list(zip(photos, captions, strict=False))
    entries = [{"file": photo, "captions": [text], "split": "train"} for photo, text in rows]
    for entry in entries[-2:]:
        entry["split"] = "val"
    (work / "c.json").write_text(json.dumps(entries))


def test_captions_that_say_nothing_are_left_out_and_counted(work: Path, answer: Any, refused: Refused) -> None:
    captioned(work, "", "  \t ", None, "...", "a pond .", "a house .", "a house " * 60, "a pond .", "a house .")
    records, said = answer(f"{TRAIN} --captions c.json -o out")
    assert (records[0]["rows"], records[0]["validation"]) == (3, 2)
    assert "3 empty captions" in said
    assert "1 captions without a word" in said
    records, said = answer("embed -e pairs/first --captions c.json --reads text -o captions.parquet -q")
    # Of the six, the one without a word is a row that is skipped.
    assert (records[0]["rows"], records[0]["skipped"]) == (5, 1)
    assert "3 empty captions" in said
    assert "1 of 5 texts are longer" in said
    captioned(work, "", " ", None)
    refused(f"{TRAIN} --captions c.json -o out2", "c.json", "3 empty captions")


@pytest.mark.parametrize(
    ("name", "content", "said", "code"),
    [
        ("c.json", b"", ("the file is empty",), 1),
        ("c.json", b'{"images": [', ("no JSON",), 1),
        ("c.json", b'{"image": []}', ("images",), 1),
        ("c.json", b"[]", ("no image with a caption",), 1),
        ("c.json", '{"images": [{"filename": "é"}]}'.encode("latin-1"), ("no JSON",), 1),
        ("c.json", '{"images": []}'.encode("utf-16"), ("no JSON",), 1),
        ("c.csv", b"name,words\na.jpg,a pond\n", ("no column of files", "name, words"), 1),
        ("c.csv", b"filename,words\na.jpg,a pond\n", ("no column of captions",), 1),
        ("c.csv", "filename,caption\na.jpg,un étang\n".encode("latin-1"), ("c.csv",), 1),
        ("c.csv", bytes(range(256)), ("c.csv",), 1),
        ("c.jsonl", b"no\nobject\n", ("no line of it is a JSON object",), 1),
        ("c.jsonl", b"\xff\xfe\x00", ("UTF-8",), 1),
        ("c.xlsx", b"PK\x03\x04", (".json",), 2),
    ],
)
def test_a_caption_file_that_is_none(
    work: Path, refused: Refused, name: str, content: bytes, said: tuple[str, ...], code: int
) -> None:
    (work / name).write_bytes(content)
    refused(f"{TRAIN} --captions {name} -o out", name, *said, code=code)
    refused(f"evaluate retrieval pairs/first --on {name} -q", name, *said, code=code)


def test_captions_that_are_not_there(work: Path, refused: Refused) -> None:
    (work / "none").mkdir()
    for where in ("nowhere", "none", "dataset:nowhere"):
        refused(f"{TRAIN} --captions {where} -o out", where.split(":")[-1], code=2)
        refused(f"embed -e pairs/first --captions {where} -o out.parquet -q", where.split(":")[-1], code=2)


def test_a_split_that_is_none(refused: Refused) -> None:
    known = ("'tset'", "train (6)", "val (4)", "test (2)")
    refused("evaluate retrieval pairs/first --on set --split tset -q", *known, code=2)
    refused("embed -e pairs/first --captions set --split tset -o out.parquet -q", *known, code=2)
    refused("evaluate evidence set --model pairs/first --split tset -q", "label", code=2)


@pytest.mark.parametrize("text", ["", "  \t", "...", "?!"])
def test_a_text_that_says_nothing(refused: Refused, text: str) -> None:
    refused(["search", "t.parquet", "--text", text, "--model", "pairs/first"], "no word", code=2)
    refused(["explain", PHOTO, "--text", text, "--model", "pairs/first", "-o", "out.png"], "no word", code=2)


def test_a_text_that_is_too_long_is_cut_and_said_so(answer: Any) -> None:
    long = "two houses beside a pond " * 40
    hits, said = answer(["search", "t.parquet", "--text", long, "--model", "pairs/first", "-k", "2"])
    assert len(hits) == 2
    assert "longer than the model reads" in said
    _, said = answer(["explain", PHOTO, "--text", long, "--model", "pairs/first", "-o", "out.png"])
    assert "longer" in said


def test_a_query_of_another_space(refused: Refused) -> None:
    for command in (
        "search t.parquet --text pond --model pairs/second",
        f"search t.parquet --image {PHOTO} --model pairs/second",
        "classify t.parquet --classes pond,house --model pairs/second -o out.parquet",
        "explain t.parquet --id train/pond_0.jpg --text pond --model pairs/second -o out.png",
    ):
        refused(command, "pairs/second", "Space", "give the model that made the table")
    refused("search t.parquet other.parquet --like train/pond_0.jpg", "Space")
    refused("evaluate retrieval t.parquet other.parquet -q")
    refused("search t.parquet --text pond", "no pair of image and text towers", "--model", code=2)


def test_a_model_with_changed_weights(work: Path, refused: Refused) -> None:
    for path in sorted((work / "pairs/first").rglob("*.safetensors")):
        before = path.read_bytes()
        path.write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
        refused("search t.parquet --text pond --model pairs/first", path.name)
        refused(f"{TRAIN} --captions set --model pairs/first -o out", path.name)
        path.unlink()
        refused("search t.parquet --text pond --model pairs/first", path.name)
        path.write_bytes(before)
    card = work / "pairs/first/card.json"
    card.write_text(card.read_text()[:-40])
    refused(f"search t.parquet --image {PHOTO} --model pairs/first", "card.json")


def test_an_index_that_does_not_fit(work: Path, refused: Refused) -> None:
    shutil.copytree("t.index", "other.index")
    refused("index other.parquet --check", "Space", "build it again")
    table = open_table("t.parquet").read()
    write_table(table.take(np.arange(8)), "t.parquet")
    refused("index t.parquet --check", "--update")
    largest = max(Path("t.index").iterdir(), key=lambda path: path.stat().st_size)
    largest.write_bytes(largest.read_bytes()[:-7])
    refused("index t.parquet --check", "index")
    Path("t.parquet").write_bytes(Path("t.parquet").read_bytes()[:-20])
    for command in ("search t.parquet --text pond --model pairs/first", "index t.parquet"):
        refused(command, "t.parquet")


@pytest.mark.parametrize("count", ["0", "-1", "many"])
def test_a_number_of_hits_that_is_none(work: Path, capfd: pytest.CaptureFixture[str], count: str) -> None:
    assert run(["search", "t.parquet", "--text", "pond", "--model", "pairs/first", "-k", count]) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert "'-k'" in err
    assert "Traceback" not in err


def test_a_full_disk(work: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever a file is finished: the last line says so, and what was unfinished is gone."""

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    for function in ("replace", "rename"):
        monkeypatch.setattr(files.os, function, full)
    before = contents(work)
    for command in (
        f"explain {PHOTO} --text pond --model pairs/first -o out.png",
        "classify t.parquet --classes pond,house --model pairs/first -o out.parquet",
        "evaluate retrieval pairs/first --on set -q --draws 10 -o out.json",
        "embed -e pairs/first --captions set -o images.parquet -q",
        "index other.parquet -q",
        f"{TRAIN} --captions set -o out",
    ):
        assert run(command.split()) == 1, command
        out, err = capfd.readouterr()
        assert out == ""
        assert "Traceback" not in err
        assert re.search("disk .*is full", err.splitlines()[-1])
    # Of a training and a job the run stays, for the next time.
    left = [name for name in contents(work) if name not in before]
    assert [name for name in left if not name.startswith(("out.run/", ".images.parquet.job/"))] == []
