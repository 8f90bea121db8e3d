"""Statistics of pixels by cell, against a plain loop over the pixels."""

from __future__ import annotations

import math
from typing import Any

import h3
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import Transformer

from placevec.errors import DataError, SchemaError
from placevec.features.rasters import Zones, zonal_statistics
from placevec.features.rasters import zones as zones_module
from placevec.features.rasters.moments import Moments
from placevec.features.rasters.zones import on_raster, windows
from placevec.geo.sphere import LonLat
from placevec.sources.rasters import Raster
from placevec.sources.reader_raster import ReaderRaster
from placevec.sources.tiles import ArrayReader

LON, LAT = -51.2, -30.05


def raster_of(values: Any, transform: tuple[float, ...], crs: str, nodata: float | None = None) -> Raster:
    array = np.asarray(values, dtype=np.float32)
    array = array[None] if array.ndim == 2 else array
    a, b, c, d, e, f = transform
    reader = ArrayReader(array, nodata)
    return ReaderRaster("memory:test", reader, crs, (a, b, c, d, e, f), bands=len(array), dtype=np.float32)


def plain(raster: Raster, values: Any, cells: list[str], nodata: float | None = None) -> dict[str, list[Any]]:
    """The values of the pixels of each cell, by one look at each pixel."""
    a, b, c, d, e, f = raster.transform
    way = Transformer.from_crs(raster.crs, "OGC:CRS84", always_xy=True)
    found: dict[str, list[Any]] = {cell: [] for cell in cells}
    level = h3.get_resolution(cells[0])
    i, j = np.meshgrid(np.arange(raster.width) + 0.5, np.arange(raster.height) + 0.5)
    lon, lat = way.transform(a * i + b * j + c, d * i + e * j + f)
    for row in range(raster.height):
        for col in range(raster.width):
            value = values[..., row, col]
            cell = h3.latlng_to_cell(lat[row, col], lon[row, col], level)
            if cell in found and not (nodata is not None and (value == nodata).any()):
                found[cell].append(value)
    return found


def numbers(cells: list[str]) -> Any:
    return np.array([h3.str_to_int(cell) for cell in cells], dtype=np.uint64)


FRAMES = {
    "north-up": ("EPSG:4326", lambda p: (p, 0.0, LON - 15 * p, 0.0, -p, LAT + 15 * p), 3e-4),
    "south-up": ("EPSG:4326", lambda p: (p, 0.0, LON - 15 * p, 0.0, p, LAT - 15 * p), 3e-4),
    "turned": ("EPSG:4326", lambda p: (0.8 * p, 0.6 * p, LON - 21 * p, 0.6 * p, -0.8 * p, LAT + 2 * p), 3e-4),
    "metres": ("EPSG:32722", lambda p: (p, 0.0, 480_716 - 15 * p, 0.0, -p, 6_675_523 + 15 * p), 30.0),
}


@settings(max_examples=16)
@given(
    frame=st.sampled_from(sorted(FRAMES)),
    seed=st.integers(0, 99),
    bands=st.integers(1, 3),
    holes=st.floats(0.0, 0.6),
    offset=st.sampled_from([0.0, 1e4]),
)
def test_statistics_are_those_of_a_plain_loop(frame: str, seed: int, bands: int, holes: float, offset: float) -> None:
    crs, transform, pixel = FRAMES[frame]
    rng = np.random.default_rng(seed)
    values = (rng.integers(0, 200, (bands, 30, 30)) + offset).astype(np.float32)
    values[:, rng.random((30, 30)) < holes] = -9.0
    raster = raster_of(values, transform(pixel), crs, nodata=-9.0)
    cells = list(h3.grid_disk(h3.latlng_to_cell(LAT, LON, 9), 4))
    rng.shuffle(cells)
    found = zonal_statistics([raster], Zones(numbers(cells)), min_valid=0.0)
    expected = plain(raster, values, cells, nodata=-9.0)
    for row, cell in enumerate(cells):
        own = np.array(expected[cell], dtype=np.float64).reshape(-1, bands)
        assert found.pixels[row] == len(own)
        assert found.present[row] == (len(own) > 0) or found.sampled[row]
        if len(own):
            np.testing.assert_allclose(found.mean[row], own.mean(axis=0), rtol=1e-9)
            np.testing.assert_allclose(found.sd[row], own.std(axis=0), atol=1e-6)
            np.testing.assert_array_equal(found.low[row], own.min(axis=0))
            np.testing.assert_array_equal(found.high[row], own.max(axis=0))


def test_windows_and_their_seams_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    values = rng.random((2, 30, 30)).astype(np.float32)
    raster = raster_of(values, FRAMES["north-up"][1](3e-4), "EPSG:4326")
    zones = Zones(numbers(list(h3.grid_disk(h3.latlng_to_cell(LAT, LON, 9), 3))))
    whole = zonal_statistics([raster], zones)
    monkeypatch.setattr(zones_module, "SIDE", 7)
    steps: list[tuple[str, int, int]] = []
    parts = zonal_statistics([raster], zones, told=lambda *step: steps.append(step))
    np.testing.assert_allclose(parts.mean, whole.mean, rtol=1e-6)
    np.testing.assert_allclose(parts.sd, whole.sd, atol=1e-6)
    np.testing.assert_array_equal(parts.present, whole.present)
    assert [done for _, done, _ in steps] == list(range(1, steps[-1][2] + 1))


def test_only_windows_that_cells_touch_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zones_module, "SIDE", 8)
    raster = raster_of(np.zeros((80, 80)), (3e-4, 0.0, LON - 0.012, 0.0, -3e-4, LAT + 0.012), "EPSG:4326")
    zones = Zones(numbers([h3.latlng_to_cell(LAT, LON, 9)]))
    seen = [window for window, _, _ in windows(zones, raster, on_raster(zones, raster))]
    assert 1 <= len(seen) <= 9
    assert sum(int((window.cell >= 0).sum()) for window in seen) > 50


def test_a_cell_across_the_rim_is_absent_unless_enough_is_known() -> None:
    raster = raster_of(np.ones((30, 30)), FRAMES["north-up"][1](3e-4), "EPSG:4326")
    cells = list(h3.grid_disk(h3.latlng_to_cell(LAT, LON, 9), 5))
    zones = Zones(numbers(cells))
    strict, half, lax = (zonal_statistics([raster], zones, min_valid=share).present for share in (1.0, 0.5, 0.0))
    assert strict.sum() < half.sum() < lax.sum() < len(cells)
    assert (strict <= half).all()
    assert (half <= lax).all()


def test_tiles_of_one_raster_are_one_raster() -> None:
    rng = np.random.default_rng(1)
    values = rng.random((30, 30)).astype(np.float32)
    a, _, c, _, e, f = FRAMES["north-up"][1](3e-4)
    whole = raster_of(values, (a, 0.0, c, 0.0, e, f), "EPSG:4326")
    parts = [raster_of(values[:, cut], (a, 0.0, c + cut.start * a, 0.0, e, f), "EPSG:4326")
             for cut in (slice(0, 13), slice(13, 30))]  # fmt: skip
    zones = Zones(numbers(list(h3.grid_disk(h3.latlng_to_cell(LAT, LON, 9), 2))))
    one, two = zonal_statistics([whole], zones), zonal_statistics(parts, zones)
    np.testing.assert_allclose(two.mean[one.present], one.mean[one.present], rtol=1e-6)
    # A cell that lies in no tile as a whole is judged by its area, which the pixels do not fill exactly.
    assert (one.present == two.present).mean() > 0.9


def test_cells_smaller_than_pixels_have_the_value_at_their_centre() -> None:
    values = np.add.outer(np.arange(12.0), 10 * np.arange(12.0)).astype(np.float32)
    raster = raster_of(values, (0.002, 0.0, LON - 0.012, 0.0, -0.002, LAT + 0.012), "EPSG:4326")
    cells = list(h3.grid_disk(h3.latlng_to_cell(LAT, LON, 10), 4))
    found = zonal_statistics([raster], Zones(numbers(cells)))
    assert found.present.all()
    assert 0 < (~found.sampled).sum() < found.sampled.sum()
    assert "hold no pixel centre" in found.notes()[0]
    for row in np.flatnonzero(found.sampled):
        lat, lon = h3.cell_to_latlng(cells[row])
        np.testing.assert_allclose(found.mean[row, 0], raster.sample(LonLat.of(lon, lat))[0, 0], rtol=1e-6)
        assert found.sd[row, 0] == 0.0


@pytest.mark.parametrize("west", [-180.0, -20.0, 0.0, 170.0])
def test_around_the_globe_no_cell_is_lost(west: float) -> None:
    raster = Raster.from_array(np.ones((180, 360), dtype=np.float32), bounds=(west, -90.0, west + 360.0, 90.0))
    cells = [h3.latlng_to_cell(lat, lon, 2) for lat in (-89.0, -40.0, 0.0, 60.0) for lon in (-180.0, west, 0.0, 90.0)]
    zones = Zones(np.unique(numbers(cells)))
    found = zonal_statistics([raster], zones)
    assert found.present.all()
    np.testing.assert_array_equal(found.mean, 1.0)
    area = on_raster(zones, raster).pixels
    low = np.abs(zones.centre().lat) < 70
    np.testing.assert_allclose(found.pixels[low], area[low], rtol=0.3, atol=3)


def test_a_raster_elsewhere_gives_nothing() -> None:
    raster = raster_of(np.ones((9, 9)), (0.01, 0.0, 100.0, 0.0, -0.01, 50.0), "EPSG:4326")
    found = zonal_statistics([raster], Zones(numbers([h3.latlng_to_cell(LAT, LON, 9)])))
    assert not found.present.any()
    assert not found.sampled.any()


def test_a_projection_that_has_no_place_for_a_cell_leaves_it_out() -> None:
    values = np.ones((20, 20), dtype=np.float32)
    radius = 6_378_137.0
    raster = raster_of(values, (radius / 10, 0.0, -radius, 0.0, -radius / 10, radius), "+proj=ortho +lat_0=0 +lon_0=0")
    cells = [h3.latlng_to_cell(0, lon, 1) for lon in (0.0, 40.0, 180.0)]
    found = zonal_statistics([raster], Zones(numbers(cells)), min_valid=0.3)
    assert found.present.tolist() == [True, True, False]


def test_faults() -> None:
    cell = numbers([h3.latlng_to_cell(LAT, LON, 9)])
    with pytest.raises(DataError, match="no cells"):
        Zones(cell[:0])
    with pytest.raises(DataError, match="twice"):
        Zones(np.repeat(cell, 2))
    one = raster_of(np.ones((1, 9, 9)), FRAMES["north-up"][1](3e-4), "EPSG:4326")
    two = raster_of(np.ones((2, 9, 9)), FRAMES["north-up"][1](3e-4), "EPSG:4326")
    with pytest.raises(SchemaError, match="1 and 2 bands"):
        zonal_statistics([one, two], Zones(cell))


@given(
    cuts=st.lists(st.integers(0, 60), max_size=4),
    shift=st.sampled_from([0.0, 1e6]),
    seed=st.integers(0, 9),
)
def test_moments_do_not_depend_on_the_pieces(cuts: list[int], shift: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    cell, values = rng.integers(0, 5, 60), (rng.random((60, 2)) + shift).astype(np.float32)
    moments = Moments(6, 2)
    for part in np.split(np.arange(60), sorted(cuts)):
        moments.add(cell[part], values[part])
    for one in range(5):
        own = values[cell == one].astype(np.float64)
        np.testing.assert_allclose(moments.mean[one], own.mean(axis=0), rtol=1e-12)
        assert math.isclose(moments.sd[one, 0], own[:, 0].std(), rel_tol=1e-6, abs_tol=1e-9)
    assert moments.count.tolist() == [*np.bincount(cell, minlength=5).tolist(), 0]
