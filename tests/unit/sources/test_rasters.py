"""Rasters: georeference, sampling and levels of detail, against values known in closed form and against GDAL."""

import pickle
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.transform import Affine

from placevec.errors import CrsError, FormatError, UsageError
from placevec.geo.sphere import LonLat
from placevec.sources.gdal import gdal_path
from placevec.sources.rasters import Raster, decode_alphaearth

RAMP = np.arange(24, dtype=np.float32).reshape(4, 6)  # north-up


def from_bounds(west, south, east, north, width, height):
    # rasterio's own multiplies Affines in a way that affine 3 warns of
    return Affine((east - west) / width, 0, west, 0, (south - north) / height, north)


def write(path, array, transform, crs="EPSG:4326", **profile):
    array = array[None] if array.ndim == 2 else array
    count, height, width = array.shape
    with rasterio.open(
        path, "w", driver="GTiff", dtype=array.dtype, count=count, height=height, width=width, crs=crs,
        transform=transform, **profile,
    ) as out:  # fmt: skip
        out.write(array)
    return path


def centres(bounds, shape):
    west, south, east, north = bounds
    rows, cols = shape
    lon, lat = np.meshgrid(
        west + (np.arange(cols) + 0.5) * (east - west) / cols, north - (np.arange(rows) + 0.5) * (north - south) / rows
    )
    return LonLat(lon.ravel(), lat.ravel())


def layouts(tmp_path):
    """The same ground (1 to 7 E, 40 to 44 N) stored in four ways."""
    bounds = (1, 40, 7, 44)
    yield write(tmp_path / "north.tif", RAMP, from_bounds(*bounds, 6, 4))
    yield write(tmp_path / "south.tif", np.ascontiguousarray(RAMP[::-1]), Affine(1, 0, 1, 0, 1, 40))
    yield write(tmp_path / "west.tif", np.ascontiguousarray(RAMP[:, ::-1]), Affine(-1, 0, 7, 0, -1, 44))
    # columns run south, rows run east
    yield write(tmp_path / "turned.tif", np.ascontiguousarray(RAMP.T), Affine(0, 1, 1, -1, 0, 44))


@pytest.mark.parametrize("resampling", ["nearest", "bilinear", "mode"])
def test_every_orientation_gives_the_same_values(tmp_path, resampling):
    where = centres((1, 40, 7, 44), (4, 6))
    for path in layouts(tmp_path):
        values = Raster(path).sample(where, resampling=resampling)
        np.testing.assert_allclose(values[:, 0], RAMP.ravel(), atol=1e-4, err_msg=path.name)


def test_bilinear_is_exact_on_a_plane_and_flat_at_the_rim(tmp_path):
    rng = np.random.default_rng(0)
    lon, lat = rng.uniform(1.5, 6.5, 200), rng.uniform(40.5, 43.5, 200)
    expected = (lon - 1.5) + 6 * (43.5 - lat)
    for path in layouts(tmp_path):
        np.testing.assert_allclose(Raster(path).sample(LonLat(lon, lat))[:, 0], expected, atol=1e-4)
        assert Raster(path).sample(LonLat.of(1.0, 44.0))[0, 0] == pytest.approx(0, abs=1e-4)


def test_outside_is_nan_and_the_rim_is_inside():
    raster = Raster.from_array(RAMP, bounds=(1, 40, 7, 44))
    values = raster.sample(
        LonLat(np.array([1.0, 7.0, 0.99, 7.01, 3, 3, -179]), np.array([40, 44, 41, 41, 39.9, 44.1, 41]))
    )
    assert np.isnan(values[:, 0]).tolist() == [False, False, True, True, True, True, True]


def test_nodata_is_nan_and_does_not_bleed():
    array = np.full((4, 4), 10.0, dtype=np.float32)
    array[1, 1] = -9999
    raster = Raster.from_array(array, bounds=(0, 0, 4, 4), nodata=-9999)
    lon = np.linspace(0.01, 3.99, 60)
    x, y = (part.ravel() for part in np.meshgrid(lon, lon))
    values = raster.sample(LonLat(x, y))[:, 0]
    hole = (x > 1) & (x < 2) & (y > 2) & (y < 3)
    assert np.isnan(values[hole]).all()
    np.testing.assert_allclose(values[~hole], 10, rtol=1e-6)


def test_nan_pixels_are_nodata_and_masks_count_by_band(tmp_path):
    array = np.ones((2, 3, 3), dtype=np.float32)
    array[1, 1, 1] = np.nan
    raster = Raster(write(tmp_path / "nan.tif", array, from_bounds(0, 0, 3, 3, 3, 3)))
    values = raster.sample(LonLat.of(1.5, 1.5))
    assert values[0, 0] == 1
    assert np.isnan(values[0, 1])


def test_internal_mask_and_alpha_band(tmp_path):
    path = tmp_path / "mask.tif"
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
        write(path, np.full((4, 4), 7, dtype=np.uint8), from_bounds(0, 0, 4, 4, 4, 4))
        with rasterio.open(path, "r+") as out:
            mask = np.full((4, 4), 255, dtype=np.uint8)
            mask[0, 0] = 0
            out.write_mask(mask)
    assert np.isnan(Raster(path).sample(LonLat(np.array([0.5, 1.5]), np.array([3.5, 3.5])))[:, 0]).tolist() == [
        True,
        False,
    ]

    rgba = np.full((4, 4, 4), 9, dtype=np.uint8)
    rgba[3] = 255
    rgba[3, 0, 0] = 0
    path = write(tmp_path / "rgba.tif", rgba, from_bounds(0, 0, 4, 4, 4, 4), photometric="RGB", alpha="YES")
    raster = Raster(path)
    assert raster.bands == (1, 2, 3)
    assert np.isnan(raster.sample(LonLat.of(0.5, 3.5))).all()


def test_around_the_globe():
    array = np.tile(np.arange(36, dtype=np.float32), (18, 1))
    raster = Raster.from_array(array, bounds=(-180, -90, 180, 90))
    assert raster.wraps
    values = raster.sample(LonLat(np.array([-175.0, 175, 180, -180, 179.999]), np.zeros(5)))[:, 0]
    np.testing.assert_allclose(values, [0, 35, 17.5, 17.5, 17.5], atol=0.01)
    # the same ground from 0 to 360
    other = Raster.from_array(np.roll(array, -18, axis=1), bounds=(0, -90, 360, 90))
    lon = np.random.default_rng(1).uniform(-180, 180, 100)
    where = LonLat(lon, np.linspace(-90, 90, 100))
    np.testing.assert_allclose(other.sample(where), raster.sample(where), atol=1e-4)


def test_across_the_antimeridian_without_wrapping():
    raster = Raster.from_array(RAMP, bounds=(177, 40, 183, 44))
    assert not raster.wraps
    values = raster.sample(LonLat(np.array([177.5, -177.5, 182.5]), np.full(3, 43.5)))[:, 0]
    np.testing.assert_allclose(values, [0, 5, 5])


def test_projected_raster_and_its_inverse(tmp_path):
    array = np.random.default_rng(0).integers(0, 255, (3, 50, 40), dtype=np.uint8)
    path = write(tmp_path / "utm.tif", array, Affine(100, 0, 500000, 0, -100, 4600000), crs="EPSG:32631")
    raster = Raster(path, bands=[3, 1])
    row, col = np.mgrid[0:50, 0:40] + 0.5
    where = raster.lonlat(col.ravel(), row.ravel())
    back_col, back_row = raster.pixel(where.lon, where.lat)
    np.testing.assert_allclose(back_col, col.ravel(), atol=1e-4)
    np.testing.assert_allclose(back_row, row.ravel(), atol=1e-4)
    np.testing.assert_array_equal(raster.sample(where, resampling="nearest"), array[[2, 0]].reshape(2, -1).T)


@pytest.mark.parametrize("tiled", [True, False])
def test_each_block_is_read_once(tmp_path, monkeypatch, tiled):
    monkeypatch.setattr("placevec.sources.tiles._HOLD_BYTES", 0)
    monkeypatch.setattr("placevec.sources.tiles._TILE_BYTES", 64 * 64)
    array = np.random.default_rng(0).integers(0, 255, (256, 256), dtype=np.uint8)
    options = {"tiled": True, "blockxsize": 64, "blockysize": 64} if tiled else {"blockysize": 16}
    path = write(tmp_path / "blocks.tif", array, from_bounds(0, 0, 256, 256 / 4, 256, 256), **options)
    small, whole = Raster(path, cache_bytes=6000), Raster.from_array(array, bounds=(0, 0, 256, 64))
    where = LonLat(*np.random.default_rng(1).uniform(0, (256, 64), (5000, 2)).T)
    for resampling in ("bilinear", "nearest"):
        np.testing.assert_allclose(
            small.sample(where, resampling=resampling), whole.sample(where, resampling=resampling), atol=1e-3
        )
    assert small.block_reads == 2 * 16


def test_averages_do_not_depend_on_tiles(tmp_path, monkeypatch):
    array = np.random.default_rng(0).integers(0, 255, (2, 203, 331), dtype=np.uint8)
    path = write(
        tmp_path / "odd.tif",
        array,
        from_bounds(0, 0, 33.1, 20.3, 331, 203),
        tiled=True,
        blockxsize=32,
        blockysize=32,
        nodata=3,
    )
    held = Raster(path).grid((0, 0, 33.1, 20.3), 41, 25)
    monkeypatch.setattr("placevec.sources.tiles._HOLD_BYTES", 4096)
    monkeypatch.setattr("placevec.sources.tiles._TILE_BYTES", 4096)
    np.testing.assert_allclose(Raster(path).grid((0, 0, 33.1, 20.3), 41, 25), held, atol=1e-4)


def test_reduced_grid_is_the_block_mean_and_mode():
    rng = np.random.default_rng(0)
    array = rng.integers(0, 5, (64, 128)).astype(np.uint8)
    raster = Raster.from_array(array, bounds=(0, 0, 12.8, 6.4), nodata=4)
    blocks = array.reshape(16, 4, 32, 4).swapaxes(1, 2).reshape(16, 32, 16)
    kept = np.ma.masked_equal(blocks, 4)
    mean = raster.grid((0, 0, 12.8, 6.4), 32, 16)[0]
    enough = kept.count(axis=2) >= 8  # half of a block must be there, as of a pixel
    assert 0 < (~enough).sum() < 20
    np.testing.assert_allclose(mean, np.where(enough, kept.mean(axis=2), np.nan), rtol=1e-5)
    mode = raster.grid((0, 0, 12.8, 6.4), 32, 16, resampling="mode")[0]
    expected = [np.bincount(row.compressed(), minlength=5).argmax() for row in kept.reshape(-1, 16)]
    np.testing.assert_array_equal(mode.ravel(), np.where(enough.ravel(), expected, np.nan))


def test_overviews_are_used(tmp_path):
    path = write(
        tmp_path / "ovr.tif",
        np.zeros((512, 512), dtype=np.uint8),
        from_bounds(0, 0, 5.12, 5.12, 512, 512),
        tiled=True,
        blockxsize=64,
        blockysize=64,
    )
    with rasterio.open(path, "r+") as out:
        out.build_overviews([2, 4, 8], rasterio.enums.Resampling.average)
    raster = Raster(path)
    assert [raster.level(r, r).overview for r in (1, 1.9, 2, 4.5, 8, 20)] == [-1, -1, 0, 1, 2, 2]
    assert raster.level(20, 20).gx == 2
    assert (raster.level(20, 20).width, raster.level(20, 20).sx) == (32, 16.0)
    assert raster.level(20, 3).overview == 0
    assert raster.level(9, 9, "nearest").overview == -1
    assert raster.grid((0, 0, 5.12, 5.12), 32, 32).shape == (1, 32, 32)


def test_travels_between_processes_and_threads(tmp_path):
    path = write(tmp_path / "a.tif", RAMP, from_bounds(1, 40, 7, 44, 6, 4))
    raster = Raster(path)
    where = centres((1, 40, 7, 44), (4, 6))
    before = raster.sample(where)
    copy = pickle.loads(pickle.dumps(raster))
    np.testing.assert_array_equal(copy.sample(where), before)
    found = []
    threads = [threading.Thread(target=lambda: found.append(Raster(path).sample(where))) for _ in range(4)]
    threads += [threading.Thread(target=lambda: found.append(raster.sample(where))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert all(np.array_equal(values, before) for values in found)


class _Ranges(SimpleHTTPRequestHandler):
    """A file server that knows byte ranges, as object stores do."""

    sent = 0

    def do_GET(self):
        path = Path(self.translate_path(self.path))
        if not path.is_file():
            return self.send_error(404)
        data = path.read_bytes()
        first, last, wanted = 0, len(data) - 1, self.headers.get("Range")
        if wanted:
            a, _, b = wanted.removeprefix("bytes=").partition("-")
            first, last = int(a), min(int(b or last), last)
        self.send_response(206 if wanted else 200)
        self.send_header("Content-Length", str(last - first + 1))
        self.send_header("Accept-Ranges", "bytes")
        if wanted:
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(data)}")
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data[first : last + 1])
            type(self).sent += last - first + 1
        return None

    do_HEAD = do_GET  # noqa: N815

    def log_message(self, *args):
        pass


def test_remote_reads_fetch_only_what_they_need(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    array = np.random.default_rng(0).integers(0, 255, (2048, 2048), dtype=np.uint8)
    path = write(
        tmp_path / "big.tif",
        array,
        from_bounds(0, 0, 20.48, 20.48, 2048, 2048),
        tiled=True,
        blockxsize=256,
        blockysize=256,
    )
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Ranges, directory=str(tmp_path)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        remote = Raster(f"http://127.0.0.1:{server.server_port}/big.tif")
        where = LonLat(np.linspace(10, 10.4, 50), np.linspace(10, 10.4, 50))
        np.testing.assert_array_equal(remote.sample(where), Raster(path).sample(where))
        assert 0 < _Ranges.sent < 1_000_000
        with pytest.raises(FormatError, match="check the address"):
            Raster(f"http://127.0.0.1:{server.server_port}/nothing.tif")
    finally:
        server.shutdown()
        server.server_close()


def test_addresses_as_gdal_wants_them(tmp_path):
    assert gdal_path("https://a.org/b.tif") == "/vsicurl/https://a.org/b.tif"
    assert gdal_path("s3://bucket/b.tif") == "/vsis3/bucket/b.tif"
    assert gdal_path(str(tmp_path / "b.tif")) == str(tmp_path / "b.tif")


def test_what_cannot_be_read(tmp_path):
    with pytest.raises(FormatError, match="does not exist"):
        Raster(tmp_path / "none.tif")
    (tmp_path / "empty.tif").write_bytes(b"")
    with pytest.raises(FormatError, match="is empty"):
        Raster(tmp_path / "empty.tif")
    (tmp_path / "text.tif").write_text("POINT (1 2)")
    with pytest.raises(FormatError, match="not a raster"):
        Raster(tmp_path / "text.tif")
    good = write(tmp_path / "good.tif", np.zeros((300, 300), dtype=np.float64), from_bounds(0, 0, 1, 1, 300, 300))
    (tmp_path / "cut.tif").write_bytes(good.read_bytes()[:200_000])
    with pytest.raises(FormatError, match="cannot be read"):
        Raster(tmp_path / "cut.tif").sample(LonLat.of(0.5, 0.1))
    with pytest.raises(UsageError, match="no band 2"):
        Raster(good, bands=[2])
    with pytest.raises(UsageError, match="resampling"):
        Raster(good).sample(LonLat.of(0.5, 0.5), resampling="cubic")


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_where_it_lies_is_never_guessed(tmp_path):
    path = tmp_path / "bare.png"
    with rasterio.open(path, "w", driver="PNG", dtype="uint8", count=1, height=4, width=8) as out:
        out.write(np.arange(32, dtype=np.uint8).reshape(1, 4, 8))
    with pytest.raises(CrsError, match="no coordinate system"):
        Raster(path)
    with pytest.raises(CrsError, match="does not say where"):
        Raster(path, crs="EPSG:4326")
    with pytest.raises(CrsError, match="no area"):
        Raster(path, crs="EPSG:4326", bounds=(1, 2, 1, 4))
    raster = Raster(path, crs="EPSG:4326", bounds=(-180, -90, 180, 90))
    assert raster.wraps
    assert raster.sample(LonLat.of(-157.5, 67.5))[0, 0] == 0
    located = write(tmp_path / "utm.tif", RAMP, Affine(100, 0, 500000, 0, -100, 4600000), crs="EPSG:32631")
    with pytest.raises(CrsError, match="not in"):
        Raster(located, crs="EPSG:4326")


def test_alphaearth_codec():
    stored = np.array([[-128, -127, -1, 0, 1, 64, 127]], dtype=np.int8)
    decoded = decode_alphaearth(stored)
    assert decoded.dtype == np.float32
    assert np.isnan(decoded[0, 0])
    v = stored[0, 1:].astype(np.float64)
    np.testing.assert_allclose(decoded[0, 1:], np.sign(v) * (np.abs(v) / 127.5) ** 2, rtol=1e-6)
    with pytest.raises(FormatError, match="int8"):
        decode_alphaearth(np.zeros(3, dtype=np.uint8))


def test_south_up_alphaearth_raster(tmp_path):
    rng = np.random.default_rng(0)
    stored = rng.integers(-127, 128, (64, 8, 8)).astype(np.int8)
    stored[:, 2, 3] = -128
    path = write(
        tmp_path / "ae.tif",
        np.ascontiguousarray(stored[:, ::-1]),
        Affine(10, 0, 500000, 0, 10, 4599920),
        crs="EPSG:32631",
        nodata=-128,
    )
    raster = Raster(path, decode=decode_alphaearth)
    assert raster.dtype == np.float32
    row, col = np.mgrid[0:8, 0:8] + 0.5
    north_up = raster.lonlat(col.ravel(), 8 - row.ravel())
    values = raster.sample(north_up, resampling="nearest").T.reshape(64, 8, 8)
    np.testing.assert_allclose(values, decode_alphaearth(stored), atol=1e-6)
    assert np.isnan(raster.sample(north_up)[2 * 8 + 3]).all()
    # A mean over cells is taken of decoded values, nodata left out.
    both = raster.grid((*(north_up.lon.min(), north_up.lat.min()), *(north_up.lon.max(), north_up.lat.max())), 1, 1)
    assert np.isfinite(both).all()
