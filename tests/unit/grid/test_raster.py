import numpy as np
import pytest

from placevec.errors import CrsError, FormatError, SchemaError, UsageError
from placevec.geo.cells import H3Cells
from placevec.geo.grids import GridCells
from placevec.grid import EmbeddingGrid, GridSink
from placevec.provenance import Space, TableMeta

rasterio = pytest.importorskip("rasterio")
SHAPE = (70, 90)
BOUNDS = (2.0, 40.0, 3.8, 41.4)


def vectors(seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    values = rng.standard_normal((*SHAPE, 6)).astype(np.float32)
    values /= np.linalg.norm(values, axis=2, keepdims=True)
    values[:5, :7] = np.nan
    return values


def write(path, values: np.ndarray, meta: TableMeta | None = None) -> EmbeddingGrid:
    meta = meta or TableMeta(Space.mint(values.shape[2]), normalized=True, tower="image", seed=3)
    with GridSink(path, meta, bounds=BOUNDS, shape=values.shape[:2]) as sink:
        for row in range(0, values.shape[0], 32):
            sink.write(values[row : row + 32])
    return EmbeddingGrid(path)


def test_what_is_written_is_what_is_read(tmp_path) -> None:
    values = vectors()
    grid = write(tmp_path / "g.tif", values)
    assert (grid.meta.tower, grid.meta.seed, grid.shape) == ("image", 3, SHAPE)
    window = grid.window()
    assert len(window.vectors) == 70 * 90 - 35
    assert window.vectors == pytest.approx(values[window.rows, window.columns], abs=1e-6)
    assert window.lonlat.lon == pytest.approx(2.0 + 0.02 * (window.columns + 0.5))
    assert window.lonlat.lat == pytest.approx(41.4 - 0.02 * (window.rows + 0.5))
    with rasterio.open(tmp_path / "g.tif") as raster:
        assert raster.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"


def test_a_window_is_the_pixels_of_its_box(tmp_path) -> None:
    grid = write(tmp_path / "g.tif", vectors())
    box = (2.5, 40.3, 3.1, 40.8)
    whole, part = grid.window(), grid.window(box)
    inside = (
        (whole.lonlat.lon >= 2.5) & (whole.lonlat.lon <= 3.1) & (whole.lonlat.lat >= 40.3) & (whole.lonlat.lat <= 40.8)
    )
    assert len(part.vectors) == inside.sum() > 0
    assert np.array_equal(
        np.sort(part.rows * 1000 + part.columns), np.sort((whole.rows * 1000 + whole.columns)[inside])
    )
    assert len(grid.window((100.0, 0.0, 101.0, 1.0)).vectors) == 0


@pytest.mark.parametrize("cells", [H3Cells(6), GridCells(0.25)])
def test_means_of_cells_against_a_loop(tmp_path, cells) -> None:
    values = vectors()
    grid = write(tmp_path / "g.tif", values)
    table = grid.aggregate(cells).validate()
    window = grid.window()
    own = cells.assign(window.lonlat)
    assert len(table) == len(np.unique(own))
    assert table.space == grid.space
    names = {f"{cell:x}" if cells.name.startswith("h3") else str(cell): cell for cell in np.unique(own)}
    for row in range(0, len(table), 7):
        mean = window.vectors[own == names[table.ids[row]]].mean(axis=0)
        assert table.vectors()[row] == pytest.approx(mean / np.linalg.norm(mean), abs=1e-5)
        assert table.column("pixels")[row] == (own == names[table.ids[row]]).sum()


def test_int8_is_decoded_by_its_codec(tmp_path) -> None:
    stored = np.random.default_rng(1).integers(-127, 128, (*SHAPE, 4)).astype(np.int8)
    stored[0, 0] = -128
    meta = TableMeta(Space.mint(4), dtype="int8", codec={"method": "alphaearth"}, normalized=True)
    window = write(tmp_path / "g.tif", stored, meta).window()
    assert len(window.vectors) == 70 * 90 - 1
    wide = stored[window.rows, window.columns].astype(np.float64)
    expected = np.sign(wide) * (np.abs(wide) / 127.5) ** 2
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    assert window.vectors == pytest.approx(expected, abs=1e-5)


def test_south_up_rasters_are_read_right(tmp_path) -> None:
    values = vectors()
    path = tmp_path / "south.tif"
    meta = TableMeta(Space.mint(6), normalized=True)
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        width=90,
        height=70,
        count=6,
        dtype="float32",
        crs="EPSG:4326",
        nodata=float("nan"),
        transform=rasterio.Affine(0.02, 0.0, 2.0, 0.0, 0.02, 40.0),
    ) as raster:
        raster.write(np.moveaxis(values[::-1], 2, 0))
    north, south = write(tmp_path / "g.tif", values), EmbeddingGrid(path, meta)
    cells = H3Cells(5)
    a, b = north.aggregate(cells), south.aggregate(cells)
    assert b.align(a).vectors() == pytest.approx(a.vectors(), abs=1e-5)


def test_nothing_half_written_stays(tmp_path) -> None:
    meta = TableMeta(Space.mint(6))
    with (
        pytest.raises(SchemaError, match="10 of 70 rows"),
        GridSink(tmp_path / "g.tif", meta, bounds=BOUNDS, shape=SHAPE) as sink,
    ):
        sink.write(vectors()[:10])
    with (
        pytest.raises(SchemaError, match="does not fit"),
        GridSink(tmp_path / "g.tif", meta, bounds=BOUNDS, shape=SHAPE) as sink,
    ):
        sink.write(vectors()[:10, :50])
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(UsageError, match=r"ends in \.tif"):
        GridSink(tmp_path / "g.png", meta, bounds=BOUNDS, shape=SHAPE)


def test_other_rasters_say_what_they_lack(tmp_path) -> None:
    path = tmp_path / "plain.tif"
    profile = {"driver": "GTiff", "width": 4, "height": 4, "count": 1, "dtype": "uint8"}
    with rasterio.open(path, "w", crs="EPSG:4326", transform=rasterio.Affine(1, 0, 0, 0, -1, 4), **profile) as raster:
        raster.write(np.zeros((1, 4, 4), dtype=np.uint8))
    with pytest.raises(FormatError, match="no EmbeddingGrid"):
        EmbeddingGrid(path)
    with rasterio.open(path, "w", transform=rasterio.Affine(1, 0, 0, 0, -1, 4), **profile) as raster:
        raster.write(np.zeros((1, 4, 4), dtype=np.uint8))
    with pytest.raises(CrsError, match="no CRS"):
        EmbeddingGrid(path)
    path.write_bytes(b"II*\x00 and nothing more")
    with pytest.raises(FormatError, match="cannot be read"):
        EmbeddingGrid(path)
