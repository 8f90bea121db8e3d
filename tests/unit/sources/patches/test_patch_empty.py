"""`Layer.empty`: nodata within a raster that stands for a class, such as the sea that a map leaves out."""

from __future__ import annotations

import numpy as np
import pytest
from rasterio.transform import Affine

import patch_fakes as fakes
from placevec.errors import UsageError
from placevec.sources.patches import Layer, PatchSource
from placevec.sources.rasters import Raster
from placevec.tasks.patch_inputs import parse_layer

PLACE = Affine(0.001, 0, 10.0, 0, -0.001, 50.0)
INDEX = fakes.TABLE.indices[90]


def raster_of(tmp_path, side=300, sea=slice(100, None), name="c.tif"):
    """Classes of which all columns of `sea` are nodata, 255."""
    cover = fakes.classes(side, side)
    cover[:, sea] = 255
    return Raster(fakes.write(tmp_path / name, cover, PLACE, "EPSG:4326", nodata=255))


def read(raster, lon, lat, empty=90, ground=1500, pixels=12, **options):
    layer = Layer("cover", raster, fakes.TABLE, empty=empty)
    return PatchSource(fakes.places(lon, lat), [layer], ground, pixels, **options)


def test_the_open_sea_is_a_class(tmp_path):
    raster = raster_of(tmp_path)
    at = [10.2, 10.1, 10.05], [49.85] * 3
    sea, shore, land = read(raster, *at).read(np.arange(3)).data["cover"]
    assert (sea == INDEX).all()
    assert (shore[:, 8:] == INDEX).all()
    assert (land > 0).all()
    bare = read(raster, *at, empty=None).read(np.arange(3))
    assert bare.rows.tolist() == [1, 2]  # of the sea nothing is known
    np.testing.assert_array_equal(np.where(bare.data["cover"][0] == 0, INDEX, bare.data["cover"][0]), shore)
    np.testing.assert_array_equal(bare.data["cover"][1], land)


def test_a_raster_of_sea_alone(tmp_path):
    found = read(raster_of(tmp_path, sea=slice(0, None)), 10.15, 49.85).read(np.array([0]))
    assert (found.data["cover"] == INDEX).all()


def test_beyond_the_rim_nothing_is_known(tmp_path):
    raster = raster_of(tmp_path)
    batch = read(raster, [10.3, 10.2], [49.85, 50.0], min_valid=0.1).read(np.arange(2))
    east, north = batch.data["cover"]
    assert (east[:, :5] == INDEX).all()
    assert not east[:, 7:].any()
    assert (north[7:] == INDEX).all()
    assert not north[:5].any()
    assert read(raster, 10.35, 49.85).read(np.array([0])).skipped[0].reason == "outside c.tif"


def test_sample_by_sample_it_is_the_same(tmp_path, monkeypatch):
    raster = raster_of(tmp_path)
    at = [10.2, 10.1, 10.05, 10.3], [49.85] * 4
    fast = read(raster, *at, min_valid=0.1).read(np.arange(4)).data["cover"]
    monkeypatch.setattr("placevec.sources.patches.source.LARGEST", 0)  # no block is small enough
    slow = read(raster, *at, min_valid=0.1).read(np.arange(4)).data["cover"]
    assert np.mean(fast != slow) < 0.002


@pytest.mark.parametrize("ground", [30_000, 60_000])
def test_coarse_patches_take_it_as_well(tmp_path, ground):
    layer = Layer("cover", raster_of(tmp_path, side=900), fakes.TABLE, "mode", empty=90)
    found = PatchSource(fakes.places(10.5, 49.6), [layer], ground, 8, min_valid=0.0).read(np.array([0])).data["cover"]
    assert (found == INDEX).mean() > 0.3


def test_on_a_raster_around_the_globe():
    cover = np.full((90, 180), 255, dtype=np.uint8)
    cover[40:50, 80:100] = 10
    raster = Raster.from_array(cover, bounds=(-180, -90, 180, 90), nodata=255)
    found = read(raster, [179.9, 0.0], [0.0, 0.0], ground=1_500_000).read(np.arange(2)).data["cover"]
    assert (found[0] == INDEX).all()
    assert (found[1] == 1).any()


def test_it_is_part_of_what_a_layer_is(tmp_path):
    raster = raster_of(tmp_path)
    one, other, none = (Layer("cover", raster, fakes.TABLE, empty=code).identity() for code in (90, 10, None))
    assert one != other != none != one
    assert "empty" not in none  # sets that were written before there was such an option stay what they are
    assert parse_layer("cover=c.tif,classes=worldcover,empty=80").empty == 80


@pytest.mark.parametrize(("classes", "empty", "said"), [(fakes.TABLE, 7, "no class of tiny"), (None, 10, "no classes")])
def test_codes_that_are_none(tmp_path, classes, empty, said):
    with pytest.raises(UsageError, match=f"layer cover: empty is {empty}: .*{said}"):
        Layer("cover", raster_of(tmp_path), classes, empty=empty)
