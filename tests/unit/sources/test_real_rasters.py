"""Chips and samples of real rasters; PLACEVEC_DATA names where they are."""

import os
import sys

import numpy as np
import pytest
import rasterio
import rasterio.warp
from rasterio.transform import Affine

from placevec.geo.frames import LocalFrame
from placevec.geo.sphere import LonLat
from placevec.sources.catalog import fetch
from placevec.sources.chips import ChipSource
from placevec.sources.earth import blue_marble
from placevec.sources.rasters import Raster
from placevec.table import Places

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not os.environ.get("PLACEVEC_DATA"), reason="PLACEVEC_DATA is not set"),
]


def around(lon, lat):
    lon, lat = np.atleast_1d(np.asarray(lon, float)), np.atleast_1d(np.asarray(lat, float))
    return Places.create([f"p{i}" for i in range(len(lon))], LonLat(lon, lat))


def test_landsat_chips_are_those_of_gdal():
    raster = Raster(fetch("landsat-l7")["L7_ETMs.tif"])
    assert raster.crs.to_epsg() == 31985
    assert raster.count == 6
    centre = raster.lonlat(np.array([100.0, 170, 250]), np.array([90.0, 200, 300]))
    batch = ChipSource(around(centre.lon, centre.lat), raster, 1600, 64).read(np.arange(3))
    with rasterio.open(raster.href) as source:
        pixels, transform, crs = source.read().astype(np.float32), source.transform, source.crs
    for i in range(3):
        out = np.zeros((6, 64, 64), dtype=np.float32)
        rasterio.warp.reproject(
            pixels, out, src_transform=transform, src_crs=crs, dst_transform=Affine(25, 0, -800, 0, -25, 800),
            dst_crs=LocalFrame.at(centre[i]).crs.to_wkt(), resampling=rasterio.warp.Resampling.bilinear, tolerance=0,
        )  # fmt: skip
        difference = np.abs(batch.data["image"][i] - out)
        # GDAL takes SIRGAS 2000 for WGS84 too; what is left is rounding to uint8.
        assert difference.mean() < 0.4
        assert np.quantile(difference, 0.99) < 1.1


def test_zion_in_two_systems_covers_the_same_ground():
    paths = fetch("zion")
    cover, height = Raster(paths["nlcd2011.tif"]), Raster(paths["srtm.tif"])
    assert cover.crs.is_projected
    assert height.crs.is_geographic
    places = around(np.linspace(-113.15, -112.95, 12), np.linspace(37.2, 37.4, 12))
    classes = ChipSource(places, cover, 2000, 40, resampling="nearest", fill=255).read(np.arange(12))
    metres = ChipSource(places, height, 2000, 40).read(np.arange(12))
    assert len(classes) == len(metres) == 12
    assert classes.data["image"].dtype == np.uint8
    assert metres.data["image"].dtype == np.float32
    known = {11, 21, 22, 23, 24, 31, 41, 42, 43, 52, 71, 81, 82, 90, 95}
    assert set(np.unique(classes.data["image"])) <= known
    assert 900 < metres.data["image"].min() < metres.data["image"].max() < 2800
    # the middle of a chip is the sample at its place
    np.testing.assert_allclose(
        metres.data["image"][:, 0, 19:21, 19:21].mean(axis=(1, 2)), height.sample(places.lonlat())[:, 0], atol=12
    )


def test_worldcover_is_read_by_window():
    import resource

    raster = Raster(*fetch("worldcover-gulf-of-guinea").values(), cache_bytes=32 << 20)
    assert raster.width == raster.height == 36000
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    rng = np.random.default_rng(0)
    n = 3000
    places = around(rng.uniform(6.05, 8.95, n), rng.uniform(0.05, 2.95, n))
    batch = ChipSource(places, raster, 640, 16, resampling="mode", min_valid=0.0).read(np.arange(n))
    assert len(batch) == n
    sea = ChipSource(places, raster, 640, 16, resampling="mode").read(np.arange(n))
    assert len(sea) + len(sea.skipped) == n
    assert len(sea.skipped) > 2000
    assert set(np.unique(batch.data["image"])) <= {0, 10, 20, 30, 40, 50, 60, 80, 90, 95}
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * (1 if sys.platform == "darwin" else 1024)
    assert grown < 300 << 20  # the raster itself has 1.3 GB
    # São Tomé lies at 6.6 E, 0.2 N
    island = raster.grid((6.0, 0.0, 9.0, 3.0), 60, 60, resampling="mode")[0]
    assert np.isfinite(island[48:60, 8:16]).any()
    assert np.isfinite(island[26:31, 26:31]).any()  # Príncipe at 7.4 E, 1.6 N
    assert np.isnan(island[5:18]).all()


def test_blue_marble_across_the_antimeridian():
    raster = blue_marble()
    assert raster.wraps
    source = ChipSource(
        around([180.0, -180.0, 179.9, -179.9, 0, 0], [-17, -17, -17, -17, 90, -90]), raster, 240_000, 32
    )
    batch = source.read(np.arange(6))
    assert len(batch) == 6
    np.testing.assert_allclose(batch.data["valid"], 1)
    image = batch.data["image"].astype(float)
    np.testing.assert_array_equal(image[0], image[1])
    # moved by 0.1 degrees (10.6 km of 7.5 km pixels) to either side, the pictures overlap
    east, west = image[3][:, :, :28], image[2][:, :, 3:31]
    assert np.abs(east - west).mean() < 4
    assert image[5].mean() > 150  # the South Pole is white
    asset = source.places().column("asset")[0]
    col, _, width, _ = (int(v) for v in asset.partition("#xywh=")[2].split(","))
    assert col < 5400 < col + width


def test_chips_keep_their_ground_at_high_latitude():
    """Iceland seen from 65 N: north-up, and as wide as it is in kilometres."""
    batch = ChipSource(around(-18.6, 64.9), blue_marble(), 700_000, 100).read(np.array([0]))
    image = batch.data["image"][0].astype(float)
    land = image[0] > image[2] - 15  # not blue
    cols, rows = np.flatnonzero(land.any(axis=0)), np.flatnonzero(land.any(axis=1))
    assert 420 < (cols[-1] - cols[0]) * 7 < 620
    assert 280 < (rows[-1] - rows[0]) * 7 < 560


def test_sentinel_patches_open():
    paths = fetch("sentinel2-patches")
    for name, path in paths.items():
        if name.endswith(".tif"):
            raster = Raster(path)
            middle = raster.lonlat(np.array([raster.width / 2]), np.array([raster.height / 2]))
            batch = ChipSource(around(middle.lon, middle.lat), raster, 1280, 64).read(np.array([0]))
            assert batch.data["image"].shape == (1, 12, 64, 64)
            assert batch.data["valid"][0] == 1
