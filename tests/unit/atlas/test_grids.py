"""Grids drawn tile by tile, against reading them whole."""

from pathlib import Path

import numpy as np
import pytest

from placevec.atlas.geotiff import tile_sink
from placevec.atlas.grids import GridCanvas, ground_m, nearest_pixel, pixel_vector, sample_pixels, vectors_at
from placevec.errors import SchemaError
from placevec.geo.sphere import LonLat, pairwise_m
from placevec.grid import EmbeddingGrid, GridSink
from placevec.provenance import Space, TableMeta

rasterio = pytest.importorskip("rasterio")

CASES = {
    "degrees": ("EPSG:4326", (-9.0, 36.0, 3.0, 44.0), (300, 410)),
    "antimeridian": ("EPSG:4326", (174.0, -20.0, 186.0, -12.0), (60, 90)),
    "utm": ("EPSG:25830", (200_000.0, 4_300_000.0, 500_000.0, 4_600_000.0), (280, 270)),
    "earth": ("EPSG:4326", (-180.0, -90.0, 180.0, 90.0), (90, 180)),
}


def grid_of(path: Path, case: str, dims: int = 4) -> tuple[EmbeddingGrid, np.ndarray]:
    crs, bounds, shape = CASES[case]
    values = np.random.default_rng(0).normal(size=(*shape, dims)).astype(np.float32)
    values /= np.linalg.norm(values, axis=2, keepdims=True)
    values[: shape[0] // 3, : shape[1] // 4] = np.nan
    meta = TableMeta(Space.mint(dims), normalized=True)
    with GridSink(path, meta, bounds=bounds, shape=shape, crs=crs) as sink:
        sink.write(values)
    return EmbeddingGrid(path), values


@pytest.mark.parametrize("projection", ["equal-area", "lonlat", "mercator"])
@pytest.mark.parametrize("case", CASES)
def test_every_pixel_of_the_map_shows_the_pixel_of_the_grid_under_it(tmp_path, case, projection) -> None:
    grid, values = grid_of(tmp_path / "g.tif", case)
    canvas = GridCanvas(grid, projection=projection, width=150)
    made, seen, count = canvas.paint(lambda vectors: vectors[:, 1])
    assert count == np.isfinite(values[..., 0]).sum()
    lon, lat = canvas.frame.centres(slice(0, canvas.frame.height))
    here = np.flatnonzero(np.isfinite(lon.ravel()))
    some = np.random.default_rng(1).choice(here, 1500)
    rows, columns = grid.locate(lon.ravel()[some], lat.ravel()[some])
    expected = np.where(rows >= 0, values[rows, columns, 1], np.nan)
    assert np.array_equal(seen.ravel()[some], np.isfinite(expected))
    shown = np.isfinite(expected)
    assert shown.mean() > 0.2
    assert np.allclose(made.ravel()[some][shown], expected[shown], atol=1e-6)


@pytest.mark.parametrize("case", CASES)
def test_a_pixel_is_found_at_its_own_centre(tmp_path, case) -> None:
    grid, _ = grid_of(tmp_path / "g.tif", case)
    rng = np.random.default_rng(2)
    rows, columns = rng.integers(0, grid.shape[0], 200), rng.integers(0, grid.shape[1], 200)
    centre = grid.centres(rows, columns)
    found = grid.locate(centre.lon, centre.lat)
    assert np.array_equal(found[0], rows)
    assert np.array_equal(found[1], columns)


@pytest.mark.parametrize("point", [(-3.7, 40.4), (-8.9, 43.9), (-12.0, 30.0), (4.0, 50.0)])
def test_the_nearest_pixel_is_that_of_a_search_through_all(tmp_path, point) -> None:
    grid, _ = grid_of(tmp_path / "g.tif", "degrees")
    window = grid.window()
    away = pairwise_m(LonLat.of(*point), window.lonlat)[0]
    vector, where, metres = nearest_pixel(grid, *point)
    assert metres == pytest.approx(away.min(), rel=1e-9)
    assert np.allclose(vector, window.vectors[away.argmin()], atol=1e-6)
    assert where == window.lonlat[int(away.argmin()) : int(away.argmin()) + 1]


def test_vectors_at_points_are_those_of_the_pixels_that_hold_them(tmp_path) -> None:
    grid, values = grid_of(tmp_path / "g.tif", "degrees")
    rng = np.random.default_rng(3)
    where = LonLat(rng.uniform(-12, 6, 400), rng.uniform(33, 47, 400))
    hit, vectors = vectors_at(grid, where)
    rows, columns = grid.locate(where.lon, where.lat)
    good = (rows >= 0) & np.isfinite(values[rows, columns, 0])
    assert np.array_equal(hit, np.flatnonzero(good))
    assert np.allclose(vectors, values[rows[good], columns[good]], atol=1e-6)


def test_the_sample_is_spread_evenly_and_the_same_each_time(tmp_path) -> None:
    grid, values = grid_of(tmp_path / "g.tif", "degrees")
    parts = list(sample_pixels(grid, 5000))
    lon = np.concatenate([where.lon for where, _ in parts])
    again = np.concatenate([vectors for _, vectors in sample_pixels(grid, 5000)])
    assert np.array_equal(np.concatenate([vectors for _, vectors in parts]), again)
    filled = np.isfinite(values[..., 0]).mean()
    assert len(lon) == pytest.approx(5000 * filled, rel=0.03)
    per_column = np.histogram(lon, bins=6, range=(-9, 3))[0]
    assert per_column[3:].max() / per_column[3:].min() < 1.1
    assert sum(len(where) for where, _ in sample_pixels(grid)) == np.isfinite(values[..., 0]).sum()


def test_one_pixel_by_its_row_and_column(tmp_path) -> None:
    grid, values = grid_of(tmp_path / "g.tif", "utm")
    found = pixel_vector(grid, 200, 100)
    assert found is not None
    assert np.allclose(found[0], values[200, 100], atol=1e-6)
    assert pixel_vector(grid, 0, 0) is None  # no value
    assert pixel_vector(grid, 280, 0) is None
    assert ground_m(grid) == pytest.approx(1090, rel=0.02)


@pytest.mark.parametrize("name", ["", "likeness"])
def test_the_geotiff_has_the_pixels_of_the_grid(tmp_path, name) -> None:
    grid, values = grid_of(tmp_path / "g.tif", "utm")
    goal = tmp_path / "out.tif"

    def paint(vectors: np.ndarray) -> np.ndarray:
        return vectors[:, 0] if name else (np.abs(vectors[:, :3]) * 255).astype(np.uint8)

    with tile_sink(goal, grid, name=name, units="m") as sink:
        GridCanvas(grid, width=80).paint(paint, sink)
    valid = np.isfinite(values[..., 0])
    with rasterio.open(goal) as raster:
        assert raster.crs == grid.crs
        assert raster.transform.almost_equals(grid.transform)
        assert raster.shape == grid.shape
        stored = raster.read()
        if name:
            assert (raster.descriptions, raster.units) == ((name,), ("m",))
            assert np.allclose(stored[0], values[..., 0], atol=1e-6, equal_nan=True)
        else:
            assert np.array_equal(stored[3] == 255, valid)
            assert np.array_equal(stored[0][valid], (np.abs(values[..., 0][valid]) * 255).astype(np.uint8))


def test_nothing_is_left_of_a_map_that_failed(tmp_path) -> None:
    grid, _ = grid_of(tmp_path / "g.tif", "degrees")

    def fail(vectors: np.ndarray) -> np.ndarray:
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"), tile_sink(tmp_path / "out.tif", grid) as sink:
        GridCanvas(grid, width=80).paint(fail, sink)
    assert [entry.name for entry in tmp_path.iterdir()] == ["g.tif"]


def test_a_grid_without_a_value_is_refused(tmp_path) -> None:
    meta = TableMeta(Space.mint(2), normalized=True)
    with GridSink(tmp_path / "g.tif", meta, bounds=(0, 0, 1, 1), shape=(9, 9)) as sink:
        sink.write(np.full((9, 9, 2), np.nan, np.float32))
    grid = EmbeddingGrid(tmp_path / "g.tif")
    with pytest.raises(SchemaError, match="no pixel holds a value"):
        GridCanvas(grid, width=50).paint(lambda vectors: vectors[:, 0])
    with pytest.raises(SchemaError, match="no pixel holds a value"):
        nearest_pixel(grid, 0.5, 0.5)
