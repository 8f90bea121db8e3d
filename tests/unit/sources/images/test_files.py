"""Image files as a source: what is found, read, skipped, and where it lies."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import rasterio
import rasterio.warp
from PIL import Image
from PIL.TiffImagePlugin import IFDRational

from placevec.errors import FormatError, UsageError
from placevec.features.pixels import PixelFeatures
from placevec.provenance import SourceRef
from placevec.sources.images import ImageFiles, footprint, read_image, resized
from placevec.table import read_table
from placevec.tasks.embed import embed
from placevec.testing import check_source


def put(path: Path, seed: int = 0, size: tuple[int, int] = (50, 40), **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    colours = np.random.default_rng(seed).integers(0, 256, (4, 5, 3)).astype(np.uint8)
    Image.fromarray(colours).resize(size, Image.Resampling.BICUBIC).save(path, **options)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Nine images, one of them no image, and what is to be left alone."""
    for i, name in enumerate(("b.jpg", "a/2.png", "a/10.PNG", "a/x/1.webp", "c.bmp", "d.tif", "e.jpeg", "f.tiff")):
        put(tmp_path / "set" / name, seed=i)
    (tmp_path / "set/broken.jpg").write_bytes(b"")
    for name in (".hidden.jpg", ".git/a.jpg", "notes.txt", "a/._2.png"):
        (tmp_path / "set" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "set" / name).write_text("not an image")
    return tmp_path / "set"


def test_a_folder_in_order_and_only_images(folder: Path) -> None:
    source = ImageFiles(folder, pixels=16)
    names = ["a/10.PNG", "a/2.png", "a/x/1.webp", "b.jpg", "broken.jpg", "c.bmp", "d.tif", "e.jpeg", "f.tiff"]
    places = source.places()
    assert places.ids.tolist() == names
    assert places.keys.tolist() == names
    assert places.column("file").tolist() == names
    assert places.column("asset").tolist() == [str(folder / name) for name in names]
    assert not places.located.any()


def test_the_contract_of_a_source(folder: Path) -> None:
    check_source(ImageFiles(folder, pixels=16, threads=3))
    check_source(ImageFiles(folder, pixels=9, fit="crop", bands=(3, 1), threads=1))


def test_batches_are_the_images_one_by_one(folder: Path) -> None:
    for threads in (1, 4):
        batch = ImageFiles(folder, pixels=16, threads=threads).read(np.arange(9)[::-1])
        assert batch.rows.tolist() == [8, 7, 6, 5, 3, 2, 1, 0]
        assert [(skip.id, skip.stage, skip.reason) for skip in batch.skipped] == [
            ("broken.jpg", "image", "the file is empty; fetch it again")
        ]
        source = ImageFiles(folder, pixels=16)
        for row, image in zip(batch.rows, batch.data["image"], strict=True):
            np.testing.assert_array_equal(image, resized(read_image(source.files[row]), 16))


def test_large_jpegs_are_nearly_as_if_decoded_whole(tmp_path: Path) -> None:
    put(tmp_path / "a.jpg", size=(900, 700), quality=95)
    fast = ImageFiles(tmp_path, pixels=64).read(np.array([0])).data["image"][0]
    slow = resized(read_image(tmp_path / "a.jpg"), 64)
    assert np.abs(fast.astype(int) - slow).max() <= 4


def test_a_list_of_files(folder: Path, tmp_path: Path) -> None:
    source = ImageFiles([folder / "c.bmp", folder / "a/2.png"], pixels=8)
    assert source.places().ids.tolist() == ["c.bmp", "a/2.png"]
    named = ImageFiles(
        [folder / "c.bmp", folder / "a/2.png"], pixels=8, ids=["x", "y"], attributes={"label": ["p", "q"]}
    )
    assert named.places().ids.tolist() == ["x", "y"]
    assert named.places().column("label").tolist() == ["p", "q"]
    assert ImageFiles(folder / "c.bmp").places().ids.tolist() == ["c.bmp"]
    gone = ImageFiles([folder / "c.bmp", folder / "gone.png"], pixels=8).read(np.arange(2))
    assert [skip.reason for skip in gone.skipped] == ["the file does not exist; check the path"]
    with pytest.raises(UsageError, match="named twice"):
        ImageFiles([folder / "c.bmp", folder / "a/../c.bmp"])
    with pytest.raises(UsageError, match="number them from 1"):
        ImageFiles(folder, bands=(0,))
    with pytest.raises(UsageError, match="no image is named"):
        ImageFiles([])


def test_no_images_at_all(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a")
    with pytest.raises(UsageError, match=r"holds no image: files that end in \.jpg, \.jpeg, \.png") as caught:
        ImageFiles(tmp_path)
    assert str(tmp_path) in str(caught.value)
    with pytest.raises(UsageError, match="does not exist"):
        ImageFiles(tmp_path / "nowhere")


def test_images_of_another_number_of_bands_are_skipped(tmp_path: Path) -> None:
    put(tmp_path / "a.png")
    with rasterio.open(tmp_path / "b.tif", "w", driver="GTiff", dtype="uint16", count=4, height=9, width=9,
                       crs="EPSG:4326", transform=rasterio.Affine(0.1, 0, 5, 0, -0.1, 5)) as out:  # fmt: skip
        out.write(np.ones((4, 9, 9), dtype=np.uint16))
    batch = ImageFiles(tmp_path, pixels=8).read(np.arange(2))
    assert batch.rows.tolist() == [0]
    assert batch.skipped[0].reason == "it has 4 bands, the first image has 3: name the bands to be read"
    assert len(ImageFiles(tmp_path, pixels=8, bands=(1, 2)).read(np.arange(2))) == 2


def test_where_images_lie(tmp_path: Path) -> None:
    transform = rasterio.Affine(10, 0, 500_000, 0, -10, 5_000_000)
    with rasterio.open(tmp_path / "a.tif", "w", driver="GTiff", dtype="uint8", count=3, height=60, width=80,
                       crs="EPSG:32632", transform=transform) as out:  # fmt: skip
        out.write(np.zeros((3, 60, 80), dtype=np.uint8))
    exif = Image.Exif()
    thirty = IFDRational(30, 1)
    exif[0x8825] = {1: "S", 2: (IFDRational(33, 1), thirty, IFDRational(0, 1)), 3: "W", 4: (70, 15, 0)}
    put(tmp_path / "b.jpg", exif=exif)
    exif[0x8825] = {1: "N", 2: (IFDRational(0, 0),) * 3, 3: "E", 4: (IFDRational(0, 0),) * 3}
    put(tmp_path / "c.jpg", exif=exif)
    put(tmp_path / "d.png")
    put(tmp_path / "e.tif")
    (tmp_path / "f.tif").write_bytes(b"II*\x00 nonsense")
    places = ImageFiles(tmp_path).places()
    assert places.located.tolist() == [True, True, False, False, False, False]
    x, y = 500_000 + 400, 5_000_000 - 300
    back = rasterio.warp.transform("EPSG:32632", "EPSG:4326", [x], [y])
    assert places.lon[0] == pytest.approx(back[0][0], abs=1e-9)
    assert places.lat[0] == pytest.approx(back[1][0], abs=1e-9)
    assert (places.lon[1], places.lat[1]) == (-70.25, -33.5)
    found = footprint(tmp_path / "a.tif")
    assert found is not None
    assert (found.width, found.height, found.transform) == (80, 60, tuple(transform)[:6])
    assert found.crs.to_epsg() == 32632
    assert tuple(np.ravel(found.xy(80, 60))) == (500_800, 4_999_400)
    assert footprint(tmp_path / "b.jpg") is None
    assert footprint(tmp_path / "e.tif") is None
    with pytest.raises(FormatError, match=r"f\.tif: the image is damaged"):
        footprint(tmp_path / "f.tif")
    with pytest.raises(FormatError, match="does not exist"):
        footprint(tmp_path / "g.tif")
    given_points = np.array([[1.0, 2.0]] + [[np.nan, np.nan]] * 5)
    places = ImageFiles(tmp_path, lonlat=given_points).places()
    assert places.located.tolist() == [True, False, False, False, False, False]


def test_fingerprints_follow_the_files_and_the_settings(folder: Path) -> None:
    own = ImageFiles(folder, pixels=16).fingerprint()
    assert ImageFiles(folder, pixels=16, threads=1).fingerprint() == own
    assert ImageFiles(folder, pixels=17).fingerprint() != own
    assert ImageFiles(folder, pixels=16, stretch="joint").fingerprint() != own
    os.utime(folder / "b.jpg", (1, 1))
    changed = ImageFiles(folder, pixels=16).fingerprint()
    assert changed != own
    (folder / "b.jpg").rename(folder / "z.jpg")
    assert ImageFiles(folder, pixels=16).fingerprint() not in (own, changed)


def test_worker_processes_make_the_same_table(folder: Path, tmp_path: Path) -> None:
    source = ImageFiles(folder, pixels=8, refs=[SourceRef("set", licence="mine")])
    again = pickle.loads(pickle.dumps(source))
    assert again.fingerprint() == source.fingerprint()
    alone = embed(source, PixelFeatures(3), tmp_path / "one.parquet", batch=3, shard_rows=3)
    both = embed(source, PixelFeatures(3), tmp_path / "two.parquet", batch=3, shard_rows=3, workers=2)
    assert alone.rows == both.rows == 8
    assert alone.skipped_because == {"image: the file is empty; fetch it again": 1}
    assert alone.fingerprint == both.fingerprint
    assert SourceRef("set", licence="mine") in read_table(tmp_path / "one.parquet").meta.sources


@pytest.mark.real
def test_real_photos_know_where_they_were_taken(data_dir: Path) -> None:
    places = ImageFiles(data_dir / "photos/lund", pixels=32).places()
    assert places.located.all()
    assert np.allclose(places.lon, 13.19, atol=0.05)
    assert np.allclose(places.lat, 55.7, atol=0.05)
    patches = ImageFiles(data_dir / "sentinel2", pixels=32, bands=(4, 3, 2), stretch=(0, 3000))
    assert patches.places().located.all()
    assert patches.read(np.arange(6)).data["image"].shape == (6, 3, 32, 32)
