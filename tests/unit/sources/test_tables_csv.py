"""CSV files in: columns, types, coordinates, many files, and the way there and back."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from placevec.geo.frames import transform
from placevec.geo.sphere import LonLat
from placevec.provenance import Space
from placevec.sources.tables import read_foreign
from placevec.table import EmbeddingTable, Places, read_table, write_table
from placevec.tasks.export import export_table
from placevec.tasks.import_ import import_tables


def put(folder: Path, text: str, name: str = "in.csv") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_wkt_in_utm(tmp_path: Path) -> None:
    truth = LonLat(np.array([-3.7, -4.25, -2.0]), np.array([40.4, 41.0, 39.5]))
    x, y = transform(truth, "OGC:CRS84", "EPSG:25830")
    rows = [f"s{i},POINT ({a:.6f} {b:.6f}),{i},{i + 0.5}" for i, (a, b) in enumerate(zip(x, y, strict=True))]
    path = put(tmp_path, "\n".join(["station,geometry,dim_0,dim_1", *rows]))
    imported = read_foreign(path, crs="EPSG:25830", id="station")
    table = imported.table()
    np.testing.assert_allclose(table.lon, truth.lon, atol=1e-9)
    np.testing.assert_allclose(table.lat, truth.lat, atol=1e-9)
    assert list(table.ids) == ["s0", "s1", "s2"]
    np.testing.assert_array_equal(table.vectors(), [[0, 0.5], [1, 1.5], [2, 2.5]])
    assert table.space.origin == "unknown"
    assert any("ETRS89 / UTM zone 30N" in note for note in imported.notes)
    assert any("--space" in note for note in imported.notes)


def test_made_ids_are_stable_and_tell_the_file(tmp_path: Path) -> None:
    put(tmp_path, "lon,lat,dim_0\n1,2,3\n4,5,6\n", "b.csv")
    put(tmp_path, "lon,lat,dim_0\n7,8,9\n", "a.csv")
    imported = read_foreign(str(tmp_path / "*.csv"))
    assert list(imported.table().ids) == ["a:0", "b:0", "b:1"]
    assert any("2 of 2 files" in note for note in imported.notes)


def test_equal_names_in_two_folders(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        put(tmp_path / folder, "lon,lat,dim_0\n1,2,3\n", "a.csv")
    assert list(read_foreign(str(tmp_path / "*/a.csv")).table().ids) == ["one/a:0", "two/a:0"]


def test_components_by_number_wherever_they_begin(tmp_path: Path) -> None:
    path = put(tmp_path, "lon,f10,lat,f9,f11\n1,20,2,10,30\n")
    np.testing.assert_array_equal(read_foreign(path, prefix="f").table().vectors(), [[10, 20, 30]])


def test_prefix_with_signs_of_patterns(tmp_path: Path) -> None:
    path = put(tmp_path, "lon,lat,v[0,v[1\n1,2,3,4\n")
    assert read_foreign(path, prefix="v[").table().dims == 2


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_delimiters(tmp_path: Path, delimiter: str) -> None:
    text = "id,lon,lat,dim_0\na,1,2,3\n".replace(",", delimiter)
    assert read_foreign(put(tmp_path, text)).table().lon[0] == 1


def test_byte_order_mark_and_windows_lines(tmp_path: Path) -> None:
    path = tmp_path / "in.csv"
    path.write_bytes(b"\xef\xbb\xbfid,lon,lat,dim_0\r\na,1,2,3\r\n")
    table = read_foreign(path).table()
    assert list(table.ids) == ["a"]
    assert table.attributes == ()


def test_types_are_those_of_the_whole_file(tmp_path: Path) -> None:
    path = put(
        tmp_path,
        "id,lon,lat,count,share,code,flag,day,name,none,dim_0\n"
        '1,1,2,3,0.5,007,true,2020-01-02,"x, ""y""\nz",,1\n'
        '02,1,2,,1,120,false,2021-01-02,"",,1\n',
    )
    table = read_foreign(path).table()
    assert list(table.ids) == ["1", "02"]
    kinds = {name: table.data[name].type for name in table.attributes}
    assert kinds == {
        "count": pa.int64(),
        "share": pa.float64(),
        "code": pa.string(),
        "flag": pa.bool_(),
        "day": pa.date32(),
        "name": pa.string(),
        "none": pa.string(),
    }
    assert table.data["count"].to_pylist() == [3, None]
    assert table.data["code"].to_pylist() == ["007", "120"]
    assert table.data["name"].to_pylist() == ['x, "y"\nz', ""]


def test_a_type_that_only_a_later_block_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("placevec.sources.tables.csv._BLOCK_BYTES", 4096)
    rows = [f"p{i},1,2,{i},1" for i in range(2000)]
    path = put(tmp_path, "\n".join(["id,lon,lat,n,dim_0", *rows, "last,1,2,many,1"]))
    imported = read_foreign(path)
    assert len(list(imported.batches())) > 3
    assert imported.rows == 2001
    assert imported.table().column("n")[-1] == "many"


def test_time_columns(tmp_path: Path) -> None:
    path = put(tmp_path, "lon,lat,start_datetime,end_datetime,date,dim_0\n1,2,2020-01-01T00:00:00Z,2020-02-01,x,1\n")
    imported = read_foreign(path)
    row = imported.table().data.to_pylist()[0]
    assert row["time_start"].isoformat() == "2020-01-01T00:00:00+00:00"
    assert row["time_end"].isoformat() == "2020-02-01T00:00:00+00:00"
    assert row["date"] == "x"
    assert any("'start_datetime'" in note for note in imported.notes)


def test_names_with_a_meaning_of_their_own(tmp_path: Path) -> None:
    path = put(tmp_path, "lon,lat,place,embedding,bbox,asset,h3,dim_0\n1,2,9,text,box,x.tif,8928308280fffff,1\n")
    imported = read_foreign(path)
    row = imported.table().data.to_pylist()[0]
    assert (row["place"], row["asset"], row["h3"]) == ("9", "x.tif", 0x8928308280FFFFF)
    assert (row["embedding_"], row["bbox_"]) == ("text", "box")
    assert any("'embedding_'" in note for note in imported.notes)


def test_rows_without_geometry(tmp_path: Path) -> None:
    path = put(tmp_path, "id,geometry,dim_0\na,,1\nb,POINT EMPTY,2\nc,POINT (1 2),3\n")
    table = read_foreign(path, crs="OGC:CRS84").table()
    assert table.located.tolist() == [False, False, True]


def test_no_columns_of_coordinates(tmp_path: Path) -> None:
    imported = read_foreign(put(tmp_path, "id,dim_0\na,1\n"))
    assert not imported.table().located.any()
    assert any("no geometry" in note for note in imported.notes)


def test_polygon_across_the_antimeridian(tmp_path: Path) -> None:
    path = put(tmp_path, 'id,geometry,dim_0\na,"POLYGON ((179 0, -179 0, -179 1, 179 1, 179 0))",1\n')
    table = read_foreign(path, crs="OGC:CRS84").table()
    assert table.geometries()[0].geom_type == "MultiPolygon"
    assert abs(abs(table.lon[0]) - 180) < 1e-6


def test_header_without_rows(tmp_path: Path) -> None:
    out = tmp_path / "out.parquet"
    summary = import_tables(put(tmp_path, "id,lon,lat,dim_0,dim_1\n"), out)
    assert summary["rows"] == 0
    assert read_table(out).dims == 2


def test_space_that_the_user_vouches_for(tmp_path: Path) -> None:
    path = put(tmp_path, "id,lon,lat,dim_0\na,1,2,3\n")
    one, other = (read_foreign(path, space="clay-v1").table().space for _ in range(2))
    assert one == other == Space.asserted("clay-v1", 1)
    assert read_foreign(path).table().space != read_foreign(path).table().space


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8"])
@pytest.mark.parametrize("suffix", [".parquet", ".lance"])
def test_streamed_and_sorted_hold_the_same(tmp_path: Path, dtype: str, suffix: str) -> None:
    if suffix == ".lance":
        pytest.importorskip("lance")
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((300, 4))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    for part in range(3):
        rows = [
            f"p{part}-{i},{rng.uniform(-9, 3):.5f},{rng.uniform(36, 43):.5f},{i},"
            + ",".join(map(str, vectors[100 * part + i]))
            for i in range(100)
        ]
        put(tmp_path, "\n".join(["id,lon,lat,n,dim_0,dim_1,dim_2,dim_3", *rows]), f"part{part}.csv")
    pattern = str(tmp_path / "part*.csv")
    summaries = [
        import_tables(pattern, tmp_path / f"{order}{suffix}", order=order, dtype=dtype, space="x")
        for order in ("hilbert", "keep")
    ]
    assert summaries[0]["fingerprint"] == summaries[1]["fingerprint"]
    kept = read_table(tmp_path / f"keep{suffix}").validate()
    assert kept.ids[0] == "p0-0"
    assert kept.ids[-1] == "p2-99"
    assert kept.meta.normalized
    assert kept.meta.normalized == read_table(tmp_path / f"hilbert{suffix}").meta.normalized
    np.testing.assert_allclose(kept.vectors(), vectors, atol={"float32": 1e-7, "float16": 1e-3, "int8": 5e-3}[dtype])


def test_a_large_file_is_not_sorted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("placevec.tasks.import_.SORT_BYTES", 10)
    path = put(tmp_path, "id,lon,lat,dim_0\nz,100,2,3\na,1,2,3\n")
    summary = import_tables(path, tmp_path / "out.parquet")
    assert summary["order"] == "keep"
    assert any("--order hilbert" in note for note in summary["notes"])
    assert list(read_table(tmp_path / "out.parquet").ids) == ["z", "a"]


def test_progress_and_sources(tmp_path: Path) -> None:
    for name in "ab":
        put(tmp_path, "lon,lat,dim_0\n1,2,3\n", f"{name}.csv")
    told: list[tuple[int, int]] = []
    out = tmp_path / "out.parquet"
    import_tables(str(tmp_path / "*.csv"), out, order="keep", progress=lambda *at: told.append(at))
    assert told
    assert all(total == 2 for _, total in told)
    sources = read_table(out).meta.sources
    assert [Path(source.href).name for source in sources] == ["a.csv", "b.csv"]
    assert all(len(source.sha256) == 64 for source in sources)


@pytest.mark.parametrize("name", ["out.csv", "out.csv.gz"])
def test_csv_to_table_to_csv(tmp_path: Path, name: str) -> None:
    text = (
        '"id","geometry","time_start","code","n","name","dim_0","dim_1"\n'
        '"a","POINT (-3.7 40.4)",2020-01-01 00:00:00.000000Z,"007",1,"x ""y"", z",0.1,1e-7\n'
        '"b",,2021-06-01 12:00:00.000000Z,"12",,"",-0.333333,1\n'
        '"c","POINT (0.3333333333333333 -1e-17)",,,3,,1,0\n'
    )
    path = put(tmp_path, text)
    table = tmp_path / "table.parquet"
    import_tables(path, table, crs="OGC:CRS84", order="keep")
    export_table(table, tmp_path / name)
    written = (tmp_path / name).read_bytes()
    assert (gzip.decompress(written) if name.endswith(".gz") else written).decode() == text


_texts = st.text(st.characters(blacklist_categories=("Cs",), blacklist_characters="\x00\r"), max_size=6)


@st.composite
def tables(draw: Any) -> EmbeddingTable:
    n, d = draw(st.integers(1, 6)), draw(st.integers(1, 5))
    dtype = draw(st.sampled_from(["float32", "float16", "int8"]))
    limit = {"float32": 2.0**99, "float16": 2.0**15, "int8": 2.0**10}[dtype]
    numbers = st.floats(-limit, limit, width=16 if dtype == "float16" else 32)
    vectors = draw(hnp.arrays(np.float32, (n, d), elements=numbers))
    lon = draw(hnp.arrays(np.float64, n, elements=st.floats(-180, 179.999)))
    lat = draw(hnp.arrays(np.float64, n, elements=st.floats(-90, 90)))
    ids = draw(st.lists(_texts.filter(bool), min_size=n, max_size=n, unique=True))
    # A letter first: text that looks like a number is one after CSV, which has no types.
    names = [
        None if name is None else f"t{name}" for name in draw(st.lists(st.none() | _texts, min_size=n, max_size=n))
    ]
    floats = draw(st.lists(st.none() | st.floats(allow_nan=False, allow_infinity=False), min_size=n, max_size=n))
    # One value with a fraction makes it a column of floats for a reader that knows no types.
    floats[0] = 0.5
    attributes = {"name": pa.array(names, pa.string()), "value": pa.array(floats, pa.float64())}
    places = Places.create(ids, LonLat(lon, lat), attributes=attributes)
    return EmbeddingTable.of(places, vectors, Space.asserted("x", d), dtype=dtype)


@given(table=tables())
def test_table_to_csv_to_table(table: EmbeddingTable, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("csv")
    write_table(table, folder / "in.parquet", order="keep")
    export_table(folder / "in.parquet", folder / "out.csv")
    dtype = "float32" if table.meta.dtype == "int8" else table.meta.dtype
    back = read_foreign(folder / "out.csv", crs="OGC:CRS84", space="x", dtype=dtype).table()
    assert back.data.drop_columns(["embedding"]).to_pylist() == table.places().data.to_pylist()
    np.testing.assert_array_equal(back.vectors(), table.vectors())
    if table.meta.dtype != "int8":
        assert back.fingerprint() == table.fingerprint()
