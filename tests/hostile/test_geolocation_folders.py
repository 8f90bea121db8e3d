"""Locator folders that are damaged or do not belong together, disks that are full, interruptions: one line each."""

from __future__ import annotations

import errno
import json
import resource
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("hdbscan")
pytest.importorskip("PIL")

import tiny_locator as tiny
from photo_files import write_photo
from placevec import files
from placevec.cli.main import INTERRUPTED, INTERRUPTED_WORDS, run
from placevec.encoders.base import ModelCard
from placevec.encoders.model import save_model
from placevec.errors import UsageError
from placevec.provenance import sha256_file
from placevec.train.locate import LocateTraining

FILES = ("geocells.bin", "calibration.json", "gallery.parquet", "model.safetensors", "card.json")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a locator, photos and their list."""
    folder = tmp_path_factory.mktemp("folders")
    tiny.tiny_locator().save(folder / "m")
    for seed in range(6):
        write_photo(folder / "photos" / f"{seed}.jpg", seed, (0.5 + 1.2 * seed, 42.0), size=(96, 80))
    assert run(["data", "photos", str(folder / "photos"), "-o", str(folder / "l.parquet"), "--alike", "-1", "-q"]) == 0
    return folder


@pytest.fixture
def model(place: Path, tmp_path: Path) -> Path:
    """A copy of the locator, to be damaged."""
    return Path(shutil.copytree(place / "m", tmp_path / "m"))


Locate = Callable[[Path], str]


@pytest.fixture
def refused(place: Path, capsys: pytest.CaptureFixture[str]) -> Locate:
    """The one line that `locate` says with a model, which it refuses."""

    def line(folder: Path) -> str:
        assert run(["locate", "-m", str(folder), str(place / "photos"), "-q"]) == 1
        said = capsys.readouterr()
        assert said.out == ""
        (only,) = said.err.strip().splitlines()
        assert only.startswith("placevec: ")
        return only

    return line


@pytest.mark.parametrize("name", FILES)
def test_a_changed_byte_or_a_missing_file(model: Path, refused: Locate, name: str) -> None:
    path = model / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x80
    path.write_bytes(bytes(data))
    assert "damaged" in refused(model) if name == "card.json" else "its sha256 differs" in refused(model)
    path.unlink()
    assert ("it has no card.json" if name == "card.json" else f"{name} is missing: copy") in refused(model)


def vouched(model: Path, name: str, data: bytes) -> None:
    """Put other content into the folder, and its hash into the card: who does that has to be found out otherwise."""
    (model / name).write_bytes(data)
    card = json.loads((model / "card.json").read_text())
    card["assets"][name] = sha256_file(model / name)
    (model / "card.json").write_text(json.dumps(card))


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("geocells.bin", b"", "not a file of geocells"),
        ("geocells.bin", b"\x80" * 99, "not a file of geocells"),
        ("calibration.json", b"[]", "calibration.json has version"),
        ("calibration.json", b"{", "the locator is damaged"),
        ("gallery.parquet", b"PAR1", "gallery.parquet is not the gallery of this locator"),
    ],
)
def test_content_of_another_kind(model: Path, refused: Locate, name: str, data: bytes, words: str) -> None:
    vouched(model, name, data)
    assert words in refused(model)


@pytest.mark.parametrize(
    ("setting", "value", "words"),
    [
        ("spread_factor", -1, "the spread_factor of a calibration is -1"),
        ("spread_factor", "x", "calibration.json is damaged"),
        ("floor", 2, "are shares from 0 to 1"),
        ("region_temperature", float("nan"), "region_temperature of a calibration is nan"),
    ],
)
def test_calibrations_that_cannot_be(model: Path, refused: Locate, setting: str, value: Any, words: str) -> None:
    told = json.loads((model / "calibration.json").read_text())
    vouched(model, "calibration.json", json.dumps({**told, setting: value}).encode())
    assert words in refused(model)


def test_parts_of_other_locators(place: Path, model: Path, refused: Locate) -> None:
    other = tiny.tiny_locator(n=64, seed=3).save(model.parent / "other")
    assert other.geocells.fingerprint() != tiny.build_cells(96).fingerprint()
    vouched(model, "geocells.bin", (model.parent / "other" / "geocells.bin").read_bytes())
    assert "the geocells differ from those of the training" in refused(model)
    shutil.copytree(place / "m", model, dirs_exist_ok=True)
    vouched(model, "gallery.parquet", (model.parent / "other" / "gallery.parquet").read_bytes())
    assert "is not the gallery of this locator" in refused(model)
    vouched(model, "gallery.parquet", (place / "l.parquet").read_bytes())
    assert "is not the gallery of this locator" in refused(model)


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (("decoding",), None, "the locator's card has no 'decoding'"),
        (("decoding", "regions"), 0, "hypotheses are of at least one cell"),
        (("decoding", "regions"), "two", "Decoding.regions"),
        (("decoding", "point"), "banana", "known: mode, argmax"),
        (("decoding", "levels"), [0.9, 0.5], "levels rise between 0 and 1"),
        (("backbones",), [], "at least one image encoder"),
        (("cells",), [1, 2], "the geocells differ"),
        (("head", "dims"), 7, "belongs to another network"),
    ],
)
def test_cards_that_cannot_be(model: Path, refused: Locate, path: tuple[str, ...], value: Any, words: str) -> None:
    card = json.loads((model / "card.json").read_text())
    node = card["config"]
    for name in path[:-1]:
        node = node[name]
    if value is None:
        del node[path[-1]]
    else:
        node[path[-1]] = value
    (model / "card.json").write_text(json.dumps(card))
    assert words in refused(model)


def test_a_locator_without_its_gallery_locates_without_evidence(
    place: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    card = json.loads((model / "card.json").read_text())
    del card["assets"]["gallery.parquet"]
    (model / "card.json").write_text(json.dumps(card))
    assert run(["locate", "-m", str(model), str(place / "photos" / "1.jpg"), "-q", "--no-regions"]) == 0
    assert json.loads(capsys.readouterr().out).get("evidence", []) == []


@contextmanager
def largest(size: int) -> Iterator[None]:
    """No file becomes larger than so many bytes; a stand-in for a disk without room."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


WRITERS = [
    "data photos {place}/photos --alike -1 -o {out}/l.parquet --report {out}/l.json",
    "area geocells {place}/l.parquet --regions earth --min-points 2 --min-samples 2 -o {out}/c.parquet",
    "locate -m {place}/m {place}/photos --no-regions -o {out}/g.jsonl",
    "locate -m {place}/m {place}/photos --no-regions -o {out}/g.parquet",
]


@pytest.mark.parametrize("words", WRITERS)
def test_a_disk_without_room_leaves_nothing_half_written(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: str
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    with largest(1500):
        assert run([*words.format(place=place, out=out).split(), "-q"]) == 1
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith("placevec: a file would be larger than this disk")
    assert list(out.iterdir()) == []


def test_a_full_disk_is_no_error_of_another_library(tmp_path: Path) -> None:
    """Safetensors wraps what the disk says in an error of its own."""
    import torch

    with largest(2000), pytest.raises(OSError, match="File too large") as found:
        save_model(tmp_path / "m", {"weight": torch.zeros(4096)}, ModelCard(kind="locator", space=None))
    assert found.value.errno == errno.EFBIG
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(RuntimeError, match="nothing of a disk"), files.disk_errors("x"):
        raise RuntimeError("nothing of a disk")


def test_an_array_for_which_there_is_no_room_is_told_before_it_is_filled(tmp_path: Path) -> None:
    """Filling a mapped file with holes on a full disk would end the process by a signal."""
    with largest(1 << 16), pytest.raises(OSError, match="File too large"):
        files.new_array(tmp_path / "a.npy", "f4", (1 << 16,))
    made = files.new_array(tmp_path / "b.npy", "f4", (10, 3))
    assert made.shape == (10, 3)
    assert not made.any()
    blocks = (tmp_path / "b.npy").stat().st_blocks
    assert blocks * 512 >= made.nbytes  # no holes


def test_a_file_and_a_folder_of_one_name(place: Path, tmp_path: Path) -> None:
    (tmp_path / "m").write_text("mine")
    with pytest.raises(UsageError, match="m is a file, and a model is a folder"):
        tiny.tiny_locator(gallery=False).save(tmp_path / "m")
    with pytest.raises(UsageError, match="m is a file, and a folder"), files.whole(tmp_path / "m") as part:
        part.mkdir()
    assert (tmp_path / "m").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


@pytest.mark.parametrize(
    ("words", "where"),
    [
        (
            "data photos {place}/photos --alike -1 -j 1 -o {out}/l.parquet",
            "placevec.sources.photos.looking.look_at_file",
        ),
        ("locate -m {place}/m {place}/l.parquet -o {out}/g.geojson", "placevec.encoders.locator.locator.guesses_of"),
        (
            "evaluate geolocation -m {place}/m --on {place}/l.parquet -o {out}/e.json --no-html",
            "placevec.tasks.evaluate_geolocation.credible_law",
        ),
    ],
)
def test_an_interruption_leaves_nothing_half_written(
    place: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: str,
    where: str,
) -> None:
    def interrupted(*args: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(where, interrupted)
    assert run([*words.format(place=place, out=tmp_path).split(), "-q"]) == INTERRUPTED
    assert INTERRUPTED_WORDS in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_accelerators_that_there_are_not(place: Path, tmp_path: Path) -> None:
    from dataclasses import replace

    from placevec.train.loop import _fabric

    loop = replace(LocateTraining().province.loop, accelerator="banana")
    with pytest.raises(UsageError, match="accelerator = 'banana'.*give cpu or auto"):
        _fabric(loop)
