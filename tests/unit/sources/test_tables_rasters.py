"""Rasters of vectors in: AlphaEarth tiles as pixels and as means of cells."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from placevec.errors import CrsError, FormatError, SchemaError, SpaceMismatch, UsageError
from placevec.geo.cells import H3Cells
from placevec.geo.frames import to_lonlat
from placevec.sources.tables import read_foreign
from placevec.table import read_table
from placevec.table.codec import encode
from placevec.tasks.import_ import import_tables

rasterio = pytest.importorskip("rasterio")

SIDE = 40
WEST, NORTH, PIXEL = 440_000.0, 4_474_000.0, 100.0


def tile(
    path: Path, *, south_up: bool = False, holes: int = 3, seed: int = 0, west: float = WEST, **profile: Any
) -> Any:
    """An AlphaEarth-like tile; returns its int8 values (64, rows, columns), north-up."""
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((SIDE * SIDE, 64))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    values = encode(vectors, "int8", {"method": "alphaearth"})[0].T.reshape(64, SIDE, SIDE)
    values[:, 0, :holes] = -128
    affine = rasterio.Affine(PIXEL, 0, west, 0, -PIXEL, NORTH)
    stored = values
    if south_up:
        stored, affine = values[:, ::-1], rasterio.Affine(PIXEL, 0, west, 0, PIXEL, NORTH - SIDE * PIXEL)
    options = {
        "crs": "EPSG:25830",
        "nodata": -128,
        "transform": affine,
        "tiled": True,
        "blockxsize": 16,
        "blockysize": 16,
    }
    options.update(profile)
    with rasterio.open(path, "w", driver="GTiff", width=SIDE, height=SIDE, count=64, dtype="int8", **options) as raster:
        raster.write(stored)
    return values


def formula(values: Any) -> Any:
    """The decoder, as its makers write it, and unit length."""
    wide = values.astype(np.float64)
    decoded = np.sign(wide) * (np.abs(wide) / 127.5) ** 2
    return decoded / np.linalg.norm(decoded, axis=-1, keepdims=True)


@pytest.mark.parametrize("south_up", [False, True])
@pytest.mark.parametrize("nodata", [-128, None])
def test_pixels_stay_int8(tmp_path: Path, south_up: bool, nodata: int | None) -> None:
    values = tile(tmp_path / "t.tif", south_up=south_up, nodata=nodata)
    out = tmp_path / "out.parquet"
    summary = import_tables(tmp_path / "t.tif", out)
    table = read_table(out).validate()
    assert (summary["rows"], summary["dtype"]) == (SIDE * SIDE - 3, "int8")
    assert "3 pixels without data were left out" in summary["notes"]
    assert (table.meta.codec, table.meta.kind, table.meta.normalized) == ({"method": "alphaearth"}, "pixel", True)
    # The value found at a place is that of the north-up raster there.
    row, column = 7, 31
    place = to_lonlat([WEST + (column + 0.5) * PIXEL], [NORTH - (row + 0.5) * PIXEL], "EPSG:25830")
    at = int(np.argmin(np.hypot(table.lon - place.lon, table.lat - place.lat)))
    np.testing.assert_allclose([table.lon[at], table.lat[at]], [place.lon[0], place.lat[0]], atol=1e-9)
    np.testing.assert_array_equal(table.raw[at], values[:, row, column])
    assert table.ids[at] == f"t:{SIDE - 1 - row if south_up else row}:{column}"


def test_pixels_as_floats_have_length_1(tmp_path: Path) -> None:
    values = tile(tmp_path / "t.tif", holes=0)
    table = read_foreign(tmp_path / "t.tif", dtype="float32").table()
    rows, columns = np.array([name.split(":")[1:] for name in table.ids], dtype=int).T
    np.testing.assert_allclose(table.vectors(), formula(values[:, rows, columns].T), atol=1e-6)


@pytest.mark.parametrize("south_up", [False, True])
def test_means_of_cells(tmp_path: Path, south_up: bool) -> None:
    tile(tmp_path / "t.tif", south_up=south_up)
    imported = read_foreign(tmp_path / "t.tif", cells=H3Cells(8))
    table = imported.table()
    pixels = read_foreign(tmp_path / "t.tif", dtype="float32").table()
    cells = H3Cells(8).assign(pixels.lonlat())
    assert table.column("pixels").sum() == SIDE * SIDE - 3
    for cell, vector, count in zip(table.column("h3"), table.vectors(), table.column("pixels"), strict=True):
        members = pixels.vectors()[cells == cell].astype(np.float64)
        mean = members.mean(axis=0)
        assert len(members) == count
        np.testing.assert_allclose(vector, mean / np.linalg.norm(mean), atol=1e-6)
    assert table.meta.normalized
    assert table.meta.chip_layout == {"layout_type": "named_grid", "grid_id": "h3:8"}
    assert any("3 pixels" in note for note in imported.notes)


def test_a_cell_across_two_tiles_is_one(tmp_path: Path) -> None:
    tile(tmp_path / "a.tif", holes=0)
    tile(tmp_path / "b.tif", holes=0, seed=1, west=WEST + SIDE * PIXEL)
    together = read_foreign(str(tmp_path / "*.tif"), cells="h3:6").table()
    alone = [read_foreign(tmp_path / name, cells="h3:6").table() for name in ("a.tif", "b.tif")]
    assert len(together) < sum(map(len, alone))
    assert together.column("pixels").sum() == 2 * SIDE * SIDE


def test_a_box_reads_a_part(tmp_path: Path) -> None:
    tile(tmp_path / "t.tif", holes=0)
    every = read_foreign(tmp_path / "t.tif").table()
    box = (float(np.quantile(every.lon, 0.4)), float(every.lat.min()), float(np.quantile(every.lon, 0.6)), 41.0)
    part = read_foreign(tmp_path / "t.tif", bbox=box).table()
    inside = (every.lon >= box[0]) & (every.lon <= box[2])
    assert set(part.ids) == set(every.ids[inside])


def test_bands_of_floats(tmp_path: Path) -> None:
    path = tmp_path / "t.tif"
    values = np.arange(5 * 4 * 4, dtype=np.float32).reshape(5, 4, 4)
    values[2, 0, 0] = np.nan
    affine = rasterio.Affine(0.1, 0, -3, 0, -0.1, 40)
    with rasterio.open(
        path, "w", driver="GTiff", width=4, height=4, count=5, dtype="float32", crs="EPSG:4326", transform=affine
    ) as raster:
        raster.write(values)
    table = read_foreign(path).table()
    assert (len(table), table.dims, table.meta.dtype) == (15, 5, "float32")
    np.testing.assert_array_equal(table.vectors()[0], values[:, 0, 1])


def test_refusals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "t.tif"
    tile(path)
    with pytest.raises(SchemaError, match="no pixel holds a value"):
        read_foreign(path, cells="h3:8", bbox=(10, 10, 11, 11)).table()
    monkeypatch.setattr("placevec.sources.tables.rasters.MOST_PIXELS", 100)
    with pytest.raises(UsageError, match="1,600 pixels.*--cells"):
        read_foreign(path)
    tile(path, crs=None)
    with pytest.raises(CrsError, match="--crs"):
        read_foreign(path, cells="h3:8")
    assert len(read_foreign(path, cells="h3:8", crs="EPSG:25830").table())
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(FormatError, match="fetch"):
        read_foreign(path, cells="h3:8", crs="EPSG:25830").table()


@pytest.mark.parametrize(
    ("count", "dtype", "word"), [(3, "uint8", "pictures"), (12, "int8", "64"), (1, "float32", "one band")]
)
def test_other_rasters(tmp_path: Path, count: int, dtype: str, word: str) -> None:
    path = tmp_path / "t.tif"
    affine = rasterio.Affine(0.1, 0, -3, 0, -0.1, 40)
    with rasterio.open(
        path, "w", driver="GTiff", width=4, height=4, count=count, dtype=dtype, crs="EPSG:4326", transform=affine
    ) as raster:
        raster.write(np.ones((count, 4, 4), dtype))
    with pytest.raises(SchemaError, match=word):
        read_foreign(path)


def test_options_of_rasters_for_a_csv(tmp_path: Path) -> None:
    path = tmp_path / "in.csv"
    path.write_text("id,lon,lat,dim_0\na,1,2,3\n")
    with pytest.raises(UsageError, match="--cells"):
        read_foreign(path, cells="h3:8")


def test_raster_and_csv_together(tmp_path: Path) -> None:
    tile(tmp_path / "t.tif")
    path = tmp_path / "in.csv"
    path.write_text("id,lon,lat,dim_0\na,1,2,3\n")
    with pytest.raises(SpaceMismatch, match="64"):
        read_foreign([tmp_path / "t.tif", path])
