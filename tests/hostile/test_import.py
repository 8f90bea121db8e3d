"""Files that must be refused: one clear error each, and nothing left behind."""

from __future__ import annotations

import gzip
import json
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely

from conftest import make_table
from placevec.errors import (
    CoordinateError,
    CrsError,
    FormatError,
    PlacevecError,
    SchemaError,
    SpaceMismatch,
    UsageError,
)
from placevec.provenance import Space
from placevec.table import write_table
from placevec.tasks.import_ import import_tables

GOOD = "id,geometry,dim_0,dim_1\na,POINT (-3.7 40.4),1,0\nb,POINT (-4.7 41.4),0,1\n"


def refused(
    tmp_path: Path, paths: Any, kind: type[PlacevecError], *words: str, out: str = "out.parquet", **options: Any
) -> None:
    folder = tmp_path / "out"
    folder.mkdir(exist_ok=True)
    for order in ("auto", "keep"):
        with pytest.raises(kind) as caught:
            import_tables(paths, folder / out, order=order, **options)
        message = str(caught.value)
        assert "\n" not in message
        assert type(caught.value) is kind
        for word in words:
            assert word in message, f"{word!r} is not in {message!r}"
        assert list(folder.iterdir()) == [], "something was left behind"


def put(tmp_path: Path, content: str | bytes, name: str = "in.csv") -> Path:
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def put_parquet(tmp_path: Path, file: str = "in.parquet", geo: Any = "crs84", **columns: Any) -> Path:
    points = shapely.to_wkb(shapely.points([[-3.7, 40.4], [-4.7, 41.4]]))
    data = pa.table(
        {
            "id": ["a", "b"],
            "geometry": pa.array(points.tolist(), pa.binary()),
            "embedding": [[1.0, 0.0], [0.0, 1.0]],
            **columns,
        }
    )
    if geo is not None:
        column: dict[str, Any] = {"encoding": "WKB", "geometry_types": ["Point"]}
        if geo != "crs84":
            column["crs"] = None
        footer = {"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": column}}
        data = data.replace_schema_metadata({"geo": json.dumps(footer)})
    path = tmp_path / file
    pq.write_table(data, path)
    return path


@pytest.mark.parametrize("name", ["in.csv", "in.parquet", "in.csv.gz", "in.tif", "in"])
@pytest.mark.parametrize("content", [b"", b"\n \n"])
def test_empty_file(tmp_path: Path, name: str, content: bytes) -> None:
    refused(tmp_path, put(tmp_path, content, name), FormatError, "empty", name)


def test_empty_inside_gzip(tmp_path: Path) -> None:
    refused(tmp_path, put(tmp_path, gzip.compress(b""), "in.csv.gz"), FormatError, "empty")


def test_damaged_gzip(tmp_path: Path) -> None:
    whole = gzip.compress(GOOD.encode() * 5000)
    refused(tmp_path, put(tmp_path, whole[:30], "in.csv.gz"), FormatError, "damaged")


def test_cut_gzip_is_seen_when_it_is_read(tmp_path: Path) -> None:
    rows = "".join(f"p{i},POINT (-3.{i} 40),{i},1\n" for i in range(20_000))
    whole = gzip.compress(("id,geometry,dim_0,dim_1\n" + rows).encode())
    path = put(tmp_path, whole[:-2000], "in.csv.gz")
    refused(tmp_path, path, FormatError, "in.csv.gz", crs="EPSG:4326")


def test_missing_file(tmp_path: Path) -> None:
    refused(tmp_path, tmp_path / "absent.csv", FormatError, "absent.csv", "no such file")


def test_folder(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    refused(tmp_path, tmp_path / "folder", FormatError, "folder", "*.csv")


def test_pattern_without_a_file(tmp_path: Path) -> None:
    refused(tmp_path, str(tmp_path / "*.csv"), UsageError, "*.csv", "no file")


@pytest.mark.parametrize("text", ["Madrid", "POINT (1", "POINT 1 2", "40.4, -3.7", "POINT (a b)"])
def test_text_that_is_not_wkt(tmp_path: Path, text: str) -> None:
    path = put(tmp_path, f'id,geometry,dim_0\na,POINT (1 2),1\nb,"{text}",1\n')
    refused(tmp_path, path, FormatError, "WKT", "row 1", text, "--geometry", crs="EPSG:4326")


def test_prose_is_no_table(tmp_path: Path) -> None:
    refused(tmp_path, put(tmp_path, "Dear reader\nthis is a letter\n"), SchemaError, "dim_0", "Dear reader", "--prefix")


def test_bytes_that_are_not_wkb(tmp_path: Path) -> None:
    path = put_parquet(tmp_path, geometry=pa.array([b"abc", b"def"], pa.binary()))
    refused(tmp_path, path, FormatError, "WKB", "row 0")


def test_duplicate_ids_in_one_file(tmp_path: Path) -> None:
    path = put(tmp_path, GOOD + "a,POINT (1 2),1,1\n")
    refused(tmp_path, path, SchemaError, "'a'", "twice", "--id", crs="EPSG:4326")


def test_duplicate_ids_in_two_files(tmp_path: Path) -> None:
    paths = [put(tmp_path, GOOD, "one.csv"), put(tmp_path, GOOD, "two.csv")]
    refused(tmp_path, paths, SchemaError, "'a'", "one.csv", "two.csv", crs="EPSG:4326")


def test_duplicate_ids_into_lance(tmp_path: Path) -> None:
    pytest.importorskip("lance")
    paths = [put(tmp_path, GOOD, "one.csv"), put(tmp_path, GOOD, "two.csv")]
    refused(tmp_path, paths, SchemaError, "'a'", "one.csv", "two.csv", crs="EPSG:4326", out="out.lance")


def test_file_named_twice(tmp_path: Path) -> None:
    path = put(tmp_path, GOOD)
    refused(tmp_path, [path, str(tmp_path / "*.csv")], UsageError, "named twice", "in.csv")


def test_id_absent(tmp_path: Path) -> None:
    path = put(tmp_path, GOOD + ",POINT (1 2),1,1\n")
    refused(tmp_path, path, SchemaError, "row 2", "no id", crs="EPSG:4326")


@pytest.mark.parametrize("value", ["nan", "NaN", "inf", "-inf"])
def test_not_finite_in_csv(tmp_path: Path, value: str) -> None:
    path = put(tmp_path, GOOD + f"c,POINT (1 2),1,{value}\n")
    refused(tmp_path, path, SchemaError, "row 2", value.lower().lstrip("-"), crs="EPSG:4326")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), None])
def test_not_finite_in_parquet(tmp_path: Path, value: float | None) -> None:
    path = put_parquet(tmp_path, embedding=pa.array([[1.0, 0.0], [0.0, value]]))
    refused(tmp_path, path, SchemaError, "row 1", "component 1")


def test_overflow_of_float32(tmp_path: Path) -> None:
    path = put_parquet(tmp_path, embedding=pa.array([[1.0, 0.0], [0.0, 1e60]], pa.list_(pa.float64())))
    refused(tmp_path, path, SchemaError, "row 1", "inf")


def test_cell_left_empty(tmp_path: Path) -> None:
    path = put(tmp_path, GOOD + "c,POINT (1 2),1,\n")
    refused(tmp_path, path, SchemaError, "row 2", "dim_1", crs="EPSG:4326")


def test_text_among_the_components(tmp_path: Path) -> None:
    path = put(tmp_path, GOOD + "c,POINT (1 2),1,many\n")
    refused(tmp_path, path, SchemaError, "'dim_1'", "'many'", "line 4", crs="EPSG:4326")


def test_ragged_rows(tmp_path: Path) -> None:
    path = put(tmp_path, GOOD + "c,POINT (1 2),1\n")
    refused(tmp_path, path, SchemaError, "ragged", "line 4", "3 cells", crs="EPSG:4326")


@pytest.mark.parametrize("kind", [pa.list_(pa.float32()), pa.large_list(pa.float64())])
def test_ragged_lists(tmp_path: Path, kind: pa.DataType) -> None:
    path = put_parquet(tmp_path, embedding=pa.array([[1.0, 0.0], [1.0]], kind))
    refused(tmp_path, path, SchemaError, "ragged", "row 1", "has 1 components")


@pytest.mark.parametrize("header", ["dim_0,dim_2", "dim_0,dim_00", "dim_0,dim_0"])
def test_components_that_are_not_numbered_through(tmp_path: Path, header: str) -> None:
    path = put(tmp_path, GOOD.replace("dim_0,dim_1", header))
    refused(tmp_path, path, SchemaError, "dim_0", crs="EPSG:4326")


def test_csv_without_crs(tmp_path: Path) -> None:
    refused(tmp_path, put(tmp_path, GOOD), CrsError, "--crs", "EPSG:25830", "OGC:CRS84")
    utm = GOOD.replace("-3.7 40.4", "440000 4474000")
    refused(tmp_path, put(tmp_path, utm), CrsError, "--crs")


def test_parquet_of_unknown_crs(tmp_path: Path) -> None:
    refused(tmp_path, put_parquet(tmp_path, geo="null"), CrsError, "unknown", "--crs")
    refused(tmp_path, put_parquet(tmp_path, geo=None), CrsError, "no footer `geo`", "--crs")


def test_crs_that_does_not_exist(tmp_path: Path) -> None:
    refused(tmp_path, put(tmp_path, GOOD), CrsError, "EPSG:99999999", crs="EPSG:99999999")


def test_swapped_coordinates(tmp_path: Path) -> None:
    path = put(tmp_path, "id,geometry,dim_0\na,POINT (40.4 -3.7),1\nb,POINT (41.2 102.1),1\n")
    refused(tmp_path, path, CoordinateError, "row 1", "102.1", "lat, lon", crs="EPSG:4326")


def test_swapped_columns(tmp_path: Path) -> None:
    path = put(tmp_path, "id,x,y,dim_0\na,40.4,-3.7,1\nb,41.2,102.1,1\n")
    refused(tmp_path, path, CoordinateError, "row 1", "lat, lon", lon="x", lat="y")


def test_swapped_polygons(tmp_path: Path) -> None:
    path = put(tmp_path, 'id,geometry,dim_0\na,,1\nb,"POLYGON ((10 100, 11 100, 11 101, 10 100))",1\n')
    refused(tmp_path, path, CoordinateError, "row 1", "100", crs="OGC:CRS84")


def test_metres_called_degrees(tmp_path: Path) -> None:
    path = put(tmp_path, GOOD.replace("-3.7 40.4", "440000 4474000"))
    refused(tmp_path, path, CoordinateError, "row 0", crs="EPSG:4326")


def test_one_coordinate_absent(tmp_path: Path) -> None:
    path = put(tmp_path, "id,lon,lat,dim_0\na,1,2,1\nb,1,,1\n")
    refused(tmp_path, path, CoordinateError, "row 1", "absent")


@pytest.mark.parametrize("keep", [4, 12, 300, -1, -9])
def test_truncated_parquet(tmp_path: Path, keep: int) -> None:
    whole = put_parquet(tmp_path).read_bytes()
    path = put(tmp_path, whole[:keep], "cut.parquet")
    refused(tmp_path, path, FormatError, "cut.parquet", "cannot be read" if keep == 4 else "cut short")


def test_damaged_parquet(tmp_path: Path) -> None:
    path = tmp_path / "in.parquet"
    write_table(make_table(2000, 16), path)
    content = bytearray(path.read_bytes())
    content[2000:60_000] = bytes(58_000)
    path.write_bytes(bytes(content))
    refused(tmp_path, path, FormatError, "in.parquet", "damaged")


class Bomb:
    """Running it would be seen."""

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return (Path("/tmp/placevec-was-run").touch, ())


@pytest.mark.parametrize("name", ["in.pkl", "in.csv", "in.parquet", "in.tif", "in.csv.gz"])
@pytest.mark.parametrize("protocol", [0, 1, 2, 4, 5])
def test_pickle(tmp_path: Path, name: str, protocol: int) -> None:
    path = put(tmp_path, pickle.dumps({"id": ["a"], "v": [Bomb()]}, protocol), name)
    refused(tmp_path, path, FormatError, "pickle", name, "Parquet")
    assert not Path("/tmp/placevec-was-run").exists()


def test_pickle_inside_gzip(tmp_path: Path) -> None:
    refused(tmp_path, put(tmp_path, gzip.compress(pickle.dumps([1])), "in.csv.gz"), FormatError, "pickle")


def test_torch_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "in.parquet"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model/data.pkl", pickle.dumps([1]))
    refused(tmp_path, path, FormatError, "pickle")


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"\x93NUMPY\x01\x00", "NumPy"),
        (b"\x89HDF\r\n", "HDF5"),
        (b'{"type": "FeatureCollection"}', "JSON"),
        (b"\xff\xfei\x00d\x00,\x00", "UTF-8"),
        (b"id,n\xe9,dim_0\n", "UTF-8"),
        (b"\x00\x01\x02\x03", "neither"),
        (b"PK\x03\x04rubbish", "zip"),
    ],
)
def test_other_forms(tmp_path: Path, content: bytes, word: str) -> None:
    refused(tmp_path, put(tmp_path, content), FormatError, word)


def test_attribute_in_another_encoding(tmp_path: Path) -> None:
    rows = "".join(f"p{i},1,2,{i},x\n" for i in range(2000))
    path = put(tmp_path, ("id,lon,lat,dim_0,name\n" + rows).encode() + b"last,1,2,3,caf\xe9\n")
    refused(tmp_path, path, FormatError, "'name'", "UTF-8")


def test_two_tables_of_two_spaces(tmp_path: Path) -> None:
    paths = [tmp_path / "one.parquet", tmp_path / "two.parquet"]
    for path, prefix in zip(paths, "ab", strict=True):
        write_table(make_table(20, 8, prefix=prefix), path)
    refused(tmp_path, paths, SpaceMismatch, "trained:", "one.parquet", "two.parquet", "--space")


def test_a_table_of_ours_and_a_foreign_one(tmp_path: Path) -> None:
    ours = tmp_path / "ours.parquet"
    write_table(make_table(2, 2, space=Space.mint(2)), ours)
    refused(tmp_path, [ours, put_parquet(tmp_path)], SpaceMismatch, "ours.parquet", "--space")


def test_two_models(tmp_path: Path) -> None:
    paths = []
    for model in ("clip", "dino"):
        path = put_parquet(tmp_path, f"{model}.parquet", id=[f"{model}{i}" for i in range(2)])
        data = pq.read_table(path)
        emb = json.dumps({"model": {"id": model, "version": "1"}})
        pq.write_table(data.replace_schema_metadata({**data.schema.metadata, "emb": emb}), path)
        paths.append(path)
    refused(tmp_path, paths, SpaceMismatch, "clip@1", "dino@1", "--space")


def test_two_dims(tmp_path: Path) -> None:
    other = put(tmp_path, "id,geometry,dim_0\nz,POINT (1 2),1\n", "other.csv")
    paths = [put(tmp_path, GOOD), other]
    refused(tmp_path, paths, SpaceMismatch, "2 dims", "has 1", "other.csv", crs="EPSG:4326", space="one")


def test_columns_in_another_order(tmp_path: Path) -> None:
    other = put(tmp_path, "id,geometry,dim_1,dim_0\nz,POINT (1 2),1,2\n", "other.csv")
    refused(tmp_path, [put(tmp_path, GOOD), other], SchemaError, "other.csv", "'dim_1'", "'dim_0'", crs="EPSG:4326")


def test_other_columns(tmp_path: Path) -> None:
    paths = [put_parquet(tmp_path), put_parquet(tmp_path, "other.parquet", name=["x", "y"])]
    refused(tmp_path, paths, SchemaError, "other.parquet", "'name'")


def test_lists_of_no_known_length(tmp_path: Path) -> None:
    path = put_parquet(tmp_path, embedding=pa.array([None, None], pa.list_(pa.float32())))
    refused(tmp_path, path, SchemaError, "'embedding'", "no row has a vector")


def test_no_column_of_vectors(tmp_path: Path) -> None:
    path = put_parquet(tmp_path, embedding=["x", "y"])
    refused(tmp_path, path, SchemaError, "no column holds vectors", "geometry")


@pytest.mark.parametrize("option", ["id", "geometry", "lon", "vector"])
def test_option_that_names_no_column(tmp_path: Path, option: str) -> None:
    options = {option: "nothing", **({"lat": "nothing"} if option == "lon" else {})}
    refused(tmp_path, put_parquet(tmp_path), UsageError, "'nothing'", f"--{option}", "embedding", **options)


def test_name_of_the_output(tmp_path: Path) -> None:
    path = put(tmp_path, GOOD)
    refused(tmp_path, path, UsageError, "out.csv", ".parquet", crs="EPSG:4326", out="out.csv")


def test_output_is_one_of_the_files(tmp_path: Path) -> None:
    path = put_parquet(tmp_path)
    before = path.read_bytes()
    with pytest.raises(UsageError, match="another name"):
        import_tables(path, path)
    assert path.read_bytes() == before


def test_an_error_keeps_the_table_that_stood_there(tmp_path: Path) -> None:
    out = tmp_path / "out.parquet"
    import_tables(put(tmp_path, GOOD), out, crs="EPSG:4326")
    before = out.read_bytes()
    with pytest.raises(SchemaError):
        import_tables(put(tmp_path, GOOD + "a,POINT (1 2),1,1\n"), out, crs="EPSG:4326", order="keep")
    assert out.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.csv", "out.parquet"]


def test_late_error_of_a_stream_leaves_nothing(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    lines = ["id,lon,lat," + ",".join(f"dim_{i}" for i in range(64))]
    lines += [f"p{i},1,2," + ",".join(map(str, rng.random(64).round(6))) for i in range(40_000)]
    path = put(tmp_path, "\n".join(lines) + "\nlast,1,2," + ",".join(["nan"] * 64) + "\n")
    assert path.stat().st_size > 16 << 20, "more than one block"
    refused(tmp_path, path, SchemaError, "row 40000", "nan")
