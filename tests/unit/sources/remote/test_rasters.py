"""Rasters over the network: one COG, mosaics of tiles, and what goes wrong half-way."""

from __future__ import annotations

import dataclasses
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import rasterio
import urllib3
from rasterio.transform import Affine

from placevec.errors import FormatError, UsageError
from placevec.geo.sphere import LonLat
from placevec.sources.gdal import GdalReader, open_reader
from placevec.sources.rasters import Raster
from placevec.sources.remote import Unreachable, http, named
from placevec.sources.remote.file import BLOCK
from placevec.sources.remote.mosaic import MosaicReader, TileGrid
from remote_server import Served, serve

SIDE = 512
RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(
        http,
        "_retries",
        lambda: urllib3.Retry(total=1, backoff_factor=0, status_forcelist=http.PASSING, raise_on_status=False),
    )
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def cog(path: Path, values: np.ndarray, west: float, north: float, degrees: float) -> bytes:
    step = degrees / values.shape[1]
    with rasterio.open(
        path, "w", driver="COG", dtype=values.dtype, count=1, height=values.shape[0], width=values.shape[1],
        crs="EPSG:4326", transform=Affine(step, 0, west, 0, -step, north), nodata=0, blocksize=128,
        overview_resampling="nearest",
    ) as out:  # fmt: skip
        out.write(values[None])
    return path.read_bytes()


@pytest.fixture
def served():
    with serve(Served()) as server:
        yield server


@pytest.fixture
def local(tmp_path: Path, served: Served) -> Path:
    """A COG of noise that is served as /a.tif too."""
    values = RNG.integers(1, 255, (2048, 2048), dtype=np.uint8)
    served.files["/a.tif"] = cog(tmp_path / "a.tif", values, 10.0, 50.0, 2.0)
    return tmp_path / "a.tif"


def points(n: int = 300) -> LonLat:
    return LonLat(RNG.uniform(10, 12, n), RNG.uniform(48, 50, n))


def test_a_remote_raster_is_the_local_one(served: Served, local: Path) -> None:
    remote, here = Raster(f"{served.address}/a.tif"), Raster(local)
    assert (remote.width, remote.height, remote.nodata, remote.transform) == (
        here.width,
        here.height,
        here.nodata,
        here.transform,
    )
    where = points()
    np.testing.assert_array_equal(remote.sample(where), here.sample(where))
    for width in (100, 400):
        np.testing.assert_array_equal(
            remote.grid((10.1, 48.2, 11.9, 49.7), width, width), here.grid((10.1, 48.2, 11.9, 49.7), width, width)
        )
    first = served.sent
    again = Raster(f"{served.address}/a.tif")
    np.testing.assert_array_equal(again.sample(where), here.sample(where))
    assert served.sent == first


def test_only_what_a_window_needs_is_fetched(served: Served, local: Path) -> None:
    reader = GdalReader(f"{served.address}/a.tif")
    assert served.sent <= 2 * BLOCK
    values, _ = reader.read(-1, 1000, 1000, 20, 20)
    np.testing.assert_array_equal(values, GdalReader(str(local)).read(-1, 1000, 1000, 20, 20)[0])
    assert served.sent <= 6 * BLOCK < len(served.files["/a.tif"]) / 5
    assert all(path == "/a.tif" for path, _ in served.asked)  # no neighbours are asked for


def test_threads_and_other_processes(served: Served, local: Path) -> None:
    remote, here = Raster(f"{served.address}/a.tif"), Raster(local)
    parts = [points(50) for _ in range(12)]
    wanted = [here.sample(part) for part in parts]
    with ThreadPoolExecutor(4) as pool:
        for found, known in zip(pool.map(Raster(remote.href).sample, parts), wanted, strict=True):
            np.testing.assert_array_equal(found, known)
    again = pickle.loads(pickle.dumps(remote))
    np.testing.assert_array_equal(again.sample(parts[0]), wanted[0])


def test_a_handle_may_be_used_and_end_in_another_thread(served: Served, local: Path) -> None:
    # rasterio keeps its openers in variables of a context; a thread has another one.
    from placevec.sources.remote import RemoteFile
    from placevec.sources.remote.opener import Opener, RemoteDataset

    file = RemoteFile(f"{served.address}/a.tif")
    with ThreadPoolExecutor(1) as pool:
        handle = pool.submit(lambda: RemoteDataset(Opener(file))).result()
    np.testing.assert_array_equal(handle.read(1), GdalReader(str(local)).read(-1, 0, 0, 2048, 2048)[0][0])
    del handle  # warnings are errors: what cannot be closed would show


def test_a_server_that_goes_away_half_way(local: Path, served: Served) -> None:
    raster = Raster(f"{served.address}/a.tif")
    served.status = 503
    with pytest.raises(Unreachable, match="does not answer now"):
        raster.sample(points())
    served.status = 0
    where = points()
    np.testing.assert_array_equal(raster.sample(where), Raster(local).sample(where))


def test_a_raster_that_changes_half_way(local: Path, served: Served, tmp_path: Path) -> None:
    raster = Raster(f"{served.address}/a.tif")
    values = RNG.integers(1, 255, (2048, 2048), dtype=np.uint8)
    served.files["/a.tif"] = cog(tmp_path / "b.tif", values, 10.0, 50.0, 2.0)
    with pytest.raises(FormatError, match="changed on the server"):
        raster.sample(points())
    where = points()
    np.testing.assert_array_equal(Raster(raster.href).sample(where), Raster(tmp_path / "b.tif").sample(where))


def test_what_is_no_raster_is_said(served: Served) -> None:
    served.files["/a.tif"] = b"<html>not here</html>"
    with pytest.raises(FormatError, match=r"a\.tif cannot be read"):
        Raster(f"{served.address}/a.tif")


@dataclasses.dataclass(frozen=True)
class Tiles:
    """Addresses of tiles; travels between processes."""

    address: str

    def __call__(self, row: int, col: int) -> str:
        return f"{self.address}/{row}/{col}.tif"


@pytest.fixture
def square(served: Served, tmp_path: Path) -> tuple[MosaicReader, np.ndarray]:
    """Three rows of four square tiles of 40 degrees, two of them absent."""
    rows, cols, degrees = 3, 4, 40.0
    whole = RNG.integers(1, 200, (rows * SIDE, cols * SIDE), dtype=np.uint8)
    for row, col in ((1, 2), (0, 0)):
        whole[row * SIDE : (row + 1) * SIDE, col * SIDE : (col + 1) * SIDE] = 0
    for row in range(rows):
        for col in range(cols):
            part = whole[row * SIDE : (row + 1) * SIDE, col * SIDE : (col + 1) * SIDE]
            if part.any():
                data = cog(tmp_path / f"{row}-{col}.tif", part, -80 + degrees * col, 60 - degrees * row, degrees)
                served.files[f"/{row}/{col}.tif"] = data
    grid = TileGrid(-80.0, 60.0, degrees, rows, cols, SIDE, (2, 4), 128, "uint8", 0, Tiles(served.address))
    return MosaicReader("noise", grid), whole


def test_windows_of_a_mosaic(square: tuple[MosaicReader, np.ndarray], served: Served) -> None:
    reader, whole = square
    assert reader.shape(-1) == whole.shape
    assert served.asked == []  # nothing is fetched before it is read
    for _ in range(25):
        row, col = int(RNG.integers(0, whole.shape[0] - 1)), int(RNG.integers(0, whole.shape[1] - 1))
        height, width = int(RNG.integers(1, whole.shape[0] - row + 1)), int(RNG.integers(1, whole.shape[1] - col + 1))
        values, valid = reader.read(-1, row, col, height, width)
        wanted = whole[row : row + height, col : col + width]
        np.testing.assert_array_equal(values[0], wanted)
        if valid is None:
            assert wanted.all()
        else:
            np.testing.assert_array_equal(valid[0], wanted > 0)
    assert [path for path, _ in served.asked].count("/1/2.tif") <= 1  # an absent tile is asked for once


def test_overviews_of_a_mosaic(square: tuple[MosaicReader, np.ndarray]) -> None:
    reader, whole = square
    for overview, by in enumerate((2, 4)):
        rows, cols = reader.shape(overview)
        assert (rows, cols) == (whole.shape[0] // by, whole.shape[1] // by)
        values, _ = reader.read(overview, 0, 0, rows, cols)
        blocks = whole.reshape(rows, by, cols, by).transpose(0, 2, 1, 3).reshape(rows, cols, by * by)
        assert (values[0][:, :, None] == blocks).any(axis=2).all()


def test_a_pickled_mosaic_reads_on(square: tuple[MosaicReader, np.ndarray]) -> None:
    reader, whole = square
    reader.read(-1, 500, 500, 50, 50)
    again = pickle.loads(pickle.dumps(reader))
    np.testing.assert_array_equal(again.read(-1, 500, 500, 50, 50)[0][0], whole[500:550, 500:550])


def test_tiles_that_lie_elsewhere_are_refused(square: tuple[MosaicReader, np.ndarray], served: Served) -> None:
    reader, _ = square
    served.files["/1/1.tif"] = served.files["/0/1.tif"]
    with pytest.raises(FormatError, match=r"1/1\.tif is not the tile of noise"):
        reader.read(-1, SIDE, SIDE, 4, 4)
    served.status = 503
    with pytest.raises(Unreachable):
        reader.read(-1, 2 * SIDE, 0, 4, 4)


def test_names_of_tiles() -> None:
    base = "https://esa-worldcover.s3.eu-central-1.amazonaws.com/v200/2021/map/ESA_WorldCover_10m_2021_v200_"
    grid = named.REMOTE_RASTERS["worldcover-2021"].grid
    assert grid is not None
    for (row, col), name in {
        (26, 62): "N03E006", (27, 62): "N00E006", (28, 59): "S03W003", (0, 0): "N81W180", (47, 119): "S60E177",
    }.items():  # fmt: skip
        assert named.worldcover_tile(row, col) == f"{base}{name}_Map.tif"
    assert grid.pixels % max(grid.overviews) == 0


def test_worldcover_by_name(served: Served, data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "ESA_WorldCover_10m_2021_v200_N00E006_Map.tif"
    path = data_dir / "worldcover" / name
    served.files[f"/{name}"] = path.read_bytes()
    own = named.REMOTE_RASTERS["worldcover-2021"]
    assert own.grid is not None
    grid = dataclasses.replace(
        own.grid, address=lambda row, col: f"{served.address}/{named.worldcover_tile(row, col).rpartition('/')[2]}"
    )
    monkeypatch.setitem(named.REMOTE_RASTERS, own.name, dataclasses.replace(own, grid=grid))
    remote, here = Raster("dataset:worldcover-2021"), Raster(path)
    assert remote.wraps
    assert remote.width == 4_320_000
    where = LonLat(RNG.uniform(6.3, 7.9, 400), RNG.uniform(0.05, 1.9, 400))
    np.testing.assert_array_equal(remote.sample(where, resampling="nearest"), here.sample(where, resampling="nearest"))
    assert np.isnan(remote.sample(LonLat.of(-30.0, 0.5), resampling="nearest")).all()  # the ocean has no tile
    box = (6.3007, 0.0007, 7.5007, 1.2007)  # centres of the grid lie well inside pixels
    np.testing.assert_array_equal(
        remote.grid(box, 450, 450, resampling="mode"), here.grid(box, 450, 450, resampling="mode")
    )
    with pytest.raises(UsageError, match="has one band"):
        open_reader("dataset:worldcover-2021", [2])
    (ref,) = named.source_refs("worldcover-2021")
    assert "ESA WorldCover" in ref.attribution


def test_unknown_names(served: Served) -> None:
    with pytest.raises(UsageError, match="lc100-2019, worldcover-2021"):
        Raster("dataset:worldcover")
