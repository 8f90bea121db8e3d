"""Requests of geolocation that cannot be met, by the command line: one clear line each, and nothing left behind."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest
import shapely

pytest.importorskip("torch")
pytest.importorskip("hdbscan")
pytest.importorskip("PIL")

import tiny_locator as tiny
from photo_files import write_photo
from placevec.cli.main import run
from placevec.geo.sphere import LonLat
from placevec.sources.photos import read_photo_list
from placevec.table import Places, read_skipped

BOXES = {"west": (0, 40, 4, 44), "east": (4, 40, 8, 44)}
NAN = float("nan")


def feature(name: Any, geometry: Any) -> dict[str, Any]:
    return {"type": "Feature", "properties": {"name": name}, "geometry": geometry}


def ring(*points: tuple[float, float]) -> dict[str, Any]:
    return {"type": "Polygon", "coordinates": [[*points, points[0]]]}


WEST = feature("west", shapely.box(*BOXES["west"]).__geo_interface__)
EAST = feature("east", shapely.box(*BOXES["east"]).__geo_interface__)
REGIONS = {
    "r": [WEST, EAST],
    "none": [],
    "no-geometry": [WEST, feature("east", None)],
    "point": [WEST, feature("east", {"type": "Point", "coordinates": [5, 41]})],
    "swapped": [feature("west", ring((40, 100), (44, 100), (44, 104))), EAST],
    "metres": [feature("west", ring((4e5, 5e6), (5e5, 5e6), (5e5, 6e6))), EAST],
    "nan": [feature("west", ring((NAN, 40), (4, 40), (4, 44))), EAST],
    "no-name": [WEST, feature(None, EAST["geometry"])],
    "blank-name": [WEST, feature("  ", EAST["geometry"])],
    "twice": [WEST, feature("west", EAST["geometry"])],
    "overlap": [WEST, feature("east", shapely.box(2, 40, 8, 44).__geo_interface__)],
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with regions of every kind, photos, their list, and locators."""
    folder = tmp_path_factory.mktemp("requests")
    for name, features in REGIONS.items():
        text = json.dumps({"type": "FeatureCollection", "features": features})
        (folder / f"{name}.geojson").write_text(text)
    for seed in range(12):
        at = (0.5 + 0.6 * seed, 41.0 + 0.2 * seed)
        write_photo(folder / "photos" / f"a photo {seed} é.jpg", seed, at, size=(96, 80))
    (folder / "empty").mkdir()
    (folder / "folder.jsonl").mkdir()
    (folder / "folder.json").mkdir()
    (folder / "nothing.csv").write_text("")
    (folder / "head.csv").write_text("id,lon,lat,file\n")
    (folder / "bytes.csv").write_bytes(bytes(range(256)))
    rows = ["a,1E,41N", "b,nan,41", "c,,41", "d,inf,41", 'e,"1,5",41']
    (folder / "texts.csv").write_text("\n".join(["id,lon,lat,file", *(f"{row},photos/x.jpg" for row in rows)]))
    (folder / "no-lon.csv").write_text("id,lat,file\na,41,x.jpg\n")
    tiny.tiny_locator().save(folder / "m")
    tiny.tiny_locator(recipe={"phase": 0}).save(folder / "m0")
    assert run(["data", "photos", str(folder / "photos"), "-o", str(folder / "l.parquet"), "--alike", "-1", "-q"]) == 0
    return folder


def listing(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


REQUESTS = [
    # (words, exit status, what the line says)
    ("data photos empty -o x.parquet", 2, "empty holds no image"),
    ("data photos photos -o x.csv", 2, "x.csv: a photo list is a Parquet file"),
    ("data photos photos -o l.parquet/x.parquet", 2, "l.parquet is no folder: write to another place"),
    ("data photos photos -o x.parquet --report x.txt", 2, "end its name in .json"),
    ("data photos photos -o x.parquet --near banana", 2, "'banana' is no distance: write it like 60km"),
    ("data photos photos -o x.parquet --near -5km", 2, "'-5km' is no distance"),
    ("data photos photos -o x.parquet --together user,", 2, "--together user,: write COLUMN,COLUMN"),
    ("data photos photos -o x.parquet --images photos", 2, "--images is for a list of photos"),
    ("data photos photos -o x.parquet --lon x", 2, "which has no columns"),
    ("data photos photos -o x.parquet --layout osv5m", 1, "photos is a folder: give the file of metadata"),
    ("data photos l.parquet -o x.parquet --indoor shade", 1, "no column 'shade'"),
    ("data photos nothing.csv -o x.parquet", 1, "the file is empty"),
    ("data photos bytes.csv -o x.parquet", 1, "this is no text"),
    ("data photos no-lon.csv -o x.parquet", 1, "no column 'lon'; name it with --lon"),
    ("data photos photos -o x.parquet --regions absent.geojson", 1, "absent.geojson: no such file"),
    ("data photos photos -o x.parquet --regions head.csv", 1, "this is no GeoJSON FeatureCollection"),
    ("data photos photos -o x.parquet --regions none.geojson", 1, "holds no feature"),
    ("data photos photos -o x.parquet --regions no-geometry.geojson", 1, "(east) is no polygon: it has no geometry"),
    ("data photos photos -o x.parquet --regions point.geojson", 1, "not Point"),
    ("data photos photos -o x.parquet --regions swapped.geojson", 1, "longitude comes first"),
    ("data photos photos -o x.parquet --regions metres.geojson", 1, "both are degrees: reproject it"),
    ("data photos photos -o x.parquet --regions nan.geojson", 1, "feature 0 (west) is no polygon that can be used"),
    ("data photos photos -o x.parquet --regions no-name.geojson", 1, "the property 'name' of feature 1 is empty"),
    ("data photos photos -o x.parquet --regions blank-name.geojson", 1, "the property 'name' of feature 1 is empty"),
    ("data photos photos -o x.parquet --regions r.geojson --region-column n", 1, "no property 'n'"),
    ("data photos photos -o x.parquet --regions r.geojson --rename north=n", 1, "no region is called 'north'"),
    ("data photos photos -o x.parquet --regions r.geojson --rename north", 2, "'north' renames nothing"),
    ("data photos photos -o x.parquet --rename a=b", 2, "names of which regions? give --regions"),
    ("area geocells texts.csv --regions earth -o c.parquet", 1, "are not numbers"),
    ("area geocells head.csv --regions earth -o c.parquet", 1, "none of the 0 training points"),
    ("area geocells l.parquet --regions earth -o c.parquet --levels banana", 2, "'banana' is no distance"),
    ("area geocells l.parquet --regions earth -o c.parquet --levels 300km,100km", 2, "give ascending radii"),
    ("area geocells l.parquet --regions earth -o c.parquet --dense 0km", 2, "cells of at most 0 km"),
    ("area geocells l.parquet --regions r.geojson -o c.parquet --rename x", 2, "write OLD=NEW"),
    ("locate -m m", 2, "what is to be located?"),
    ("locate -m m empty", 2, "empty holds no image"),
    ("locate -m m absent.jpg", 2, "absent.jpg does not exist"),
    ("locate -m m absent.parquet", 2, "absent.parquet does not exist"),
    ("locate -m m photos photos", 2, "named twice"),
    ("locate -m absent photos", 2, "absent is no folder"),
    ("locate -m photos photos", 1, "photos is not a model folder: it has no card.json"),
    ("locate -m m0 photos", 2, "has learned regions alone (phase 0 of its training)"),
    ("locate -m m photos --device banana", 2, "torch has no device 'banana' here"),
    ("locate -m m photos --point banana", 2, "'banana' is not one of 'mode'"),
    ("locate -m m photos -k 0", 2, "-k"),
    ("locate -m m photos --limit 0", 2, "--limit"),
    ("locate -m m photos --evidence -1", 2, "--evidence"),
    ("locate -m m photos --batch-size 0", 2, "--batch-size"),
    ("locate -m m photos -o x.txt", 2, "x.txt: guesses are written to files that end in"),
    ("locate -m m photos -o folder.jsonl", 2, "folder.jsonl is a folder, and a file is to be written"),
    ("locate -m m photos --at 1,2", 2, "--at goes with --raster"),
    ("locate -m m --raster x.tif --at 1", 2, "'1' is no LON,LAT"),
    ("locate -m m --raster x.tif --at 1,200", 2, "1,200: latitude 200 is outside"),
    ("locate -m m --raster x.tif --at nan,41", 2, "nan,41: longitude is nan"),
    ("locate -m m --raster x.tif --at 1,41", 2, "'x.tif' is no raster"),
    ("evaluate geolocation", 2, "give either a locator (--model) or points"),
    ("evaluate geolocation -m m", 2, "on which photos? give --on LIST"),
    ("evaluate geolocation -m m --on photos", 2, "list its photos by `placevec data photos`"),
    ("evaluate geolocation -m m --on l.parquet -o x.txt", 2, "x.txt: name the output NAME.json"),
    ("evaluate geolocation -m m --on l.parquet --block banana", 2, "'banana' names no cells"),
    ("evaluate geolocation -m m --on l.parquet --buffer 5", 2, "'5' is no distance"),
    ("evaluate geolocation -m m --on l.parquet --where shade", 2, "'shade', which the table lacks"),
    ("evaluate geolocation -m m0 --on l.parquet", 2, "has learned regions alone"),
    ("evaluate geolocation -m m --on l.parquet --untrained m", 2, "m is trained: --untrained takes what"),
    ("evaluate geolocation --predictions absent.csv", 2, "absent.csv does not exist"),
    ("evaluate geolocation --predictions bytes.csv", 1, "bytes.csv: this is no text of rows"),
    ("evaluate geolocation --predictions head.csv --truth lon,lat", 1, "head.csv holds no predictions"),
    ("evaluate geolocation --predictions texts.csv --truth lon", 2, "--truth lon: name two columns"),
    ("evaluate geolocation --predictions texts.csv", 1, "no column 'true_lon'"),
    ("evaluate geolocation --predictions texts.csv --truth lon,lat", 1, "none of 5 rows can be used"),
    ("train locate --on l.parquet -o q", 2, "--regions FILE"),
    ("train locate --on l.parquet --regions r.geojson -o l.parquet", 2, "l.parquet is a file, and a model is a folder"),
    ("train locate --on l.parquet --regions r.geojson -o q --buffer 9", 2, "'9' is no distance"),
    ("train locate --on l.parquet --regions r.geojson -o q --folds 2", 2, "leave none to learn from"),
    ("train locate --on l.parquet --regions r.geojson -o q --start photos", 1, "photos is not a model folder"),
    ("train locate --on l.parquet --regions r.geojson -o q --config backbones=[{]", 2, "no list or table of TOML"),
    ("train locate --images empty --regions r.geojson -o q", 2, "empty holds no image"),
]


@pytest.mark.parametrize(("words", "status", "line"), REQUESTS, ids=[words for words, _, _ in REQUESTS])
def test_a_request_that_cannot_be_met_is_one_line(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: str, status: int, line: str
) -> None:
    monkeypatch.chdir(place)
    before = listing(place)
    assert run([*shlex.split(words), *(["-q"] if not words.startswith("data crawl") else [])]) == status
    said = capsys.readouterr()
    assert said.out == ""
    assert "Traceback" not in said.err
    assert line in said.err.strip().splitlines()[-1]
    assert listing(place) == before


@pytest.mark.parametrize(("name", "rows"), [("head.csv", 0), ("texts.csv", 5)])
def test_a_list_of_which_no_photo_can_be_used_keeps_the_reasons(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, rows: int
) -> None:
    out = tmp_path / "x.parquet"
    assert run(["data", "photos", str(place / name), "-o", str(out), "-q"]) == 1
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert f"none of the {rows} photos of" in last
    assert "x.skipped.parquet" in last
    assert not out.exists()
    reasons = {one.id: one.reason for one in read_skipped(out)}
    assert len(reasons) == rows
    if rows:
        assert reasons["a"] == reasons["e"] == "coordinates that are no numbers"
        assert reasons["c"] == "no coordinates"


def test_regions_that_overlap_or_share_a_name_are_said(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["data", "photos", str(place / "photos"), "--alike", "-1", "-q", "-o", str(tmp_path / "x.parquet")]
    assert run([*words, "--regions", str(place / "overlap.geojson")]) == 0
    said = capsys.readouterr()
    assert "west and east overlap in 73,493 km²" in said.err
    assert "what lies there counts for west alone" in said.err
    assert [json.loads(line)["photos"] for line in said.out.splitlines()] == [6, 6]
    assert run([*words, "--regions", str(place / "twice.geojson")]) == 0
    said = capsys.readouterr()
    assert "overlap" not in said.err
    assert [json.loads(line)["region"] for line in said.out.splitlines()] == ["west"]
    assert set(read_photo_list(tmp_path / "x.parquet").column("region")) == {"west"}


def test_geocells_of_a_photo_list_say_what_overlaps(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["area", "geocells", str(place / "l.parquet"), "--min-points", "2", "--min-samples", "2", "-q"]
    words += ["-o", str(tmp_path / "c.parquet"), "--regions", str(place / "overlap.geojson")]
    assert run(words) == 0
    said = capsys.readouterr()
    assert "west and east overlap" in said.err
    assert sum(json.loads(line)["points"] for line in said.out.splitlines()) == 12


def test_photos_that_have_moved_or_changed_are_counted(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    places = read_photo_list(place / "l.parquet")
    here = tmp_path / "in"
    here.mkdir()
    for number, asset in enumerate(places.column("asset")):
        data = Path(asset).read_bytes()
        if number != 3:  # has gone
            (here / Path(asset).name).write_bytes(b"something else" if number == 5 else data)
    names = [str(here / Path(one).name) for one in places.column("asset")]
    own = Places.create(places.ids, LonLat(places.lon, places.lat), asset=names)
    from placevec.sources.photos import write_photo_list

    write_photo_list(own, tmp_path / "l.parquet")
    out = tmp_path / "g.jsonl"
    assert run(["locate", "-m", str(place / "m"), str(tmp_path / "l.parquet"), "-o", str(out), "-q"]) == 0
    lost = {one.id: one.reason for one in read_skipped(out)}
    assert sorted(lost) == sorted([str(places.ids[3]), str(places.ids[5])])
    assert "does not exist" in lost[str(places.ids[3])]
    assert "no JPEG" in lost[str(places.ids[5])]
    assert len(out.read_text().splitlines()) == 10
    for path in here.iterdir():
        path.unlink()
    capsys.readouterr()
    assert run(["locate", "-m", str(place / "m"), str(tmp_path / "l.parquet"), "-q"]) == 1
    assert "none of the 12 images could be located: the file does not exist" in capsys.readouterr().err
