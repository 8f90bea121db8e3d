"""The generated country: it is whole, plausible, known in truth, and the same every time."""

import csv
import hashlib
import io
import json
import zipfile

import numpy as np
import pytest
import rasterio
import shapely
from PIL import Image
from scipy import ndimage
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

import generated
from placevec.errors import UsageError
from placevec.geo.sphere import LonLat, distance_m
from placevec.sources.base import Source
from placevec.sources.rasters import Raster
from placevec.sources.world import CLASSES, RASTERS, World
from placevec.sources.world.roads import KINDS
from placevec.sources.world.terrain import drain


@pytest.fixture(scope="module")
def world():
    return generated.arcadia()


@pytest.fixture(scope="module")
def again():
    """The same country, made a second time."""
    return World(seed=0)


@pytest.fixture(scope="module")
def written():
    return generated.written()


@pytest.mark.parametrize("seed", [0, 1, 2, 3, 4])
def test_there_is_a_mainland_and_an_island(seed):
    terrain = World(seed).terrain
    labels, count = ndimage.label(terrain.land)
    assert count == 2
    assert terrain.island.any()
    assert np.unique(labels[terrain.island]).size == 1
    assert 0.2 < terrain.land.mean() < 0.6
    assert not terrain.land[[0, -1]].any()
    assert not terrain.land[:, [0, -1]].any()
    assert (terrain.elevation[terrain.land] > 0).all()
    assert (terrain.elevation[~terrain.land] < 0).all()
    assert terrain.elevation.max() > 1500


def test_water_runs_downhill_to_the_sea():
    rng = np.random.default_rng(0)
    land = np.zeros((40, 50), dtype=bool)
    land[3:-3, 3:-3] = True
    height = np.where(land, rng.uniform(1, 100, land.shape), -1).astype(np.float32)
    drainage = drain(height, land)
    filled = drainage.filled(height)
    assert (filled >= height).all()
    # every land pixel comes to the sea, and never upwards over filled ground
    at = np.flatnonzero(land.ravel())
    for _ in range(land.size):
        down = drainage.receiver[at]
        assert (filled.ravel()[at] >= filled.ravel()[down]).all()
        at = np.unique(down[land.ravel()[down]])
        if not len(at):
            break
    else:
        pytest.fail("water stays on land")
    flow = drainage.accumulate(land.astype(np.float32))
    assert flow[~land].sum() == pytest.approx(land.sum())


def test_filled_heights_are_minimax_paths():
    """Against the slow definition: the lowest pass on any way to the sea."""
    rng = np.random.default_rng(1)
    land = np.zeros((9, 9), dtype=bool)
    land[1:-1, 1:-1] = True
    height = np.where(land, rng.uniform(1, 100, land.shape), -1).astype(np.float32)
    expected = np.where(land, np.inf, height)
    for _ in range(100):
        around = ndimage.minimum_filter(expected, size=3)
        expected = np.where(land, np.maximum(height, around), height)
    np.testing.assert_allclose(drain(height, land).filled(height), expected, rtol=1e-6)


def test_land_cover_follows_the_land(world):
    terrain, cover = world.terrain, world.cover
    shares = {name: (cover.now[terrain.land] == key).mean() for key, name in CLASSES.items()}
    assert set(np.unique(cover.now)) == set(CLASSES)
    assert all(share > 0.001 for share in shares.values())
    assert 0.2 < shares["forest"] < 0.7
    assert (cover.now[~terrain.land] == 1).all()
    high = terrain.elevation > np.quantile(terrain.elevation[terrain.land], 0.98)
    assert (cover.now[high] == 6).mean() > 3 * shares["bare"]
    assert (cover.now[high] == 3).mean() < 0.02
    # change: towns grow and never shrink, water stays
    changed = cover.changed
    assert 0.01 < changed[terrain.land].mean() < 0.12
    assert ((cover.before == 5) <= (cover.now == 5)).all()
    assert ((cover.before == 1) == (cover.now == 1)).all()
    assert ((cover.now == 2) <= (cover.before == 2)).all()


def test_provinces_tile_the_country(world):
    assert len(world.provinces) == len(world.province_names) == 6
    assert len(set(world.province_names)) == 6
    assert all(shape.is_valid for shape in world.provinces)
    assert world.boundary.is_valid
    union = shapely.union_all(world.provinces)
    assert union.symmetric_difference(world.boundary).area < 1e-9
    assert sum(shape.area for shape in world.provinces) == pytest.approx(union.area)
    assert len(shapely.get_parts(world.boundary)) >= 2
    towns = world.grid.lonlat(world.towns.col, world.towns.row)
    for number, town in enumerate(world.capitals):
        assert world.provinces[number].contains(shapely.Point(towns.lon[town], towns.lat[town]))


def test_roads_join_all_towns_of_each_shore(world):
    roads, towns = world.roads, world.towns
    assert len(roads.edges) == len(roads.lines) == len(roads.kind) == len(roads.length_m)
    graph = coo_matrix((np.ones(len(roads.edges)), tuple(roads.edges.T)), shape=(len(roads.nodes),) * 2)
    _, part = connected_components(graph, directed=False)
    centre = np.full(len(towns), -1)
    centre[roads.town[roads.town >= 0]] = np.flatnonzero(roads.town >= 0)
    assert (centre >= 0).all()
    assert len(set(part[centre[~towns.island]])) == 1
    assert len(set(part)) <= 2
    for i in (0, len(roads.lines) // 2, len(roads.lines) - 1):
        line, (u, v) = roads.lines[i], roads.edges[i]
        np.testing.assert_allclose(line[[0, -1]], roads.nodes[[u, v]])
        where = world.grid.lonlat(line[:, 0], line[:, 1])
        assert roads.length_m[i] == pytest.approx(distance_m(where[:-1], where[1:]).sum())


def test_targets_are_what_their_functions_say(world):
    t = world.targets
    n = len(t["h3"])
    assert n > 500
    assert (np.diff(t["h3"].astype(object)) > 0).all()
    for name in ("population", "price", "crop_yield"):
        truth, seen = t[f"{name}_expected"], t[name]
        if name == "population":
            truth, seen = np.log(truth), np.log(seen)
        best = 1 - ((seen - truth) ** 2).sum() / ((seen - seen.mean()) ** 2).sum()
        assert 0.75 < best < 1, name
        assert np.isfinite(seen).all()
    shares = sum(t[f"{name}_share"] for name in CLASSES.values())
    np.testing.assert_allclose(shares, 1)


def test_chips_are_cut_where_they_say_and_captions_are_true(world):
    chips, places = world.chips, world.chip_places()
    raster = world.raster("imagery_2025")
    centre = raster.pixel(places.lon, places.lat)
    for i in (0, 17, 200):
        col, row = round(float(centre[0][i])) - 32, round(float(centre[1][i])) - 32
        np.testing.assert_array_equal(chips.image[i], world.imagery_2025[:, row : row + 64, col : col + 64])
    for captions, shares in zip(chips.captions, chips.shares, strict=True):
        assert len(captions) == 5
        text = " ".join(captions)
        if "city" in text or "town" in text or "settlement" in text:
            assert shares[4] > 0
        if any(word in text for word in ("sea", "coast", "shore")):
            assert shares[0] > 0.05
    assert set(chips.split) == {"train", "val", "test"}
    assert isinstance(world.chip_source(), Source)
    assert world.chip_source().read(np.array([3, 1])).data["text"].shape == (2,)


def test_what_chips_hold(world):
    """Land cover can be read off a chip by the simplest means; height cannot be read off its brightness."""
    chips = world.chips
    means = chips.image.mean(axis=(2, 3))
    y = chips.shares[:, 1]  # forest
    X = np.c_[means, np.ones(len(means))]
    fitted = X @ np.linalg.lstsq(X, y, rcond=None)[0]
    assert 1 - ((y - fitted) ** 2).sum() / ((y - y.mean()) ** 2).sum() > 0.6
    height = world.raster("dem").sample(world.chip_places().lonlat())[:, 0]
    assert abs(np.corrcoef(means[:, 2], height)[0, 1]) < 0.6


def test_photos_differ_by_province_and_ground(world):
    photos = world.photos
    assert photos.image.shape[1:] == (3, 64, 64)
    assert len(np.unique(photos.place)) == 500
    assert set(photos.province) == set(range(6))
    counts = np.bincount(photos.place)
    assert counts.min() >= 2
    same = distance_m(*(world.photo_places().lonlat(np.flatnonzero(photos.place == 7)[[0, 1]])[i] for i in (0, 1)))
    assert same[0] < 500
    town = photos.cover == 5
    green = photos.image[:, 1].astype(float).mean(axis=(1, 2)) - photos.image[:, 0].mean(axis=(1, 2))
    assert green[~town].mean() > green[town].mean() + 5
    roofs = [photos.image[town & (photos.province == p)][:, :, 18:40].mean(axis=(0, 2, 3)) for p in (0, 1)]
    assert np.abs(roofs[0] - roofs[1]).max() > 3


def test_poi_and_transit(world):
    pois = world.pois
    assert len(pois.col) > 1000
    assert all("/" in category for category in pois.category)
    assert world.terrain.land[pois.row.astype(int), pois.col.astype(int)].all()
    transit = world.transit
    assert {kind for _, kind, *_ in transit.lines} == {2, 3}
    for _, _, stops, after, every in transit.lines:
        assert len(stops) == len(after) >= 2
        assert (np.diff(after) > 0).all()
        assert every >= 300


def test_parts_are_deterministic_and_seeds_differ(world, again):
    np.testing.assert_array_equal(again.imagery_2015, world.imagery_2015)
    np.testing.assert_array_equal(again.photos.image, world.photos.image)
    assert (World(seed=1).terrain.land != world.terrain.land).mean() > 0.1
    assert not np.array_equal(world.imagery_2015, world.imagery_2025)


def test_in_memory_rasters(world):
    for name in RASTERS:
        raster = world.raster(name)
        assert raster.sample(LonLat.of(13.0, 43.5)).shape == (1, raster.count)
    with pytest.raises(UsageError, match="dem"):
        world.raster("snow")


def test_across_the_antimeridian(tmp_path):
    world = World(seed=0, centre=(180.0, -17.0))
    assert world.boundary.bounds[0] == pytest.approx(-180)
    assert world.boundary.bounds[2] == pytest.approx(180)
    assert world.boundary.is_valid
    assert all(shape.is_valid for shape in world.provinces)
    plain = World(seed=0, centre=(0.0, -17.0))
    assert world.boundary.area == pytest.approx(plain.boundary.area, rel=1e-9)
    shape = world.place_geometry(shapely.LineString([(10, 20), (500, 20)]))
    assert shape.geom_type == "MultiLineString"
    places = world.photo_places()
    assert places.lon.min() < -179
    assert places.lon.max() > 179
    inside = shapely.contains_xy(world.boundary.buffer(0.02), places.lon, places.lat)
    assert inside.mean() > 0.97


@pytest.mark.parametrize("options", [{"size": "huge"}, {"centre": (200, 0)}, {"centre": (0, 85)}, {"seed": -1}])
def test_impossible_worlds(options):
    with pytest.raises(UsageError):
        World(**options)


def test_written_rasters_are_the_truth(world, written):
    _, paths = written
    rng = np.random.default_rng(0)
    where = world.grid.lonlat(rng.uniform(0, 512, 500), rng.uniform(0, 448, 500))
    for name in RASTERS:
        raster = Raster(paths[name])
        assert raster.crs.to_epsg() == 4326
        got = raster.sample(where, resampling="nearest")
        np.testing.assert_array_equal(got, world.raster(name).sample(where, resampling="nearest"))
    with rasterio.open(paths["imagery_2025"]) as source:
        assert source.descriptions == ("blue", "green", "red", "nir", "swir1", "swir2")
        assert source.block_shapes[0] == (256, 256)
    with rasterio.open(paths["landcover_2025"]) as source:
        assert source.tags()["class_5"] == "urban"


def test_written_tables_and_features(world, written):
    folder, paths = written
    for name in ("boundary", "provinces", "towns", "pois", "roads"):
        collection = json.loads(paths[name].read_text())
        assert collection["type"] == "FeatureCollection"
        shapes = [shapely.geometry.shape(f["geometry"]) for f in collection["features"]]
        assert all(shape.is_valid for shape in shapes)
    roads = json.loads(paths["roads"].read_text())["features"]
    kinds = {f["properties"]["highway"] for f in roads}
    assert {"primary", "secondary", "tertiary", "residential"} <= kinds <= set(KINDS)
    rows = list(csv.DictReader(io.StringIO(paths["targets.csv"].read_text())))
    assert len(rows) == len(world.targets["h3"])
    assert float(rows[5]["population"]) == pytest.approx(world.targets["population"][5], rel=1e-5)
    captions = json.loads(paths["captions.json"].read_text())
    first = captions["images"][0]
    assert (folder / "chips" / first["filename"]).is_file()
    assert len(first["sentences"]) == len(first["sentids"]) == 5
    assert first["sentences"][0]["tokens"][-1] != "."
    ids = [s["sentid"] for image in captions["images"] for s in image["sentences"]]
    assert ids == list(range(len(ids)))


def test_written_photos_know_where_they_were_taken(world, written):
    folder, paths = written
    rows = list(csv.DictReader(io.StringIO(paths["photos.csv"].read_text())))
    assert len(rows) == len(world.photos.col)
    for row in rows[::200]:
        with Image.open(folder / row["file"]) as picture:
            assert picture.size == (64, 64)
            gps = picture.getexif().get_ifd(0x8825)
        lat, lon = (float(d) + float(m) / 60 + float(s) / 3600 for d, m, s in (gps[2], gps[4]))
        lat, lon = (-lat if gps[1] == "S" else lat), (-lon if gps[3] == "W" else lon)
        assert distance_m(LonLat.of(lon, lat), LonLat.of(float(row["lon"]), float(row["lat"])))[0] < 0.05
        assert float(gps[17]) == pytest.approx(float(row["heading"]), abs=0.01)


def test_written_timetable_is_consistent(written):
    _, paths = written
    with zipfile.ZipFile(paths["gtfs.zip"]) as archive:
        sheets = {name: list(csv.DictReader(io.StringIO(archive.read(name).decode()))) for name in archive.namelist()}
    assert set(sheets) == {"agency.txt", "calendar.txt", "routes.txt", "stops.txt", "stop_times.txt", "trips.txt"}
    stops = {row["stop_id"] for row in sheets["stops.txt"]}
    trips = {row["trip_id"] for row in sheets["trips.txt"]}
    assert {row["stop_id"] for row in sheets["stop_times.txt"]} == stops
    assert {row["trip_id"] for row in sheets["stop_times.txt"]} == trips
    assert {row["route_id"] for row in sheets["trips.txt"]} == {row["route_id"] for row in sheets["routes.txt"]}
    assert any(row["arrival_time"] > "24:" for row in sheets["stop_times.txt"])


def test_the_same_bytes_again(written, again, tmp_path):
    folder, _ = written
    again.write(tmp_path / "again")

    def digests(root):
        files = sorted(path for path in root.rglob("*") if path.is_file())
        return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}

    first = digests(folder)
    assert len(first) > 1500
    assert first == digests(tmp_path / "again")


def test_projected_rasters(world, tmp_path):
    from placevec.sources.world.write import _raster

    rng = np.random.default_rng(0)
    where = world.grid.lonlat(rng.uniform(20, 490, 300), rng.uniform(20, 430, 300))
    for name, limit in (("dem", 120), ("landcover_2025", None)):
        _raster(world, name, tmp_path / f"{name}.tif", "EPSG:32633")
        raster = Raster(tmp_path / f"{name}.tif")
        assert raster.crs.to_epsg() == 32633
        if limit is None:
            got, truth = (r.sample(where, resampling="nearest") for r in (raster, world.raster(name)))
            assert (got == truth).mean() > 0.9
        else:
            assert np.abs(raster.sample(where) - world.raster(name).sample(where)).mean() < limit / 4
