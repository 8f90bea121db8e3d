"""Tables out: every form opens in the tools of others and holds what the table held."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import shapely
from hypothesis import example, given
from hypothesis import strategies as st

from conftest import make_table
from placevec.errors import UsageError
from placevec.geo.cells import H3Cells
from placevec.geo.sphere import LonLat
from placevec.provenance import Space
from placevec.table import EmbeddingTable, Filter, Places, open_table, read_table, write_table
from placevec.tasks.export import export_table, form_of


@pytest.fixture
def cells(tmp_path: Path) -> Path:
    """A stored table of 20 H3 cells, of which one has no cell and no geometry."""
    centre = LonLat(np.linspace(-9, 3, 20), np.linspace(36, 43, 20))
    numbers = H3Cells(6).assign(centre)
    places = Places.create([f"{cell:x}" for cell in numbers], H3Cells(6).centre(numbers), h3=numbers)
    table = EmbeddingTable.of(places, np.random.default_rng(0).standard_normal((20, 3)), Space.mint(3))
    lone = EmbeddingTable.of(Places.create(["lone"]), np.ones((1, 3)), table.space)
    write_table(table.append(lone), tmp_path / "cells.parquet")
    return tmp_path / "cells.parquet"


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    """A stored table of 60 points."""
    write_table(make_table(60, 4), tmp_path / "table.parquet")
    return tmp_path / "table.parquet"


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8"])
def test_parquet_to_lance_and_back_keeps_the_fingerprint(tmp_path: Path, dtype: str) -> None:
    pytest.importorskip("lance")
    write_table(make_table(300, 5, dtype=dtype), tmp_path / "a.parquet")
    there = export_table(tmp_path / "a.parquet", tmp_path / "b.lance")
    back = export_table(tmp_path / "b.lance", tmp_path / "c.parquet")
    assert there["fingerprint"] == back["fingerprint"] == open_table(tmp_path / "a.parquet").fingerprint()
    assert open_table(tmp_path / "c.parquet").meta == open_table(tmp_path / "a.parquet").meta


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8"])
def test_parquet_opens_elsewhere(tmp_path: Path, dtype: str) -> None:
    geopandas, duckdb = pytest.importorskip("geopandas"), pytest.importorskip("duckdb")
    table = make_table(50, 4, dtype=dtype)
    write_table(table, tmp_path / "a.parquet", order="keep")
    out = tmp_path / "out.parquet"
    export_table(tmp_path / "a.parquet", out)
    frame = geopandas.read_parquet(out)
    assert frame.crs == "OGC:CRS84"
    np.testing.assert_array_equal(frame.geometry.x, table.lon)
    np.testing.assert_array_equal(np.stack(frame["embedding"]), table.raw)
    rows = duckdb.sql(f"select id, embedding, elevation from '{out}' order by id").fetchall()
    assert [row[0] for row in rows] == list(table.ids)
    np.testing.assert_array_equal(np.array([row[1] for row in rows]), table.raw)
    np.testing.assert_array_equal([row[2] for row in rows], table.column("elevation"))
    columns = pq.read_table(out).column_names
    assert {"id", "geometry", "embedding"} <= set(columns)


def test_outlines_of_cells(tmp_path: Path, cells: Path) -> None:
    summary = export_table(cells, tmp_path / "out.parquet", geometry="cell")
    table = read_table(tmp_path / "out.parquet").validate()
    assert (summary["rows"], len(table)) == (21, 21)
    shapes = table.geometries()
    assert [shape is None for shape in shapes] == [name == "lone" for name in table.ids]
    numbers = np.array([cell for cell in table.data["h3"].to_pylist() if cell is not None], dtype=np.uint64)
    assert shapely.equals(shapes[table.located], H3Cells(6).polygons(numbers)).all()
    points = export_table(tmp_path / "out.parquet", tmp_path / "points.geojson", geometry="point")
    assert points["rows"] == 21


def test_outlines_need_cells(tmp_path: Path, stored: Path) -> None:
    with pytest.raises(UsageError, match="`h3`"):
        export_table(stored, tmp_path / "out.csv", geometry="cell")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["table.parquet"]


def test_geojson(tmp_path: Path, cells: Path) -> None:
    summary = export_table(cells, tmp_path / "out.geojson", geometry="cell")
    features = json.loads((tmp_path / "out.geojson").read_text())["features"]
    assert len(features) == summary["rows"] == 21
    lone = next(feature for feature in features if feature["id"] == "lone")
    assert lone["geometry"] is None
    other = next(feature for feature in features if feature["id"] != "lone")
    assert other["properties"]["h3"] == other["id"]
    assert shapely.is_ccw(shapely.from_geojson(json.dumps(other["geometry"])).exterior)
    assert "embedding" not in other["properties"]


def test_geojson_with_vectors(tmp_path: Path, stored: Path) -> None:
    export_table(stored, tmp_path / "out.geojson", vectors=True, columns=["cover"])
    features = json.loads((tmp_path / "out.geojson").read_text())["features"]
    table = read_table(stored)
    assert set(features[0]["properties"]) == {"cover", "embedding"}
    vectors = np.array([feature["properties"]["embedding"] for feature in features], dtype=np.float32)
    np.testing.assert_array_equal(vectors, table.vectors())
    assert [feature["geometry"]["coordinates"][0] for feature in features] == table.lon.tolist()


def test_geojson_has_no_word_for_nan(tmp_path: Path) -> None:
    table = make_table(2, 2).with_column("value", np.array([np.nan, np.inf]))
    write_table(table.with_column("time_start", np.array(["2020-01-01"] * 2, "datetime64[us]")), tmp_path / "a.parquet")
    export_table(tmp_path / "a.parquet", tmp_path / "out.geojson")
    first = json.loads((tmp_path / "out.geojson").read_text())["features"][0]["properties"]
    assert (first["value"], first["time_start"]) == (None, "2020-01-01T00:00:00Z")


@pytest.mark.parametrize("suffix", [".fgb", ".gpkg"])
@pytest.mark.parametrize("vectors", [False, True])
def test_files_of_ogr(tmp_path: Path, cells: Path, suffix: str, vectors: bool) -> None:
    pytest.importorskip("pyogrio")
    geopandas = pytest.importorskip("geopandas")
    before = sorted(path.name for path in tmp_path.iterdir())
    summary = export_table(cells, tmp_path / f"out{suffix}", geometry="cell", vectors=vectors)
    frame = geopandas.read_file(tmp_path / f"out{suffix}")
    table = read_table(cells)
    assert len(frame) == summary["rows"] == 21
    assert set(frame["id"]) == set(table.ids)
    assert frame.crs == "EPSG:4326"
    assert (frame.geometry.isna() == (frame["id"] == "lone")).all()
    assert ("dim_2" in frame.columns) is vectors
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*before, f"out{suffix}"])


def test_stac(tmp_path: Path, stored: Path) -> None:
    (tmp_path / "items").mkdir()
    export_table(stored, tmp_path / "items/table.stac.json")
    item = json.loads((tmp_path / "items/table.stac.json").read_text())
    assert item["assets"]["embeddings"]["href"] == "../table.parquet"
    assert item["properties"]["placevec:fingerprint"] == open_table(stored).fingerprint()
    with pytest.raises(UsageError, match="whole table"):
        export_table(stored, tmp_path / "x.stac.json", columns=["cover"])


def test_part_of_a_table(tmp_path: Path, stored: Path) -> None:
    chosen = Filter(where="cover == 'forest'")
    summary = export_table(stored, tmp_path / "out.csv", filter=chosen, columns=["count"], vectors=False)
    lines = (tmp_path / "out.csv").read_text().splitlines()
    assert lines[0] == '"id","geometry","count"'
    assert len(lines) - 1 == summary["rows"] == len(read_table(stored, chosen))


def test_nothing_passes(tmp_path: Path, stored: Path) -> None:
    for name in ("out.csv", "out.geojson", "out.parquet"):
        assert export_table(stored, tmp_path / name, filter=Filter(ids=["nobody"]))["rows"] == 0
    assert len(read_table(tmp_path / "out.parquet")) == 0


@pytest.mark.parametrize(
    ("out", "options", "word"),
    [
        ("out.xlsx", {}, "ending"),
        ("out.csv", {"form": "word"}, "'word'"),
        ("out.csv", {"geometry": "hull"}, "'hull'"),
        ("out.csv", {"columns": ["absent"]}, "'absent'"),
        ("out.parquet", {"vectors": False}, "csv or geojson"),
        ("table.parquet", {}, "another name"),
    ],
)
def test_refusals(tmp_path: Path, stored: Path, out: str, options: dict[str, Any], word: str) -> None:
    with pytest.raises(UsageError, match=word) as caught:
        export_table(stored, tmp_path / out, **options)
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["table.parquet"]


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("a.csv.gz", "csv"),
        ("b.GeoJSON", "geojson"),
        ("c.lance/", "lance"),
        ("d.stac.json", "stac"),
        ("e.gpq", "parquet"),
    ],
)
def test_form_by_the_ending(name: str, form: str) -> None:
    assert form_of(name) == form


@example(lon=0.0, lat=-0.0, size=1.0)
@given(lon=st.floats(-180, 179.999), lat=st.floats(-90, 90), size=st.floats(1e-6, 1))
def test_wkt_of_polygons_brings_every_digit_back(
    lon: float, lat: float, size: float, tmp_path_factory: pytest.TempPathFactory
) -> None:
    from placevec.sources.tables import read_foreign

    folder = tmp_path_factory.mktemp("wkt")
    shape = shapely.box(lon / 2, lat / 2, lon / 2 + size, lat / 2 + size)
    places = Places.create(["a"], geometry=np.array([shape], dtype=object))
    write_table(EmbeddingTable.of(places, np.ones((1, 2)), Space.asserted("x", 2)), folder / "a.parquet")
    export_table(folder / "a.parquet", folder / "a.csv")
    back = read_foreign(folder / "a.csv", crs="OGC:CRS84", space="x").table()
    assert back.fingerprint() == read_table(folder / "a.parquet").fingerprint()
