"""Photo lists, written and read, and as a source."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

pytest.importorskip("PIL")

from photo_files import scene, write_photo
from placevec.errors import FormatError, SchemaError, UsageError
from placevec.geo.sphere import LonLat
from placevec.provenance import SourceRef
from placevec.sources.photos import (
    METADATA,
    PhotoCard,
    PhotoList,
    is_photo_list,
    photo_metadata,
    read_photo_card,
    read_photo_list,
    write_photo_list,
)
from placevec.table import Places, Skipped, read_skipped
from placevec.testing.source import check_source


def rows(folder: Path, n: int = 4, **attributes) -> Places:
    files = [write_photo(folder / f"p{i}.jpg", i, size=(96, 64)) for i in range(n)]
    points = LonLat(np.linspace(60, 61, n), np.linspace(25, 26, n))
    return Places.create(
        [f"p{i}" for i in range(n)], points, asset=[str(file) for file in files], attributes=attributes
    )


def test_a_list_comes_back_with_its_card_and_what_was_skipped(tmp_path: Path) -> None:
    card = PhotoCard(regions=("a", "b"), settings={"metres": 25.0}, sources=(SourceRef(href="x", licence="CC0"),))
    lost = [Skipped("z", "image", "damaged"), Skipped("y", "image", "damaged")]
    places = rows(tmp_path, region=np.array(list("abab"), dtype=object))
    said = write_photo_list(places, tmp_path / "l.parquet", skipped=lost, card=card)
    assert (said.photos, said.skipped) == (4, {"image: damaged": 2})
    assert read_photo_card(tmp_path / "l.parquet") == said
    assert [one.id for one in read_skipped(tmp_path / "l.parquet")] == ["y", "z"]
    again = read_photo_list(tmp_path / "l.parquet")
    assert again.ids.tolist() == places.ids.tolist()
    assert again.column("region").tolist() == list("abab")
    assert again.lonlat() == places.lonlat()


def test_assets_below_the_list_move_with_it(tmp_path: Path) -> None:
    write_photo(tmp_path / "one" / "img" / "a.jpg")
    places = Places.create(["a"], LonLat.of(1, 2), asset=["img/a.jpg"])
    write_photo_list(places, tmp_path / "one" / "l.parquet")
    (tmp_path / "one").rename(tmp_path / "two")
    assert read_photo_list(tmp_path / "two" / "l.parquet").column("asset").tolist() == [str(tmp_path / "two/img/a.jpg")]
    assert len(PhotoList(tmp_path / "two" / "l.parquet", pixels=8).read(np.array([0]))) == 1


def test_a_list_of_another_program_is_one(tmp_path: Path) -> None:
    places = rows(tmp_path)
    pq.write_table(places.data, tmp_path / "foreign.parquet")
    assert is_photo_list(tmp_path / "foreign.parquet")
    assert read_photo_list(tmp_path / "foreign.parquet").lonlat() == places.lonlat()
    assert read_photo_card(tmp_path / "foreign.parquet") == PhotoCard()


def test_what_is_no_list_says_why(tmp_path: Path) -> None:
    pq.write_table(pa.table({"id": ["a"], "x": [1]}), tmp_path / "no.parquet")
    assert not is_photo_list(tmp_path / "no.parquet")
    with pytest.raises(SchemaError, match="has the column 'asset'.*there are: id, x"):
        read_photo_list(tmp_path / "no.parquet")
    pq.write_table(pa.table({"asset": ["a"]}), tmp_path / "ids.parquet")
    with pytest.raises(SchemaError, match="no column 'id'"):
        read_photo_list(tmp_path / "ids.parquet")
    (tmp_path / "text.parquet").write_text("no")
    assert not is_photo_list(tmp_path / "text.parquet")
    assert not is_photo_list(tmp_path / "absent.parquet")
    with pytest.raises(FormatError):
        read_photo_list(tmp_path / "text.parquet")
    null = Places.create(["a", "b"], asset=np.array(["x", None], dtype=object))
    with pytest.raises(SchemaError, match="1 rows have no asset"):
        write_photo_list(null, tmp_path / "null.parquet")
    assert not (tmp_path / "null.parquet").exists()


def test_chips_of_a_raster_are_not_read_as_files(tmp_path: Path) -> None:
    places = Places.create(["a"], LonLat.of(1, 2), asset=["x.tif#xywh=0,0,8,8"])
    write_photo_list(places, tmp_path / "chips.parquet")
    assert not is_photo_list(tmp_path / "chips.parquet")
    with pytest.raises(UsageError, match="part of a raster"):
        PhotoList(tmp_path / "chips.parquet")


def test_a_photo_list_is_a_source(tmp_path: Path) -> None:
    write_photo_list(rows(tmp_path), tmp_path / "l.parquet")
    check_source(PhotoList(tmp_path / "l.parquet", pixels=16))


def test_a_batch_holds_images_places_and_what_the_camera_says(tmp_path: Path) -> None:
    places = rows(
        tmp_path,
        hour=np.array([6.0, 12.0, np.nan, 0.0]),
        heading=np.array([90.0, np.nan, 180.0, 0.0]),
        focal_mm=np.array([35.0, 0.0, np.nan, 50.0]),
        taken=np.array(["2020-12-31T06:00:00", None, "nonsense", "2021-01-01"], dtype=object),
        tags=np.array(["sea,boat", None, "", "x"], dtype=object),
    )
    source = PhotoList(places, pixels=16)
    batch = source.read(np.array([3, 0]))
    assert batch.data["image"].shape == (2, 3, 16, 16)
    assert batch.data["lonlat"].tolist() == [[61.0, 26.0], [60.0, 25.0]]
    assert batch.data["tags"].tolist() == ["x", "sea,boat"]
    assert batch.data["metadata"].dtype == np.float32
    table = dict(zip(METADATA, photo_metadata(places).T, strict=True))
    assert np.allclose(table["sin_hour"], [1, 0, np.nan, 0], atol=1e-6, equal_nan=True)
    assert np.allclose(table["cos_heading"], [0, np.nan, -1, 1], atol=1e-6, equal_nan=True)
    assert np.allclose(table["log_focal_mm"], [np.log(35), np.nan, np.nan, np.log(50)], equal_nan=True)
    assert np.allclose(table["day_of_year"], [1.0, np.nan, np.nan, 1 / 366], equal_nan=True)


def test_the_month_stands_in_for_the_day() -> None:
    places = Places.create(["a", "b"], LonLat([1, 2], [3, 4]), attributes={"month": pa.array([7, None])})
    assert photo_metadata(places)[0, 5] == pytest.approx(198 / 366)  # 16 July
    assert np.isnan(photo_metadata(places)[1]).all()


def test_photos_keep_their_shape(tmp_path: Path) -> None:
    # Left and right thirds are red; the middle square is green.
    from PIL import Image

    image = np.zeros((30, 90, 3), dtype=np.uint8)
    image[..., 0] = 255
    image[:, 30:60] = (0, 255, 0)
    Image.fromarray(image).save(tmp_path / "a.png")
    places = Places.create(["a"], LonLat.of(1, 2), asset=[str(tmp_path / "a.png")])
    cropped = PhotoList(places, pixels=30).read(np.array([0])).data["image"][0]
    assert (cropped[1] == 255).all()
    assert (cropped[0] == 0).all()
    squashed = PhotoList(places, pixels=30, fit="squash").read(np.array([0])).data["image"][0]
    assert squashed[0].max() == 255


def test_workers_are_given_the_list_as_it_was_read(tmp_path: Path) -> None:
    write_photo_list(rows(tmp_path), tmp_path / "l.parquet")
    source = PhotoList(tmp_path / "l.parquet", pixels=16)
    copy = pickle.loads(pickle.dumps(source))
    (tmp_path / "l.parquet").unlink()
    assert (copy.read(np.arange(4)).data["image"] == source.read(np.arange(4)).data["image"]).all()
    assert copy.fingerprint() == source.fingerprint()


def test_a_photo_that_has_gone_is_skipped_with_the_reason(tmp_path: Path) -> None:
    places = rows(tmp_path)
    (tmp_path / "p1.jpg").unlink()
    batch = PhotoList(places, pixels=16).read(np.arange(4))
    assert batch.rows.tolist() == [0, 2, 3]
    assert batch.data["lonlat"][1, 0] == pytest.approx(60 + 2 / 3)
    assert [(one.id, one.stage) for one in batch.skipped] == [("p1", "image")]
    assert "does not exist" in batch.skipped[0].reason


def test_a_limit_takes_the_first(tmp_path: Path) -> None:
    assert PhotoList(rows(tmp_path), limit=2).places().ids.tolist() == ["p0", "p1"]


def test_rows_without_a_place_are_photos_too(tmp_path: Path) -> None:
    write_photo(tmp_path / "a.jpg")
    places = Places.create(["a"], asset=[str(tmp_path / "a.jpg")])
    batch = PhotoList(places, pixels=8).read(np.array([0]))
    assert np.isnan(batch.data["lonlat"]).all()
    assert set(batch.data) == {"image", "lonlat"}
    assert scene(0).shape == (120, 160, 3)
