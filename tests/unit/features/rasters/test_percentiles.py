"""Percentiles of pixels by cell, against sorting all of them."""

from __future__ import annotations

from typing import Any

import h3
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from placevec.errors import UsageError
from placevec.features.rasters import Zones, percentiles, terrain_statistics, zonal_statistics
from placevec.features.rasters import zones as zones_module
from placevec.features.rasters.percentiles import GROUPS, Percentiles
from placevec.sources.rasters import Raster
from placevec.sources.reader_raster import ReaderRaster
from placevec.sources.tiles import ArrayReader

LON, LAT, PIXEL, SIDE = -51.2, -30.05, 3e-4, 64
ASKED = (0.0, 10.0, 50.0, 97.5, 100.0)


@given(
    st.lists(st.lists(st.tuples(st.integers(0, 3), st.integers(-5, 5), st.floats(-1e6, 1e6, width=32)), max_size=12),
             max_size=5),
    st.floats(0, 100),
)  # fmt: skip
def test_few_values_are_exact(pieces: list[list[tuple[int, int, float]]], percentile: float) -> None:
    ranks = Percentiles(4, 2)
    for piece in pieces:
        rows = np.array(piece, dtype=np.float64).reshape(-1, 3)
        ranks.add(rows[:, 0].astype(np.int64), rows[:, 1:].astype(np.float32))
    every = np.array([one for piece in pieces for one in piece], dtype=np.float64).reshape(-1, 3)
    for cell in range(4):
        own = every[every[:, 0] == cell, 1:]
        expected = np.percentile(own, percentile, axis=0) if len(own) else np.zeros(2)
        np.testing.assert_allclose(ranks.at(percentile)[cell], expected, rtol=1e-12, atol=1e-9)


@pytest.mark.parametrize("waiting", [100, 1 << 21])
def test_whole_numbers_are_exact_and_others_nearly(waiting: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(percentiles, "_WAITING", waiting)
    rng = np.random.default_rng(0)
    values = np.stack([rng.integers(-3000, 9000, 6000), rng.gamma(2.0, 10.0, 6000)], axis=1).astype(np.float32)
    cell = rng.integers(0, 2, 6000)
    ranks = Percentiles(2, 2)
    for part in np.array_split(np.arange(6000), 5):
        ranks.add(cell[part], values[part])
    for each in ASKED:
        found = ranks.at(each)
        for k in range(2):
            own = values[cell == k].astype(np.float64)
            assert found[k, 0] == pytest.approx(np.percentile(own[:, 0], each), abs=1e-9)
            rank = (own[:, 1] < found[k, 1]).mean() * 100.0
            assert abs(rank - each) < 5 * 100.0 / GROUPS
    kept = np.bincount(ranks._kept[0], minlength=4)
    assert kept[[1, 3]].max() <= GROUPS + 1
    assert kept[[0, 2]].min() > GROUPS


def raster_of(values: Any) -> Raster:
    array = np.asarray(values, dtype=np.float32)
    reader = ArrayReader(array, -9.0)
    at = (PIXEL, 0.0, LON - SIDE / 2 * PIXEL, 0.0, -PIXEL, LAT + SIDE / 2 * PIXEL)
    return ReaderRaster("memory:test", reader, "EPSG:4326", at, bands=len(array), dtype=np.float32)


def cells_at(resolution: int, k: int) -> Any:
    return np.array([h3.str_to_int(c) for c in h3.grid_disk(h3.latlng_to_cell(LAT, LON, resolution), k)], np.uint64)


def test_of_rasters_and_of_heights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zones_module, "SIDE", 24)  # so that cells lie in several windows
    values = np.random.default_rng(1).integers(0, 90, (2, SIDE, SIDE)).astype(np.float32)
    values[0, 30, 30] = -9.0
    raster, zones = raster_of(values), Zones(cells_at(9, 1))
    found = zonal_statistics([raster], zones, percentiles=ASKED)
    ground = terrain_statistics([raster_of(values[:1])], zones, rings=0, percentiles=(50, 90, 50))
    assert ground.percentiles.shape == (7, 2)
    i, j = np.meshgrid(np.arange(SIDE) + 0.5, np.arange(SIDE) + 0.5)
    own = zones.rows(raster.lonlat(i.ravel(), j.ravel()))
    pixels = values.reshape(2, -1)
    for cell in range(7):
        inside = pixels[:, (own == cell) & (pixels >= 0).all(axis=0)]
        np.testing.assert_allclose([part[cell] for part in found.percentiles], np.percentile(inside, ASKED, axis=1))
        heights = pixels[0, (own == cell) & (pixels[0] >= 0)]
        np.testing.assert_allclose(ground.percentiles[cell], np.percentile(heights, (50, 90)))
    np.testing.assert_array_equal(found.percentiles[0], found.low)
    np.testing.assert_array_equal(found.percentiles[-1], found.high)
    small = zonal_statistics([raster], Zones(cells_at(13, 1)), percentiles=(25,))  # finer than the pixels
    np.testing.assert_array_equal(small.percentiles[0][small.sampled], small.mean[small.sampled])
    with pytest.raises(UsageError, match="the percentile 101 is none"):
        zonal_statistics([raster], zones, percentiles=(101,))
