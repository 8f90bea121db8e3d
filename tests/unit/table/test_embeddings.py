import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely

from conftest import make_table
from placevec.errors import FormatError, SchemaError, SpaceMismatch, UsageError
from placevec.geo.sphere import LonLat
from placevec.provenance import Saw, SourceRef, Space, TableMeta
from placevec.table import EmbeddingTable, Filter, Places, open_table, read_table, write_table
from placevec.table.codec import decode, encode
from placevec.table.parquet import ParquetSink

FORMS = ["parquet", "lance"]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", ["float32", "float16", "int8"])
def test_round_trip_keeps_everything(tmp_path, form: str, dtype: str) -> None:
    table = make_table(300, dtype=dtype)
    path = tmp_path / f"t.{form}"
    write_table(table, path)
    back = read_table(path).validate()
    assert back.fingerprint() == table.fingerprint() == open_table(path).fingerprint()
    assert back.meta == table.meta
    order = back.rows_of(table.ids)
    assert np.array_equal(back.raw[order], table.raw)
    assert np.array_equal(back.take(order).lon, table.lon)
    assert back.raw.dtype == np.dtype(dtype)


def test_the_view_is_not_a_copy(table: EmbeddingTable) -> None:
    assert np.shares_memory(table.raw, table.raw)
    buffer = table.data["embedding"].chunk(0).values.buffers()[1]
    assert table.raw.__array_interface__["data"][0] == buffer.address


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        (np.array([[1.0, np.nan], [0, 1]]), "not finite; the first is 'a'"),
        (np.array([[1.0, 0], [np.inf, 1]]), "not finite; the first is 'b'"),
        (np.ones((3, 2)), "3 vectors for 2 places"),
        (np.ones(2), r"shape \(n, d\)"),
        (np.ones((2, 3)), "3 components in a Space of 2 dims"),
    ],
)
def test_bad_vectors_are_refused(vectors: np.ndarray, message: str) -> None:
    with pytest.raises(SchemaError, match=message):
        EmbeddingTable.of(Places.create(["a", "b"]), vectors, Space.mint(2))


def test_rows_whose_sum_overflows_are_finite_all_the_same() -> None:
    large = np.full((1, 4), 3e38, dtype=np.float32)
    assert len(EmbeddingTable.of(Places.create(["a"]), large, Space.mint(4))) == 1


def test_norms_agree_with_what_is_said() -> None:
    places = Places.create(["a"])
    assert EmbeddingTable.of(places, np.array([[0.6, 0.8]]), Space.mint(2)).meta.normalized
    assert not EmbeddingTable.of(places, np.array([[3.0, 4.0]]), Space.mint(2)).meta.normalized
    with pytest.raises(SchemaError, match="length 1, but that of 'a' has 5"):
        EmbeddingTable.of(places, np.array([[3.0, 4.0]]), Space.mint(2), normalized=True)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "filter",
    [
        Filter(bbox=(-4, 38, -1, 41)),
        Filter(near=(-3.7, 40.4, 150_000)),
        Filter(within=shapely.Polygon([(-8, 37), (0, 37), (-4, 43)])),
        Filter(where="elevation > 2500 and cover == 'forest'"),
        Filter(ids=["p00003", "p00150", "nobody"]),
        Filter(bbox=(-4, 38, -1, 41), where="count < 10"),
        Filter(bbox=(100, 0, 101, 1)),
    ],
)
def test_a_stored_table_selects_what_one_in_memory_selects(tmp_path, form: str, filter: Filter) -> None:
    table = make_table(3000, 4)
    path = tmp_path / f"t.{form}"
    write_table(table, path)
    stored = open_table(path)
    expected = table.select(filter)
    got = stored.read(filter)
    assert sorted(got.ids) == sorted(expected.ids)
    assert got.fingerprint() == expected.fingerprint()
    rows, unlocated = stored.resolve(filter)
    assert unlocated == 0
    assert stored.take(rows).fingerprint() == expected.fingerprint()
    assert sum(len(batch) for batch in stored.batches(["id"], filter, 17)) == len(expected)


def test_a_box_reads_only_the_row_groups_it_touches(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("placevec.table.parquet.GROUP_BYTES", 1)  # the smallest groups there are
    table = make_table(40_000, 8)
    write_table(table, tmp_path / "t.parquet")
    stored = open_table(tmp_path / "t.parquet")
    groups = stored._groups(Filter(bbox=(-4, 38, -3, 39)))
    assert 0 < len(groups) <= 6 < stored._file.num_row_groups
    assert stored._groups(Filter(bbox=(100, 0, 101, 1))) == []
    assert stored._groups(Filter(where="elevation > 5000")) == []


@pytest.mark.parametrize("form", FORMS)
def test_taking_rows_keeps_their_order_and_repeats(tmp_path, form: str) -> None:
    table = make_table(500)
    write_table(table, tmp_path / f"t.{form}", order="keep")
    stored = open_table(tmp_path / f"t.{form}")
    rows = np.array([400, 3, 3, 499, 0])
    assert stored.take(rows).ids.tolist() == table.ids[rows].tolist()
    assert np.array_equal(stored.take(rows, ["id"]).raw, table.raw[rows])
    assert stored.rows_of(["p00007", "none", "p00007"]).tolist() == [7, -1, 7]


def test_rows_are_in_hilbert_order_and_those_without_a_place_come_last(tmp_path) -> None:
    geometry = np.array([None, *shapely.points(np.linspace(-9, 3, 50), np.linspace(36, 43, 50))])
    places = Places.create([f"p{i}" for i in range(51)], geometry=geometry)
    table = EmbeddingTable.of(places, np.eye(51, dtype=np.float32), Space.mint(51))
    write_table(table, tmp_path / "t.parquet")
    back = read_table(tmp_path / "t.parquet")
    assert back.ids[-1] == "p0"
    assert back.located[:-1].all()


def test_other_programs_read_the_file(tmp_path) -> None:
    import duckdb
    import geopandas

    table = make_table(100, 4)
    path = tmp_path / "t.parquet"
    write_table(table, path)
    frame = geopandas.read_parquet(path)
    assert len(frame) == 100
    assert frame.crs.to_string() == "OGC:CRS84"
    assert len(geopandas.read_parquet(path, bbox=(-4, 38, -1, 41))) == len(table.select(Filter(bbox=(-4, 38, -1, 41))))
    rows = duckdb.sql(f"select count(*), max(len(embedding)) from read_parquet('{path}')").fetchall()
    assert rows == [(100, 4)]
    # What plain pyarrow reads and writes again is still a table of ours.
    pq.write_table(pq.read_table(path), tmp_path / "again.parquet")
    assert read_table(tmp_path / "again.parquet").fingerprint() == table.fingerprint()
    geo = json.loads(pq.read_metadata(path).metadata[b"geo"])
    assert geo["version"] == "1.1.0"
    assert geo["columns"]["geometry"]["geometry_types"] == ["Point"]


def test_null_geometries_and_every_column_survive(tmp_path) -> None:
    places = Places.create(
        ["a", "b"],
        geometry=np.array([None, shapely.box(0, 0, 1, 1)]),
        place=["x", "x"],
        time_start=np.array(["2020-01-01", "2021-01-01"], dtype="datetime64[us]"),
        asset=["a.tif#xywh=0,0,16,16", None],
        attributes={"caption": np.array(["a port", None], dtype=object)},
    )
    table = EmbeddingTable.of(places, np.eye(2, dtype=np.float32), Space.mint(2))
    for form in FORMS:
        write_table(table, tmp_path / f"t.{form}")
        back = read_table(tmp_path / f"t.{form}")
        assert back.fingerprint() == table.fingerprint()
        assert back.take(back.rows_of(["a", "b"])).located.tolist() == [False, True]


def test_append(table: EmbeddingTable, tmp_path) -> None:
    more = make_table(50, space=table.space, seed=3, prefix="q")
    both = table.append(more)
    assert len(both) == 250
    assert both.fingerprint() == more.append(table).fingerprint()
    with pytest.raises(SchemaError, match="stands 2 times"):
        table.append(table)
    with pytest.raises(SpaceMismatch):
        table.append(make_table(5, prefix="q"))
    from placevec.table.lance import append_lance

    write_table(table, tmp_path / "t.lance")
    append_lance(more, tmp_path / "t.lance")
    assert open_table(tmp_path / "t.lance").fingerprint() == both.fingerprint()
    with pytest.raises(SchemaError, match="already"):
        append_lance(more, tmp_path / "t.lance")


def test_a_sink_that_fails_leaves_nothing(tmp_path, table: EmbeddingTable) -> None:
    path = tmp_path / "t.parquet"
    with pytest.raises(SchemaError, match="ids repeat"), ParquetSink(path, table.meta) as sink:
        sink.write(table.data)
        sink.write(table.data)
    with pytest.raises(RuntimeError), ParquetSink(path, table.meta) as sink:
        sink.write(table.data)
        raise RuntimeError
    with pytest.raises(SchemaError, match="nothing was written"), ParquetSink(path, table.meta) as sink:
        pass
    assert list(tmp_path.iterdir()) == []


def test_an_old_file_stays_when_writing_the_new_one_fails(tmp_path, table: EmbeddingTable) -> None:
    path = tmp_path / "t.parquet"
    write_table(table, path)
    with pytest.raises(RuntimeError), ParquetSink(path, table.meta) as sink:
        sink.write(table.data)
        raise RuntimeError
    assert read_table(path).fingerprint() == table.fingerprint()


def test_empty_tables_are_tables(tmp_path) -> None:
    table = make_table(3).take(np.empty(0, dtype=np.int64))
    for form in FORMS:
        write_table(table, tmp_path / f"t.{form}")
        back = read_table(tmp_path / f"t.{form}")
        assert len(back) == 0
        assert back.fingerprint() == table.fingerprint()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"PAR1 and then nothing", "cut short"),
        (b"\x80\x04\x95 a pickle", "no Parquet file"),
    ],
)
def test_files_that_are_no_tables(tmp_path, content: bytes, message: str) -> None:
    path = tmp_path / "t.parquet"
    path.write_bytes(content)
    with pytest.raises(FormatError, match=message):
        open_table(path)


def test_a_cut_file_and_a_foreign_one_say_so(tmp_path, table: EmbeddingTable) -> None:
    path = tmp_path / "t.parquet"
    write_table(table, path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(FormatError, match="cut short"):
        open_table(path)
    pq.write_table(pa.table({"id": ["a"]}), path)
    with pytest.raises(FormatError, match="placevec import"):
        open_table(path)
    with pytest.raises(FormatError, match="no such file"):
        open_table(tmp_path / "absent.parquet")
    with pytest.raises(UsageError, match=r"ends in \.parquet or \.lance"):
        write_table(table, tmp_path / "t.csv")


def test_provenance_survives(tmp_path) -> None:
    meta = {
        "tower": "image",
        "encoder": "cnn",
        "weights_sha256": "ab",
        "recipe": {"pixels": 16, "nested": {"a": [1, 2]}},
        "seed": 7,
        "sources": (SourceRef("bmng.jpg", "cd", "public domain", "NASA"),),
        "parents": ("pv1-1",),
        "saw": (Saw("pv1-2", "elevation", {"rule": "h3", "k": 5}, (0, 1)),),
        "chip_layout": {"layout_type": "named_grid", "grid_id": "h3:6"},
        "dims": ("a", "b"),
    }
    table = EmbeddingTable.of(Places.create(["x"]), np.ones((1, 2)), Space.mint(2), **meta)
    write_table(table, tmp_path / "t.parquet")
    back = open_table(tmp_path / "t.parquet").meta
    assert back == table.meta
    footer = back.to_footer()
    assert footer["emb:type"] == "chip"
    assert footer["emb:dimensions"] == 2
    assert TableMeta.from_footer(json.loads(json.dumps(footer))) == back


def test_spaces_compare_only_with_themselves() -> None:
    one, two = Space.mint(4), Space.mint(4)
    one.require(one)
    with pytest.raises(SpaceMismatch, match="placevec import --space"):
        one.require(two, "searching")
    assert Space.unknown(4) != Space.unknown(4)
    assert Space.asserted("clay", 4) == Space.asserted("clay", 4)
    assert Space.derived([one], "abc", 3) == Space.derived([one], "abc", 3)
    assert Space.derived([one], "abc", 3) != Space.derived([two], "abc", 3)


def test_alphaearth_codes() -> None:
    stored = np.array([-127, -64, 0, 64, 127], dtype=np.int8)
    expected = np.sign(stored) * (np.abs(stored.astype(float)) / 127.5) ** 2
    assert decode(stored, {"method": "alphaearth"}) == pytest.approx(expected, abs=1e-7)
    assert np.isnan(decode(np.array([-128], dtype=np.int8), {"method": "alphaearth"})[0])
    again, _ = encode(expected[None].astype(np.float32), "int8", {"method": "alphaearth"})
    assert np.array_equal(again[0], stored)


@pytest.mark.parametrize("largest", [0.0, 1e-45, 1e-38, 1.0, 3e38])
def test_int8_holds_the_smallest_and_the_largest_numbers(largest: float) -> None:
    vectors = np.array([[largest, -largest, 0.0]], dtype=np.float32)
    stored, codec = encode(vectors, "int8")
    assert codec is not None
    assert decode(stored, codec) == pytest.approx(vectors, abs=max(largest / 127, float(np.finfo(np.float32).tiny)))


def test_float16_refuses_what_it_cannot_hold() -> None:
    with pytest.raises(SchemaError, match="does not fit into float16"):
        encode(np.array([[1e6]]), "float16")


def test_stac_item_is_valid(tmp_path) -> None:
    import pystac

    from placevec.table.stac import write_stac_item

    table = make_table(50, box=(170.0, -20.0, 190.0, -10.0))
    write_table(table, tmp_path / "fiji.parquet")
    item = pystac.Item.from_file(str(write_stac_item(open_table(tmp_path / "fiji.parquet"))))
    assert item.properties["emb:dimensions"] == 8
    assert item.bbox[0] > 169
    assert item.bbox[2] < -169
    assert item.geometry["type"] == "MultiPolygon"
    assert LonLat.of(item.bbox[0], item.bbox[1])


def test_numbers_that_are_no_cells_are_refused() -> None:
    places = Places.create(["a"], LonLat.of(1.0, 2.0), h3=np.array([0x85283473FFFFFF0], dtype=np.uint64))
    table = EmbeddingTable.of(places, np.ones((1, 2)), Space.mint(2))
    with pytest.raises(SchemaError, match="85283473ffffff0, which is no H3 cell"):
        table.validate()
