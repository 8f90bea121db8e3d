"""Captions for the tiles of a region."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import rasterio
from affine import Affine

from placevec.area import StudyArea
from placevec.cli.main import run
from placevec.errors import DataError, UsageError
from placevec.sources.captions import read_captions
from placevec.table import read_skipped
from placevec.tasks import area_captions as module
from placevec.tasks.area_captions import area_captions
from placevec.tasks.inputs import Input

BOX = (10.0, 45.0, 10.2, 45.1)


def write_raster(path: Path, values: np.ndarray) -> str:
    count, height, width = values.shape
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        width=width,
        height=height,
        count=count,
        dtype=values.dtype,
        crs="EPSG:4326",
        transform=Affine((BOX[2] - BOX[0]) / width, 0, BOX[0], 0, (BOX[1] - BOX[3]) / height, BOX[3]),
    ) as out:
        out.write(values)
    return str(path)


@pytest.fixture
def region(tmp_path: Path) -> Path:
    """An area whose west is forest and whose east the map does not know, and a raster of three bands."""
    StudyArea.from_bbox((10.02, 45.02, 10.18, 45.08), name="valley", resolutions=(7,)).save(tmp_path / "valley")
    cover = np.zeros((1, 100, 200), dtype=np.uint8)
    cover[:, :, :100] = 41
    write_raster(tmp_path / "cover.tif", cover)
    pixels = np.zeros((3, 100, 200), dtype=np.uint8)
    pixels[0], pixels[2] = 10, 200
    write_raster(tmp_path / "image.tif", pixels)
    return tmp_path


def test_a_table_of_captions_that_embed_reads(region: Path) -> None:
    told: list[tuple[int, int]] = []
    made = area_captions(
        region / "c.parquet",
        area=region / "valley",
        cover=str(region / "cover.tif"),
        classes="nlcd",
        progress=lambda done, total, facts: told.append((done, total)),
    )
    assert made.tiles == made.captioned + made.skipped == len(StudyArea.open(region / "valley").cells())
    assert 0 < made.captioned < made.tiles
    assert made.skipped_because == {"caption: the maps know nothing of it": made.skipped}
    assert len(read_skipped(region / "c.parquet")) == made.skipped
    assert told[-1] == (made.tiles, made.tiles)
    source = Input(captions=str(region / "c.parquet"), reads="text").source()
    places = source.places()
    assert len(places) == made.captions
    assert len(set(places.keys)) == made.captioned
    assert all("forest" in text.lower() or "tree" in text.lower() for text in places.column("text"))
    assert list(source.read(np.array([1])).data["text"]) == [places.column("text")[1]]
    geo = json.loads(pq.read_schema(region / "c.parquet").metadata[b"geo"])
    assert geo["columns"]["geometry"]["geometry_types"] == ["Polygon"]


def test_parts_do_not_matter(region: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = {"area": region / "valley", "cover": str(region / "cover.tif"), "classes": "nlcd", "ground_m": 800.0}
    area_captions(region / "a.parquet", **words)
    monkeypatch.setattr(module, "PART", 3)
    area_captions(region / "b.parquet", **words)
    assert pq.read_table(region / "a.parquet").equals(pq.read_table(region / "b.parquet"))


def test_a_caption_set_with_pictures_that_training_reads(region: Path) -> None:
    made = area_captions(
        region / "valley" / "captions",
        area=region / "valley",
        cover=str(region / "cover.tif"),
        classes="nlcd",
        raster=str(region / "image.tif"),
        ground_m=600.0,
        pixels=8,
        bands=[3, 2, 1],
    )
    read = read_captions(region / "valley" / "captions")
    assert len(read) == made.captioned
    assert sum(map(len, read.captions)) == made.captions
    assert read.lonlat is not None
    assert np.isfinite(read.lonlat).all()
    batch = read.images(8).read(np.arange(len(read)))
    assert not batch.skipped
    middle = batch.data["image"][:, :, 4, 4]
    assert (middle == np.array([200, 0, 10])).all()


def test_places_of_a_file_and_the_command(region: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (region / "p.csv").write_text("id,lon,lat\nwest,10.04,45.05\neast,10.16,45.05\n")
    out = region / "p.parquet"
    command = ["area", "captions", "--on", str(region / "p.csv"), "--id", "id", "--ground", "500m", "-o", str(out)]
    assert run([*command, "--cover", str(region / "cover.tif"), "--classes", "nlcd", "-q"]) == 0
    said = capsys.readouterr()
    record = json.loads(said.out)
    assert (record["tiles"], record["captioned"], record["skipped"]) == (2, 1, 1)
    assert "1 tiles without captions" in said.err
    assert run(["area", "captions", str(region / "valley"), "--osm", str(region / "none.osm.pbf")]) == 1
    assert run(["area", "captions", str(region / "valley")]) == 2
    assert "give osm, cover" in capsys.readouterr().err


def test_mistakes_say_what_to_do(region: Path) -> None:
    cover = {"cover": str(region / "cover.tif"), "classes": "nlcd"}
    home = region / "valley"
    image = str(region / "image.tif")
    with pytest.raises(UsageError, match="captions alone are a table"):
        area_captions(region / "c", area=home, **cover)
    with pytest.raises(UsageError, match="are a folder"):
        area_captions(region / "c.parquet", area=home, raster=image, ground_m=500.0, **cover)
    with pytest.raises(UsageError, match="side of a tile on the ground"):
        area_captions(region / "c", area=home, raster=image, **cover)
    with pytest.raises(UsageError, match="pixels is of pictures"):
        area_captions(region / "c.parquet", area=home, pixels=8, **cover)
    with pytest.raises(UsageError, match="the cells of which area"):
        area_captions(region / "c.parquet", **cover)
    with pytest.raises(UsageError, match="bands 1 to 3, not 4"):
        area_captions(region / "c", area=home, raster=image, ground_m=500.0, bands=[4, 3, 2], **cover)
    with pytest.raises(UsageError, match="pictures have three"):
        area_captions(region / "c", area=home, raster=image, ground_m=500.0, bands=[1, 2], **cover)
    with pytest.raises(DataError, match="none of the .* tiles has a caption"):
        area_captions(region / "c.parquet", area=home, cover=str(region / "cover.tif"), classes={"7": "rice"})
    assert not (region / "c.parquet").exists()


def test_monaco(tmp_path: Path, data_dir: Path) -> None:
    pytest.importorskip("osmium")
    StudyArea.from_bbox((7.41, 43.72, 7.44, 43.75), name="monaco", resolutions=(9,)).save(tmp_path / "monaco")
    made = area_captions(
        tmp_path / "c.parquet", area=tmp_path / "monaco", osm=data_dir / "osm" / "monaco.osm.pbf", ground_m=300.0
    )
    texts = " ".join(pq.read_table(tmp_path / "c.parquet")["text"].to_pylist()).lower()
    assert made.captioned > 10
    assert "building" in texts or "road" in texts or "street" in texts
