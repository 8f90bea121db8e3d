"""Patches for whatever raster and places: each pixel is that of the slow way, and no place is lost."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from rasterio.transform import Affine

import patch_fakes as fakes
from placevec.sources.patches import Layer, PatchSource
from placevec.sources.rasters import Raster

EDGE = 0.02  # pixels of the raster by which a sample may fall to the other side of a border


@given(
    seed=st.integers(0, 1000),
    lat=st.floats(-80, 80),
    width=st.integers(20, 300),
    step=st.floats(0.0002, 0.01),
    ground=st.floats(200, 20_000),
    pixels=st.integers(1, 40),
    spread=st.floats(0.1, 1.5),
)
def test_each_pixel_is_the_one_that_lies_there(seed, lat, width, step, ground, pixels, spread):
    codes = fakes.classes(width, width + 7, seed)
    west, north = 10.0, lat + step * width / 2
    raster = Raster.from_array(codes, bounds=(west, north - step * width, west + step * (width + 7), north))
    rng = np.random.default_rng(seed)
    half = step * width / 2 * spread
    lon, at = west + half + rng.uniform(-half, half, 6), lat + rng.uniform(-half, half, 6)
    source = PatchSource(fakes.places(lon, np.clip(at, -89, 89)), [Layer("c", raster, fakes.TABLE)], ground, pixels)
    batch = source.read(np.arange(6))
    assert sorted([*batch.rows.tolist(), *(int(one.id[1:]) for one in batch.skipped)]) == list(range(6))
    transform = Affine(step, 0, west, 0, -step, north)
    for found, i in zip(batch.data["c"], batch.rows, strict=True):
        place = source.places()
        col, row = fakes.positions(place.lon[i], place.lat[i], ground, pixels, "OGC:CRS84", transform)
        expected = fakes.TABLE.index(fakes.nearest(codes, col, row, 0))
        near = np.minimum(np.abs(col - np.round(col)), np.abs(row - np.round(row))) < EDGE
        assert ((found == expected) | near).all()
