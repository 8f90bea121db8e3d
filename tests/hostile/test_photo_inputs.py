"""Bad photos, by the command line: a counted skip with its reason, or one clear line."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import shapely

pytest.importorskip("PIL")
pytest.importorskip("rasterio")

from PIL import Image
from PIL.TiffImagePlugin import IFDRational

from photo_files import exif, gps, scene, write_animated, write_enormous, write_photo, write_raw
from placevec.cli.main import run
from placevec.sources.photos import PhotoList, read_photo_list
from placevec.table import read_skipped

HERE = (67.0, 25.0)
ZERO_OF_ZERO = (IFDRational(0, 0),) * 3


def provinces(path: Path) -> Path:
    boxes = {"Sindh": (60, 24, 70, 30), "Balochistan": (60, 30, 70, 33), "Islamabad": (72, 33, 74, 34)}
    features = [
        {"type": "Feature", "properties": {"name": name}, "geometry": shapely.box(*box).__geo_interface__}
        for name, box in boxes.items()
    ]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return path


def cut(path: Path) -> None:
    path.write_bytes(write_photo(path, 20).read_bytes()[:-900])


def truncated_exif(path: Path) -> None:
    """EXIF data whose directory points beyond the file."""
    data = bytearray(write_photo(path, 21).read_bytes())
    at = data.index(b"Exif\x00\x00") + 6
    data[at + 4 : at + 8] = struct.pack("<I" if data[at : at + 2] == b"II" else ">I", 1 << 20)
    path.write_bytes(bytes(data))


def sixteen_bits(path: Path) -> None:
    grey = (scene(22).mean(axis=2) * 200).astype(np.uint16)
    Image.fromarray(grey).save(path, exif=exif(gps(*HERE)))


def cmyk(path: Path) -> None:
    Image.fromarray(scene(23)).convert("CMYK").save(path, quality=95, exif=exif(gps(67.5, 25.0)))


def gif(path: Path) -> None:
    write_animated(path.with_suffix(".gif")).rename(path)


BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "zero.jpg": (lambda path: write_raw(path, gps(0, 0)), "coordinates: at 0, 0, which is written where no position"),
    "swapped.jpg": (
        lambda path: write_raw(path, gps(25, 67)),
        "with longitude and latitude swapped it would lie",
    ),
    "nowhere.jpg": (lambda path: write_photo(path, 1, None), "coordinates: the file tells no position"),
    "nan.jpg": (lambda path: write_raw(path, {2: ZERO_OF_ZERO, 4: ZERO_OF_ZERO}), "the position in the file cannot be"),
    "pole.jpg": (lambda path: write_raw(path, gps(67, 99)), "coordinates: longitude or latitude out of range"),
    "paris.jpg": (lambda path: write_raw(path, gps(2.35, 48.85)), "coordinates: outside the area"),
    "cut.jpg": (cut, "image: the image is damaged or cut short"),
    "exif.jpg": (truncated_exif, "coordinates: the file tells no position"),
    "empty.jpg": (lambda path: path.write_bytes(b""), "image: the file is empty"),
    "text.jpg": (lambda path: path.write_text("<html>404</html>"), "image: the file is no JPEG, PNG"),
    "gif.jpg": (gif, "image: the file is no JPEG, PNG"),
    "dark.jpg": (lambda path: dark(path), "quality: too dark"),
    "tiny.jpg": (lambda path: write_photo(path, 2, size=(30, 30)), "image: too small"),
}


def dark(path: Path) -> None:
    Image.fromarray(scene(24) // 40).save(path, exif=exif(gps(*HERE)))


def test_each_bad_photo_is_one_counted_skip(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    provinces(tmp_path / "r.geojson")
    (tmp_path / "in").mkdir()
    for name, (make, _) in BAD.items():
        make(tmp_path / "in" / name)
    sixteen_bits(tmp_path / "in" / "sixteen.png")
    cmyk(tmp_path / "in" / "cmyk.jpg")
    write_photo(tmp_path / "in" / "capital.jpg", 30, (73.0, 33.5))
    assert run(["data", "photos", "in", "--regions", "r.geojson", "-o", "l.parquet", "--report", "r.json"]) == 0
    told = {one.id: f"{one.stage}: {one.reason}" for one in read_skipped("l.parquet")}
    assert set(told) == set(BAD)
    for name, (_, words) in BAD.items():
        assert words in told[name], name
    places = read_photo_list("l.parquet")
    assert places.ids.tolist() == ["capital.jpg", "cmyk.jpg", "sixteen.png"]
    images = PhotoList("l.parquet", pixels=32).read(np.arange(3)).data["image"]
    assert images.std(axis=(2, 3)).min() > 5
    shown = capsys.readouterr().err
    assert "Balochistan has no photo" in shown
    assert "Islamabad has one place (1 photos): it is learned or tested, never both" in shown
    report = json.loads(Path("r.json").read_text())
    assert report["photos"] == report["kept"] + sum(report["skipped_because"].values()) == len(BAD) + 3


def test_moving_and_enormous_images_that_a_list_names(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_animated(tmp_path / "moving.webp")
    write_animated(tmp_path / "moving.png")
    write_enormous(tmp_path / "enormous.png")
    write_photo(tmp_path / "good.jpg")
    names = ("moving.webp", "moving.png", "enormous.png", "good.jpg")
    (tmp_path / "l.csv").write_text("\n".join(["lon,lat,file", *(f"67,25,{name}" for name in names)]))
    assert run(["data", "photos", "l.csv", "-o", "l.parquet", "-q"]) == 0
    told = {one.id: one.reason for one in read_skipped("l.parquet")}
    assert told["moving.webp"] == told["moving.png"] == "animated: no single image of a place"
    assert told["enormous.png"] == "enormous: more than 134,217,728 pixels"
    assert read_photo_list("l.parquet").ids.tolist() == ["good.jpg"]


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("absent -o l.parquet", "absent does not exist; give a folder of photos"),
        ("empty -o l.parquet", "holds no image"),
        ("l.csv -o l.parquet", "no column 'lon'; name it with --lon; its columns: x, y, file"),
        ("l.csv --lon x --lat y --together user -o l.parquet", "no column 'user'"),
        (
            "l.csv --lon x --lat y -o l.parquet",
            "none of the 1 photos of l.csv can be used (image: the",
        ),
        ("l.csv --layout flickr -o l.parquet", "neither 25 nor 23 columns"),
        ("l.csv --layout gldv2 -o l.parquet", "--landmarks"),
        ("l.csv --lon x --lat y --regions l.csv -o l.parquet", "no GeoJSON"),
        ("l.csv --lon x --lat y --scenes empty -o l.parquet", "empty"),
    ],
)
def test_bad_requests_are_one_line(tmp_path: Path, monkeypatch, capsys, words: str, text: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "l.csv").write_text("x,y,file\n67,25,a.jpg\n")
    assert run(["data", "photos", *words.split()]) in (1, 2)
    shown = capsys.readouterr().err.strip().splitlines()
    assert text in shown[-1]
    assert not (tmp_path / "l.parquet").exists()


def test_a_list_whose_files_have_gone_embeds_what_is_left(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    for seed in range(3):
        write_photo(tmp_path / "in" / f"{seed}.jpg", seed, (67.0 + seed, 25.0))
    assert run(["data", "photos", "in", "-o", "l.parquet", "-q"]) == 0
    (tmp_path / "in" / "1.jpg").unlink()
    assert run(["embed", "-e", "features:pixels", "--on", "l.parquet", "-o", "v.parquet", "-q"]) == 0
    assert [(one.id, one.stage) for one in read_skipped("v.parquet")] == [("1.jpg", "image")]
