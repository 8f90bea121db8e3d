"""Chips: their ground, their values against GDAL's own warper, and what happens at every kind of rim."""

import pickle

import numpy as np
import pytest
import rasterio
import rasterio.warp
from rasterio.transform import Affine

from placevec.errors import SchemaError, UsageError
from placevec.geo.frames import LocalFrame
from placevec.geo.sphere import LonLat, distance_m
from placevec.sources.base import ArraySource, Batch, Source
from placevec.sources.chips import ChipSource, laea_inverse
from placevec.sources.rasters import Raster
from placevec.table import Places


def places(lon, lat):
    lon, lat = np.atleast_1d(np.asarray(lon, float)), np.atleast_1d(np.asarray(lat, float))
    return Places.create([f"p{i}" for i in range(len(lon))], LonLat(lon, lat))


def smooth(rows, cols, bands=1, seed=0):
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:rows, 0:cols]
    layers = [
        sum(np.sin(x / rng.uniform(4, 20) + y / rng.uniform(4, 20) + rng.uniform(0, 6)) for _ in range(4))
        for _ in range(bands)
    ]
    return (100 + 20 * np.stack(layers)).astype(np.float32)


def oracle(array, transform, crs, lon, lat, ground, pixels, resampling, nodata=None):
    """The chip by GDAL: warped into the local equal-area frame around one place."""
    frame = LocalFrame.at(LonLat.of(lon, lat))
    out = np.full((len(array), pixels, pixels), np.nan, dtype=np.float32)
    step = ground / pixels
    rasterio.warp.reproject(
        array.astype(np.float32), out, src_transform=transform, src_crs=crs, src_nodata=nodata, dst_nodata=np.nan,
        dst_crs=frame.crs.to_wkt(), dst_transform=Affine(step, 0, -ground / 2, 0, -step, ground / 2),
        resampling=rasterio.warp.Resampling[resampling], tolerance=0.0,
    )  # fmt: skip
    return out


@pytest.mark.parametrize(
    "centre", [(0, 0), (12.5, 47), (-70, -33), (30, 89.5), (5, -89.9), (0, 90), (-7, -90), (3, 89.95), (179.99, 66)]
)
def test_laea_is_that_of_proj(centre):
    rng = np.random.default_rng(0)
    east, north = rng.uniform(-3e6, 3e6, (2, 300))
    frame = LocalFrame.at(LonLat.of(*centre)).inverse(east, north)
    lon, lat = laea_inverse(np.float64(centre[0]), np.float64(centre[1]), east, north)
    assert distance_m(LonLat(lon, lat), frame).max() < 0.05  # PROJ itself loses digits beside a pole


@pytest.mark.parametrize("resampling", ["bilinear", "nearest"])
@pytest.mark.parametrize("crs", ["EPSG:32631", "EPSG:4326", "EPSG:3035"])
def test_values_are_those_of_gdal(tmp_path, resampling, crs):
    array = smooth(220, 260, bands=2)
    transforms = {
        "EPSG:32631": Affine(100, 0, 480000, 0, -100, 4610000),
        "EPSG:4326": Affine(0.001, 0, 2.8, 0, -0.001, 41.7),
        # rotated by 20 degrees, in a projection whose north is not true north here
        "EPSG:3035": Affine(94, 34, 3650000, 34, -94, 2070000),
    }
    transform = transforms[crs]
    path = tmp_path / "a.tif"
    with rasterio.open(
        path, "w", driver="GTiff", dtype="float32", count=2, height=220, width=260, crs=crs, transform=transform
    ) as out:
        out.write(array)
    raster = Raster(path)
    middle = raster.lonlat(np.array([90.0, 130, 170]), np.array([100.0, 111, 95]))
    source = ChipSource(places(middle.lon, middle.lat), raster, 2600, 64, resampling=resampling)
    batch = source.read(np.arange(3))
    assert isinstance(source, Source)
    assert batch.data["image"].shape == (3, 2, 64, 64)
    assert batch.data["image"].dtype == np.float32
    for i in range(3):
        expected = oracle(array, transform, crs, middle.lon[i], middle.lat[i], 2600, 64, resampling)
        got = batch.data["image"][i]
        if resampling == "bilinear":
            np.testing.assert_allclose(got, expected, atol=0.05)
        else:  # points on a pixel's border may fall to either side
            assert np.mean(got != expected) < 0.02


def test_nodata_as_in_gdal():
    array = smooth(100, 100)
    array[0, 40:48, 50:70] = -1
    transform = Affine(0.001, 0, 10, 0, -0.001, 50)
    raster = Raster.from_array(array, bounds=(10, 49.9, 10.1, 50), nodata=-1)
    source = ChipSource(places(10.055, 49.955), raster, 3000, 64, fill=-7)
    batch = source.read(np.array([0]))
    expected = oracle(array, transform, "EPSG:4326", 10.055, 49.955, 3000, 64, "bilinear", nodata=-1)
    got = batch.data["image"][0]
    assert np.mean((got == -7) != np.isnan(expected)) < 0.01
    both = (got != -7) & ~np.isnan(expected)
    np.testing.assert_allclose(got[both], expected[both], atol=0.1)
    assert batch.data["valid"][0] == pytest.approx(1 - np.isnan(expected).mean(), abs=0.01)


def test_ground_size_is_in_metres_everywhere():
    """A pattern of the latitude alone spans the same metres at the equator and at 70 degrees."""
    lat = np.linspace(80 - 0.005, -80 + 0.005, 16000)
    raster = Raster.from_array(np.repeat(lat[:, None], 8, axis=1).astype(np.float32), bounds=(-180, -80, 180, 80))
    batch = ChipSource(places([0, 0, 100], [0.5, 70, -45]), raster, 20_000, 16).read(np.arange(3))
    for image, p in zip(batch.data["image"], (0.5, 70, -45), strict=True):
        top, low = image[0, 0].mean(), image[0, -1].mean()
        degree = 111132.95 - 559.85 * np.cos(2 * np.radians(p))  # metres per degree of latitude on WGS84
        assert (top - low) * degree == pytest.approx(20_000 * 15 / 16, rel=0.005)
        assert top > low


def test_coarse_chips_are_averages_not_samples():
    rng = np.random.default_rng(0)
    array = rng.integers(0, 255, (512, 512)).astype(np.uint8)
    raster = Raster.from_array(array, bounds=(0, 0, 0.512, 0.512))  # 111 m pixels
    image = ChipSource(places(0.256, 0.256), raster, 51200, 12).read(np.array([0])).data["image"]
    assert image.dtype == np.uint8
    assert abs(image.astype(float) - 127).max() < 12  # of single pixels the deviation is 73
    classes = np.where(rng.random((512, 512)) < 0.7, 4, 9).astype(np.uint8)
    raster = Raster.from_array(classes, bounds=(0, 0, 0.512, 0.512))
    assert (
        ChipSource(places(0.256, 0.256), raster, 51200, 12, resampling="mode").read(np.array([0])).data["image"] == 4
    ).all()


def test_across_the_antimeridian_and_over_the_pole():
    lon = np.arange(-180 + 0.5, 180)
    lat = np.arange(90 - 0.5, -90, -1.0)
    x = np.stack(np.broadcast_arrays(np.cos(np.radians(lon))[None], lat[:, None])).astype(np.float32)
    raster = Raster.from_array(x, bounds=(-180, -90, 180, 90))
    source = ChipSource(places([180, -180, 179.9, 0, 20], [0, 0, 10, 90, 88.5]), raster, 600_000, 24)
    batch = source.read(np.arange(5))
    assert len(batch) == 5
    np.testing.assert_allclose(batch.data["valid"], 1)
    np.testing.assert_array_equal(batch.data["image"][0], batch.data["image"][1])
    np.testing.assert_allclose(batch.data["image"][:3, 0], -1, atol=0.01)
    # around the pole: 90 degrees of latitude in the middle, the same distance down on all sides
    pole = batch.data["image"][3, 1]
    for turned in (pole.T, pole[::-1], pole[:, ::-1]):
        np.testing.assert_allclose(pole, turned, atol=0.05)
    assert pole.max() > 89
    window = source.places().column("asset")[0]
    col, row, width, height = (int(v) for v in window.partition("#xywh=")[2].split(","))
    assert col < 360 < col + width
    assert (width, height) == (6, 6)
    assert row == 87


def test_assets_name_the_window():
    raster = Raster.from_array(
        smooth(100, 100), bounds=(500000, 4600000, 510000, 4610000), crs="EPSG:32631", href="x.tif"
    )
    centre = raster.lonlat(np.array([50.0, 2, -50]), np.array([50.0, 99, 0]))
    source = ChipSource(places(centre.lon, centre.lat), raster, 1000, 10)
    assets = source.places().column("asset").tolist()
    assert assets[0].startswith("x.tif#xywh=")
    col, row, width, height = (int(v) for v in assets[0].partition("=")[2].split(","))
    assert 44 <= col <= 45
    assert 44 <= row <= 45
    assert 10 <= width <= 12
    assert 10 <= height <= 12
    col, row, width, height = (int(v) for v in assets[1].partition("=")[2].split(","))
    assert col == 0
    assert row + height == 100
    assert assets[2] is None


def test_every_place_gives_a_chip_or_a_reason():
    array = smooth(100, 100)
    array[0, :, 60:] = np.nan
    raster = Raster.from_array(array, bounds=(0, 0, 1, 1))
    given = Places.create(
        ["in", "none", "out", "rim", "mostly nodata", "nodata"],
        geometry=np.array([None] * 6, dtype=object),
    )
    import shapely

    points = [(0.3, 0.5), None, (5, 5), (0.01, 0.5), (0.6, 0.5), (0.9, 0.5)]
    given = Places.create(given.ids, geometry=np.array([p and shapely.Point(p) for p in points], dtype=object))

    def outcome(**options):
        batch = ChipSource(given, raster, 8000, 8, **options).read(np.arange(6)[::-1])
        assert len(batch.rows) + len(batch.skipped) == 6
        assert all(skip.stage == "chip" for skip in batch.skipped)
        return given.ids[batch.rows].tolist(), {skip.id: skip.reason for skip in batch.skipped}

    kept, why = outcome()
    assert kept == ["mostly nodata", "rim", "in"]
    assert why == {
        "none": "no geometry",
        "out": "outside the raster",
        "nodata": "only 0% of its pixels are valid, 50% are asked for",
    }
    assert outcome(min_valid=0)[0] == ["nodata", "mostly nodata", "rim", "in"]
    assert outcome(min_valid=1)[0] == ["in"]
    kept, why = outcome(edge="skip")
    assert kept == ["mostly nodata", "in"]
    assert why["rim"] == "reaches over the edge of the raster"
    kept, why = outcome(nodata="skip")
    assert kept == ["rim", "in"]
    assert why["mostly nodata"] == "50% of its pixels are nodata"


def test_order_of_rows_does_not_matter(tmp_path):
    array = smooth(300, 400, bands=3).astype(np.uint8)
    path = tmp_path / "a.tif"
    with rasterio.open(
        path, "w", driver="GTiff", dtype="uint8", count=3, height=300, width=400, crs="EPSG:4326",
        transform=Affine(0.01, 0, 0, 0, -0.01, 3), tiled=True, blockxsize=64, blockysize=64,
    ) as out:  # fmt: skip
        out.write(array)
    rng = np.random.default_rng(3)
    source = ChipSource(places(rng.uniform(0, 4, 90), rng.uniform(0, 3, 90)), Raster(path), 30_000, 20)
    whole = source.read(np.arange(90))
    mixed = rng.permutation(90)
    batch = pickle.loads(pickle.dumps(source)).read(mixed)
    np.testing.assert_array_equal(batch.rows, mixed)
    np.testing.assert_array_equal(batch.data["image"], whole.data["image"][mixed])
    np.testing.assert_allclose(
        batch.data["lonlat"], np.stack([source.places().lon, source.places().lat], axis=1)[mixed]
    )
    one = [source.read(np.array([i])).data["image"][0] for i in (5, 77)]
    np.testing.assert_array_equal(one, whole.data["image"][[5, 77]])


def test_interpolated_positions_are_the_exact_ones(monkeypatch):
    raster = Raster.from_array(smooth(400, 800), bounds=(-180, -90, 180, 90))
    rng = np.random.default_rng(0)
    where = places(rng.uniform(-180, 180, 60), np.degrees(np.arcsin(rng.uniform(-1, 1, 60))))
    source = ChipSource(where, raster, 900_000, 40)
    fast = source._pixel_positions(np.arange(60))
    monkeypatch.setattr("placevec.sources.chips._TOLERANCE", -1.0)
    exact = source._pixel_positions(np.arange(60))
    assert np.abs(fast[1] - exact[1]).max() < 0.05
    # columns mean nothing on the pole itself
    ok = (exact[1] > 2) & (exact[1] < 398)
    assert np.abs((fast[0] - exact[0] + 400) % 800 - 400)[ok].max() < 0.05


@pytest.mark.parametrize(
    ("ground", "pixels", "options"),
    [(0, 8, {}), (-5, 8, {}), (np.nan, 8, {}), (100, 0, {}), (100, 2.5, {}), (100, 8, {"edge": "wrap"}),
     (100, 8, {"nodata": "drop"}), (100, 8, {"resampling": "cubic"}), (100, 8, {"min_valid": 2})],
)  # fmt: skip
def test_options_are_checked(ground, pixels, options):
    raster = Raster.from_array(smooth(4, 4), bounds=(0, 0, 1, 1))
    with pytest.raises(UsageError):
        ChipSource(places(0, 0), raster, ground, pixels, **options)


def test_batches_align():
    with pytest.raises(SchemaError, match="'image' of length 2"):
        Batch(np.arange(3), {"image": np.zeros((2, 4))})
    with pytest.raises(SchemaError, match="integers"):
        Batch(np.array([0.5]), {})
    source = ArraySource(places([0, 1], [0, 1]), {"text": np.array(["a", "b"], dtype=object)})
    assert isinstance(source, Source)
    assert source.read(np.array([1, 0])).data["text"].tolist() == ["b", "a"]
    with pytest.raises(SchemaError, match="row 2 does not exist"):
        source.read(np.array([2]))
    with pytest.raises(SchemaError):
        ArraySource(places([0, 1], [0, 1]), {"text": np.array(["a"], dtype=object)})
