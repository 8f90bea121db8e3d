"""Terrain, land cover, rasters, AlphaEarth and TESSERA as modalities."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h3
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

pytest.importorskip("rasterio")

from placevec.errors import FormatError, SchemaError, SpaceMismatch, UsageError
from placevec.geo.cells import H3Cells
from placevec.grid import EmbeddingGrid
from placevec.grid.raster import TAG
from placevec.provenance import Space, TableMeta
from placevec.sources.tessera import open_tessera
from placevec.tasks.modalities.alphaearth import SPACE, AlphaEarthModality
from placevec.tasks.modalities.landcover import LandCoverModality
from placevec.tasks.modalities.raster import RasterModality
from placevec.tasks.modalities.terrain import TerrainModality
from placevec.tasks.modalities.tessera import TesseraModality
from raster_writer import alphaearth_units, alphaearth_values, write_raster

WEST, NORTH, PIXEL, SIDE = 440_000.0, 4_474_000.0, 50.0, 32
CRS = "EPSG:25830"


def middle_cells(resolution: int = 9, k: int = 2) -> Any:
    lat, lon = 40.4083, -3.6980  # about the middle of the tile
    return np.array([h3.str_to_int(c) for c in h3.grid_disk(h3.latlng_to_cell(lat, lon, resolution), k)], np.uint64)


def pixel_cells(resolution: int = 9, side: int = SIDE, pixel: float = PIXEL) -> Any:
    """The H3 cell of each pixel (rows, columns) of the tile, one by one."""
    from pyproj import Transformer

    way = Transformer.from_crs(CRS, "OGC:CRS84", always_xy=True)
    x, y = np.meshgrid(WEST + (np.arange(side) + 0.5) * pixel, NORTH - (np.arange(side) + 0.5) * pixel)
    lon, lat = way.transform(x, y)
    found = [h3.str_to_int(h3.latlng_to_cell(a, b, resolution)) for a, b in zip(lat.flat, lon.flat, strict=True)]
    return np.array(found).reshape(side, side)


@pytest.fixture(scope="module")
def owner() -> Any:
    return pixel_cells()


@pytest.fixture(scope="module")
def tile(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """A south-up int8 COG as the real files are, and its values, first row in the north; a corner holds no data."""
    values = alphaearth_values(SIDE, SIDE)
    values[:, :3, :3] = -128
    path = tmp_path_factory.mktemp("aef") / "tile.tif"
    write_raster(path, values, west=WEST, north=NORTH, pixel=PIXEL, crs=CRS, south_up=True, nodata=-128, tiled=True,
                 blockxsize=16, blockysize=16, compress="deflate")  # fmt: skip
    return path, values


def expected_means(values: Any, owner: Any, cells: Any) -> tuple[Any, Any]:
    """Mean unit vectors of cells, of length 1, and of how many pixels."""
    units = alphaearth_units(values)
    valid = ~(values == -128).any(axis=0)
    out, count = np.zeros((len(cells), 64)), np.zeros(len(cells), dtype=int)
    for row, cell in enumerate(cells):
        mine = (owner == int(cell)) & valid
        count[row] = mine.sum()
        if count[row]:
            mean = units[:, mine].mean(axis=1)
            out[row] = mean / np.linalg.norm(mean)
    return out, count


def test_alphaearth_is_the_unit_mean_of_decoded_pixels(tile: tuple[Path, Any], owner: Any) -> None:
    path, values = tile
    cells = middle_cells()
    found = AlphaEarthModality(files=(str(path),)).compute(cells)
    wanted, count = expected_means(values, owner, cells)
    assert found.present.sum() > 10
    assert (count[found.present] > 0).all()
    np.testing.assert_allclose(found.values[found.present], wanted[found.present], atol=2e-6)
    assert (found.space, found.names[0], found.names[63]) == (SPACE, "A00", "A63")
    assert found.sources[0].licence == "CC-BY-4.0"
    assert "Google DeepMind" in found.sources[0].attribution


def test_north_up_and_several_tiles_are_the_same(tile: tuple[Path, Any], tmp_path: Path) -> None:
    path, values = tile
    cells = middle_cells()
    one = AlphaEarthModality(files=(str(path),)).compute(cells)
    for name, cut in (("a", slice(0, 13)), ("b", slice(13, SIDE))):
        write_raster(tmp_path / f"{name}.tif", values[:, :, cut], west=WEST + cut.start * PIXEL, north=NORTH,
                     pixel=PIXEL, crs=CRS, nodata=-128)  # fmt: skip
    many = AlphaEarthModality(files=(str(tmp_path),), min_valid=0.0).compute(cells)
    both = one.present & many.present
    assert both.sum() == one.present.sum()
    np.testing.assert_allclose(many.values[both], one.values[both], atol=2e-6)


def test_a_tile_that_does_not_name_its_nodata_has_none_all_the_same(tile: tuple[Path, Any], tmp_path: Path) -> None:
    path, values = tile
    cells = middle_cells()
    write_raster(tmp_path / "t.tif", values, west=WEST, north=NORTH, pixel=PIXEL, crs=CRS)
    a, b = (AlphaEarthModality(files=(str(name),)).compute(cells) for name in (path, tmp_path / "t.tif"))
    np.testing.assert_array_equal(a.present, b.present)
    np.testing.assert_allclose(a.values, b.values, atol=1e-6)


def test_the_embedding_grid_path_is_the_table_path(tile: tuple[Path, Any], tmp_path: Path) -> None:
    """A grid of ours, aggregated by the grid, by the modality, and as a table of points: one answer."""
    path, values = tile
    cells = middle_cells()
    meta = TableMeta(SPACE, dtype="int8", normalized=True, codec={"method": "alphaearth"})
    grid = tmp_path / "grid.tif"
    write_raster(grid, values, west=WEST, north=NORTH, pixel=PIXEL, crs=CRS, nodata=-128)
    import rasterio

    with rasterio.open(grid, "r+") as raster:
        raster.update_tags(**{TAG: json.dumps(meta.to_footer())})
    table = EmbeddingGrid(grid).aggregate(H3Cells(9))
    aggregated = dict(zip(table.column("h3").tolist(), table.vectors(), strict=True))
    by_grid = AlphaEarthModality(files=(str(grid),)).compute(cells)
    by_tile = AlphaEarthModality(files=(str(path),)).compute(cells)
    window = EmbeddingGrid(grid).window()
    units = window.vectors
    columns = {"lon": window.lonlat.lon, "lat": window.lonlat.lat}
    columns |= {f"A{i:02d}": units[:, i] for i in range(64)}
    pq.write_table(pa.table(columns), tmp_path / "points.parquet")
    by_points = AlphaEarthModality(files=(str(tmp_path / "points.parquet"),)).compute(cells)
    assert by_grid.present.sum() == by_tile.present.sum() > 10
    for row in np.flatnonzero(by_grid.present):
        own = aggregated[int(cells[row])]
        np.testing.assert_allclose(by_grid.values[row], own, atol=1e-6)
        np.testing.assert_allclose(by_tile.values[row], own, atol=1e-6)
        np.testing.assert_allclose(by_points.values[row], own, atol=1e-6)
    assert by_grid.space == by_tile.space == by_points.space == SPACE


@pytest.mark.parametrize("form", ["csv", "parquet"])
@pytest.mark.parametrize("lists", [False, True])
def test_exports_keyed_by_cells_of_the_same_or_a_finer_resolution(tmp_path: Path, form: str, lists: bool) -> None:
    if form == "csv" and lists:
        return
    cells = middle_cells(k=1)
    rng = np.random.default_rng(0)
    finer = H3Cells(9).children(cells[:2], 10).cells
    keys = np.concatenate([cells[2:], finer])
    vectors = rng.standard_normal((len(keys), 64)).astype(np.float32)
    names = [f"{int(key):x}" for key in keys]
    if lists:
        table = pa.table({"h3": keys, "embedding": list(vectors)})
    else:
        table = pa.table({"region_id": names, **{f"A{i:02d}": vectors[:, i] for i in range(64)}})
    path = tmp_path / f"export.{form}"
    if form == "csv":
        import pyarrow.csv

        pyarrow.csv.write_csv(table, path)
    else:
        pq.write_table(table, path)
    found = AlphaEarthModality(files=(str(path),)).compute(cells[:-1])
    assert found.present.all()
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    np.testing.assert_allclose(found.values[2:], units[: len(cells) - 3], atol=1e-6)
    for row in range(2):
        mean = units[len(cells) - 2 + 7 * row : len(cells) - 2 + 7 * (row + 1)].mean(axis=0)
        np.testing.assert_allclose(found.values[row], mean / np.linalg.norm(mean), atol=1e-6)
    assert any("lie in none of the cells" in note for note in found.notes)
    coarse = tmp_path / "coarse.parquet"
    pq.write_table(pa.table({"h3": H3Cells(9).parent(cells[:1], 7), "embedding": [vectors[0]]}), coarse)
    with pytest.raises(SchemaError, match=r"coarser than h3:9"):
        AlphaEarthModality(files=(str(coarse),)).compute(cells)


def test_faults_of_alphaearth(tile: tuple[Path, Any], tmp_path: Path) -> None:
    path, values = tile
    cells = middle_cells(k=0)
    write_raster(tmp_path / "few.tif", values[:8], west=WEST, north=NORTH, pixel=PIXEL, crs=CRS)
    with pytest.raises(SchemaError, match="8 bands; AlphaEarth has 64"):
        AlphaEarthModality(files=(str(tmp_path / "few.tif"),)).compute(cells)
    write_raster(tmp_path / "u16.tif", values.astype(np.uint16), west=WEST, north=NORTH, pixel=PIXEL, crs=CRS)
    with pytest.raises(SchemaError, match="uint16"):
        AlphaEarthModality(files=(str(tmp_path / "u16.tif"),)).compute(cells)
    pq.write_table(pa.table({"h3": ["x"], "embedding": [values[:, 5, 5].astype(float)]}), tmp_path / "bad.parquet")
    with pytest.raises(SchemaError, match="no H3 cells"):
        AlphaEarthModality(files=(str(tmp_path / "bad.parquet"),)).compute(cells)
    with pytest.raises(UsageError, match="the one or the other"):
        AlphaEarthModality(files=(str(path), str(tmp_path / "bad.parquet"))).compute(cells)
    with pytest.raises(UsageError, match="holds no file"):
        (tmp_path / "empty").mkdir()
        AlphaEarthModality(files=(str(tmp_path / "empty"),)).compute(cells)
    with pytest.raises(UsageError, match="min_valid is 2"):
        AlphaEarthModality(files=(str(path),), min_valid=2.0).compute(cells)
    grids = []
    for name in ("a", "b"):
        grids.append(write_raster(tmp_path / f"{name}.tif", values, west=WEST, north=NORTH, pixel=PIXEL, crs=CRS))
        import rasterio

        meta = TableMeta(Space.asserted(name, 64), dtype="int8", codec={"method": "alphaearth"})
        with rasterio.open(grids[-1], "r+") as raster:
            raster.update_tags(**{TAG: json.dumps(meta.to_footer())})
    with pytest.raises(SpaceMismatch, match=r"joining rasters"):
        AlphaEarthModality(files=tuple(map(str, grids))).compute(cells)


def test_a_raster_gives_named_statistics_of_its_bands(tmp_path: Path, owner: Any) -> None:
    rng = np.random.default_rng(0)
    values = rng.random((2, SIDE, SIDE)).astype(np.float32)
    path = write_raster(
        tmp_path / "r.tif", values, west=WEST, north=NORTH, pixel=PIXEL, crs=CRS, names=("heat", "noise")
    )
    cells = middle_cells()
    found = RasterModality(raster=(str(path),), statistics=("mean", "sd", "max")).compute(cells)
    assert found.names == ("heat", "noise", "heat_sd", "noise_sd", "heat_max", "noise_max")
    assert found.space is None
    for row in np.flatnonzero(found.present):
        own = values[:, owner == int(cells[row])].astype(np.float64)
        expected = [*own.mean(axis=1), *own.std(axis=1), *own.max(axis=1)]
        np.testing.assert_allclose(found.values[row], expected, rtol=1e-5)
    named = RasterModality(raster=(str(path),), names=("a", "b")).compute(cells)
    assert named.names == ("a", "b")


def test_a_raster_of_vectors_is_of_length_1(tmp_path: Path, owner: Any) -> None:
    rng = np.random.default_rng(1)
    values = (1.0 + rng.random((128, SIDE, SIDE))).astype(np.float32)
    path = write_raster(tmp_path / "v.tif", values, west=WEST, north=NORTH, pixel=PIXEL, crs=CRS)
    cells = middle_cells()
    found = RasterModality(raster=(str(path),), unit=True, space="my-model").compute(cells)
    assert found.space == Space.asserted("my-model", 128)
    np.testing.assert_allclose(np.linalg.norm(found.values[found.present], axis=1), 1.0, rtol=1e-6)
    units = values / np.linalg.norm(values, axis=0)
    row = int(np.flatnonzero(found.present)[0])
    mean = units[:, owner == int(cells[row])].mean(axis=1)
    np.testing.assert_allclose(found.values[row], mean / np.linalg.norm(mean), atol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"statistics": ("median",)}, "median"),
        ({"unit": True, "statistics": ("sd",)}, "means alone"),
        ({"space": "x"}, "give unit"),
        ({"names": ("a",)}, "1 different names for 2 bands"),
    ],
)
def test_faults_of_a_raster(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    path = write_raster(tmp_path / "r.tif", np.zeros((2, 9, 9), np.float32), west=0, north=1, pixel=0.1)
    with pytest.raises(UsageError, match=message):
        RasterModality(raster=(str(path),), **options).compute(middle_cells(k=0))


def test_terrain_and_land_cover(tmp_path: Path) -> None:
    z = np.add.outer(np.zeros(SIDE), 10.0 * np.arange(SIDE)).astype(np.float32)
    dem = write_raster(tmp_path / "z.tif", z, west=WEST, north=NORTH, pixel=PIXEL, crs=CRS)
    cells = middle_cells()
    ground = TerrainModality(raster=(str(dem),)).compute(cells)
    assert ground.names[0] == "elevation_mean_m"
    assert ground.reach_m > 400
    slope = ground.values[ground.present, ground.names.index("slope_mean_deg")]
    np.testing.assert_allclose(slope, np.degrees(np.arctan(0.2)), rtol=5e-3)
    cover = write_raster(tmp_path / "c.tif", np.full((SIDE, SIDE), 50, np.uint8), west=WEST, north=NORTH, pixel=PIXEL,
                         crs=CRS)  # fmt: skip
    found = LandCoverModality(raster=(str(cover),), classes="worldcover").compute(cells)
    assert found.values[found.present, found.names.index("share Built-up")].min() == 1.0
    assert found.values[found.present, found.names.index("diversity_nats")].max() == 0.0
    np.testing.assert_array_equal(found.present, ground.present)
    with pytest.raises(UsageError, match="has no band 2"):
        TerrainModality(raster=(str(dem),), band=2).compute(cells)
    with pytest.raises(UsageError, match="choose error or nodata"):
        LandCoverModality(raster=(str(cover),), classes="worldcover", unknown="skip").compute(cells)


def tessera(folder: Path, name: str, values: Any, scales: Any, mask: bool = True) -> Path:
    """A tile as geotessera keeps it: vectors and scales in one folder, the land mask in another beside it."""
    home = folder / "global_0.1_degree_representation/2024"
    home.mkdir(parents=True, exist_ok=True)
    np.save(home / f"{name}.npy", values)
    np.save(home / f"{name}_scales.npy", scales)
    if mask:
        masks = folder / "global_0.1_degree_tiff_all"
        masks.mkdir(exist_ok=True)
        write_raster(masks / f"{name}.tiff", np.ones(values.shape[:2], np.uint8), west=WEST, north=NORTH, pixel=PIXEL,
                     crs=CRS)  # fmt: skip
    return home / f"{name}.npy"


@pytest.mark.parametrize("deep", [False, True])
def test_tessera_tiles_are_scaled_and_averaged(tmp_path: Path, owner: Any, deep: bool) -> None:
    rng = np.random.default_rng(0)
    stored = rng.integers(-127, 128, (SIDE, SIDE, 128)).astype(np.int8)
    scales = rng.uniform(0.01, 0.1, (SIDE, SIDE, 128) if deep else (SIDE, SIDE)).astype(np.float32)
    scales[:3] = np.nan
    tessera(tmp_path, "grid_-3.65_40.35", stored, scales)
    cells = middle_cells()
    found = TesseraModality(tiles=(str(tmp_path),), version="1.1-cambridge").compute(cells)
    assert found.space == Space.published("tessera@1.1-cambridge", 128)
    values = stored * (scales if deep else scales[..., None])
    for row in np.flatnonzero(found.present):
        own = values[owner == int(cells[row])]
        np.testing.assert_allclose(found.values[row], np.nanmean(own, axis=0), atol=1e-4)
    unit = TesseraModality(tiles=(str(tmp_path),), unit=True).compute(cells)
    np.testing.assert_allclose(np.linalg.norm(unit.values[unit.present], axis=1), 1.0, rtol=1e-6)


def test_faults_of_tessera(tmp_path: Path) -> None:
    stored, scales = np.ones((8, 8, 128), np.int8), np.ones((8, 8), np.float32)
    alone = tessera(tmp_path / "a", "grid_1.05_2.05", stored, scales, mask=False)
    with pytest.raises(FormatError, match="no land mask"):
        open_tessera(alone)
    short = tessera(tmp_path / "b", "grid_1.05_2.05", stored, scales[:4])
    with pytest.raises(FormatError, match=r"scales are float32 of the shape \(4, 8\)"):
        open_tessera(short)
    odd = tessera(tmp_path / "c", "grid_1.05_2.05", stored[..., :64], scales)
    with pytest.raises(FormatError, match="TESSERA has int8"):
        open_tessera(odd)
    pickled = tmp_path / "p.npy"
    np.save(pickled, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(FormatError, match="no array of NumPy"):
        open_tessera(pickled)
    good = tessera(tmp_path / "d", "grid_1.05_2.05", stored, scales)
    raster = open_tessera(good)
    np.testing.assert_array_equal(raster.sample(raster.lonlat([4.0], [4.0])), 1.0)


def test_percentiles_are_further_columns(tmp_path: Path, owner: Any) -> None:
    values = np.random.default_rng(4).integers(0, 200, (2, SIDE, SIDE)).astype(np.uint8)
    path = write_raster(tmp_path / "r.tif", values, west=WEST, north=NORTH, pixel=PIXEL, crs=CRS)
    cells = middle_cells(k=1)
    found = RasterModality(raster=(str(path),), percentile=(10.0, 50.0)).compute(cells)
    assert found.names == ("band1", "band2", "band1_p10", "band2_p10", "band1_p50", "band2_p50")
    for row, cell in enumerate(cells):
        expected = np.percentile(values[:, owner == cell], (10, 50), axis=1)
        np.testing.assert_allclose(found.values[row, 2:], expected.ravel(), rtol=1e-6)
    ground = TerrainModality(raster=(str(path),), percentile=(90.0,)).compute(cells)
    assert ground.names[-1] == "elevation_p90_m"
    assert ((ground.values[:, 2] <= ground.values[:, -1]) & (ground.values[:, -1] <= ground.values[:, 3])).all()
    with pytest.raises(UsageError, match="percentile 120"):
        TerrainModality(raster=(str(path),), percentile=(120.0,)).compute(cells)
    with pytest.raises(UsageError, match="means alone"):
        RasterModality(raster=(str(path),), unit=True, percentile=(50.0,)).compute(cells)
