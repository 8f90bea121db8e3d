import h3
import numpy as np
import pytest
import rasterio
from rasterio.enums import ColorInterp

from placevec.atlas.frames import arc, frame_around
from placevec.atlas.rasterise import RowMap, frame_of_cells, rows_of_cells, rows_of_points, write_geotiff
from placevec.errors import SchemaError, UsageError
from placevec.geo.cells import H3Cells
from placevec.geo.sphere import LonLat, pairwise_m

PROJECTIONS = ["equal-area", "mercator", "lonlat"]


def disk(lon: float, lat: float, resolution: int, k: int) -> tuple[H3Cells, np.ndarray]:
    middle = h3.latlng_to_cell(lat, lon, resolution)
    ids = np.array([h3.str_to_int(cell) for cell in h3.grid_disk(middle, k)], dtype=np.uint64)
    return H3Cells(resolution), np.random.default_rng(1).permutation(ids)


@pytest.mark.parametrize("projection", PROJECTIONS)
@pytest.mark.parametrize("place", [(-4.0, 40.0), (179.95, -17.0), (25.0, 70.0)])
def test_each_pixel_shows_the_cell_that_holds_its_centre(projection, place):
    cells, ids = disk(*place, 5, 4)
    frame = frame_of_cells(cells, ids, projection=projection, width=60)
    shown = rows_of_cells(cells, ids, frame)
    lon, lat = frame.centres(slice(None))
    row_of = {int(cell): row for row, cell in enumerate(ids)}
    for y in range(frame.height):
        for x in range(frame.width):
            cell = h3.str_to_int(h3.latlng_to_cell(lat[y, x], lon[y, x], 5))
            assert shown.rows[y, x] == row_of.get(cell, -1)
    assert shown.unseen(len(ids)) == 0


@pytest.mark.parametrize("projection", PROJECTIONS)
def test_centres_and_project_are_inverse_and_north_is_up(projection):
    cells, ids = disk(10.0, 47.0, 5, 5)
    frame = frame_of_cells(cells, ids, projection=projection, width=50)
    lon, lat = frame.centres(slice(None))
    x, y = frame.project(lon.ravel(), lat.ravel())
    left, bottom, right, top = frame.bounds
    assert np.allclose(x.reshape(lon.shape)[0], left + (np.arange(frame.width) + 0.5) * frame.pixel)
    assert np.allclose(y.reshape(lon.shape)[:, 0], top - (np.arange(frame.height) + 0.5) * frame.pixel)
    assert lat[0, 25] > lat[-1, 25]
    assert lon[5, 0] < lon[5, -1]
    assert right > left
    assert top > bottom


@pytest.mark.parametrize("projection", PROJECTIONS)
def test_no_cell_is_cropped(projection):
    cells, ids = disk(-8.0, 39.0, 4, 2)
    frame = frame_of_cells(cells, ids, projection=projection, width=80)
    shown = rows_of_cells(cells, ids, frame).rows
    assert np.all(shown[[0, -1]] == -1)
    assert np.all(shown[:, [0, -1]] == -1)


def test_a_cell_map_has_equal_area_for_equal_cells():
    cells, ids = disk(-4.0, 60.0, 5, 6)
    shown = rows_of_cells(cells, ids, frame_of_cells(cells, ids, width=900)).rows
    pixels = np.bincount(shown[shown >= 0])
    area = np.array([h3.cell_area(h3.int_to_str(int(cell))) for cell in ids])
    assert np.allclose(pixels / pixels.mean(), area / area.mean(), rtol=0.05)


def test_across_the_antimeridian_the_map_is_one_small_piece():
    cells, ids = disk(180.0, -17.0, 5, 5)
    frame = frame_of_cells(cells, ids, projection="lonlat", width=80)
    left, _, right, _ = frame.bounds
    assert right - left < 3
    assert left < 180 < right
    assert frame_of_cells(cells, ids, width=80).metres_per_unit() == pytest.approx(1, abs=1e-3)


def test_a_cap_around_the_pole_is_whole():
    cells, ids = disk(0.0, 90.0, 3, 3)
    frame = frame_of_cells(cells, ids, width=120)
    shown = rows_of_cells(cells, ids, frame)
    assert "lat_0=90" in frame.crs
    assert shown.unseen(len(ids)) == 0


def test_the_whole_earth_fits_and_has_empty_corners():
    lon, lat = (part.ravel() for part in np.meshgrid(np.arange(-175, 180, 10.0), np.arange(-85, 90, 10.0)))
    frame = frame_around(lon, lat, width=200)
    shown = rows_of_points(LonLat(lon, lat), frame, 1_500_000)
    assert "eqearth" in frame.crs
    assert shown.rows[0, 0] == -1
    assert np.isnan(frame.centres(slice(0, 1))[0][0, 0])
    assert shown.unseen(len(lon)) == 0


def test_arc_is_the_shortest():
    assert arc(np.array([170.0, -170.0, 175.0])) == (170.0, 190.0)
    assert arc(np.array([-10.0, 20.0])) == (-10.0, 20.0)
    assert arc(np.array([5.0])) == (5.0, 5.0)


def test_points_are_drawn_by_the_nearest_within_reach():
    rng = np.random.default_rng(0)
    points = LonLat(((rng.uniform(177, 183, 60) + 180) % 360) - 180, rng.uniform(-20, -15, 60))
    frame = frame_around(points.lon, points.lat, width=40)
    shown = rows_of_points(points, frame, 60_000)
    lon, lat = frame.centres(slice(None))
    distance = pairwise_m(LonLat(lon.ravel(), lat.ravel()), points)
    oracle = np.where(distance.min(axis=1) <= 60_000, distance.argmin(axis=1), -1)
    assert np.array_equal(shown.rows.ravel(), oracle)
    with pytest.raises(UsageError, match="reach"):
        rows_of_points(points, frame, 0)


def test_paint_and_values_leave_the_rest_empty():
    frame = frame_around(np.array([0.0, 1.0]), np.array([0.0, 1.0]), width=2, margin=0)
    shown = RowMap(np.array([[0, -1], [1, 1]]), frame)
    colours = np.array([[1, 2, 3], [4, 5, 6]], dtype=np.uint8)
    assert shown.paint(colours).tolist() == [[[1, 2, 3, 255], [0, 0, 0, 0]], [[4, 5, 6, 255], [4, 5, 6, 255]]]
    assert np.array_equal(shown.values(np.array([7.0, 8.0])), [[7, np.nan], [8, 8]], equal_nan=True)
    assert shown.values(np.ones((2, 5))).shape == (5, 2, 2)
    assert shown.unseen(3) == 1
    with pytest.raises(SchemaError, match="one for each row"):
        shown.paint(colours[:1])


def test_a_cell_in_two_rows_is_refused():
    cells, ids = disk(0.0, 45.0, 5, 1)
    frame = frame_of_cells(cells, ids, width=10)
    with pytest.raises(SchemaError, match="two rows"):
        rows_of_cells(cells, np.append(ids, ids[0]), frame)


def test_bad_frames_are_refused():
    some = np.array([0.0, 1.0])
    with pytest.raises(UsageError, match="no places"):
        frame_around(some[:0], some[:0])
    with pytest.raises(UsageError, match="projection"):
        frame_around(some, some, projection="globe")
    with pytest.raises(UsageError, match="too large"):
        frame_around(some, some, width=50_000)
    with pytest.raises(UsageError, match="wide"):
        frame_around(some, some, width=0)


@pytest.mark.parametrize("projection", PROJECTIONS)
@pytest.mark.parametrize("place", [(-4.0, 40.0), (180.0, -17.0)])
def test_a_colour_geotiff_lies_where_its_cells_are(tmp_path, projection, place):
    cells, ids = disk(*place, 5, 6)
    frame = frame_of_cells(cells, ids, projection=projection, width=300)
    shown = rows_of_cells(cells, ids, frame)
    centre = cells.centre(ids)
    colours = np.random.default_rng(0).integers(0, 256, (len(ids), 3), dtype=np.uint8)
    path = tmp_path / "map.tif"
    write_geotiff(path, shown.paint(colours), frame, tags={"space": "s"})
    with rasterio.open(path) as file:
        assert file.driver == "GTiff"
        assert file.block_shapes == [(256, 256)] * 4
        assert file.compression.name == "deflate"
        assert file.colorinterp == (ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.alpha)
        assert file.descriptions == ("red", "green", "blue", "alpha")
        assert np.allclose(file.bounds, frame.bounds)
        assert file.transform.e < 0
        assert file.tags()["space"] == "s"
        assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        if projection != "equal-area":
            assert file.crs.to_epsg() == {"mercator": 3857, "lonlat": 4326}[projection]
        x, y = frame.project(centre.lon, centre.lat)
        seen = np.array(list(file.sample(zip(x, y, strict=True))))
    assert np.array_equal(seen[:, :3], colours)
    assert np.all(seen[:, 3] == 255)


def test_a_value_geotiff_keeps_numbers_names_units_and_nodata(tmp_path):
    cells, ids = disk(-4.0, 40.0, 5, 3)
    frame = frame_of_cells(cells, ids, projection="lonlat", width=700)
    values = np.random.default_rng(0).normal(size=(len(ids), 2)).astype(np.float32)
    raster = rows_of_cells(cells, ids, frame).values(values)
    path = tmp_path / "values.tif"
    write_geotiff(path, raster, frame, names=["residual", "score"], units=["m", "1"])
    with rasterio.open(path) as file:
        assert np.isnan(file.nodata)
        assert file.descriptions == ("residual", "score")
        assert file.units == ("m", "1")
        assert file.overviews(1)
        assert np.array_equal(file.read(), raster, equal_nan=True)
    assert [entry.name for entry in tmp_path.iterdir()] == ["values.tif"]


def test_a_raster_that_does_not_fit_is_refused_and_leaves_no_file(tmp_path):
    frame = frame_around(np.array([0.0, 1.0]), np.array([0.0, 1.0]), width=10)
    with pytest.raises(SchemaError, match="does not fit"):
        write_geotiff(tmp_path / "x.tif", np.zeros((3, 3, 4), np.uint8), frame)
    with pytest.raises(SchemaError, match="names"):
        write_geotiff(tmp_path / "x.tif", np.zeros((frame.height, frame.width), np.float32), frame, names=["a", "b"])
    assert not list(tmp_path.iterdir())
