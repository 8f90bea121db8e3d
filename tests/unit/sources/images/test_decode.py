"""One image file as an array: every form, every mode, and what is wrong with files."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngImageFile

from placevec.errors import DataError, FormatError, UsageError
from placevec.sources.images import read_image
from placevec.sources.images.locate import position
from placevec.sources.photos import read_exif


def scene(height: int = 40, width: int = 60, seed: int = 0) -> np.ndarray:
    """A smooth picture (h, w, 3), which JPEG keeps nearly as it is."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    layers = [np.sin(x / rng.uniform(9, 20) + y / rng.uniform(9, 20) + rng.uniform(0, 6)) for _ in range(3)]
    return np.rint(127 + 100 * np.stack(layers, axis=-1)).astype(np.uint8)


def bands_first(picture: np.ndarray) -> np.ndarray:
    return picture.transpose(2, 0, 1)


def write_tiff(path: Path, values: np.ndarray, **options: Any) -> Path:
    count, height, width = values.shape
    given_options = {"crs": "EPSG:32631", "transform": rasterio.Affine(10, 0, 5e5, 0, -10, 4.6e6), **options}
    with rasterio.open(
        path, "w", driver="GTiff", dtype=values.dtype, count=count, height=height, width=width, **given_options
    ) as out:
        out.write(values)
    return path


@pytest.mark.parametrize(
    ("name", "options", "mean_error"),
    [
        ("a.png", {}, 0),
        ("a.bmp", {}, 0),
        ("a.tif", {}, 0),
        ("a.tiff", {"compression": "tiff_lzw"}, 0),
        ("a.webp", {"lossless": True}, 0),
        ("a.webp", {"quality": 95}, 4),
        ("a.jpg", {"quality": 97}, 2),
        ("a.JPEG", {"quality": 97, "progressive": True}, 2),
    ],
)
def test_every_form_gives_the_same_picture(tmp_path: Path, name: str, options: dict[str, Any], mean_error: int) -> None:
    truth = scene()
    Image.fromarray(truth).save(tmp_path / name, **options)
    found = read_image(tmp_path / name)
    assert found.dtype == np.uint8
    assert found.shape == (3, 40, 60)
    assert np.abs(found.astype(int) - bands_first(truth)).mean() <= mean_error


def test_the_name_says_nothing_the_content_does(tmp_path: Path) -> None:
    Image.fromarray(scene()).save(tmp_path / "a.png")
    (tmp_path / "a.png").rename(tmp_path / "a.jpg")
    np.testing.assert_array_equal(read_image(tmp_path / "a.jpg"), bands_first(scene()))


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "LA", "RGBA"])
def test_modes_become_red_green_blue(tmp_path: Path, mode: str) -> None:
    image = Image.fromarray(scene()).convert(mode)
    image.save(tmp_path / "a.tif")
    expected = np.asarray(image.convert("RGB"))
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), bands_first(expected))


def test_grey_is_repeated(tmp_path: Path) -> None:
    grey = scene()[..., 0]
    Image.fromarray(grey).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), np.repeat(grey[None], 3, axis=0))


def test_transparent_is_white(tmp_path: Path) -> None:
    rgba = np.dstack([scene(), np.full((40, 60), 255, np.uint8)])
    rgba[:20, :, 3] = 0
    rgba[20:30, :, 3] = 51  # a fifth
    Image.fromarray(rgba).save(tmp_path / "a.png")
    found = read_image(tmp_path / "a.png").astype(int)
    truth = bands_first(scene()).astype(int)
    assert (found[:, :20] == 255).all()
    assert np.abs(found[:, 20:30] - (0.2 * truth[:, 20:30] + 0.8 * 255)).max() <= 1
    np.testing.assert_array_equal(found[:, 30:], truth[:, 30:])
    palette = Image.fromarray(scene()).convert("P")
    palette.save(tmp_path / "b.png", transparency=int(np.asarray(palette)[0, 0]))
    assert (read_image(tmp_path / "b.png")[:, 0, 0] == 255).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_photos_stand_upright(tmp_path: Path, orientation: int) -> None:
    upright = scene()
    # What a camera stores that was held so: the inverse of what the EXIF standard says to do with it.
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright),
        7: upright[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.ascontiguousarray(stored)).save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), bands_first(upright))


def test_sixteen_bits_are_stretched_together(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    values = rng.integers(200, 3000, (3, 50, 70)).astype(np.uint16)
    values[0] //= 2
    path = write_tiff(tmp_path / "a.tif", values)
    low, high = np.percentile(values, [2, 98])
    expected = np.rint(np.clip((values - low) / (high - low), 0, 1) * 255)
    np.testing.assert_allclose(read_image(path), expected, atol=1)
    low, high = np.percentile(values, [2, 98], axis=(1, 2))[..., None, None]
    alone = np.rint(np.clip((values - low) / (high - low), 0, 1) * 255)
    np.testing.assert_allclose(read_image(path, stretch="bands"), alone, atol=1)
    fixed = np.rint(np.clip(values / 3000, 0, 1) * 255)
    np.testing.assert_allclose(read_image(path, stretch=(0, 3000)), fixed, atol=1)
    with pytest.raises(FormatError, match="values reach from 100 to 2998"):
        read_image(path, stretch="none")
    (small := values % 200)[0, 0, 0] = 0
    np.testing.assert_array_equal(read_image(write_tiff(tmp_path / "b.tif", small), stretch="none"), small)


def test_sixteen_bit_png_is_stretched_too(tmp_path: Path) -> None:
    rows, cols = 24, 32
    values = np.random.default_rng(0).integers(0, 4096, (rows, cols)).astype(np.uint16)
    Image.fromarray(values).save(tmp_path / "a.png")
    found = read_image(tmp_path / "a.png")
    low, high = np.percentile(values, [2, 98])
    np.testing.assert_allclose(found[0], np.rint(np.clip((values - low) / (high - low), 0, 1) * 255), atol=1)
    np.testing.assert_array_equal(found[0], found[2])


def test_eight_bits_stay_as_they_are_or_are_stretched_when_asked(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(90, 140, (5, 30, 30)).astype(np.uint8)
    path = write_tiff(tmp_path / "a.tif", values)
    np.testing.assert_array_equal(read_image(path), values)
    assert read_image(path, stretch="joint").max() == 255
    Image.fromarray(values[0]).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png", stretch=(90, 140)).min() == 0


def test_bands_by_number_colour_or_all(tmp_path: Path) -> None:
    values = np.arange(6 * 8 * 9, dtype=np.uint8).reshape(6, 8, 9)
    plain = write_tiff(tmp_path / "a.tif", values, photometric="minisblack")
    np.testing.assert_array_equal(read_image(plain), values)
    np.testing.assert_array_equal(read_image(plain, bands=(4, 3, 2)), values[[3, 2, 1]])
    np.testing.assert_array_equal(read_image(plain, bands=[6]), values[[5]])
    with pytest.raises(FormatError, match=r"a\.tif: there is no band 7; the file has 1 to 6"):
        read_image(plain, bands=(7,))
    with pytest.raises(UsageError, match="number them from 1"):
        read_image(plain, bands=(0,))
    with pytest.raises(UsageError, match="number them from 1"):
        read_image(plain, bands=())
    with rasterio.open(plain, "r+") as out:
        out.colorinterp = [
            rasterio.enums.ColorInterp[name] for name in ("undefined", "blue", "green", "red", "undefined", "undefined")
        ]
    np.testing.assert_array_equal(read_image(plain), values[[3, 2, 1]])
    Image.fromarray(scene()).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png", bands=(3, 1)), bands_first(scene())[[2, 0]])
    with pytest.raises(FormatError, match="a picture has 1 to 3"):
        read_image(tmp_path / "a.png", bands=(4,))


def test_missing_values_are_black_and_do_not_count(tmp_path: Path) -> None:
    values = np.linspace(0.2, 0.4, 40 * 40, dtype=np.float32).reshape(1, 40, 40)
    values[0, :5] = np.nan
    values[0, 5:10] = -9999
    found = read_image(write_tiff(tmp_path / "a.tif", values, nodata=-9999))
    assert found.shape == (3, 40, 40)
    assert (found[:, :10] == 0).all()
    assert found[:, -1].min() > 250
    nothing = np.full((1, 8, 8), np.nan, dtype=np.float32)
    assert (read_image(write_tiff(tmp_path / "b.tif", nothing)) == 0).all()
    level = np.full((1, 8, 8), 700, dtype=np.uint16)
    assert (read_image(write_tiff(tmp_path / "c.tif", level)) == 0).all()


def test_a_large_jpeg_is_decoded_small_where_that_is_enough(tmp_path: Path) -> None:
    Image.fromarray(scene(800, 1200)).save(tmp_path / "a.jpg", quality=95)
    assert read_image(tmp_path / "a.jpg", at_least=150).shape == (3, 200, 300)
    assert read_image(tmp_path / "a.jpg", at_least=500).shape == (3, 800, 1200)
    assert read_image(tmp_path / "a.jpg").shape == (3, 800, 1200)


def png(width: int, height: int) -> bytes:
    """A PNG that says it is so large, with hardly any data."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = zlib.compress(bytes(10_000), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def test_decompression_bombs_are_told_by_their_header(tmp_path: Path) -> None:
    (tmp_path / "bomb.png").write_bytes(png(60_000, 60_000))
    with pytest.raises(DataError, match=r"60,000 x 60,000 pixels are more than the limit of 134,217,728") as caught:
        read_image(tmp_path / "bomb.png")
    assert "\n" not in str(caught.value)
    Image.fromarray(scene()).save(tmp_path / "a.png")
    with pytest.raises(DataError, match="raise max_pixels"):
        read_image(tmp_path / "a.png", max_pixels=2399)
    assert read_image(tmp_path / "a.png", max_pixels=2400).shape == (3, 40, 60)
    many = write_tiff(tmp_path / "a.tif", np.zeros((12, 20, 20), dtype=np.uint16))
    with pytest.raises(DataError, match="20 x 20 pixels of 12 bands"):
        read_image(many, max_pixels=1599)
    assert read_image(many, max_pixels=1600).shape == (12, 20, 20)


def test_a_bomb_is_not_decoded_to_find_where_it_was_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[Any] = []
    monkeypatch.setattr(PngImageFile, "load", lambda image: decoded.append(image))
    (tmp_path / "bomb.png").write_bytes(png(60_000, 60_000))
    assert position(tmp_path / "bomb.png") is None
    assert read_exif(tmp_path / "bomb.png").lon is None
    assert not decoded
    Image.new("RGB", (6, 6)).save(tmp_path / "small.png")
    assert position(tmp_path / "small.png") is None
    assert len(decoded) == 1  # its EXIF data may stand behind its pixels


def test_pillows_own_limit_is_not_in_the_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.fromarray(scene()).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(Image.DecompressionBombError):
        Image.open(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), bands_first(scene()))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "the file is empty"),
        (b"this is a caption, not an image", "no JPEG, PNG, WebP, BMP or TIFF"),
        (b"\xff\xd8\xff\xe0", "damaged or cut short"),
        (b"\x89PNG\r\n\x1a\n", "damaged or cut short"),
        (b"II*\x00", "damaged or cut short"),
        (b"MM\x00+\x00\x08", "damaged or cut short"),
        (b"BM", "damaged or cut short"),
        (b"RIFF\x10\x00\x00\x00WEBPVP8 ", "damaged or cut short"),
        (b"GIF89a" + bytes(40), "no JPEG, PNG, WebP, BMP or TIFF"),
        (b"\x80\x04\x95pickle", "no JPEG, PNG, WebP, BMP or TIFF"),
    ],
)
def test_files_that_are_no_images(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(content)
    with pytest.raises(FormatError, match=reason) as caught:
        read_image(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_absent_files_and_folders(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="does not exist"):
        read_image(tmp_path / "a.jpg")
    with pytest.raises(FormatError, match="a folder"):
        read_image(tmp_path)
    with pytest.raises(UsageError, match="stretch is 'wide'; choose one of auto"):
        read_image(tmp_path / "a.jpg", stretch="wide")
    with pytest.raises(UsageError, match="below the second"):
        read_image(tmp_path / "a.jpg", stretch=(3, 3))


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "a.bmp", "a.tif"])
@settings(max_examples=25)
@given(st.data())
def test_damage_gives_an_image_or_one_line(tmp_path: Path, name: str, data: st.DataObject) -> None:
    """Cut anywhere and changed anywhere, a file is either still read or refused, never worse."""
    path = tmp_path / name
    Image.fromarray(scene(17, 23)).save(path)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(0, 6))):
        content[data.draw(st.integers(0, min(len(content), 400) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(bytes(content[: data.draw(st.integers(1, len(content)))]))
    found: Any = None
    try:
        found = read_image(path, max_pixels=1 << 16)
    except FormatError as error:
        found = str(error)
    assert "\n" not in found if isinstance(found, str) else found.dtype == np.uint8


def test_cut_short(tmp_path: Path) -> None:
    for name in ("a.jpg", "a.png", "a.bmp", "a.tif"):
        path = tmp_path / name
        Image.fromarray(scene(200, 200)).save(path)
        path.write_bytes(path.read_bytes()[:-3000])
        with pytest.raises(FormatError, match="damaged or cut short"):
            read_image(path)


@pytest.mark.real
def test_real_files(data_dir: Path) -> None:
    assert read_image(data_dir / "ucm/images/airplane00.jpg").shape == (3, 256, 256)
    twelve = read_image(data_dir / "sentinel2/patch_25630.tif")
    assert twelve.shape == (12, 256, 256)
    assert read_image(data_dir / "sentinel2/patch_25630.tif", bands=(4, 3, 2)).std() > 10
    with pytest.raises(DataError, match="36,000 x 36,000"):
        read_image(data_dir / "worldcover/ESA_WorldCover_10m_2021_v200_N00E006_Map.tif")
