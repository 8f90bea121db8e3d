"""Lists of photos in tables: columns are named, never guessed, and a bad row is one row."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely

from placevec.errors import FormatError, SchemaError, UsageError
from placevec.sources.photos import Columns, table_of_photos
from placevec.sources.photos.found import NO_COORDINATES, NO_NUMBERS
from placevec.sources.photos.tabular import NO_JSON, NO_POINT, RAGGED


def test_a_csv_with_the_standard_names(tmp_path: Path) -> None:
    path = tmp_path / "l.csv"
    path.write_text("id,lon,lat,file,heading,user\n007,67.5,24.25,a/b.jpg,90.5,ada\n008,-70,1e1,c.jpg,,\n")
    found = table_of_photos(path)
    assert found.ids.tolist() == ["007", "008"]
    assert found.lonlat.tolist() == [[67.5, 24.25], [-70.0, 10.0]]
    assert found.assets.tolist() == [str(tmp_path / "a/b.jpg"), str(tmp_path / "c.jpg")]
    assert set(found.attributes) == {"heading", "user"}
    assert found.without.tolist() == ["", ""]


def test_other_names_are_given_and_never_guessed(tmp_path: Path) -> None:
    path = tmp_path / "l.csv"
    path.write_text("name;x;y;path\na;1;2;a.jpg\n")
    with pytest.raises(SchemaError, match=r"no column 'file'; name it with --file; its columns: name, x, y, path"):
        table_of_photos(path)
    with pytest.raises(SchemaError, match=r"no column 'lon'; name it with --lon; its columns: name, x, y, path"):
        table_of_photos(path, Columns(file="path"))
    found = table_of_photos(path, Columns(lon="x", lat="y", file="path", id="name"), images=tmp_path / "img")
    assert (found.ids.tolist(), found.lonlat.tolist()) == (["a"], [[1.0, 2.0]])
    assert found.assets.tolist() == [str(tmp_path / "img" / "a.jpg")]
    # Latitude and longitude written out are not taken for lon and lat either.
    path.write_text("latitude,longitude,file\n1,2,a.jpg\n")
    with pytest.raises(SchemaError, match="no column 'lon'"):
        table_of_photos(path)


def test_rows_without_coordinates_are_told_from_nonsense(tmp_path: Path) -> None:
    path = tmp_path / "l.csv"
    path.write_text('lon,lat,file\n1,2,a\n,2,b\n"24,5",3,c\nnan,1,d\nE 7,1,e\n1e400,1,f\n')
    found = table_of_photos(path)
    assert found.without.tolist() == ["", NO_COORDINATES, NO_NUMBERS, NO_COORDINATES, NO_NUMBERS, ""]
    assert found.ids.tolist() == list("abcdef")


def test_ragged_lines_are_lost_one_by_one(tmp_path: Path) -> None:
    path = tmp_path / "l.csv"
    path.write_text("lon,lat,file\n1,2,a\n1,2\n3,4,b,c\n5,6,d\n")
    found = table_of_photos(path)
    assert found.ids.tolist() == ["a", "d"]
    assert [(one.stage, one.reason) for one in found.lost] == [("list", RAGGED)] * 2
    assert len({one.id for one in found.lost}) == 2


def test_a_column_without_any_value_is_a_column(tmp_path: Path) -> None:
    path = tmp_path / "l.csv"
    path.write_text("lon,lat,file,note\n,,a.jpg,\n,,b.jpg,\n")
    found = table_of_photos(path)
    assert found.without.tolist() == [NO_COORDINATES] * 2
    assert "note" not in found.attributes


def test_gzip_tabs_and_a_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "l.tsv.gz").write_bytes(gzip.compress("﻿lon\tlat\tfile\n1\t2\ta.jpg\n".encode()))
    assert table_of_photos(tmp_path / "l.tsv.gz").lonlat.tolist() == [[1.0, 2.0]]


def test_parquet_with_columns_or_with_geometry(tmp_path: Path) -> None:
    columns = pa.table({"lon": [1.0, None], "lat": [2.0, 3.0], "file": ["a.jpg", "b.jpg"], "n": [1, None]})
    pq.write_table(columns, tmp_path / "xy.parquet")
    found = table_of_photos(tmp_path / "xy.parquet")
    assert found.without.tolist() == ["", NO_COORDINATES]
    assert found.attributes["n"].tolist() == [1, None]
    shapes = [shapely.Point(5, 6), None, shapely.box(0, 0, 1, 1), shapely.Point()]
    wkb = pa.array([None if one is None else shapely.to_wkb(one) for one in shapes], pa.binary())
    pq.write_table(pa.table({"id": list("abcd"), "geometry": wkb, "asset": ["/x/a"] * 4}), tmp_path / "geo.parquet")
    found = table_of_photos(tmp_path / "geo.parquet")
    assert found.lonlat[0].tolist() == [5.0, 6.0]
    assert found.without.tolist() == ["", NO_COORDINATES, NO_POINT, NO_POINT]
    assert found.assets.tolist() == ["/x/a"] * 4


def test_geojson_and_lines_of_json(tmp_path: Path) -> None:
    feature = {"type": "Feature", "id": 7, "geometry": {"type": "Point", "coordinates": [1, 2, 300]}}
    features = [
        {**feature, "properties": {"file": "a.jpg", "tags": ["sea", "boat"], "n": {"x": 1}}},
        {"type": "Feature", "geometry": None, "properties": {"file": "b.jpg", "id": "b"}},
        {"type": "Feature", "geometry": {"type": "LineString", "coordinates": []}, "properties": {"file": "c.jpg"}},
    ]
    (tmp_path / "l.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    found = table_of_photos(tmp_path / "l.geojson")
    assert found.ids.tolist() == ["7", "b", ""]
    assert found.lonlat[0].tolist() == [1.0, 2.0]
    assert found.without.tolist() == ["", NO_COORDINATES, NO_POINT]
    assert found.attributes["tags"].tolist() == ["sea,boat", None, None]
    lines = ['{"lon": 1, "lat": 2, "file": "a.jpg"}', "", "[1]", "{", '{"lon": "x", "lat": 2, "file": "b.jpg"}']
    (tmp_path / "l.jsonl").write_text("\n".join([*lines, json.dumps(features[0])]))
    found = table_of_photos(tmp_path / "l.jsonl", Columns(file="file"))
    assert [one.reason for one in found.lost] == [NO_JSON] * 2
    # The first rows say lon and lat, so the feature's geometry is not read in their stead.
    assert found.without.tolist() == ["", NO_NUMBERS, NO_COORDINATES]
    (tmp_path / "l.json").write_text(json.dumps([{"lon": 1, "lat": 2, "file": "a"}]))
    assert len(table_of_photos(tmp_path / "l.json")) == 1


def test_columns_with_reserved_names_are_moved_but_place_keeps_its_meaning(tmp_path: Path) -> None:
    path = tmp_path / "l.csv"
    path.write_text("lon,lat,file,place,h3,time_start\n1,2,a,p1,5,6\n")
    assert set(table_of_photos(path).attributes) == {"place", "h3_", "time_start_"}


@pytest.mark.parametrize(
    ("name", "data", "error"),
    [
        ("l.xls", b"x", UsageError),
        ("l.csv", b"", FormatError),
        ("l.csv", b"lon,lat\x00", FormatError),
        ("l.csv", "lon,l\xe4t".encode("latin-1"), FormatError),
        ("l.csv", b"lon,lon,lat,file\n1,2,3,a\n", SchemaError),
        ("l.csv.gz", b"no gzip", FormatError),
        ("l.parquet", b"PAR1", FormatError),
        ("l.geojson", b"{}", FormatError),
        ("l.json", b"[1, 2]", FormatError),
        ("l.geojson", b"\xff\xfe", FormatError),
    ],
)
def test_files_that_are_no_lists_say_so(tmp_path: Path, name: str, data: bytes, error) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(error):
        table_of_photos(tmp_path / name)


def test_a_list_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="no such file"):
        table_of_photos(tmp_path / "l.csv")


def test_coordinates_survive_to_the_last_digit(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    points = rng.uniform(-90, 90, (50, 2))
    (tmp_path / "l.csv").write_text(
        "lon,lat,file\n" + "\n".join(f"{x!r},{y!r},f{i}" for i, (x, y) in enumerate(points.tolist()))
    )
    assert (table_of_photos(tmp_path / "l.csv").lonlat == points).all()
