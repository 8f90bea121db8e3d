"""What is measured of a photo, against slow and obvious ways to measure it."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("PIL")

from PIL import Image, ImageFilter

from photo_files import scene, write_animated, write_enormous, write_photo
from placevec.errors import FormatError, UsageError
from placevec.sources.photos import QualityRules
from placevec.sources.photos.look import ANIMATED, OF_CHIPS, SIDE, look_at, look_at_file, refusal, sharpness

RULES = QualityRules()


def test_sharpness_is_the_variance_of_the_laplacian() -> None:
    grey = np.random.default_rng(0).uniform(0, 255, (9, 7))
    slow = [
        grey[y - 1, x] + grey[y + 1, x] + grey[y, x - 1] + grey[y, x + 1] - 4 * grey[y, x]
        for y in range(1, 8)
        for x in range(1, 6)
    ]
    assert sharpness(grey) == pytest.approx(np.var(slow))
    assert sharpness(np.zeros((2, 9))) == 0.0
    # A ramp has no edge.
    assert sharpness(np.add.outer(np.arange(9.0), 2 * np.arange(9.0))) == pytest.approx(0.0, abs=1e-20)


def test_all_measures_of_a_file(tmp_path: Path) -> None:
    path = write_photo(tmp_path / "a.png", 3)
    look = look_at_file(path, RULES, thumbnail=True)
    assert (look.width, look.height) == (160, 120)
    grey = np.asarray(Image.open(path).convert("L"), dtype=float)
    assert look.mean == pytest.approx(grey.mean())
    assert look.sharpness == pytest.approx(sharpness(grey))
    assert look.clipped == pytest.approx(((grey <= 2) | (grey >= 253)).mean())
    assert look.digest == hashlib.sha256(path.read_bytes()).hexdigest()
    assert look.thumbnail is not None
    assert look.thumbnail.shape == (3, SIDE, SIDE)
    assert look.without_thumbnail().thumbnail is None
    assert refusal(look, RULES) == ""
    # The same picture in memory gives the same measures.
    again = look_at(scene(3).transpose(2, 0, 1))
    assert (again.sharpness, again.mean) == (look.sharpness, look.mean)
    assert (again.spectrum == look.spectrum).all()


def test_blurred_and_badly_exposed_photos_are_refused(tmp_path: Path) -> None:
    sharp = Image.fromarray(scene(1))
    cases = {
        "blurred": sharp.filter(ImageFilter.GaussianBlur(6)),
        "too dark": sharp.point(lambda value: value // 40),
        "too bright": sharp.point(lambda value: 246 + value // 40),
        "badly exposed": Image.fromarray(np.where(scene(1) > 128, 255, 0).astype(np.uint8).max(axis=2)).convert("RGB"),
    }
    for word, image in cases.items():
        image.save(tmp_path / "a.png")
        assert refusal(look_at_file(tmp_path / "a.png", RULES), RULES).startswith(word)
    assert refusal(look_at(np.full((3, 40, 40), 128, np.uint8)), OF_CHIPS) == ""


def test_a_bound_of_zero_lets_everything_pass() -> None:
    rules = QualityRules(min_side=0, min_sharpness=0, min_mean=0, max_mean=255, max_clipped=1)
    for level in (0, 255):
        assert refusal(look_at(np.full((3, 9, 9), level, np.uint8)), rules) == ""


def test_large_photos_are_measured_small(tmp_path: Path) -> None:
    large = Image.fromarray(scene(5)).resize((2048, 1536), Image.Resampling.LANCZOS)
    large.save(tmp_path / "a.jpg", quality=95)
    look = look_at_file(tmp_path / "a.jpg", RULES)
    assert (look.width, look.height) == (2048, 1536)
    small = np.asarray(large.convert("L").resize((512, 384), Image.Resampling.BILINEAR), dtype=float)
    assert look.sharpness == pytest.approx(sharpness(small), rel=0.1)


@pytest.mark.parametrize("name", ["a.png", "a.webp"])
def test_animations_are_no_photo(tmp_path: Path, name: str) -> None:
    with pytest.raises(FormatError, match=ANIMATED):
        look_at_file(write_animated(tmp_path / name), QualityRules(min_side=1))


def test_sizes_are_checked_before_anything_is_decoded(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="enormous: more than 134,217,728 pixels"):
        look_at_file(write_enormous(tmp_path / "a.png"), RULES)
    with pytest.raises(FormatError, match="too small: its shorter side has under 121 pixels"):
        look_at_file(write_photo(tmp_path / "b.jpg"), QualityRules(min_side=121))


def test_cmyk_grey_and_palettes_are_photos(tmp_path: Path) -> None:
    for name, mode in (("a.jpg", "CMYK"), ("b.jpg", "L"), ("c.png", "P"), ("d.png", "LA")):
        Image.fromarray(scene(2)).convert(mode).save(tmp_path / name)
        assert refusal(look_at_file(tmp_path / name, RULES), RULES) == ""


def test_sixteen_bits_are_stretched_to_eight(tmp_path: Path) -> None:
    pytest.importorskip("rasterio")
    grey = scene(2).mean(axis=2)
    Image.fromarray((grey * 12).astype(np.uint16)).save(tmp_path / "a.png")
    look = look_at_file(tmp_path / "a.png", RULES)
    assert (look.width, look.height) == (160, 120)
    assert refusal(look, RULES) == ""


def test_rasters_of_many_bands_are_no_photos() -> None:
    with pytest.raises(FormatError, match="12 bands of uint8: a photo has three bands"):
        look_at(np.zeros((12, 8, 8), np.uint8))
    with pytest.raises(FormatError, match="1 bands of float32"):
        look_at(np.zeros((1, 8, 8), np.float32))


@pytest.mark.parametrize(
    "given", [{"min_side": -1}, {"max_clipped": 1.5}, {"near_bits": 17}, {"min_sharpness": np.nan}, {"max_indoor": -1}]
)
def test_rules_that_mean_nothing_are_refused(given) -> None:
    with pytest.raises(UsageError, match=next(iter(given)) if "near" not in next(iter(given)) else "17 bits"):
        QualityRules(**given)


def test_the_real_photos_pass(data_dir: Path) -> None:
    paths = [*sorted((data_dir / "photos/lund").glob("*.jpg")), *sorted((data_dir / "ucm/images").glob("*.jpg"))[::150]]
    for path in paths:
        assert refusal(look_at_file(path, RULES), RULES) == "", path
