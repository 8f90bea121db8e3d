"""What cameras write, read back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("PIL")

from PIL import Image
from PIL.TiffImagePlugin import IFDRational

from photo_files import AT, exif, gps, write_photo, write_raw
from placevec.sources.photos import read_exif
from placevec.sources.photos.exif import BROKEN_POSITION, NO_POSITION


def test_all_that_a_camera_tells(tmp_path: Path) -> None:
    path = write_photo(
        tmp_path / "a.jpg",
        at=(-70.5, -33.25),
        gps={16: "T", 17: 271.5, 5: b"\x01", 6: 12.5},
        photo={0x9003: "2021:08:14 18:30:00", 0x9011: "+05:00", 0x920A: IFDRational(43, 10), 0xA405: 26},
        image={0x013B: "Ada", 0x9C9E: "sea;old town".encode("utf-16-le")},
    )
    found = read_exif(path)
    assert (found.lon, found.lat) == pytest.approx((-70.5, -33.25), abs=1e-7)
    assert found.without == ""
    assert (found.taken, found.hour, found.month) == ("2021-08-14T18:30:00+05:00", 18.5, 8)
    assert (found.focal_mm, found.lens_mm) == (26.0, 4.3)
    assert (found.heading, found.altitude_m) == (271.5, -12.5)
    assert (found.author, found.tags) == ("Ada", "sea,old town")


def test_a_photo_without_data_tells_nothing(tmp_path: Path) -> None:
    Image.new("RGB", (20, 20)).save(tmp_path / "bare.jpg")
    found = read_exif(tmp_path / "bare.jpg")
    assert found.without == NO_POSITION
    assert not any(value for name, value in vars(found).items() if name != "without")


@pytest.mark.parametrize(
    ("directory", "why"),
    [
        ({2: (IFDRational(0, 0),) * 3, 4: (IFDRational(0, 0),) * 3}, BROKEN_POSITION),
        ({1: "N", 2: (24.0, 54.0, 0.0)}, BROKEN_POSITION),
        ({1: "N", 3: "E"}, NO_POSITION),
        ({2: (1.0, 2.0, 3.0, 4.0), 4: (1.0, 2.0, 3.0)}, BROKEN_POSITION),
    ],
)
def test_a_position_that_cannot_be_read_is_told_from_none(tmp_path: Path, directory, why: str) -> None:
    found = read_exif(write_raw(tmp_path / "a.jpg", directory))
    assert (found.lon, found.lat, found.without) == (None, None, why)


def test_positions_are_given_as_they_stand_even_beyond_the_earth(tmp_path: Path) -> None:
    found = read_exif(write_raw(tmp_path / "a.jpg", gps(0.0, 0.0) | {2: (120.0, 0.0, 0.0)}))
    assert (found.lon, found.lat) == (0.0, 120.0)


def test_the_focal_length_on_film_follows_from_the_sensor(tmp_path: Path) -> None:
    # 4,000 pixels at 400 a millimetre are 10 mm: a lens of 10 mm sees as 36 mm on film of 36 mm.
    photo = {0x920A: 10.0, 0xA002: 4000, 0xA20E: IFDRational(4000, 1), 0xA210: 3}
    assert read_exif(write_photo(tmp_path / "a.jpg", photo=photo)).focal_mm == pytest.approx(36.0)
    assert read_exif(write_photo(tmp_path / "b.jpg", photo={0x920A: 10.0})).focal_mm is None


@pytest.mark.parametrize("stamp", ["0000:00:00 00:00:00", "", "yesterday", "2021:13:40 00:00:00"])
def test_clocks_that_were_never_set_tell_no_time(tmp_path: Path, stamp: str) -> None:
    found = read_exif(write_photo(tmp_path / "a.jpg", photo={0x9003: stamp}))
    assert (found.taken, found.hour, found.month) == (None, None, None)


def test_the_time_of_change_stands_in_only_where_no_other_is(tmp_path: Path) -> None:
    changed = {0x0132: "2024:01:02 03:00:00"}
    assert read_exif(write_photo(tmp_path / "a.jpg", image=changed)).month == 1
    taken = {0x9003: "2020:06:07 08:00:00"}
    assert read_exif(write_photo(tmp_path / "b.jpg", image=changed, photo=taken)).taken == "2020-06-07T08:00:00"


def test_gps_time_gives_no_hour_of_the_day(tmp_path: Path) -> None:
    found = read_exif(write_photo(tmp_path / "a.jpg", gps={7: (10.0, 0.0, 0.0), 29: "2020:06:07"}))
    assert found.hour is None


def test_headings_wrap_and_nonsense_is_none(tmp_path: Path) -> None:
    assert read_exif(write_photo(tmp_path / "a.jpg", gps={17: 360.0})).heading == 0.0
    assert read_exif(write_photo(tmp_path / "b.jpg", gps={17: 65535.0})).heading is None


def test_png_and_webp_have_data_too(tmp_path: Path) -> None:
    for name in ("a.png", "a.webp"):
        Image.new("RGB", (20, 20)).save(tmp_path / name, exif=exif(gps(*AT)))
        assert read_exif(tmp_path / name).lon == pytest.approx(AT[0], abs=1e-7)


def test_a_file_that_cannot_be_read_tells_nothing_but_why(tmp_path: Path) -> None:
    assert read_exif(tmp_path / "absent.jpg").damaged == "the file does not exist; check the path"
    (tmp_path / "text.jpg").write_text("no image")
    assert read_exif(tmp_path / "text.jpg").damaged.startswith("the file is no JPEG")
    whole = write_photo(tmp_path / "a.jpg").read_bytes()
    for cut in range(2, 400, 7):
        (tmp_path / "cut.jpg").write_bytes(whole[:cut])
        read_exif(tmp_path / "cut.jpg")


def test_the_real_photos_of_lund(data_dir: Path) -> None:
    found = [read_exif(path) for path in sorted((data_dir / "photos" / "lund").glob("*.jpg"))]
    assert len(found) == 6
    assert np.allclose([one.lon for one in found], 13.1952, atol=2e-4)
    assert np.allclose([one.lat for one in found], 55.6983, atol=2e-4)
    assert [one.focal_mm for one in found] == [35.0] * 6
    # Mapillary's app writes the compass into the description of the image.
    assert found[0].heading == pytest.approx(179.2156)
    assert {one.altitude_m for one in found} == {37.0, 38.0, 39.0, 40.0}
