"""`data photos`: one task from photos to a list, a report and what was skipped; and lists as input of `embed`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import shapely

pytest.importorskip("PIL")

from photo_files import scene, write_photo
from placevec.cli.main import run
from placevec.errors import DataError, SchemaError, UsageError
from placevec.geo.regions import Regions
from placevec.geo.sphere import LonLat
from placevec.sources.photos import QualityRules, read_photo_card, read_photo_list, write_photo_list
from placevec.table import Places, open_table, read_skipped
from placevec.tasks import photos as task
from placevec.tasks.area import new_area
from placevec.tasks.input_files import prepared
from placevec.tasks.inputs import Input
from placevec.tasks.photos import photos
from placevec.tasks.regions import open_regions, parse_renames


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four photos, of which one lies nowhere; and regions, of which one is empty."""
    for seed in range(3):
        write_photo(tmp_path / "in" / f"{seed}.jpg", seed, (67.0 + seed, 25.0))
    write_photo(tmp_path / "in" / "nowhere.jpg", 9, None)
    boxes = {"Sind": (60, 24, 68.5, 30), "East": (68.5, 24, 78, 30), "Sea": (60, 20, 78, 24)}
    features = [
        {"type": "Feature", "properties": {"label": name}, "geometry": shapely.box(*box).__geo_interface__}
        for name, box in boxes.items()
    ]
    (tmp_path / "r.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return tmp_path


def test_by_the_command_line_from_photos_to_vectors(folder: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(folder)
    words = "data photos in --regions r.geojson --rename Sind=Sindh -o l.parquet --report rep.json -j 1"
    assert run(words.split()) == 0
    shown = capsys.readouterr()
    records = [json.loads(line) for line in shown.out.splitlines()]
    assert [(one["region"], one["photos"]) for one in records] == [("Sindh", 2), ("East", 1), ("Sea", 0)]
    assert "1 photos skipped: coordinates: the file tells no position" in shown.err
    assert "Sea has no photo" in shown.err
    report = json.loads(Path("rep.json").read_text())
    assert (report["photos"], report["kept"], report["skipped"]) == (4, 3, 1)
    assert "| Sindh" in Path("rep.md").read_text()
    assert read_photo_card("l.parquet").regions == ("Sindh", "East", "Sea")
    assert [one.id for one in read_skipped("l.parquet")] == ["nowhere.jpg"]
    assert run(["embed", "-e", "features:pixels", "--on", "l.parquet", "-o", "v.parquet", "-q"]) == 0
    vectors = open_table("v.parquet").read()
    assert sorted(vectors.ids) == ["0.jpg", "1.jpg", "2.jpg"]
    assert {*vectors.column("region")} == {"Sindh", "East"}
    assert vectors.column("asset")[0].startswith(str(folder))
    # The list under --images is the same input.
    assert run(["embed", "-e", "features:pixels", "--images", "l.parquet", "-o", "w.parquet", "-q"]) == 0
    assert open_table("w.parquet").read().fingerprint() == vectors.fingerprint()
    # A table of vectors made of photos is a list of them, too.
    assert run(["embed", "-e", "features:pixels", "--on", "v.parquet", "-o", "x.parquet", "-q"]) == 0
    assert sorted(open_table("x.parquet").read().ids) == sorted(vectors.ids)


def test_encoders_of_images_are_given_photos_and_others_where_they_are(folder: Path) -> None:
    photos(folder / "in", folder / "l.parquet")
    given, _ = prepared(Input(on=str(folder / "l.parquet")), "features:pixels")
    assert (given.images, given.fit) == (str(folder / "l.parquet"), "crop")
    batch = given.source().read(np.arange(3))
    assert batch.data["image"].shape[0] == 3
    assert "lonlat" in batch.data
    # Without images: the rows as places.
    plain = Input(on=str(folder / "l.parquet"), limit=2)
    assert plain.places().ids.tolist() == ["0.jpg", "1.jpg"]
    assert set(plain.source().read(np.arange(2)).data) == {"lonlat"}


def test_a_list_without_rows_is_a_list(tmp_path: Path) -> None:
    write_photo_list(Places.create([], LonLat([], []), asset=[]), tmp_path / "l.parquet")
    assert len(Input(on=str(tmp_path / "l.parquet")).places()) == 0


def test_nothing_that_can_be_used_is_an_error_with_its_reasons_written(tmp_path: Path) -> None:
    write_photo(tmp_path / "in" / "a.jpg", at=None)
    with pytest.raises(DataError, match=r"none of the 1 photos of .* can be used \(coordinates: the file tells no"):
        photos(tmp_path / "in", tmp_path / "l.parquet")
    assert not (tmp_path / "l.parquet").exists()
    assert len(read_skipped(tmp_path / "l.parquet")) == 1


def test_an_interrupt_leaves_the_old_files_alone(folder: Path, monkeypatch) -> None:
    photos(folder / "in", folder / "l.parquet", report=folder / "r.json")
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    write_photo(folder / "in" / "new.jpg", 30, (70.0, 25.0))

    def stop(done, total, facts):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        photos(folder / "in", folder / "l.parquet", report=folder / "r.json", threads=2, progress=stop)
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before


def test_chips_of_a_raster_are_listed_and_read_again(tmp_path: Path) -> None:
    rasterio = pytest.importorskip("rasterio")
    image = scene(0, 200, 200).transpose(2, 0, 1)
    profile = {"driver": "GTiff", "width": 200, "height": 200, "count": 3, "dtype": "uint8", "crs": "EPSG:4326"}
    transform = rasterio.Affine(0.01, 0, 10, 0, -0.005, 51)
    with rasterio.open(tmp_path / "r.tif", "w", **profile, transform=transform) as raster:
        raster.write(image)
    (tmp_path / "p.csv").write_text("lon,lat,id\n10.5,50.5,a\n11.5,50.5,b\n20,50.5,c\n11,50.4,d\n")
    chips = {"raster": str(tmp_path / "r.tif"), "ground_m": 20_000, "pixels": 16}
    given = Input(on=str(tmp_path / "p.csv"), id="id", chips=chips)
    area = Regions.single(shapely.box(10, 50, 11.2, 51), "west")
    made = photos(given, tmp_path / "l.parquet", regions=area)
    assert (made.report.kept, made.report.skipped) == (2, 2)
    listed = read_photo_list(tmp_path / "l.parquet")
    assert listed.ids.tolist() == ["a", "d"]
    assert "r.tif#xywh=" in listed.column("asset")[0]
    again = Input(on=str(tmp_path / "l.parquet"), chips=chips).source().read(np.arange(2))
    assert again.data["image"].shape == (2, 3, 16, 16)
    with pytest.raises(UsageError, match="chips of a raster are read: leave it out"):
        photos(given, tmp_path / "l.parquet", layout="osv5m")
    with pytest.raises(UsageError, match="chips of which raster"):
        photos(Input(on=str(tmp_path / "p.csv"), id="id"), tmp_path / "l.parquet")


def test_a_model_of_scenes_judges_what_was_taken_indoors(folder: Path, monkeypatch) -> None:
    monkeypatch.setattr(task, "indoor_of", lambda scenes: lambda images: np.linspace(0, 1, len(images)))
    made = photos(folder / "in", folder / "l.parquet", scenes="scenes", rules=QualityRules(max_indoor=0.7))
    assert made.report.skipped_because["quality: taken indoors"] == 1


def test_options_that_do_not_go_together(folder: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(folder)
    for words, match in {
        "in -o l.csv": "ends in .parquet",
        "in -o l.parquet --report r.txt": "end its name in .json",
        "in -o l.parquet --lon x": "has no columns",
        "in -o l.parquet --landmarks r.geojson": "layout gldv2",
        "none -o l.parquet": "does not exist",
        "in -o l.parquet --region-column label": "names of which regions",
        "in -o l.parquet --regions r.geojson --rename Sind": "write OLD=NEW",
        "in -o l.parquet --near far": "is no distance",
    }.items():
        assert run(["data", "photos", *words.split()]) == 2, words
        assert match in capsys.readouterr().err


def test_regions_by_file_dataset_and_area(folder: Path) -> None:
    assert open_regions(folder / "r.geojson").names == ("Sind", "East", "Sea")
    assert open_regions(folder / "r.geojson", rename={"Sind": "Sindh"}).names[0] == "Sindh"
    with pytest.raises(SchemaError):
        open_regions(folder / "r.geojson", column="name")
    assert parse_renames(["a=b", "c = d=e"]) == {"a": "b", "c": "d=e"}
    new_area("plain", folder / "area", bbox="10,50,11,51")
    assert open_regions(folder / "area").names == ("plain",)
    with pytest.raises(UsageError, match="one region"):
        open_regions(folder / "area", column="label")
