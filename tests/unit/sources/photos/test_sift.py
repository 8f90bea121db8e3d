"""Photos in = rows + skipped, always; and each skipped one has a reason that can be counted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import shapely

pytest.importorskip("PIL")

from PIL import Image
from PIL.TiffImagePlugin import IFDRational

from photo_files import AT, gps, scene, write_photo, write_raw
from placevec.errors import DataError, SchemaError
from placevec.geo.regions import Regions
from placevec.geo.sphere import LonLat
from placevec.sources.base import ArraySource, Batch, Rows
from placevec.sources.photos import (
    QualityRules,
    chips,
    folder_of_photos,
    photo_report,
    sift,
    table_of_photos,
)
from placevec.sources.photos.found import objects
from placevec.sources.photos.look import OF_CHIPS
from placevec.sources.photos.sift import ALIKE_ELSEWHERE, ALIKE_HERE, INDOOR, NO_FILE, NO_ID, SAME_BYTES, SECOND_ID
from placevec.table import Places, Skipped

SOUTH, NORTH = shapely.box(60, 24, 78, 30), shapely.box(60, 30, 78, 37)
PAKISTAN = Regions(("south", "north"), objects([SOUTH, NORTH]))


def reasons(skipped: list[Skipped]) -> dict[str, str]:
    return {one.id: f"{one.stage}: {one.reason}" for one in skipped}


def test_a_folder_of_photos_with_every_fault(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    write_photo(folder / "a.jpg", 1, (67.0, 25.0), photo={0x9003: "2020:01:02 03:04:05"})
    write_photo(folder / "sub" / "b.jpg", 2, (74.0, 31.0))
    write_photo(folder / "c.jpg", 3, None)
    write_photo(folder / "d.jpg", 4, (0.0, 0.0))
    write_raw(folder / "e.jpg", gps(25.0, 67.0), 5)
    write_raw(folder / "f.jpg", gps(2.0, 48.0), 6)
    write_raw(folder / "g.jpg", {2: (IFDRational(0, 0),) * 3, 4: (IFDRational(0, 0),) * 3}, 7)
    (folder / "h.jpg").write_bytes((folder / "a.jpg").read_bytes())
    whole = write_photo(folder / "i.jpg", 8).read_bytes()
    (folder / "i.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "j.jpg").write_bytes(b"")
    write_photo(folder / "k.jpg", 9, size=(60, 40))
    # The same picture once more, saved with another quality: its bytes differ.
    with Image.open(folder / "a.jpg") as image:
        image.save(folder / "l.jpg", quality=70, exif=image.getexif())
    seen = []
    found = sift(folder_of_photos(folder), regions=PAKISTAN, threads=2, progress=lambda *args: seen.append(args))
    assert found.places.ids.tolist() == ["a.jpg", "sub/b.jpg"]
    assert found.found == 12 == len(found.places) + len(found.skipped)
    assert found.places.column("region").tolist() == ["south", "north"]
    assert found.places.column("taken").tolist() == ["2020-01-02T03:04:05", None]
    told = reasons(found.skipped)
    assert told["c.jpg"] == "coordinates: the file tells no position"
    assert told["d.jpg"].startswith("coordinates: at 0, 0")
    assert told["e.jpg"].startswith("coordinates: outside the area; with longitude and latitude swapped")
    assert told["f.jpg"] == "coordinates: outside the area"
    assert told["g.jpg"] == "coordinates: the position in the file cannot be read"
    assert told["h.jpg"] == f"duplicate: {SAME_BYTES}"
    assert told["i.jpg"] == "image: the image is damaged or cut short; fetch it again"
    assert told["j.jpg"] == "image: the file is empty; fetch it again"
    assert told["k.jpg"] == "image: too small: its shorter side has under 64 pixels"
    assert told["l.jpg"] == f"duplicate: {ALIKE_HERE}"
    # What lies somewhere on the Earth keeps its place among the skipped.
    assert {one.id for one in found.skipped if one.geometry is None} == {"c.jpg", "g.jpg", "j.jpg"}
    assert seen[-1][0] == seen[-1][1] == 12
    report = photo_report(found.places, found.skipped, PAKISTAN)
    assert (report.photos, report.kept, sum(report.skipped_because.values())) == (12, 2, 10)


def listed(folder: Path, header: str, *lines: str) -> Path:
    path = folder / "l.csv"
    path.write_text("\n".join([header, *lines]))
    return path


def test_rows_of_a_list_that_name_nothing(tmp_path: Path) -> None:
    for seed, name in enumerate("abc"):
        write_photo(tmp_path / f"{name}.jpg", seed)
    lines = ("x,67,25,a.jpg", "x,67,25,b.jpg", ",67,25,c.jpg", "y,67,25,", "z,67,25,none.jpg", "q,67,25")
    found = sift(table_of_photos(listed(tmp_path, "id,lon,lat,file", *lines)))
    assert found.places.ids.tolist() == ["x"]
    assert found.found == 6 == len(found.places) + len(found.skipped)
    told = sorted(f"{one.stage}: {one.reason}" for one in found.skipped)
    assert told == sorted(
        [
            f"id: {SECOND_ID}",
            f"id: {NO_ID}",
            f"image: {NO_FILE}",
            "image: the file does not exist; check the path",
            "list: the line has another number of cells than the header",
        ]
    )


def test_the_list_is_believed_and_the_file_fills_in(tmp_path: Path) -> None:
    data = {"photo": {0x9003: "2020:05:06 07:30:00", 0xA405: 28}, "image": {0x013B: "camera"}}
    for seed, name in enumerate("ab"):
        write_photo(tmp_path / f"{name}.jpg", seed, (10.0, 10.0), **data)
    path = listed(
        tmp_path,
        "file,lon,lat,taken,focal_mm,author,region",
        "a.jpg,67,25,2019-01-01 10:00:00,,ada,Sindh",
        "b.jpg,67,26,,50,,",
    )
    places = sift(table_of_photos(path), regions=PAKISTAN).places
    assert places.lonlat() == LonLat([67, 67], [25, 26])
    assert places.column("taken").tolist() == ["2019-01-01T10:00:00", "2020-05-06T07:30:00"]
    assert places.column("hour").tolist() == [10.0, 7.5]
    assert places.column("focal_mm").tolist() == [28.0, 50.0]
    assert places.column("author").tolist() == ["ada", "camera"]
    assert places.column("region").tolist() == ["south", "south"]
    assert places.column("region_listed").tolist() == ["Sindh", None]


def test_photos_that_belong_together_share_a_place(tmp_path: Path) -> None:
    for seed in range(5):
        write_photo(tmp_path / f"{seed}.jpg", seed)
    rows = [
        (67.0, "ada", "2020-01-01T08:00"),
        (67.5, "ada", "2020-01-01T20:00"),
        (68.0, "ada", "2020-01-02"),
        (69.0, "", ""),
        (69.0001, "bob", ""),
    ]
    path = listed(tmp_path, "file,lon,lat,user,taken", *(f"{i}.jpg,{x},25,{u},{t}" for i, (x, u, t) in enumerate(rows)))
    found = table_of_photos(path)
    keys = sift(found, together=[("user", "taken")]).places.keys.tolist()
    assert keys == ["0.jpg", "0.jpg", "2.jpg", "3.jpg", "3.jpg"]
    assert sift(found).places.keys.tolist() == ["0.jpg", "1.jpg", "2.jpg", "3.jpg", "3.jpg"]
    with pytest.raises(SchemaError, match=r"no column 'usr'.*user, taken"):
        sift(found, together=[("usr",)])


def test_photos_taken_indoors_by_a_column_or_by_a_judge(tmp_path: Path) -> None:
    for seed, name in enumerate("abc"):
        write_photo(tmp_path / f"{name}.jpg", seed)
    path = listed(tmp_path, "file,lon,lat,inside", "a.jpg,67,25,0.9", "b.jpg,67,26,0.1", "c.jpg,67,27,")
    found = table_of_photos(path)
    by_column = sift(found, QualityRules(indoor="inside"))
    assert reasons(by_column.skipped) == {"a.jpg": f"quality: {INDOOR}"}
    with pytest.raises(SchemaError, match="no column 'indoors'"):
        sift(found, QualityRules(indoor="indoors"))

    def judge(images):
        assert images.shape == (3, 3, 256, 256)
        assert images.dtype == np.uint8
        return np.array([0.2, 0.6, 0.5])

    assert reasons(sift(found, indoor=judge).skipped) == {"b.jpg": f"quality: {INDOOR}"}
    for answer in (np.zeros(2), np.full(3, np.nan), np.full(3, 2.0)):
        with pytest.raises(DataError, match="a number from 0 to 1 for each of 3"):
            sift(found, indoor=lambda images, answer=answer: answer)


def test_repeats_may_be_kept(tmp_path: Path) -> None:
    one = write_photo(tmp_path / "a.jpg", 1).read_bytes()
    (tmp_path / "b.jpg").write_bytes(one)
    path = listed(tmp_path, "file,lon,lat", "a.jpg,67,25", "b.jpg,70,25")
    found = table_of_photos(path)
    assert reasons(sift(found).skipped) == {"b.jpg": f"duplicate: {SAME_BYTES}"}
    assert reasons(sift(found, QualityRules(exact=False)).skipped) == {"b.jpg": f"duplicate: {ALIKE_ELSEWHERE}"}
    assert len(sift(found, QualityRules(exact=False, near_bits=None)).places) == 2


class _Raster(ArraySource):
    """Chips of which one cannot be read."""

    def read(self, rows: Rows) -> Batch:
        batch = super().read(rows)
        good = batch.rows != 1
        lost = [Skipped(str(self.places().ids[row]), "chip", "outside x.tif") for row in batch.rows[~good]]
        return Batch(batch.rows[good], {name: values[good] for name, values in batch.data.items()}, lost)


def test_chips_of_a_raster_go_the_same_way() -> None:
    images = np.stack([scene(seed, 32, 32).transpose(2, 0, 1) for seed in range(4)])
    images[3] = 0
    assets = [f"x.tif#xywh={i},0,32,32" for i in range(4)]
    places = Places.create(
        list("abcd"), LonLat([67, 68, 69, 70], [25] * 4), asset=assets, attributes={"n": np.arange(4)}
    )
    found = sift(chips(_Raster(places, {"image": images})), OF_CHIPS, regions=PAKISTAN)
    assert found.places.ids.tolist() == ["a", "c"]
    assert found.places.column("asset").tolist() == [assets[0], assets[2]]
    assert found.places.column("n").tolist() == [0, 2]
    told = reasons(found.skipped)
    assert told["b"] == "chip: outside x.tif"
    assert told["d"].startswith("quality: too dark")


def test_nothing_left_is_an_empty_list(tmp_path: Path) -> None:
    write_photo(tmp_path / "a.jpg", at=None)
    found = sift(folder_of_photos(tmp_path), regions=PAKISTAN)
    assert (len(found.places), len(found.skipped)) == (0, 1)
    report = photo_report(found.places, found.skipped, PAKISTAN)
    assert [one.photos for one in report.regions] == [0, 0]
    assert len(report.warnings) == 2


def test_a_report_counts_regions_places_and_what_is_known() -> None:
    n = 40
    points = LonLat([67.0] * 39 + [70.0], [25.0] * 39 + [33.0])
    attributes = {
        "region": np.array(["south"] * 39 + ["north"], dtype=object),
        "taken": np.array(["2020-01-01"] + [None] * 38 + ["2019-01-01"], dtype=object),
    }
    keys = [f"p{i // 3}" for i in range(39)] + ["q"]
    places = Places.create([str(i) for i in range(n)], points, place=keys, asset=["x"] * n, attributes=attributes)
    west = Regions(("south", "north", "west"), objects([SOUTH, NORTH, shapely.box(40, 24, 50, 30)]))
    report = photo_report(places, [Skipped("z", "image", "damaged")], west)
    south, north, empty = report.regions
    assert (south.photos, south.places, south.share) == (39, 13, 0.975)
    assert south.per_1000_km2 == pytest.approx(39 / (west.areas_m2[0] / 1e9), abs=1e-3)
    assert (north.photos, empty.photos, empty.per_1000_km2) == (1, 0, 0.0)
    assert (report.first, report.last) == ("2019-01-01", "2020-01-01")
    assert report.known["taken"] == 0.05
    assert (report.places, report.largest_place, report.widest_place_m) == (14, 3, 0.0)
    assert [text.split(":")[0] for text in report.warnings] == ["north has one place (1 photos)", "west has no photo"]
    assert AT[0] == 67.0
