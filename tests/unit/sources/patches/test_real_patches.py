"""Patches of real rasters: NLCD and SRTM around Zion in their two systems, a corner of a WorldCover tile."""

import numpy as np
import pytest
import rasterio

import patch_fakes as fakes
from placevec.sources.classes import class_table
from placevec.sources.patches import Layer, PatchSource, draw_pairs
from placevec.sources.rasters import Raster


@pytest.fixture(scope="module")
def zion(data_dir):
    folder = data_dir / "zion"
    cover = Layer("cover", Raster(folder / "nlcd2011.tif"), class_table("nlcd"))
    return folder, [cover, Layer("elevation", Raster(folder / "srtm.tif"))]


def test_zion_is_what_proj_says(zion):
    folder, layers = zion
    pairs = draw_pairs(None, 60, inner_m=2000, outer_m=8000, layers=layers, ground_m=2000)
    batch = PatchSource(pairs, layers, 2000, 32).read(np.arange(len(pairs)))
    assert len(batch) == 120
    with rasterio.open(folder / "nlcd2011.tif") as a, rasterio.open(folder / "srtm.tif") as b:
        cover, height = a.read(1), b.read(1)
        for i in range(0, 120, 3):
            place = pairs.lon[i], pairs.lat[i], 2000, 32
            expected = class_table("nlcd").index(
                fakes.nearest(cover, *fakes.positions(*place, a.crs, a.transform), 255)
            )
            assert np.mean(batch.data["cover"][i] != expected) < 0.002
            relief = fakes.bilinear(height, *fakes.positions(*place, b.crs, b.transform))
            np.testing.assert_allclose(batch.data["elevation"][i], relief, atol=0.05)
    assert np.ptp(batch.data["elevation"].reshape(120, -1), axis=1).max() > 500  # metres: relief is kept


def test_worldcover_straight_from_its_tile(data_dir):
    path = data_dir / "worldcover" / "ESA_WorldCover_10m_2021_v200_N00E006_Map.tif"
    raster = Raster(path)
    with rasterio.open(path) as source:
        rng = np.random.default_rng(0)
        # Príncipe, a coast, and the open sea
        lon, lat = np.append(rng.uniform(7.36, 7.44, 12), 8.5), np.append(rng.uniform(1.56, 1.64, 12), 2.5)
        found = PatchSource(fakes.places(lon, lat), [Layer("cover", raster, class_table("worldcover"))], 2000, 32)
        batch = found.read(np.arange(13))
        assert [one.reason for one in batch.skipped if one.id == "p0012"] == [f"no data in {path.name}"]
        assert len(batch) >= 6
        for at, i in enumerate(batch.rows):
            col, row = fakes.positions(lon[i], lat[i], 2000, 32, source.crs, source.transform)
            c0, r0 = int(col.min()) - 1, int(row.min()) - 1
            window = rasterio.windows.Window(c0, r0, int(col.max()) - c0 + 2, int(row.max()) - r0 + 2)
            codes = fakes.nearest(source.read(1, window=window), col - c0, row - r0, 0)
            assert np.mean(batch.data["cover"][at] != class_table("worldcover").index(codes)) < 0.01
