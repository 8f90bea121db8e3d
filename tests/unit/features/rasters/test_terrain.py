"""The shape of the ground: planes of known slope, and Porto Alegre against a plain form."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import h3
import numpy as np
import pytest
from pyproj import Geod

from placevec.errors import UsageError
from placevec.features.rasters import TERRAIN, Zones, terrain_statistics
from placevec.sources.rasters import Raster
from placevec.sources.reader_raster import ReaderRaster
from placevec.sources.tiles import ArrayReader

LON, LAT = 8.0, 47.0


def dem(values: Any, transform: tuple[float, ...], crs: str) -> Raster:
    a, b, c, d, e, f = transform
    reader = ArrayReader(np.asarray(values, dtype=np.float32)[None], -9999.0)
    return ReaderRaster("memory:dem", reader, crs, (a, b, c, d, e, f), bands=1, dtype=np.float32)


def cells_at(resolution: int, k: int = 1) -> Any:
    return np.array([h3.str_to_int(c) for c in h3.grid_disk(h3.latlng_to_cell(LAT, LON, resolution), k)], np.uint64)


@pytest.mark.parametrize("south_up", [False, True])
@pytest.mark.parametrize(("to_east", "to_north"), [(0.1, 0.0), (0.0, -0.2), (0.3, 0.4)])
def test_a_plane_has_its_slope_and_aspect(south_up: bool, to_east: float, to_north: float) -> None:
    side, pixel = 80, 0.0005
    lon = LON + (np.arange(side) - side / 2 + 0.5) * pixel
    lat = LAT - (np.arange(side) - side / 2 + 0.5) * pixel
    metre = math.radians(1.0) * 6371008.8
    east, north = np.meshgrid((lon - LON) * metre * math.cos(math.radians(LAT)), (lat - LAT) * metre)
    z = 500.0 + to_east * east + to_north * north
    transform = (pixel, 0.0, LON - side / 2 * pixel, 0.0, -pixel, LAT + side / 2 * pixel)
    if south_up:
        z, transform = z[::-1], (pixel, 0.0, transform[2], 0.0, pixel, LAT - side / 2 * pixel)
    found = terrain_statistics([dem(z, transform, "EPSG:4326")], Zones(cells_at(8)), rings=0)
    assert found.present.all()
    column = dict(zip(TERRAIN, found.values.T, strict=True))
    steep = math.hypot(to_east, to_north)
    np.testing.assert_allclose(column["slope_mean_deg"], math.degrees(math.atan(steep)), rtol=2e-3)
    np.testing.assert_allclose(column["slope_sd_deg"], 0.0, atol=0.05)
    length = math.sqrt(1 + steep**2)
    np.testing.assert_allclose(column["eastness"], -to_east / length, atol=2e-3)
    np.testing.assert_allclose(column["northness"], -to_north / length, atol=2e-3)
    np.testing.assert_allclose(column["relief_m"], column["elevation_max_m"] - column["elevation_min_m"])
    np.testing.assert_array_equal(column["topographic_position_m"], 0.0)
    assert found.reach_m == 0.0


def test_directions_are_those_of_the_ground_not_of_the_grid() -> None:
    # A grid turned by 30 degrees in UTM: the same plane has the same eastness and northness.
    side, pixel, turn = 90, 40.0, math.radians(30)
    i, j = np.meshgrid(np.arange(side) + 0.5, np.arange(side) + 0.5)
    a, b = pixel * math.cos(turn), pixel * math.sin(turn)
    d, e = pixel * math.sin(turn), -pixel * math.cos(turn)
    from pyproj import Transformer

    x0, y0 = Transformer.from_crs("OGC:CRS84", "EPSG:32632", always_xy=True).transform(LON, LAT)
    c, f = x0 - (a + b) * side / 2, y0 - (d + e) * side / 2
    east = a * i + b * j + c - x0
    found = terrain_statistics([dem(300.0 + 0.1 * east, (a, b, c, d, e, f), "EPSG:32632")], Zones(cells_at(8)))
    column = dict(zip(TERRAIN, found.values.T, strict=True))
    np.testing.assert_allclose(column["slope_mean_deg"], math.degrees(math.atan(0.1)), rtol=6e-3)
    convergence = 0.02  # of the meridians: grid north is not quite north
    np.testing.assert_allclose(column["eastness"], -0.1 / math.sqrt(1.01), atol=1e-3)
    np.testing.assert_allclose(column["northness"], 0.0, atol=0.1 * convergence)


def test_ruggedness_is_riley_s_index() -> None:
    rng = np.random.default_rng(0)
    z = rng.uniform(0, 100, (60, 60))
    pixel = 0.0005
    raster = dem(z, (pixel, 0.0, LON - 30 * pixel, 0.0, -pixel, LAT + 30 * pixel), "EPSG:4326")
    cells = cells_at(8, 0)
    found = terrain_statistics([raster], Zones(cells), rings=0)
    expected = []
    for row in range(1, 59):
        for col in range(1, 59):
            lon, lat = LON + (col - 29.5) * pixel, LAT - (row - 29.5) * pixel
            if h3.str_to_int(h3.latlng_to_cell(lat, lon, 8)) == int(cells[0]):
                near = z[row - 1 : row + 2, col - 1 : col + 2].astype(np.float32).astype(np.float64)
                expected.append(math.sqrt(((near - near[1, 1]) ** 2).sum()))
    np.testing.assert_allclose(found.values[0, TERRAIN.index("ruggedness_m")], np.mean(expected), rtol=1e-5)


def test_topographic_position_is_the_height_above_the_neighbours() -> None:
    pixel, side = 0.0005, 160
    raster_at = (pixel, 0.0, LON - side / 2 * pixel, 0.0, -pixel, LAT + side / 2 * pixel)
    hill = h3.latlng_to_cell(LAT, LON, 8)
    z = np.zeros((side, side))
    for row in range(side):
        for col in range(side):
            lat, lon = LAT - (row - side / 2 + 0.5) * pixel, LON + (col - side / 2 + 0.5) * pixel
            z[row, col] = 70.0 if h3.latlng_to_cell(lat, lon, 8) == hill else 0.0
    zones = Zones(np.array([h3.str_to_int(hill)], dtype=np.uint64))
    found = terrain_statistics([dem(z, raster_at, "EPSG:4326")], zones, rings=2)
    np.testing.assert_allclose(found.values[0, TERRAIN.index("topographic_position_m")], 70.0)
    geod, near = Geod(ellps="sphere"), h3.grid_disk(hill, 2)
    lat0, lon0 = h3.cell_to_latlng(hill)
    corners = [corner for cell in near for corner in h3.cell_to_boundary(cell)]
    inner = min(geod.inv(lon0, lat0, lon, lat)[2] for lat, lon in h3.cell_to_boundary(hill)) * math.sqrt(3) / 2
    farthest = max(geod.inv(lon0, lat0, lon, lat)[2] for lat, lon in corners)
    assert found.reach_m > 0.8 * (farthest - inner)


def test_nothing_is_known_below_the_lowest_and_where_there_is_no_data() -> None:
    z = np.full((60, 60), 12.0)
    z[:, :30], z[:30] = -9999.0, -600.0
    pixel = 0.002
    raster = dem(z, (pixel, 0.0, LON - 30 * pixel, 0.0, -pixel, LAT + 30 * pixel), "EPSG:4326")
    found = terrain_statistics([raster], Zones(cells_at(8, 2)))
    assert 0 < found.present.sum() < len(found.present) / 2
    np.testing.assert_allclose(found.values[found.present, 0], 12.0)
    with pytest.raises(UsageError, match="rings is -1"):
        terrain_statistics([raster], Zones(cells_at(8)), rings=-1)


def test_cells_smaller_than_pixels_have_the_ground_at_their_centre() -> None:
    z = np.add.outer(np.zeros(12), 100.0 * np.arange(12.0))
    raster = dem(z, (0.01, 0.0, LON - 0.06, 0.0, -0.01, LAT + 0.06), "EPSG:4326")
    found = terrain_statistics([raster], Zones(cells_at(10, 2)), rings=1)
    assert found.present.all()
    assert found.sampled.sum() >= len(found.present) - 1
    assert np.ptp(found.values[:, 0]) > 5.0  # between pixels, not steps of them
    assert (found.values[:, TERRAIN.index("slope_mean_deg")] > 3.0).all()


def test_porto_alegre_has_the_reference_s_statistics(data_dir: Path) -> None:
    import csv

    with (data_dir / "porto_alegre/poa_hexgrid.csv").open(encoding="utf-8") as handle:
        ids = [row["id"] for row in csv.DictReader(handle)][::6]
    cells = np.array([h3.str_to_int(cell) for cell in ids], dtype=np.uint64)
    raster = Raster(data_dir / "porto_alegre/poa_elevation.tif")
    found = terrain_statistics([raster], Zones(cells))
    assert found.present.mean() > 0.98
    z = raster.window(raster.level(1, 1, "nearest"), 0, 0, raster.height, raster.width)[0].astype(np.float64)
    a, _, c, _, e, f = raster.transform
    wanted: dict[int, list[float]] = {int(cell): [] for cell in cells}
    for row in range(raster.height):
        lat = f + (row + 0.5) * e
        for col in range(raster.width):
            cell = h3.str_to_int(h3.latlng_to_cell(lat, c + (col + 0.5) * a, 9))
            if cell in wanted:
                wanted[cell].append(z[row, col])
    for row in np.flatnonzero(found.present):
        own = np.array(wanted[int(cells[row])])
        expected = [own.mean(), own.std(), own.min(), own.max()]
        np.testing.assert_allclose(found.values[row, :4], expected, atol=1e-9)
