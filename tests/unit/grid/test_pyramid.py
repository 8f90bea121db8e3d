"""The overviews of a grid against loops, and the tiles it is written in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from placevec.grid import BLOCK, EmbeddingGrid, GridSink
from placevec.grid import sink as sinks
from placevec.grid.pyramid import ROW_BYTES, TILE_BYTES, block_side, halved
from placevec.provenance import Space, TableMeta

rasterio = pytest.importorskip("rasterio")
BOUNDS = (2.0, 40.0, 3.8, 41.4)


def by_loop(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    out = np.full((-(-pixels.shape[0] // 2), -(-pixels.shape[1] // 2), pixels.shape[2]), np.nan, dtype=np.float32)
    for row in range(out.shape[0]):
        for column in range(out.shape[1]):
            four = pixels[2 * row : 2 * row + 2, 2 * column : 2 * column + 2].reshape(-1, pixels.shape[2])
            four = four[~np.isnan(four).any(axis=1)]
            if len(four):
                out[row, column] = four.mean(axis=0)
    return out


def pixels_of(shape: tuple[int, int, int], holes: float, seed: int = 0) -> NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    values = rng.standard_normal(shape, dtype=np.float32)
    values[rng.uniform(size=shape[:2]) < holes] = np.nan
    return values


def write(path: Path, values: NDArray[np.float32], strip: int) -> None:
    meta = TableMeta(Space.mint(values.shape[2]), dtype=str(values.dtype))
    if values.dtype == np.int8:
        meta = meta.replace(codec={"method": "alphaearth"}, normalized=True)
    with GridSink(path, meta, bounds=BOUNDS, shape=values.shape[:2]) as sink:
        for row in range(0, values.shape[0], strip):
            sink.write(values[row : row + strip])


@given(st.integers(1, 9), st.integers(1, 9), st.floats(0, 1))
def test_half_the_resolution_against_a_loop(height: int, width: int, holes: float) -> None:
    pixels = pixels_of((height, width, 3), holes)
    np.testing.assert_allclose(halved(pixels), by_loop(pixels), atol=1e-6)


@given(st.integers(1, 10**6), st.integers(1, 4096), st.sampled_from([1, 4]))
def test_tiles_are_small_and_so_are_their_rows(width: int, dims: int, itemsize: int) -> None:
    side = block_side(width, dims, itemsize)
    assert side in (256, 128, 64, 32, 16)
    tile, row = side * side * dims * itemsize, side * width * dims * itemsize
    assert side == 16 or (tile <= TILE_BYTES and row <= ROW_BYTES)
    assert side == BLOCK or 4 * tile > TILE_BYTES or 2 * row > ROW_BYTES


@pytest.mark.parametrize("strip", [7, 256, 700])
def test_overviews_are_means_of_means_however_the_strips_lie(tmp_path: Path, strip: int) -> None:
    values = pixels_of((527, 261, 3), 0.3)
    write(tmp_path / "g.tif", values, strip)
    assert [path.name for path in tmp_path.iterdir()] == ["g.tif"]
    with rasterio.open(tmp_path / "g.tif") as raster:
        assert raster.overviews(1) == [2, 4]
        assert raster.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        np.testing.assert_array_equal(np.moveaxis(raster.read(), 0, -1), values)
    for level in range(2):
        values = by_loop(values)
        with rasterio.open(tmp_path / "g.tif", overview_level=level) as raster:
            np.testing.assert_allclose(np.moveaxis(raster.read(), 0, -1), values, atol=1e-5)


def test_codes_are_never_averaged(tmp_path: Path) -> None:
    codes = np.random.default_rng(1).integers(-127, 128, (300, 301, 2)).astype(np.int8)
    codes[:3, :3] = -128
    write(tmp_path / "g.tif", codes, 64)
    with rasterio.open(tmp_path / "g.tif", overview_level=0) as raster:
        np.testing.assert_array_equal(np.moveaxis(raster.read(), 0, -1), codes[::2, ::2])


def test_long_vectors_lie_in_small_tiles(tmp_path: Path) -> None:
    values = pixels_of((40, 260, 1100), 0.1)
    write(tmp_path / "g.tif", values, 33)
    with rasterio.open(tmp_path / "g.tif") as raster:
        assert raster.block_shapes[0] == (32, 32)
        assert raster.overviews(1) == [2]
    window = EmbeddingGrid(tmp_path / "g.tif").window((2.0, 40.7, 2.3, 41.0))
    np.testing.assert_array_equal(window.vectors, values[window.rows, window.columns])


def test_a_failed_copy_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr("rasterio.shutil.copy", full)
    with pytest.raises(OSError, match="No space"):
        write(tmp_path / "g.tif", pixels_of((300, 300, 2), 0.0), 100)
    monkeypatch.setattr(sinks, "levels", full)
    with pytest.raises(OSError, match="No space"):
        write(tmp_path / "g.tif", pixels_of((300, 300, 2), 0.0), 100)
    assert list(tmp_path.iterdir()) == []
