import numpy as np
import pytest
import shapely

from placevec.errors import SchemaError, UsageError
from placevec.geo.cells import H3Cells
from placevec.geo.sphere import LonLat
from placevec.table import Filter, Places


def points(n: int = 5) -> Places:
    return Places.create([f"p{i}" for i in range(n)], LonLat(np.linspace(-3, 3, n), np.linspace(40, 42, n)))


def test_points_keep_their_coordinates_to_the_bit() -> None:
    rng = np.random.default_rng(1)
    lonlat = LonLat(rng.uniform(-180, 180, 50), rng.uniform(-90, 90, 50))
    places = Places.create([str(i) for i in range(50)], lonlat)
    assert np.array_equal(places.lon, lonlat.lon)
    assert np.array_equal(places.lat, lonlat.lat)
    assert shapely.equals_exact(places.geometries(), shapely.points(lonlat.lon, lonlat.lat)).all()


def test_rows_without_geometry_are_places_too() -> None:
    places = Places.create(["a", "b", "c"], geometry=np.array([None, shapely.Point(1, 2), shapely.Point()]))
    assert places.located.tolist() == [False, True, False]
    assert np.isnan(places.lon[[0, 2]]).all()
    assert places.lon[1] == 1.0
    with pytest.raises(SchemaError, match="2 of 3 rows have no geometry.*'a'"):
        places.lonlat()
    assert places.select(Filter(bbox=(-180, -90, 180, 90))).ids.tolist() == ["b"]
    assert places.resolve(Filter(bbox=(-180, -90, 180, 90)))[1] == 2
    assert places.select(Filter(near=(1.0, 2.0, 1000.0))).ids.tolist() == ["b"]
    assert places.select(Filter(h3=H3Cells(5).assign(LonLat.of(1.0, 2.0)))).ids.tolist() == ["b"]


def test_no_geometry_at_all() -> None:
    places = Places.create(["a", "b"], attributes={"caption": ["a port", "a wood"]})
    assert not places.located.any()
    assert places.attributes == ("caption",)


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (["a", "b", "a"], "'a' stands 2 times"),
        (["a", "", "c"], "an id is empty"),
        (["a", None, "c"], "1 rows have no id"),
        ([1.5, 2.5, 3.5], "ids must be strings"),
    ],
)
def test_bad_ids_are_refused(ids: list[object], message: str) -> None:
    with pytest.raises(SchemaError, match=message):
        Places.create(ids)


def test_columns_of_another_length_are_refused() -> None:
    with pytest.raises(SchemaError, match="'elevation' has 2 rows, `id` has 3"):
        Places.create(["a", "b", "c"], attributes={"elevation": [1.0, 2.0]})


def test_reserved_names_are_no_attributes() -> None:
    with pytest.raises(SchemaError, match="'embedding' has the name of a column"):
        Places.create(["a"], attributes={"embedding": [1.0]})


def test_polygons_are_represented_by_their_centroid_also_across_the_antimeridian() -> None:
    square = shapely.box(10, 40, 12, 42)
    split = shapely.MultiPolygon([shapely.box(179, -1, 180, 1), shapely.box(-180, -1, -179, 1)])
    places = Places.create(["a", "b"], geometry=np.array([square, split]))
    assert places.lon[0] == pytest.approx(11)
    assert abs(places.lon[1]) == pytest.approx(180)
    assert places.lat[1] == pytest.approx(0)


def test_cells_come_from_the_column_or_from_the_points() -> None:
    grid = H3Cells(6)
    lonlat = LonLat(np.array([-3.7, 2.1]), np.array([40.4, 41.4]))
    cells = grid.assign(lonlat)
    with_column = Places.create(["a", "b"], lonlat, h3=cells)
    without = Places.create(["a", "b"], lonlat)
    # The parent of a cell is not always the cell of a point: the column, where it stands, decides.
    assert np.array_equal(with_column.cells(4), grid.parent(cells, 4))
    assert np.array_equal(without.cells(4), H3Cells(4).assign(lonlat))
    assert np.array_equal(without.cells(6), cells)
    inside = Filter(h3=grid.parent(cells[:1], 3))
    assert with_column.select(inside).ids.tolist() == ["a"]


def test_join_and_align_go_by_id() -> None:
    left = points(4)
    right = Places.create(["p3", "p1", "zz"], attributes={"rain": [3.0, 1.0, 9.0]})
    joined = left.join(right)
    assert joined.ids.tolist() == ["p0", "p1", "p2", "p3"]
    assert np.array_equal(np.isnan(joined.column("rain")), [True, False, True, False])
    assert left.join(right, how="inner").ids.tolist() == ["p1", "p3"]
    assert left.align(Places.create(["p2", "p0"])).ids.tolist() == ["p2", "p0"]
    with pytest.raises(SchemaError, match="1 of 3 ids are absent.*'zz'"):
        left.align(right)
    with pytest.raises(SchemaError, match="both tables have the column 'rain'"):
        joined.join(right)


def test_keys_group_rows_of_one_place() -> None:
    places = Places.create(["a1", "a2", "b"], place=["a", "a", None])
    assert places.keys.tolist() == ["a", "a", "b"]
    assert points(2).keys.tolist() == ["p0", "p1"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("elevation > 500", [1, 2]),
        ("elevation > 500 and cover == 'grass'", [2]),
        ("cover in ('forest', 'grass') and not elevation < 0", [0, 1, 2]),
        ("cover not in ('forest',)", [2, 3]),
        ("-200 <= elevation < 900", [0, 1, 3]),
        ("cover is not None", [0, 1, 2, 3]),
        ("elevation is None", [4]),
        ("flag or elevation == 100", [0, 3]),
    ],
)
def test_where(text: str, expected: list[int]) -> None:
    places = Places.create(
        list("abcde"),
        attributes={
            "elevation": np.array([100.0, 600.0, 2000.0, -50.0, None], dtype=object),
            "cover": np.array(["forest", "forest", "grass", "urban", None], dtype=object),
            "flag": [False, False, False, True, False],
        },
    )
    assert np.flatnonzero(Filter(where=text).mask(places)).tolist() == expected


@pytest.mark.parametrize(
    "text",
    [
        "elevation >",
        "__import__('os').system('true')",
        "elevation.real > 1",
        "elevation + 1 > 3",
        "[x for x in (1, 2)]",
        "cover in 'forest'",
        "elevation is 5",
        "",
        "(" * 500 + "a" + ")" * 500,
        "nothing > 5",
        "cover > 5",
    ],
)
def test_where_refuses_what_is_no_comparison(text: str) -> None:
    places = Places.create(["a"], attributes={"elevation": [1.0], "cover": ["x"]})
    with pytest.raises(UsageError) as caught:
        Filter(where=text).mask(places)
    assert "\n" not in str(caught.value)


def test_minus_zero_is_zero() -> None:
    plain = Places.create(["a"], LonLat(np.array([0.0]), np.array([0.0])))
    assert Places.create(["a"], LonLat(np.array([-0.0]), np.array([-0.0]))).data.equals(plain.data)
    assert Places.create(["a"], geometry=np.array([shapely.Point(-0.0, -0.0)], dtype=object)).data.equals(plain.data)
    box, same = shapely.box(0.0, 0.0, 1.0, 1.0), shapely.box(-0.0, -0.0, 1.0, 1.0)
    one, two = (Places.create(["a"], geometry=np.array([shape], dtype=object)) for shape in (box, same))
    assert one.data.column("geometry").equals(two.data.column("geometry"))
