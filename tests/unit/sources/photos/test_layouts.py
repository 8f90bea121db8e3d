"""Public collections by the layouts of their metadata, on files of the same structure."""

from __future__ import annotations

from pathlib import Path

import pytest

from placevec.errors import FormatError, SchemaError, UsageError
from placevec.sources.photos import Columns, layout_of_photos
from placevec.sources.photos.layouts import NO_LANDMARK, VIDEO
from placevec.sources.photos.tabular import RAGGED
from placevec.sources.photos.times import times


def yfcc(**given: str) -> str:
    """A line of 25 columns as the collection writes it."""
    row = {
        "line": "0",
        "id": "6185218911",
        "hash": "4e2f7a26a1dfbf165a7e30bdabf7e72a",
        "user": "39019111@N00",
        "nickname": "guck%C3%A4xzs",
        "taken": "2012-02-16 09:56:37.0",
        "uploaded": "1331840483",
        "device": "Canon+PowerShot+ELPH+310+HS",
        "title": "IMG_0520+%28sea%29",
        "description": "My+%22vacation",
        "tags": "canon,canon+powershot,caf%C3%A9",
        "machine": "",
        "lon": "-81.804885",
        "lat": "24.550558",
        "accuracy": "12",
        "page": "http://www.flickr.com/photos/39019111@N00/6185218911/",
        "download": "http://farm8.staticflickr.com/7205/6185218911_b.jpg",
        "licence": "Attribution License",
        "licence_url": "http://creativecommons.org/licenses/by/2.0/",
        "server": "7205",
        "farm": "8",
        "secret": "aa",
        "original": "bb",
        "ext": "jpg",
        "video": "0",
    }
    return "\t".join((row | given).values())


def test_flickr_lines_of_both_releases(tmp_path: Path) -> None:
    short = yfcc(id="2").split("\t")
    del short[2], short[0]
    lines = [
        yfcc(),
        "\t".join(short),
        yfcc(id="3", video="1"),
        yfcc(id="4", lon="", lat=""),
        "a\tb",
        yfcc(id="5", taken="null", tags=""),
    ]
    (tmp_path / "yfcc").write_text("\n".join(lines) + "\n")
    found = layout_of_photos(tmp_path / "yfcc", "flickr", images=tmp_path / "img")
    assert found.ids.tolist() == ["6185218911", "2", "4", "5"]
    assert found.lonlat[:2].tolist() == [[-81.804885, 24.550558]] * 2
    assert [bool(why) for why in found.without] == [False, False, True, False]
    assert found.assets[0] == str(tmp_path / "img" / "6185218911.jpg")
    assert found.attributes["title"][0] == "IMG_0520 (sea)"
    assert found.attributes["author"][1] == "guckäxzs"
    assert found.attributes["tags"].tolist() == ["canon,canon powershot,café"] * 3 + [None]
    assert found.attributes["licence"][0] == "Attribution License"
    assert found.attributes["accuracy"].tolist() == [12.0] * 4
    assert sorted((one.id, one.reason) for one in found.lost) == [("3", VIDEO), ("yfcc-line-5", RAGGED)]


def test_flickr_images_by_their_hash(tmp_path: Path) -> None:
    (tmp_path / "yfcc").write_text(yfcc() + "\n")
    stored = tmp_path / "4e2" / "f7a" / "4e2f7a26a1dfbf165a7e30bdabf7e72a.jpg"
    stored.parent.mkdir(parents=True)
    stored.touch()
    assert layout_of_photos(tmp_path / "yfcc", "flickr").assets.tolist() == [str(stored)]


def test_a_file_of_other_lines_is_no_flickr_metadata(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("id,lon,lat\n1,2,3\n")
    with pytest.raises(FormatError, match="neither 25 nor 23 columns"):
        layout_of_photos(tmp_path / "x.csv", "flickr")


def test_google_landmarks_take_their_coordinates_from_a_file_of_landmarks(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text(
        "id,url,landmark_id\n6e158a47eb2ca3f6,https://upload.wikimedia.org/a.jpg,142820\n"
        "202cd79556f30760,http://upload.wikimedia.org/b.jpg,104169\n3ad87684c99c06e1,http://x/c.jpg,142820\n"
    )
    with pytest.raises(UsageError, match="no coordinates; give a CSV of landmark_id, lon and lat with --landmarks"):
        layout_of_photos(tmp_path / "train.csv", "gldv2")
    (tmp_path / "marks.csv").write_text("landmark_id,x,y\n142820,67.03,24.87\n9,1,2\n")
    with pytest.raises(SchemaError, match="no column 'lon'; its columns: landmark_id, x, y"):
        layout_of_photos(tmp_path / "train.csv", "gldv2", landmarks=tmp_path / "marks.csv")
    found = layout_of_photos(
        tmp_path / "train.csv",
        "gldv2",
        landmarks=tmp_path / "marks.csv",
        columns=Columns(lon="x", lat="y"),
        images=tmp_path / "train",
    )
    assert found.assets[0] == str(tmp_path / "train" / "6" / "e" / "1" / "6e158a47eb2ca3f6.jpg")
    assert found.lonlat[[0, 2]].tolist() == [[67.03, 24.87]] * 2
    assert found.without.tolist() == ["", NO_LANDMARK, ""]
    assert found.attributes["place"].tolist() == ["landmark-142820", "landmark-104169", "landmark-142820"]


def test_street_views_are_found_in_their_shards(tmp_path: Path) -> None:
    header = "id,latitude,longitude,thumb_original_url,country,sequence,captured_at,region,creator_username,creator_id"
    (tmp_path / "train.csv").write_text(
        f"{header}\n3859149887465501,-43.804769384023,-176.61409250805,,NZ,s1,1473648000000,Chatham,roadroid,11133622109171\n"
        "0042,1.5,2.5,,NZ,s2,,,,\n"
    )
    for shard, name in (("00", "0042"), ("07", "3859149887465501")):
        (tmp_path / "images" / "train" / shard).mkdir(parents=True)
        (tmp_path / "images" / "train" / shard / f"{name}.jpg").touch()
    found = layout_of_photos(tmp_path / "train.csv", "osv5m")
    assert found.ids.tolist() == ["3859149887465501", "0042"]
    assert found.assets.tolist() == [
        str(tmp_path / "images/train/07/3859149887465501.jpg"),
        str(tmp_path / "images/train/00/0042.jpg"),
    ]
    assert found.lonlat[0].tolist() == [-176.61409250805, -43.804769384023]
    assert found.attributes["sequence"].tolist() == ["s1", "s2"]
    assert times(found.attributes["taken"])["month"].tolist() == [9, None]


def test_layouts_that_do_not_exist_and_options_that_do_not_fit(tmp_path: Path) -> None:
    (tmp_path / "x").write_text(yfcc() + "\n")
    with pytest.raises(UsageError, match="choose one of flickr, gldv2, osv5m"):
        layout_of_photos(tmp_path / "x", "im2gps")
    with pytest.raises(UsageError, match="--landmarks is for the layout gldv2"):
        layout_of_photos(tmp_path / "x", "flickr", landmarks=tmp_path / "x")
    with pytest.raises(FormatError, match="does not exist: give the file of metadata"):
        layout_of_photos(tmp_path / "y", "flickr")
    (tmp_path / "train.csv").write_text("id,lat,lon\n1,2,3\n")
    with pytest.raises(SchemaError, match="no column 'latitude'; its columns: id, lat, lon"):
        layout_of_photos(tmp_path / "train.csv", "osv5m")


def test_times_as_lists_write_them() -> None:
    values = [
        "2012-02-16 09:56:37.0",
        "2012-02-16T09:56:37Z",
        1329386197,
        1329386197000,
        "1329386197000",
        None,
        "x",
        2012,
    ]
    found = times(values)
    assert found["month"].tolist() == [2, 2, 2, 2, 2, None, None, None]
    # What is UTC says no hour of the day: that would have to come from the longitude.
    assert [value is not None for value in found["hour"]] == [True] + [False] * 7
    assert found["hour"][0] == pytest.approx(9.9436, abs=1e-4)
    assert found["taken"][0] == "2012-02-16T09:56:37"
