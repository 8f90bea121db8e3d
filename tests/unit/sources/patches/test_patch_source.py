"""Patches against PROJ pixel by pixel, at every kind of rim, and what hostile rasters get for an answer."""

import pickle

import numpy as np
import pytest
from rasterio.transform import Affine

import patch_fakes as fakes
from placevec.errors import CrsError, DataError, UsageError
from placevec.geo.sphere import LonLat
from placevec.sources.base import Source
from placevec.sources.chips import ChipSource
from placevec.sources.patches import Layer, PatchSource
from placevec.sources.rasters import Raster
from placevec.table import Places

SYSTEMS = {
    "EPSG:32631": Affine(30, 0, 480000, 0, -30, 4610000),
    "EPSG:4326": Affine(0.0003, 0, 2.78, 0, -0.0003, 41.62),
    "EPSG:3857": Affine(40, 0, 309000, 0, -40, 5105000),
    # rotated by 20 degrees; and south-up, the first row in the south
    "EPSG:3035": Affine(28, 10, 3650000, 10, -28, 2070000),
    "EPSG:25831": Affine(30, 0, 480000, 0, 30, 4598000),
}


def same(found, expected):
    """Equal but for samples that lie within a hundredth of a pixel of a border."""
    assert found.shape == expected.shape
    assert np.mean(found != expected) < 0.002


@pytest.mark.parametrize("crs", SYSTEMS)
def test_patches_are_those_of_proj(tmp_path, crs):
    cover, height = fakes.classes(400, 400), fakes.relief(400, 400, 1)
    layers = [
        Layer("cover", Raster(fakes.write(tmp_path / "c.tif", cover, SYSTEMS[crs], crs)), fakes.TABLE),
        Layer("height", Raster(fakes.write(tmp_path / "h.tif", height, SYSTEMS[crs], crs))),
    ]
    rng = np.random.default_rng(0)
    at = layers[0].raster.lonlat(rng.uniform(120, 280, 8), rng.uniform(120, 280, 8))
    source = PatchSource(fakes.places(at.lon, at.lat), layers, 2000, 48)
    assert isinstance(source, Source)
    batch = source.read(np.arange(8))
    assert batch.rows.tolist() == list(range(8))
    assert (batch.data["cover"].dtype, batch.data["height"].dtype) == (np.uint8, np.float32)
    np.testing.assert_array_equal(batch.data["lonlat"], np.stack([at.lon, at.lat], axis=1))
    for i in range(8):
        col, row = fakes.positions(at.lon[i], at.lat[i], 2000, 48, crs, SYSTEMS[crs])
        same(batch.data["cover"][i], fakes.TABLE.index(fakes.nearest(cover, col, row, 0)))
        np.testing.assert_allclose(batch.data["height"][i], fakes.bilinear(height, col, row), atol=0.1)


def test_layers_of_two_systems_show_the_same_ground(tmp_path):
    """A layer that holds longitudes and one in metres that holds eastings agree on where they are."""
    degrees = np.repeat(np.linspace(2.78, 2.90, 480)[None] + 0.000125, 480, axis=0).astype(np.float32)
    a = fakes.write(tmp_path / "lon.tif", degrees, Affine(0.00025, 0, 2.78, 0, -0.00025, 41.62), "EPSG:4326")
    east = np.repeat(480000 + 15.0 + 30 * np.arange(420)[None], 420, axis=0).astype(np.float64)
    b = fakes.write(tmp_path / "east.tif", east, SYSTEMS["EPSG:32631"], "EPSG:32631")
    layers = [Layer("degrees", Raster(a)), Layer("east", Raster(b))]
    batch = PatchSource(fakes.places(2.84, 41.57), layers, 4000, 16).read(np.array([0]))
    lon, east = batch.data["degrees"][0], batch.data["east"][0]
    per_degree = np.polyfit(lon.reshape(-1), east.reshape(-1), 1)[0]
    assert per_degree == pytest.approx(111320 * np.cos(np.radians(41.57)), rel=0.01)
    assert (lon[:, -1] - lon[:, 0]).mean() * per_degree == pytest.approx(4000 * 15 / 16, rel=0.01)


@pytest.mark.parametrize("lat", [0.5, 45.0, 70.0])
def test_the_ground_is_as_wide_at_every_latitude(lat):
    column = np.arange(2000, dtype=np.float32)[None].repeat(400, axis=0)
    raster = Raster.from_array(column, bounds=(10, lat - 0.2, 11, lat + 0.2))
    found = PatchSource(fakes.places(10.5, lat), [Layer("x", raster)], 4000, 8).read(np.array([0])).data["x"][0]
    a, e2 = 6378137.0, 0.00669438
    parallel = np.pi / 180 * a * np.cos(np.radians(lat)) / np.sqrt(1 - e2 * np.sin(np.radians(lat)) ** 2)
    width = (found[3:5, -1] - found[3:5, 0]).mean() / 2000 * parallel
    assert width == pytest.approx(4000 * 7 / 8, rel=2e-3)


def test_a_patch_does_not_depend_on_those_read_with_it(tmp_path):
    cover, height = fakes.classes(900, 900), fakes.relief(900, 900)
    at = SYSTEMS["EPSG:32631"]
    a = Layer("cover", Raster(fakes.write(tmp_path / "c.tif", cover, at, "EPSG:32631")), fakes.TABLE)
    b = Layer("height", Raster(fakes.write(tmp_path / "h.tif", height, at, "EPSG:32631")))
    rng = np.random.default_rng(3)
    where = a.raster.lonlat(rng.uniform(60, 840, 150), rng.uniform(60, 840, 150))
    source = PatchSource(fakes.places(where.lon, where.lat), [a, b], 2500, 24)
    whole = source.read(np.arange(150))
    alone = [PatchSource(source.places(), [a, b], 2500, 24).read(np.array([i])) for i in range(0, 150, 7)]
    for one in alone:
        for name in ("cover", "height"):
            np.testing.assert_array_equal(one.data[name][0], whole.data[name][one.rows[0]])
    turned = pickle.loads(pickle.dumps(source)).read(np.arange(150)[::-1])
    np.testing.assert_array_equal(turned.data["height"][::-1], whole.data["height"])


@pytest.mark.parametrize("resampling", ["bilinear", "mode"])
def test_coarse_patches_average_or_take_the_most_frequent(resampling):
    cover = fakes.classes(600, 600, 2)
    raster = Raster.from_array(cover, bounds=(10, 45, 10.06, 45.06))
    table = fakes.TABLE if resampling == "mode" else None
    where = fakes.places([10.03, 10.02], [45.03, 45.035])
    found = PatchSource(where, [Layer("x", raster, table, resampling)], 2000, 8).read(np.arange(2)).data["x"]
    chips = ChipSource(where, raster, 2000, 8, resampling=resampling).read(np.arange(2)).data["image"][:, 0]
    expected = fakes.TABLE.index(chips) if resampling == "mode" else chips
    assert np.abs(found.astype(float) - expected).max() <= (0 if resampling == "mode" else 0.51)


@pytest.mark.parametrize("centre", [(3.33, 90.0), (40.0, 89.99), (179.999, 66.0), (-180.0, -70.0), (15.0, 0.0)])
@pytest.mark.parametrize("ground", [3e4, 2e6])
def test_poles_and_the_antimeridian(centre, ground):
    rng = np.random.default_rng(0)
    world = rng.choice(np.array([10, 20, 30, 90], dtype=np.uint8), (900, 1800))
    raster = Raster.from_array(world, bounds=(-180, -90, 180, 90))
    assert raster.wraps
    source = PatchSource(fakes.places(*centre), [Layer("cover", raster, fakes.TABLE)], ground, 16)
    found = source.read(np.array([0])).data["cover"][0]
    col, row = fakes.positions(*centre, ground, 16, "OGC:CRS84", Affine(0.2, 0, -180, 0, -0.2, 90))
    expected = fakes.TABLE.index(world[np.clip(np.floor(row).astype(int), 0, 899), np.floor(col).astype(int) % 1800])
    assert np.mean(found != expected) <= 0.02


def test_an_enormous_square_is_read_sample_by_sample():
    raster = Raster.from_array(fakes.classes(5000, 5000), bounds=(0, 0, 50, 50))
    where = fakes.places(25, 25)
    found = PatchSource(where, [Layer("cover", raster, fakes.TABLE)], 4e6, 16).read(np.array([0])).data["cover"]
    chips = ChipSource(where, raster, 4e6, 16, resampling="nearest").read(np.array([0])).data["image"][:, 0]
    assert np.mean(found != fakes.TABLE.index(chips)) < 0.02


def test_what_is_missing_is_kept_or_skipped_with_its_reason():
    cover = fakes.classes(200, 200)
    cover[:, :100] = 0
    raster = Raster.from_array(cover, bounds=(10, 45, 10.2, 45.2), nodata=0, href="cover.tif")
    lon = [10.15, 10.1, 10.092, 10.05, 11.0, 10.2]
    source = PatchSource(fakes.places(lon, [45.1] * 6), [Layer("cover", raster, fakes.TABLE)], 2000, 16)
    batch = source.read(np.arange(6))
    assert batch.rows.tolist() == [0, 1, 5]
    assert (batch.data["cover"][0] > 0).all()
    assert 0.4 < (batch.data["cover"][1] == 0).mean() < 0.6
    assert [(one.id, one.reason) for one in batch.skipped] == [
        ("p0002", "less than 50% of its pixels have data in cover.tif"),
        ("p0003", "no data in cover.tif"),
        ("p0004", "outside cover.tif"),
    ]
    assert all(one.stage == "patch" and one.geometry for one in batch.skipped)
    lenient = PatchSource(source.places(), source.layers, 2000, 16, min_valid=0).read(np.arange(6))
    assert lenient.rows.tolist() == [0, 1, 2, 5]


def test_holes_in_values_are_nan_and_do_not_grow():
    height = fakes.relief(200, 200)
    height[95:105, 95:105] = -9999
    raster = Raster.from_array(height, bounds=(10, 45, 10.2, 45.2), nodata=-9999)
    found = PatchSource(fakes.places(10.1, 45.1), [Layer("h", raster)], 3000, 64).read(np.array([0])).data["h"][0]
    chip = ChipSource(fakes.places(10.1, 45.1), raster, 3000, 64, fill=np.nan).read(np.array([0])).data["image"][0, 0]
    assert np.isnan(found).any()
    assert np.mean(np.isnan(found) != np.isnan(chip)) < 0.005
    both = ~np.isnan(found) & ~np.isnan(chip)
    np.testing.assert_allclose(found[both], chip[both], atol=0.5)
    assert found[both].min() > 300  # nothing of -9999 in between


def test_a_homogeneous_patch_is_a_patch():
    raster = Raster.from_array(np.full((100, 100), 30, np.uint8), bounds=(10, 45, 10.1, 45.1))
    batch = PatchSource(fakes.places(10.05, 45.05), [Layer("cover", raster, fakes.TABLE)], 2000, 32).read(np.array([0]))
    assert (batch.data["cover"] == 3).all()
    assert not batch.skipped


def test_relief_is_kept_as_it_is():
    """The same form at another height and amplitude stays another patch: nothing is scaled by patch."""
    form = fakes.relief(300, 300)
    both = np.concatenate([form, 100 + 0.01 * form], axis=1)
    raster = Raster.from_array(both, bounds=(10, 45, 10.6, 45.3))
    found = PatchSource(fakes.places([10.15, 10.45], [45.15] * 2), [Layer("h", raster)], 4000, 32).read(np.arange(2))
    high, low = found.data["h"]
    np.testing.assert_allclose(low, 100 + 0.01 * high, rtol=1e-4)


def test_places_without_geometry_are_skipped():
    raster = Raster.from_array(fakes.classes(100, 100), bounds=(10, 45, 10.1, 45.1))
    bare = Places.create(["a", "b"], geometry=np.array([None, None], dtype=object))
    batch = PatchSource(bare, [Layer("cover", raster, fakes.TABLE)], 2000, 32).read(np.arange(2))
    assert [one.reason for one in batch.skipped] == ["no geometry"] * 2
    assert batch.data["cover"].shape == (0, 32, 32)


def test_an_unknown_code_says_which_and_where():
    cover = fakes.classes(100, 100)
    cover[50, 50] = 77
    raster = Raster.from_array(cover, bounds=(10, 45, 10.1, 45.1), href="cover.tif")
    where = fakes.places([10.0505, 10.02], [45.0495, 45.08])
    strict = PatchSource(where, [Layer("cover", raster, fakes.TABLE)], 2000, 32)
    with pytest.raises(DataError, match=r'cover.tif holds the class code 77.*\'tiny\'.*unknown = "nodata"'):
        strict.read(np.arange(2))
    assert len(strict.read(np.array([1]))) == 1  # where it is not, it does not matter
    far = PatchSource(where, [Layer("cover", raster, fakes.TABLE)], 3e6, 32, min_valid=0)
    with pytest.raises(DataError, match="code 77"):
        PatchSource(where, [Layer("cover", Raster.from_array(cover * 0 + 77, bounds=(0, 0, 50, 50)), fakes.TABLE)],
                    4e6, 8, min_valid=0).read(np.array([0]))  # fmt: skip
    assert len(far.read(np.array([0]))) <= 1
    mild = PatchSource(where, [Layer("cover", raster, fakes.TABLE, unknown="nodata")], 2000, 64).read(np.array([0]))
    assert (mild.data["cover"][0] == 0).any()


def test_a_raster_of_nodata_alone():
    empty = Raster.from_array(np.zeros((100, 100), np.uint8), bounds=(10, 45, 10.1, 45.1), nodata=0, href="sea.tif")
    batch = PatchSource(fakes.places(10.05, 45.05), [Layer("cover", empty, fakes.TABLE)], 2000, 32, min_valid=0).read(
        np.array([0])
    )
    assert [one.reason for one in batch.skipped] == ["no data in sea.tif"]


def test_no_coordinate_system_is_said_at_once(tmp_path):
    path = fakes.write(tmp_path / "a.tif", fakes.classes(50, 50), Affine(30, 0, 480000, 0, -30, 4610000), None)
    with pytest.raises(CrsError, match="a.tif has no coordinate system"):
        Layer("cover", Raster(path), fakes.TABLE)


def test_rasters_apart_and_places_elsewhere():
    a = Raster.from_array(fakes.classes(100, 100), bounds=(10, 45, 11, 46), href="a.tif")
    b = Raster.from_array(fakes.relief(100, 100), bounds=(20, 45, 21, 46), href="b.tif")
    sliver = Raster.from_array(fakes.relief(100, 100), bounds=(10.9999, 45, 12, 46), href="c.tif")
    cover = Layer("cover", a, fakes.TABLE)
    with pytest.raises(DataError, match=r"do not overlap: a.tif covers longitude 10.00 to 11.00.*b.tif covers"):
        PatchSource(fakes.places(10.5, 45.5), [cover, Layer("h", b)], 2000, 32)
    PatchSource(fakes.places(10.5, 45.5), [cover, Layer("h", sliver)], 2000, 32)
    with pytest.raises(DataError, match=r"none of the 2 places \(longitude 3.00 to 4.00.*lies on a.tif, which covers"):
        PatchSource(fakes.places([3, 4], [45.5] * 2), [cover], 2000, 32).check_places()
    PatchSource(fakes.places([3, 10.5], [45.5] * 2), [cover], 2000, 32).check_places()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"ground_m": 0}, "cannot measure 0 m"),
        ({"ground_m": float("nan")}, "cannot measure nan m"),
        ({"pixels": 0}, "cannot have 0 x 0"),
        ({"pixels": 2.5}, "cannot have 2.5"),
        ({"min_valid": 2}, "min_valid is 2"),
        ({"layers": []}, "give at least one"),
    ],
)
def test_sizes_that_are_none(arguments, message):
    raster = Raster.from_array(fakes.classes(100, 100), bounds=(10, 45, 11, 46))
    options = {"layers": [Layer("cover", raster, fakes.TABLE)], "ground_m": 2000, "pixels": 32} | arguments
    with pytest.raises(UsageError, match=message):
        PatchSource(fakes.places(10.5, 45.5), **options)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (("lonlat",), UsageError, "cannot be called 'lonlat'"),
        (("two words",), UsageError, "cannot be called"),
        (("cover", fakes.TABLE, "bilinear"), UsageError, "never interpolated"),
        (("height", None, "mode"), UsageError, "bilinear or nearest, not 'mode'"),
        (("height", None, None, 2), DataError, "no band 2"),
        (("cover", fakes.TABLE, None, 1, "ignore"), UsageError, "unknown is 'ignore'"),
    ],
)
def test_layers_that_are_none(arguments, error, message):
    name, *rest = arguments
    with pytest.raises(error, match=message):
        Layer(name, Raster.from_array(fakes.classes(100, 100), bounds=(10, 45, 11, 46)), *rest)


def test_identity_follows_rasters_tables_and_sizes(tmp_path):
    at = SYSTEMS["EPSG:32631"]

    def fingerprint(values, table=fakes.TABLE, ground=2000):
        raster = Raster(fakes.write(tmp_path / "c.tif", values, at, "EPSG:32631"))
        return PatchSource(fakes.places(2.8, 41.6), [Layer("cover", raster, table)], ground, 32).fingerprint()

    cover = fakes.classes(100, 100)
    first = fingerprint(cover)
    assert fingerprint(cover) == first
    changed = cover.copy()
    changed[0, 0] = 90 if changed[0, 0] != 90 else 10
    assert len({first, fingerprint(changed), fingerprint(cover, None), fingerprint(cover, ground=2001)}) == 4


def test_elsewhere_reads_the_same_rasters():
    raster = Raster.from_array(fakes.classes(100, 100), bounds=(10, 45, 10.1, 45.1))
    source = PatchSource(fakes.places(10.05, 45.05), [Layer("cover", raster, fakes.TABLE)], 2000, 32)
    other = source.elsewhere(Places.create(["x", "y"], LonLat(np.array([10.05, 10.04]), np.array([45.05, 45.05]))))
    np.testing.assert_array_equal(
        other.read(np.arange(2)).data["cover"][0], source.read(np.array([0])).data["cover"][0]
    )
    assert len(source.places()) == 1
