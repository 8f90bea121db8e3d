"""Bad photos and bad models given to `locate`, by the command line: a clear line each, or a skip that is counted."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("hdbscan")
pytest.importorskip("PIL")

from PIL import Image

import tiny_locator as tiny
from placevec.cli.main import run
from placevec.table import read_skipped


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "locator"
    tiny.tiny_locator(steps=5).save(folder)
    return folder


def picture(mode: str = "RGB", size: tuple[int, int] = (48, 40)) -> Image.Image:
    noise = np.random.default_rng(1).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(noise).convert(mode)


def with_position(path: Path, lat: tuple[float, ...], lon: tuple[float, ...]) -> None:
    exif = Image.Exif()
    exif.get_ifd(0x8825).update({1: "N", 2: lat, 3: "E", 4: lon})
    picture().save(path, exif=exif)


def enormous(path: Path) -> None:
    """A PNG whose header tells of 30,000 x 30,000 pixels."""
    head = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    parts = [(b"IHDR", head), (b"IDAT", zlib.compress(b"\0" * 99)), (b"IEND", b"")]
    body = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in parts
    )
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)


def deep(path: Path) -> None:
    Image.fromarray(np.random.default_rng(0).integers(0, 65535, (40, 40), dtype=np.uint16)).save(path)


def animated(path: Path) -> None:
    frames = [picture() for _ in range(3)]
    frames[0].save(path, save_all=True, append_images=frames[1:])


def truncated(path: Path) -> None:
    picture(size=(200, 200)).save(path, quality=95)
    path.write_bytes(path.read_bytes()[:3000])


FINE: dict[str, Callable[[Path], None]] = {
    "cmyk.jpg": lambda path: picture("CMYK").save(path),
    "grey.jpg": lambda path: picture("L").save(path),
    "alpha.png": lambda path: picture("RGBA").save(path),
    "palette.png": lambda path: picture("P").save(path),
    "deep.png": deep,
    "animated.webp": animated,
    "wide.jpg": lambda path: picture(size=(900, 30)).save(path),
    "pixel.png": lambda path: picture(size=(1, 1)).save(path),
    # Positions that are none: they matter to nobody who locates.
    "nowhere.jpg": lambda path: with_position(path, (0.0, 0.0, 0.0), (0.0, 0.0, 0.0)),
    "swapped.jpg": lambda path: with_position(path, (120.0, 0.0, 0.0), (41.0, 0.0, 0.0)),
}
BAD: dict[str, tuple[Callable[[Path], None], str]] = {
    "empty.jpg": (lambda path: path.write_bytes(b"") and None, "the file is empty"),
    "text.jpg": (lambda path: path.write_text("a photo") and None, "no JPEG, PNG"),
    "truncated.jpg": (truncated, "cut short"),
    "enormous.png": (enormous, "limit"),
    "folder.jpg": (lambda path: path.mkdir(), ""),
}


def test_photos_of_every_kind(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for name, make in FINE.items():
        make(photos / name)
    for name, (make, _) in BAD.items():
        make(photos / name)
    out = tmp_path / "guesses.jsonl"
    assert run(["locate", str(photos), "--model", str(model), "-o", str(out), "--compare", "-q"]) == 0
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    records = {record["id"]: record for record in map(json.loads, out.read_text().splitlines())}
    assert sorted(records) == sorted(FINE)
    assert records["swapped.jpg"]["error_km"] is None
    lost = {one.id: one.reason for one in read_skipped(out)}
    files = {name: words for name, (_, words) in BAD.items() if name != "folder.jpg"}
    assert sorted(lost) == sorted(files)
    for name, words in files.items():
        assert words in lost[name]
        assert f"{name}: " in captured.err
    summary = json.loads(captured.out)
    assert summary["images"] == summary["located"] + summary["skipped"] == len(FINE) + len(files)
    for record in records.values():
        assert np.isfinite([record["lon"], record["lat"], record["confidence"]]).all()


@pytest.mark.parametrize("name", ["empty.jpg", "text.jpg", "truncated.jpg", "enormous.png"])
def test_one_bad_photo_is_one_line(model: Path, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    make, words = BAD[name]
    make(tmp_path / name)
    assert run(["locate", str(tmp_path / name), "--model", str(model), "-q"]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    last = captured.err.splitlines()[-1]
    assert last.startswith("placevec: ")
    assert words in last
    assert "Traceback" not in captured.err


def test_a_photo_twice_and_an_empty_folder(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture().save(tmp_path / "a.png")
    path = str(tmp_path / "a.png")
    assert run(["locate", path, path, "--model", str(model)]) == 2
    assert "named twice" in capsys.readouterr().err
    (tmp_path / "none").mkdir()
    assert run(["locate", str(tmp_path / "none"), "--model", str(model)]) == 2
    assert "holds no image" in capsys.readouterr().err


def test_a_model_whose_geocells_differ(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import shutil

    from placevec.provenance import sha256_file

    folder = Path(shutil.copytree(model, tmp_path / "model"))
    (folder / "geocells.bin").write_bytes(tiny.build_cells(96, seed=1).to_bytes())
    card = json.loads((folder / "card.json").read_text())
    card["assets"]["geocells.bin"] = sha256_file(folder / "geocells.bin")
    (folder / "card.json").write_text(json.dumps(card))
    picture().save(tmp_path / "a.png")
    assert run(["locate", str(tmp_path / "a.png"), "--model", str(folder), "-q"]) == 1
    assert "the geocells differ from those of the training" in capsys.readouterr().err


def test_a_region_of_one_photo_and_an_empty_one(tmp_path: Path) -> None:
    """A region without photos has no cells: it keeps no probability, and no hypothesis lies in it."""
    import shapely
    import torch

    from placevec.encoders.locator import Locator, locator_card
    from placevec.geo.geocells import build_geocells
    from placevec.geo.regions import Regions
    from placevec.geo.sphere import LonLat
    from placevec.nn.locator import LocatorHead

    plain = tiny.tiny_locator()
    made = tiny.country(40)
    boxes = dict(zip(made.regions.names, made.regions.polygons, strict=True))
    regions = Regions.of({"empty": shapely.box(-9, 40, -5, 44), **boxes, "lonely": shapely.box(20, 40, 24, 44)})
    there = LonLat(np.append(made.lonlat.lon, 22.0), np.append(made.lonlat.lat, 42.0))
    cells = build_geocells(there, regions, tiny.CELLS)
    counts = np.diff(cells.starts).tolist()
    assert counts[0] == 0
    assert counts[-1] == 1
    config = plain.head.config
    head = LocatorHead(config, [plain.backbones[0].width], counts, torch.from_numpy(cells.radius_m))
    locator = Locator(plain.backbones, head, cells, locator_card(config))
    locator.save(tmp_path / "locator")
    found = Locator.load(tmp_path / "locator").predict({"image": made.images})
    assert np.exp(found.region_logs[:, 0]).max() == 0.0
    assert (found.region != 0).all()
    assert not np.isnan(found.joint_logs).any()
    guess = locator.locate_one(made.images[0])
    assert "empty" not in guess.labels
