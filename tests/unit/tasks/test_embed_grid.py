"""The raster of an encoder against its points, its table, its provenance, and what a failure leaves."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import shapely

from placevec.area import StudyArea
from placevec.encoders.baselines import SinCos
from placevec.encoders.location import LocationConfig, LocationEncoder
from placevec.errors import DataError, UsageError
from placevec.features.pixels import PixelFeatures
from placevec.geo.boxes import in_polygon
from placevec.grid import EmbeddingGrid
from placevec.nn.position import Harmonics
from placevec.nn.siren import SirenConfig
from placevec.table import open_table, read_table
from placevec.tasks import embed_grid as task
from placevec.tasks.embed_grid import embed_grid

pytest.importorskip("rasterio")
BOX = (1.0, 40.0, 3.0, 41.0)


@pytest.fixture(scope="module")
def encoder() -> LocationEncoder:
    return LocationEncoder.untrained(LocationConfig(Harmonics(10), SirenConfig(capacity=24), 6))


def triangle() -> StudyArea:
    return StudyArea("triangle", shapely.Polygon([(1, 40), (3, 40), (2, 41)]))


@pytest.mark.parametrize("box", [BOX, (179.0, -18.0, -179.5, -17.0)])
def test_the_raster_is_the_points(tmp_path: Path, encoder: LocationEncoder, box: tuple[float, ...]) -> None:
    made = embed_grid(encoder, tmp_path / "g.tif", bbox=box, resolution="40x30")
    assert (made.columns, made.rows, made.pixels) == (40, 30, 1200)
    window = EmbeddingGrid(tmp_path / "g.tif").window()
    assert len(window.vectors) == 1200
    lonlat = np.column_stack([window.lonlat.lon, window.lonlat.lat])
    np.testing.assert_allclose(window.vectors, encoder.encode({"lonlat": lonlat}), atol=2e-6)
    span = (box[2] - box[0]) % 360.0
    east = (lonlat[:, 0] - box[0]) % 360.0
    np.testing.assert_allclose(east, (window.columns + 0.5) * span / 40, atol=1e-9)
    np.testing.assert_allclose(lonlat[:, 1], box[3] - (window.rows + 0.5) * (box[3] - box[1]) / 30, atol=1e-9)


def test_strips_and_progress(tmp_path: Path, encoder: LocationEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    embed_grid(encoder, tmp_path / "one.tif", bbox=BOX, resolution="20x50")
    monkeypatch.setattr(task, "STRIP_ROWS", 16)
    told: list[tuple[int, int, int]] = []
    embed_grid(
        encoder,
        tmp_path / "many.tif",
        bbox=BOX,
        resolution="20x50",
        progress=lambda done, total, facts: told.append((done, total, facts["embedded"])),
    )
    one, many = (EmbeddingGrid(tmp_path / name).window().vectors for name in ("one.tif", "many.tif"))
    np.testing.assert_allclose(one, many, atol=1e-6)
    assert told == [(320, 1000, 320), (640, 1000, 640), (960, 1000, 960), (1000, 1000, 1000)]


@pytest.mark.parametrize("file", ["t.parquet", "t.lance"])
@pytest.mark.parametrize("dtype", ["float32", "float16", "int8"])
def test_the_table_holds_the_pixels_of_the_area(
    tmp_path: Path, encoder: LocationEncoder, file: str, dtype: str
) -> None:
    area = triangle().save(tmp_path / "area")
    made = embed_grid(
        encoder, tmp_path / "g.tif", area=tmp_path / "area", resolution="5km", dtype=dtype, table=tmp_path / file
    )
    window, table = EmbeddingGrid(tmp_path / "g.tif").window(), read_table(tmp_path / file).validate()
    assert len(window.vectors) == len(table) == made.pixels < made.columns * made.rows
    assert in_polygon(table.lon, table.lat, area.boundary).all()
    order = {f"r{row}c{column}": at for at, (row, column) in enumerate(zip(window.rows, window.columns, strict=True))}
    rows = [order[name] for name in table.ids]
    atol = {"float32": 1e-6, "float16": 1e-3, "int8": 2e-2}[dtype]
    np.testing.assert_allclose(table.vectors(), window.vectors[rows], atol=atol)
    wanted = encoder.encode({"lonlat": np.column_stack([table.lon, table.lat])})
    np.testing.assert_allclose(table.vectors(), wanted, atol=atol)
    assert (table.meta.dtype, table.meta.kind, table.meta.normalized) == (dtype, "pixel", True)


def test_the_mask_can_be_left_off(tmp_path: Path, encoder: LocationEncoder) -> None:
    made = embed_grid(encoder, tmp_path / "g.tif", area=triangle(), resolution="10x10", mask=False)
    assert made.pixels == 100


def test_provenance(tmp_path: Path, encoder: LocationEncoder) -> None:
    saved = encoder.save(tmp_path / "model")
    out, side = tmp_path / "g.tif", tmp_path / "t.parquet"
    embed_grid(saved, out, bbox=BOX, resolution="8x4", table=side, seed=3, parents=("pv1-x",), recipe={"why": "test"})
    for meta in (EmbeddingGrid(out).meta, open_table(side).meta):
        assert meta.space == encoder.space
        assert (meta.tower, meta.seed, meta.parents) == ("location", 3, ("pv1-x",))
        assert meta.weights_sha256 == saved.card.weights_sha256 != ""
        assert (meta.recipe["shape"], meta.recipe["bbox"], meta.recipe["why"]) == ([4, 8], list(BOX), "test")
        assert meta.encoder


def test_any_encoder_of_coordinates_will_do(tmp_path: Path) -> None:
    embed_grid(SinCos(), tmp_path / "g.tif", bbox=BOX, resolution="8x4")
    window = EmbeddingGrid(tmp_path / "g.tif").window()
    np.testing.assert_allclose(window.vectors[:, 2], np.sin(np.deg2rad(window.lonlat.lat)), atol=1e-6)


def test_bad_input_is_one_clear_error(tmp_path: Path, encoder: LocationEncoder) -> None:
    out = tmp_path / "g.tif"
    with pytest.raises(UsageError, match=r"reads image.*location encoder"):
        embed_grid(PixelFeatures(3), out, bbox=BOX)
    with pytest.raises(UsageError, match="which region"):
        embed_grid(encoder, out)
    with pytest.raises(UsageError, match=r"ends in \.tif"):
        embed_grid(encoder, tmp_path / "g.parquet", bbox=BOX)
    with pytest.raises(UsageError, match=r"\.parquet or \.lance"):
        embed_grid(encoder, out, bbox=BOX, table=tmp_path / "t.csv")
    with pytest.raises(UsageError, match="cannot be stored"):
        embed_grid(encoder, out, bbox=BOX, dtype="int4")
    with pytest.raises(UsageError, match="int8 needs vectors of length 1"):
        embed_grid(SinCos(), out, bbox=BOX, dtype="int8")
    with pytest.raises(UsageError, match="GB left"):
        embed_grid(encoder, out, bbox=BOX, resolution="0.001m")
    sliver = StudyArea("sliver", shapely.box(2.0001, 40.0001, 2.0002, 40.0002))
    for side in (None, tmp_path / "t.parquet", tmp_path / "t.lance"):
        with pytest.raises(DataError, match="no pixel"):
            embed_grid(encoder, out, area=sliver, bbox=BOX, resolution="2x2", table=side)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("side", [None, "t.parquet"])
@pytest.mark.parametrize("failure", [KeyboardInterrupt, RuntimeError])
def test_an_interruption_leaves_nothing(
    tmp_path: Path, encoder: LocationEncoder, monkeypatch: pytest.MonkeyPatch, side: str | None, failure: type
) -> None:
    monkeypatch.setattr(task, "STRIP_ROWS", 8)

    def stop(done: int, total: int, facts: object) -> None:
        if done > total // 2:
            raise failure

    table = None if side is None else tmp_path / side
    with pytest.raises(failure):
        embed_grid(encoder, tmp_path / "g.tif", bbox=BOX, resolution="30x40", table=table, progress=stop)
    assert list(tmp_path.iterdir()) == []


def test_a_kill_leaves_no_raster_and_the_next_run_clears_up(tmp_path: Path, encoder: LocationEncoder) -> None:
    script = (
        "import sys, time\n"
        "from placevec.encoders.baselines import SinCos\n"
        "from placevec.tasks import embed_grid as task\n"
        "task.STRIP_ROWS = 8\n"
        "def wait(done, total, facts):\n"
        "    print(done, flush=True)\n"
        "    time.sleep(60)\n"
        f"task.embed_grid(SinCos(), sys.argv[1], bbox={BOX}, resolution='30x40', progress=wait)\n"
    )
    out = tmp_path / "g.tif"
    child = subprocess.Popen([sys.executable, "-c", script, str(out)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    child.stdout.readline()
    os.kill(child.pid, signal.SIGKILL)
    child.communicate()
    assert not out.exists()
    assert [path.name for path in tmp_path.iterdir() if not path.name.startswith(".")] == []
    began = time.monotonic()
    embed_grid(encoder, out, bbox=BOX, resolution="30x40")
    assert time.monotonic() - began < 60
    assert [path.name for path in tmp_path.iterdir()] == ["g.tif"]
