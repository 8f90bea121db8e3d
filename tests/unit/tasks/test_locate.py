"""`locate` as a function, a command and a step of a recipe: photos and chips to guesses in every form."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely

pytest.importorskip("torch")
pytest.importorskip("hdbscan")
pytest.importorskip("PIL")
pytest.importorskip("rasterio")

import rasterio
from PIL import Image

import tiny_locator as tiny
from placevec.cli.main import run
from placevec.config import parse_recipe
from placevec.encoders.locator import Locator, Shown
from placevec.errors import DataError, RecipeError, UsageError
from placevec.geo.sphere import LonLat, distance_m
from placevec.sources.photos import write_photo_list
from placevec.table import Places, read_skipped
from placevec.tasks.locate import chip_size, chips_at, locate, open_locator, photos
from placevec.tasks.locate_forms import form_of, open_sink
from placevec.tasks.run import run as run_recipe
from placevec.tasks.verbs import VERBS

COUNT = 5


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A locator, photos with positions in their EXIF data but one, a bad file, and a raster of the country."""
    folder = tmp_path_factory.mktemp("made")
    tiny.tiny_locator(steps=60).save(folder / "locator")
    tiny.tiny_locator(recipe={"phase": 0}).save(folder / "early")
    held = tiny.country(COUNT, seed=3)
    (folder / "photos").mkdir()
    for row in range(COUNT):
        picture = Image.fromarray(held.images[row].transpose(1, 2, 0).repeat(4, axis=0).repeat(4, axis=1))
        at = None if row == COUNT - 1 else held.lonlat[row]
        picture.save(folder / "photos" / f"{row}.jpg", quality=95, exif=exif(at))
    (folder / "photos" / "bad.jpg").write_bytes(b"\xff\xd8\xff\xe0 cut short")
    write_raster(folder / "colours.tif")
    return folder


def exif(at: LonLat | None) -> Any:
    found = Image.Exif()
    if at is not None:
        lon, lat = float(at.lon[0]), float(at.lat[0])
        found.get_ifd(0x8825).update(
            {1: "N" if lat >= 0 else "S", 2: degrees(lat), 3: "E" if lon >= 0 else "W", 4: degrees(lon)}
        )
    return found


def degrees(value: float) -> tuple[float, float, float]:
    return (float(int(abs(value))), 0.0, (abs(value) % 1) * 3600)


def write_raster(path: Path) -> None:
    """The country as a map: each pixel has the colour of the nearest image of training."""
    known = tiny.country(96)
    lon, lat = np.meshgrid(np.linspace(0.05, 7.95, 80), np.linspace(43.95, 40.05, 40))
    nearest = np.argmin(
        (lon.ravel()[:, None] - known.lonlat.lon) ** 2 + (lat.ravel()[:, None] - known.lonlat.lat) ** 2, axis=1
    )
    colours = known.images.mean(axis=(2, 3))[nearest].T.reshape(3, 40, 80).astype(np.uint8)
    transform = rasterio.Affine(0.1, 0.0, 0.0, 0.0, -0.1, 44.0)
    with rasterio.open(
        path, "w", driver="GTiff", width=80, height=40, count=3, dtype="uint8", crs="EPSG:4326", transform=transform
    ) as out:
        out.write(colours)


def command(made: Path, *words: str, model: str = "locator") -> int:
    return run(["locate", *words, "--model", str(made / model), "-q"])


def test_photos_as_json_lines(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(made, str(made / "photos"), "--evidence", "2") == 0
    out = capsys.readouterr()
    records = [json.loads(line) for line in out.out.splitlines()]
    assert [record["id"] for record in records] == [f"{row}.jpg" for row in range(COUNT)]
    assert "bad.jpg: " in out.err
    first = records[0]
    assert list(first)[:4] == ["id", "lon", "lat", "region"]
    assert first["confidence_km"] == 25.0
    assert 0 < first["confidence"] < 1
    assert [one["level"] for one in first["regions"]] == [0.5, 0.8, 0.95]
    assert len(first["evidence"]) == 2
    assert "error_km" not in first
    assert sum(one["weight"] for one in first["hypotheses"]) <= 1.0 + 1e-9


def test_the_position_in_a_photo_is_for_comparison_alone(made: Path, tmp_path: Path, capsys) -> None:
    (tmp_path / "bare").mkdir()
    for row in range(COUNT):
        Image.open(made / "photos" / f"{row}.jpg").save(tmp_path / "bare" / f"{row}.jpg", quality=100, subsampling=0)
    assert command(made, str(made / "photos"), "--compare", "--no-regions") == 0
    out = capsys.readouterr()
    told = [json.loads(line) for line in out.out.splitlines()]
    assert "median error" in out.err
    held = tiny.country(COUNT, seed=3)
    for row, record in enumerate(told[:-1]):
        away = distance_m(LonLat.of(record["lon"], record["lat"]), held.lonlat[row])[0] / 1e3
        assert record["error_km"] == pytest.approx(away, abs=0.01)
    assert told[-1]["error_km"] is None
    assert command(made, str(tmp_path / "bare"), "--compare", "--no-regions") == 0
    blind = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert all(record["error_km"] is None for record in blind)
    for one, other in zip(told, blind, strict=True):
        assert distance_m(LonLat.of(one["lon"], one["lat"]), LonLat.of(other["lon"], other["lat"]))[0] < 5_000


@pytest.mark.parametrize("suffix", [".jsonl", ".geojson", ".parquet", ".csv"])
def test_every_form_of_file(made: Path, tmp_path: Path, suffix: str, capsys) -> None:
    out = tmp_path / f"guesses{suffix}"
    assert command(made, str(made / "photos"), "-o", str(out)) == 0
    summary = json.loads(capsys.readouterr().out)
    assert (summary["images"], summary["located"], summary["skipped"]) == (COUNT + 1, COUNT, 1)
    assert summary["out"] == str(out)
    lost = read_skipped(out)
    assert [one.id for one in lost] == ["bad.jpg"]
    if suffix == ".jsonl":
        assert len(out.read_text().splitlines()) == COUNT
    elif suffix == ".geojson":
        features = json.loads(out.read_text())["features"]
        kinds = [one["properties"]["kind"] for one in features]
        assert kinds == ["region", "region", "region", "point"] * COUNT
        levels = [one["properties"].get("level") for one in features[:4]]
        assert levels == [0.95, 0.8, 0.5, None]
        shapes = [shapely.geometry.shape(one["geometry"]) for one in features[:4]]
        assert shapely.covers(shapes[0], shapes[1])
        assert features[3]["properties"]["photo"] == features[0]["properties"]["photo"] == "0.jpg"
        assert features[0]["properties"]["area_km2"] > features[1]["properties"]["area_km2"]
    elif suffix == ".csv":
        rows = list(csv.DictReader(out.read_text().splitlines()))
        assert float(rows[0]["area_80_km2"]) > float(rows[0]["area_50_km2"])
        assert rows[0]["region"] in ("west", "east")
    else:
        import pyarrow.parquet as pq

        table = pq.read_table(out)
        assert table.num_rows == COUNT
        assert {"id", "geometry", "region", "confidence", "radius_km", "area_80_km2"} <= set(table.schema.names)
        assert b"geo" in pq.ParquetFile(out).metadata.metadata


def test_a_table_a_map_and_columns_on_stdout(made: Path, capsys) -> None:
    photo = str(made / "photos" / "0.jpg")
    assert command(made, photo, "--format", "table", "--compare") == 0
    text = capsys.readouterr().out
    for word in ("region", "within 25 km", "80% radius", "80% region", "error"):
        assert word in " ".join(text.split()) or word.split()[0] in text
    assert command(made, photo, "--format", "geojson") == 0
    assert len(json.loads(capsys.readouterr().out)["features"]) == 4
    assert command(made, photo, "--format", "csv", "--no-regions") == 0
    rows = list(csv.reader(capsys.readouterr().out.splitlines()))
    assert len(rows) == 2


def test_several_photos_and_fewer(made: Path, capsys) -> None:
    two = [str(made / "photos" / "3.jpg"), str(made / "photos" / "1.jpg")]
    assert command(made, *two, "--no-regions", "--evidence", "0", "--k", "2", "--point", "argmax") == 0
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [record["id"] for record in records] == ["3.jpg", "1.jpg"]
    assert all(len(record["hypotheses"]) <= 2 and "evidence" not in record for record in records)
    assert all(record["regions"] == [] for record in records)
    first = records[0]
    assert (first["lon"], first["lat"]) == (first["hypotheses"][0]["lon"], first["hypotheses"][0]["lat"])
    assert command(made, str(made / "photos"), "--limit", "1", "--no-regions") == 0
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_a_photo_list(made: Path, tmp_path: Path, capsys) -> None:
    held = tiny.country(COUNT, seed=3)
    ids = [f"p{row}" for row in range(3)]
    assets = [str(made / "photos" / f"{row}.jpg") for row in range(3)]
    listed = Places.create(ids, held.lonlat[np.arange(3)], asset=np.array(assets, dtype=object))
    write_photo_list(listed, tmp_path / "list.parquet")
    assert command(made, str(tmp_path / "list.parquet"), "--compare", "--no-regions") == 0
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [record["id"] for record in records] == ids
    assert all(record["error_km"] is not None for record in records)


def test_chips_of_a_raster(made: Path, tmp_path: Path, capsys) -> None:
    raster = str(made / "colours.tif")
    points = ["--at", "1.5,42.0", "--at", "6.5,42"]
    assert command(made, "--raster", raster, *points, "--compare", "--no-regions") == 0
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [record["id"] for record in records] == ["1.50000,42.00000", "6.50000,42.00000"]
    assert (records[0]["truth_lon"], records[0]["truth_lat"]) == (1.5, 42.0)
    assert [record["region"] for record in records] == ["west", "east"]
    (tmp_path / "places.csv").write_text("id,lon,lat\na,1.5,42.0\nfar,100,0\n")
    assert (
        command(made, "--raster", raster, "--on", str(tmp_path / "places.csv"), "--ground", "20km", "--no-regions") == 0
    )
    out = capsys.readouterr()
    (record,) = [json.loads(line) for line in out.out.splitlines()]
    assert record["id"].startswith("a") or record["id"].startswith("places")
    assert record["lon"] == pytest.approx(records[0]["lon"], abs=1e-6)
    assert "outside" in out.err or "raster" in out.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "what is to be located?"),
        (["--at", "1,2"], "--at goes with --raster"),
        (["--ground", "5km"], "--ground goes with --raster"),
        (["--raster", "colours.tif"], "--at LON,LAT, or with --on FILE"),
        (["--raster", "colours.tif", "--at", "1,2", "--on", "x.csv"], "give one of them"),
        (["photo.jpg", "--raster", "colours.tif", "--at", "1,2"], "photo.jpg and --raster"),
        (["--raster", "colours.tif", "--at", "north"], "is no LON,LAT"),
        (["--raster", "colours.tif", "--at", "33,120"], "lat"),
        (["absent.jpg"], "absent.jpg does not exist"),
        (["absent.parquet"], "absent.parquet does not exist"),
        (["photos", "-o", "guesses.kml"], "guesses.kml: guesses are written to files that end in"),
    ],
)
def test_wrong_usage_is_one_line(made: Path, monkeypatch, capsys, words: list[str], said: str) -> None:
    monkeypatch.chdir(made)
    assert command(made, *words) in (1, 2)
    err = capsys.readouterr().err
    assert said in err
    assert "Traceback" not in err


def test_models_that_cannot_locate(made: Path, tmp_path: Path, capsys) -> None:
    photo = str(made / "photos" / "0.jpg")
    assert command(made, photo, model="early") == 2
    assert "has learned regions alone (phase 0" in capsys.readouterr().err
    assert command(made, photo, model="absent") == 2
    assert "is no folder" in capsys.readouterr().err
    assert command(made, photo, model="photos") == 1
    assert "is not a model folder" in capsys.readouterr().err
    from placevec.encoders.image import ImageConfig, ImageEncoder
    from placevec.nn.vision import SmallCNNConfig

    ImageEncoder.untrained(ImageConfig(SmallCNNConfig(dims=4, width=2))).save(made / "image")
    with pytest.raises(UsageError, match="of kind 'image', not a locator"):
        open_locator(made / "image")


def test_nothing_could_be_located(made: Path, tmp_path: Path, capsys) -> None:
    (tmp_path / "one.jpg").write_bytes(b"")
    assert command(made, str(tmp_path / "one.jpg")) == 1
    assert "none of the 1 images could be located: the file is empty" in capsys.readouterr().err
    assert command(made, str(tmp_path), "-o", str(tmp_path / "g.geojson")) == 1
    assert json.loads((tmp_path / "g.geojson").read_text()) == {"type": "FeatureCollection", "features": []}


def test_in_python(made: Path, tmp_path: Path) -> None:
    locator = open_locator(made / "locator", point="median")
    assert locator.decoding.point == "median"
    got: list[Any] = []
    done = locate(
        photos([made / "photos"], locator),
        locator,
        lambda guess, more: got.append((guess, more)),
        shown=Shown(regions=False),
        batch=2,
        compare=True,
    )
    assert (done.images, done.located, done.skipped) == (COUNT + 1, COUNT, 1)
    assert len(got) == COUNT
    assert done.median_error_km == pytest.approx(np.median([more["error_km"] for _, more in got[:-1]]))
    assert next(iter(done.skipped_because)).startswith("image: the image is damaged")
    assert chip_size(locator, None, None) == (20_000.0, tiny.PIXELS)
    assert chip_size(locator, 5.0, 8) == (5.0, 8)
    bare = Locator(locator.backbones, locator.head, locator.geocells, tiny.locator_card(locator.head.config))
    with pytest.raises(UsageError, match="needs --ground"):
        chips_at(LonLat.of(1.0, 42.0), str(made / "colours.tif"), bare, ground_m=None, pixels=None)


def test_a_file_appears_whole_or_not_at_all(made: Path, tmp_path: Path, monkeypatch) -> None:
    locator = open_locator(made / "locator")
    guess = locator.locate_one(made / "photos" / "0.jpg", shown=Shown(regions=False))
    for suffix in (".jsonl", ".geojson", ".csv", ".parquet"):
        goal = tmp_path / f"g{suffix}"
        with pytest.raises(KeyboardInterrupt), open_sink(goal) as sink:
            sink.write(guess, {})
            raise KeyboardInterrupt
        assert not list(tmp_path.iterdir()), suffix
    with pytest.raises(UsageError, match=r"\.jsonl, \.ndjson, \.geojson, \.parquet, \.csv"):
        form_of("guesses.kml")


def test_parquet_without_a_guess(tmp_path: Path) -> None:
    with open_sink(tmp_path / "none.parquet"):
        pass
    import pyarrow.parquet as pq

    assert pq.read_table(tmp_path / "none.parquet").num_rows == 0


RECIPE: dict[str, Any] = {
    "recipe": {"name": "where"},
    "step": [
        {"do": "locate", "photos": "photos", "model": "locator", "out": "results/guesses.geojson", "compare": True},
        {
            "do": "locate",
            "name": "chips",
            "on": "places.csv",
            "raster": "colours.tif",
            "model": "locator",
            "out": "results/chips.jsonl",
            "regions": False,
        },
    ],
}


def test_as_steps_of_a_recipe(made: Path) -> None:
    (made / "places.csv").write_text("id,lon,lat\na,1.5,42.0\nb,6.5,42.0\n")
    done = run_recipe(parse_recipe(RECIPE), VERBS, folder=made)
    assert done.done == ("locate", "chips")
    first, second = (step.summary for step in done.steps)
    assert (first["located"], first["skipped"]) == (COUNT, 1)
    assert first["median_error_km"] < 100
    assert second["located"] == 2
    assert len((made / "results" / "chips.jsonl").read_text().splitlines()) == 2
    assert run_recipe(parse_recipe(RECIPE), VERBS, folder=made).done == ()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"photos": []}, "give photos, or a raster"),
        ({"raster": "colours.tif"}, "give photos, or a raster"),
        ({"point": "middle"}, "point"),
        ({"model": None}, "model"),
    ],
)
def test_steps_that_are_none(made: Path, change: dict[str, Any], said: str) -> None:
    step = {name: value for name, value in {**RECIPE["step"][0], **change}.items() if value is not None}
    with pytest.raises((RecipeError, DataError), match=said):
        run_recipe(parse_recipe({"recipe": {"name": "where"}, "step": [step]}), VERBS, folder=made)
