"""From the photos of the generated country, and from real ones, to lists and vectors."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("PIL")
pytest.importorskip("rasterio")

from PIL import Image

from generated import arcadia
from photo_files import exif, gps
from placevec.cli.main import run
from placevec.sources.photos import METADATA, PhotoList, read_photo_card, read_photo_list
from placevec.table import open_table, read_skipped


@pytest.mark.slow
def test_the_photos_of_the_generated_country(tmp_path: Path, monkeypatch) -> None:

    monkeypatch.chdir(tmp_path)
    world = arcadia()
    some = world.photo_places().take(np.arange(240))
    lines = ["id,file,lon,lat,place"]
    (tmp_path / "w").mkdir()
    for row, name in enumerate(some.ids):
        at, spot = (float(some.lon[row]), float(some.lat[row])), some.keys[row]
        picture = Image.fromarray(world.photos.image[row].transpose(1, 2, 0))
        picture.save(tmp_path / "w" / f"{name}.jpg", quality=90, exif=exif(gps(*at) | {17: float(row)}))
        lines.append(f"{name},w/{name}.jpg,{at[0]!r},{at[1]!r},{spot}")
    (tmp_path / "w.csv").write_text("\n".join(lines))
    outline = {"type": "Feature", "properties": {"name": "x"}, "geometry": world.boundary.__geo_interface__}
    (tmp_path / "x.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": [outline]}))
    # By the list, and by the EXIF data of the same files.
    for where, out in (("w.csv", "a.parquet"), ("w", "b.parquet")):
        assert run(["data", "photos", where, "--regions", "x.geojson", "-o", out, "-q"]) == 0
        assert len(read_photo_list(out)) + len(read_skipped(out)) == 240
    one, other = read_photo_list("a.parquet"), read_photo_list("b.parquet")
    assert len(one) > 220
    assert [f"{name}.jpg" for name in one.ids] == other.ids.tolist()
    assert np.allclose(one.lon, other.lon, atol=1e-6)
    assert np.allclose(one.lat, other.lat, atol=1e-6)
    assert one.column("heading").tolist() == other.column("heading").tolist()
    # Photos of one spot stay together, whatever lies between them.
    spot = {str(name): str(key) for name, key in zip(some.ids, some.keys, strict=True)}
    place_of: dict[str, str] = {}
    for name, key in zip(one.ids, one.keys, strict=True):
        assert place_of.setdefault(spot[name], key) == key
    assert read_photo_card("a.parquet").regions == ("x",)
    metadata = PhotoList("a.parquet", pixels=16).read(np.arange(64)).data["metadata"]
    assert metadata.shape == (64, len(METADATA))
    assert np.isfinite(metadata[:, 2]).all()
    assert run(["embed", "-e", "features:pixels", "--on", "a.parquet", "-o", "v.parquet", "-q"]) == 0
    assert open_table("v.parquet").num_rows == len(one)


def test_the_real_photos_of_lund_are_one_place(data_dir: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["data", "photos", str(data_dir / "photos" / "lund"), "-o", "l.parquet", "--report", "r.json"]) == 0
    places = read_photo_list("l.parquet")
    assert len(places) == 6
    # The photographer walked some metres on between two photos: all six are linked.
    assert {*places.keys} == {"01.jpg"}
    report = json.loads(Path("r.json").read_text())
    assert report["known"]["heading"] == report["known"]["focal_mm"] == 1.0
    assert 20 < report["widest_place_m"] < 60
    assert run("data photos {} -o far.parquet --near 1m".format(data_dir / "photos" / "lund").split()) == 0
    assert len({*read_photo_list("far.parquet").keys}) == 6
    capsys.readouterr()


@pytest.mark.slow
def test_chips_of_the_blue_marble_over_pakistan(data_dir: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    provinces = data_dir / "pakistan" / "geoBoundaries-PAK-ADM1.geojson"
    assert run(f"area new pak --boundary {provinces} --resolution 4".split()) == 0
    capsys.readouterr()
    words = "data photos cells --area pak --raster dataset:blue-marble --ground 120km --pixels 16 -o chips.parquet"
    assert run([*words.split(), "--regions", str(provinces), "--region-column", "shapeName"]) == 0
    counts = {one["region"]: one for one in map(json.loads, capsys.readouterr().out.splitlines())}
    assert len(counts) == 7
    assert counts["Balochistan"]["photos"] > 100
    words = "embed -e features:pixels --on chips.parquet --raster dataset:blue-marble --ground 120km --pixels 16"
    assert run([*words.split(), "-o", "v.parquet", "-q"]) == 0
    assert open_table("v.parquet").num_rows == sum(one["photos"] for one in counts.values())
