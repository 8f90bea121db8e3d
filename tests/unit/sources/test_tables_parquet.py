"""Parquet files in: the variants of their makers, versions of GeoParquet, and tables of ours that others rewrote."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from pyproj import CRS

from conftest import make_table
from placevec.geo.frames import transform
from placevec.geo.sphere import LonLat
from placevec.provenance import Saw, Space
from placevec.sources.tables import read_foreign
from placevec.table import EmbeddingTable, Places, read_skipped, read_table, write_table
from placevec.tasks.import_ import import_tables

LON, LAT = np.array([-3.7, -4.25]), np.array([40.4, 41.0])


def put(folder: Path, *, geo: Any = None, name: str = "in.parquet", x: Any = LON, y: Any = LAT, **columns: Any) -> Path:
    points = shapely.to_wkb(shapely.points(x, y))
    data = {"id": ["a", "b"], "geometry": pa.array(points.tolist(), pa.binary()), "embedding": [[1.0, 2.0], [3.0, 4.0]]}
    table = pa.table({column: values for column, values in {**data, **columns}.items() if values is not None})
    if geo is not None:
        table = table.replace_schema_metadata({"geo": json.dumps(geo)})
    pq.write_table(table, folder / name)
    return folder / name


def geo(version: str = "1.1.0", **column: Any) -> dict[str, Any]:
    columns = {"geometry": {"encoding": "WKB", "geometry_types": [], **column}}
    return {"version": version, "primary_column": "geometry", "columns": columns}


@pytest.mark.real
def test_clay(data_dir: Path) -> None:
    path = data_dir / "embeddings/03WVN_20220610_20220610_v001.gpq"
    imported = read_foreign(path)
    table = imported.table()
    assert (len(table), table.dims, table.meta.normalized) == (417, 768, False)
    assert table.geometries()[0].geom_type == "Polygon"
    assert table.lon.min() > -168
    assert table.lat.max() < 66
    stored = pq.read_table(path)
    np.testing.assert_array_equal(table.vectors(), np.stack(stored["embeddings"].to_numpy()))
    assert str(table.column("time_start")[0])[:10] == "2022-06-10"
    assert table.ids[5] == "03WVN_20220610_20220610_v001:5"
    assert read_foreign(path, id="source_url").table().ids[0].startswith("s3://clay-tiles")


@pytest.mark.real
def test_planet(data_dir: Path, tmp_path: Path) -> None:
    summary = import_tables(data_dir / "embeddings/sample_embeddings.parquet", tmp_path / "out.parquet")
    assert (summary["rows"], summary["skipped"], summary["dims"]) == (3, 2, 512)
    table = read_table(tmp_path / "out.parquet")
    # The file says Pseudo-Mercator and holds degrees; its own columns tell where it lies.
    np.testing.assert_allclose(table.lon, table.column("centroid_lon"), atol=1e-6)
    assert any("Pseudo-Mercator" in note for note in summary["notes"])
    skipped = read_skipped(tmp_path / "out.parquet")
    assert [row.reason for row in skipped] == ["the file has no vector for it"] * 2
    assert all(row.geometry for row in skipped)


@pytest.mark.real
def test_planet_as_it_says(data_dir: Path) -> None:
    table = read_foreign(data_dir / "embeddings/sample_embeddings.parquet", crs="EPSG:3857").table()
    assert np.abs(table.lon).max() < 1e-3


@pytest.mark.real
def test_earth_index(data_dir: Path, tmp_path: Path) -> None:
    summary = import_tables(data_dir / "embeddings/21MNT.parquet", tmp_path / "out.parquet")
    assert (summary["rows"], summary["dims"]) == (0, 384)
    assert any("dinov2_vits14_softcon@2.0.0" in note for note in summary["notes"])
    meta = read_table(tmp_path / "out.parquet").meta
    assert (meta.encoder, meta.sources[0].licence) == ("dinov2_vits14_softcon@2.0.0", "CC-BY-4.0")
    assert meta.sources[0].attribution == "EarthGenome"


@pytest.mark.real
def test_every_file_is_read(data_dir: Path, tmp_path: Path) -> None:
    for path in sorted((data_dir / "embeddings").iterdir()):
        import_tables(path, tmp_path / f"{path.stem}.parquet")
        read_table(tmp_path / f"{path.stem}.parquet").validate()


@pytest.mark.parametrize(
    "kind",
    [
        pa.list_(pa.float32()),
        pa.list_(pa.float64()),
        pa.large_list(pa.float32()),
        pa.list_(pa.float16(), 2),
        pa.list_(pa.float64(), 2),
        pa.list_(pa.int8()),
        pa.list_(pa.int64(), 2),
    ],
)
def test_kinds_of_lists(tmp_path: Path, kind: pa.DataType) -> None:
    values: Any = [np.array(row, np.float16) for row in ([1, 2], [3, 4])] if "half" in str(kind) else [[1, 2], [3, 4]]
    path = put(tmp_path, geo=geo(), embedding=pa.array(values, kind))
    np.testing.assert_array_equal(read_foreign(path).table().vectors(), [[1, 2], [3, 4]])


@pytest.mark.parametrize("name", ["embedding", "embeddings", "vector", "feature_of_some_name"])
def test_names_of_the_column(tmp_path: Path, name: str) -> None:
    path = put(tmp_path, geo=geo(), **{"embedding": None, name: [[1.0], [2.0]]})
    np.testing.assert_array_equal(read_foreign(path).table().vectors(), [[1], [2]])


def test_several_columns_of_lists(tmp_path: Path) -> None:
    path = put(tmp_path, geo=geo(), other=[[1.0], [2.0]], names=[["x"], ["y"]], box=[{"a": 1}, {"a": 2}])
    imported = read_foreign(path)
    assert imported.table().attributes == ()
    assert sum("left out 1 columns" in note for note in imported.notes) == 3
    np.testing.assert_array_equal(read_foreign(path, vector="other").table().vectors(), [[1], [2]])


def test_components_in_columns(tmp_path: Path) -> None:
    path = put(tmp_path, geo=geo(), embedding=None, dim_1=[2.0, 4.0], dim_0=[1, 3])
    np.testing.assert_array_equal(read_foreign(path).table().vectors(), [[1, 2], [3, 4]])


@pytest.mark.parametrize("version", ["1.0.0", "1.1.0", "2.0.0"])
def test_crs_of_the_footer(tmp_path: Path, version: str) -> None:
    x, y = transform(LonLat(LON, LAT), "OGC:CRS84", "EPSG:25830")
    path = put(tmp_path, geo=geo(version, crs=CRS("EPSG:25830").to_json_dict()), x=x, y=y)
    np.testing.assert_allclose(read_foreign(path).table().lon, LON, atol=1e-9)


def test_crs_left_out_is_crs84(tmp_path: Path) -> None:
    np.testing.assert_array_equal(read_foreign(put(tmp_path, geo=geo())).table().lat, LAT)


def test_the_user_knows_the_crs(tmp_path: Path) -> None:
    x, y = transform(LonLat(LON, LAT), "OGC:CRS84", "EPSG:25830")
    for footer in (None, geo(crs=None)):
        table = read_foreign(put(tmp_path, geo=footer, x=x, y=y), crs="EPSG:25830").table()
        np.testing.assert_allclose(table.lat, LAT, atol=1e-9)


def test_longitude_and_latitude_columns(tmp_path: Path) -> None:
    path = put(tmp_path, geometry=None, lng=LON, Latitude=LAT)
    np.testing.assert_array_equal(read_foreign(path).table().lon, LON)


def test_points_in_a_struct(tmp_path: Path) -> None:
    points = pa.array([{"x": -3.7, "y": 40.4}, None], pa.struct([("x", pa.float64()), ("y", pa.float64())]))
    table = read_foreign(put(tmp_path, geo=geo(encoding="point"), geometry=points)).table()
    assert table.located.tolist() == [True, False]
    assert table.lat[0] == 40.4


def native(path: Path, metadata: dict[str, Any]) -> None:
    """A file with a geometry of the Parquet type GEOMETRY or GEOGRAPHY."""

    class Wkb(pa.ExtensionType):
        def __init__(self) -> None:
            super().__init__(pa.binary(), "geoarrow.wkb")

        def __arrow_ext_serialize__(self) -> bytes:
            return json.dumps(metadata).encode()

        @classmethod
        def __arrow_ext_deserialize__(cls, storage: Any, serialized: bytes) -> Wkb:
            return cls()

    kind = Wkb()
    pa.register_extension_type(kind)
    try:
        x, y = (LON, LAT) if not metadata.get("crs") else transform(LonLat(LON, LAT), "OGC:CRS84", "EPSG:25830")
        wkb = pa.array(shapely.to_wkb(shapely.points(x, y)).tolist(), pa.binary())
        shape = pa.ExtensionArray.from_storage(kind, wkb)
        pq.write_table(pa.table({"where": shape, "embedding": [[1.0], [2.0]]}), path)
    finally:
        pa.unregister_extension_type("geoarrow.wkb")


@pytest.mark.parametrize("crs", [None, CRS("EPSG:25830").to_json_dict(), "EPSG:25830"])
def test_native_geometry(tmp_path: Path, crs: Any) -> None:
    path = tmp_path / "in.parquet"
    native(path, {} if crs is None else {"crs": crs})
    assert pq.ParquetFile(path).schema.column(0).logical_type.type == "GEOMETRY"
    np.testing.assert_allclose(read_foreign(path).table().lon, LON, atol=1e-9)


def test_native_geography(tmp_path: Path) -> None:
    path = tmp_path / "in.parquet"
    native(path, {"edges": "spherical"})
    assert pq.ParquetFile(path).schema.column(0).logical_type.type == "GEOGRAPHY"
    np.testing.assert_array_equal(read_foreign(path).table().lat, LAT)


def test_geoparquet_2_of_duckdb(tmp_path: Path) -> None:
    duckdb = pytest.importorskip("duckdb")
    path = tmp_path / "in.parquet"
    duckdb.sql(
        f"copy (select 'a' as id, 'POINT(1 2)'::GEOMETRY as geometry, [1.0::float, 2.0::float] as embedding) "
        f"to '{path}' (format parquet, geoparquet_version 'V2')"
    )
    table = read_foreign(path).table()
    assert (table.lon[0], table.lat[0], table.dims) == (1, 2, 2)


def test_types_of_attributes(tmp_path: Path) -> None:
    path = put(
        tmp_path,
        geo=geo(),
        word=pa.array(["x", None]).dictionary_encode(),
        large=pa.array(["x", "y"], pa.large_string()),
        half=pa.array([np.float16(0.5), np.float16(1)], pa.float16()),
        price=pa.array([1, 2]).cast(pa.decimal128(21, 2)),
        at=pa.array([1, 2], pa.time32("s")),
        second=pa.array([1, 2], pa.timestamp("ns")),
        none=pa.nulls(2),
        blob=pa.array([b"x", b"y"]),
    )
    out = path.with_name("out.parquet")
    import_tables(path, out)
    table = read_table(out).validate()
    assert set(table.attributes) == {"word", "large", "half", "price", "at", "second", "none", "blob"}
    assert sorted(table.column("price").tolist()) == [1.0, 2.0]


def test_geopandas_rewrite_of_ours(tmp_path: Path) -> None:
    geopandas = pytest.importorskip("geopandas")
    ours = make_table(50, 6)
    write_table(ours, tmp_path / "ours.parquet")
    geopandas.read_parquet(tmp_path / "ours.parquet").to_parquet(tmp_path / "theirs.parquet")
    imported = read_foreign(tmp_path / "theirs.parquet")
    back = imported.table()
    assert back.space.origin == "unknown"
    assert any("Space is unknown" in note for note in imported.notes)
    np.testing.assert_array_equal(back.align(ours).vectors(), ours.vectors())
    vouched = read_foreign(tmp_path / "theirs.parquet", space="mine").table()
    assert vouched.space == Space.asserted("mine", 6)
    assert vouched.fingerprint() == ours.fingerprint()


def test_a_rewrite_that_kept_the_footer(tmp_path: Path) -> None:
    ours = make_table(50, 6)
    write_table(ours, tmp_path / "ours.parquet")
    data = pq.read_table(tmp_path / "ours.parquet")
    lists = pa.array(list(ours.vectors()), pa.list_(pa.float32()))
    at = data.schema.get_field_index("embedding")
    rows = ours.rows_of(data["id"])
    data = data.set_column(at, "embedding", lists.take(pa.array(rows)))
    footer = pq.read_metadata(tmp_path / "ours.parquet").metadata
    pq.write_table(data.replace_schema_metadata(footer), tmp_path / "theirs.parquet")
    back = read_foreign(tmp_path / "theirs.parquet").table()
    assert back.space == ours.space
    assert back.fingerprint() == ours.fingerprint()


def test_tables_of_one_space_together(tmp_path: Path) -> None:
    pytest.importorskip("lance")
    space = Space.mint(6)
    saw = (Saw("table", "price"),)
    for name, prefix in (("one.parquet", "a"), ("two.lance", "b")):
        table = make_table(20, 6, space=space, prefix=prefix)
        write_table(EmbeddingTable(table.data, table.meta.replace(saw=saw)), tmp_path / name)
    summary = import_tables([tmp_path / "one.parquet", tmp_path / "two.lance"], tmp_path / "all.parquet")
    together = read_table(tmp_path / "all.parquet")
    assert (summary["rows"], together.space, together.meta.saw) == (40, space, saw)
    assert len(together.meta.parents) == 2
    vouched = read_foreign(tmp_path / "one.parquet", space="x")
    assert vouched.meta.saw == saw, "a new name does not forget what was seen"


@given(
    n=st.integers(0, 40),
    d=st.integers(1, 9),
    dtype=st.sampled_from(["float32", "float16", "int8"]),
    seed=st.integers(0, 99),
)
def test_every_dtype_comes_back(
    n: int, d: int, dtype: str, seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("parquet")
    table = make_table(n, d, seed=seed, dtype=dtype)
    write_table(table, folder / "in.parquet")
    imported = read_foreign(folder / "in.parquet", dtype=dtype)
    back = imported.table().validate()
    assert back.fingerprint() == table.fingerprint()
    assert (back.space, back.meta.codec) == (table.space, table.meta.codec)
    assert imported.meta.normalized == table.meta.normalized


def test_int8_of_ours_is_decoded_by_default(tmp_path: Path) -> None:
    table = make_table(30, 6, dtype="int8")
    write_table(table, tmp_path / "in.parquet", order="keep")
    back = read_foreign(tmp_path / "in.parquet").table()
    assert back.meta.dtype == "float32"
    np.testing.assert_array_equal(back.vectors(), table.vectors())


def test_h3_and_place_and_times_come_back(tmp_path: Path) -> None:
    places = Places.create(
        ["a", "b"],
        LonLat(LON, LAT),
        place=["p", None],
        h3=np.array([0x8928308280FFFFF, 0x8928308280BFFFF], np.uint64),
        time_start=np.array(["2020-01-01", "2021-01-01"], "datetime64[us]"),
        asset=["x#xywh=0,0,1,1", None],
    )
    table = EmbeddingTable.of(places, np.eye(2), Space.mint(2))
    write_table(table, tmp_path / "in.parquet")
    assert read_foreign(tmp_path / "in.parquet").table().fingerprint() == table.fingerprint()
