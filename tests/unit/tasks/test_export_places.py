"""Hits and scores in the forms of other programs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import shapely

from conftest import make_table
from placevec.errors import UsageError
from placevec.geo.cells import H3Cells
from placevec.results import Hits
from placevec.table import EmbeddingTable, Places
from placevec.tasks.export_places import export_hits, export_places, hits_places
from placevec.tasks.search import search


@pytest.fixture
def hits() -> Hits:
    table = make_table(50)
    cells = H3Cells(6).assign(table.lonlat())
    with_cells = EmbeddingTable(table.with_column("h3", cells).with_column("score", np.arange(50)).data, table.meta)
    return search(with_cells, like="p00007", k=6)


def test_hits_go_out_with_rank_and_score(tmp_path: Path, hits: Hits) -> None:
    places = hits_places(hits)
    assert places.column("rank").tolist() == [1, 2, 3, 4, 5, 6]
    assert np.array_equal(places.column("score"), hits.scores)
    assert places.has("score_")  # an attribute of that name gives way
    judged = replace(hits, relevance=np.linspace(0.9, 0.1, 6).astype("f4"), origin=("t",) * 6)
    assert {"relevance", "table"} <= set(hits_places(judged).attributes)
    summary = export_hits(hits, tmp_path / "h.geojson", geometry="cell")
    assert (summary["form"], summary["rows"]) == ("geojson", 6)
    features = json.loads((tmp_path / "h.geojson").read_text())["features"]
    assert [one["properties"]["rank"] for one in features] == [1, 2, 3, 4, 5, 6]
    assert {one["geometry"]["type"] for one in features} == {"Polygon"}


@pytest.mark.parametrize("geometry", ["stored", "point", "cell"])
def test_geoparquet_of_hits_is_one_by_its_footer(tmp_path: Path, hits: Hits, geometry: str) -> None:
    export_hits(hits, tmp_path / "h.parquet", geometry=geometry)
    file = pq.ParquetFile(tmp_path / "h.parquet")
    geo = json.loads(file.metadata.metadata[b"geo"])
    column = geo["columns"]["geometry"]
    assert column["geometry_types"] == (["Polygon"] if geometry == "cell" else ["Point"])
    data = file.read()
    assert data["rank"].to_pylist() == [1, 2, 3, 4, 5, 6]
    shapes = shapely.from_wkb(data["geometry"].to_numpy(zero_copy_only=False))
    # The covering is of 32-bit floats, rounded outwards.
    assert np.allclose(column["bbox"], shapely.total_bounds(shapes), atol=1e-4)
    boxes = data["bbox"].combine_chunks()
    assert np.allclose(boxes.field("xmin").to_numpy(), shapely.bounds(shapes)[:, 0], atol=1e-4)


def test_geopandas_reads_it(tmp_path: Path, hits: Hits) -> None:
    geopandas = pytest.importorskip("geopandas")
    export_hits(hits, tmp_path / "h.parquet")
    frame = geopandas.read_parquet(tmp_path / "h.parquet")
    assert frame.crs.equals("OGC:CRS84")
    assert frame.geometry.x.to_numpy() == pytest.approx(hits.lon)


def test_all_forms_hold_all_hits(tmp_path: Path, hits: Hits) -> None:
    pytest.importorskip("pyogrio")
    pytest.importorskip("rasterio")
    pytest.importorskip("pmtiles")
    for ending in ("csv", "fgb", "gpkg", "parquet", "geojson", "tif", "pmtiles", "mvt"):
        summary = export_hits(hits, tmp_path / f"h.{ending}")
        assert summary["rows"] == 6
        assert summary["bytes"] > 0
    text = (tmp_path / "h.csv").read_text().splitlines()
    assert len(text) == 7
    assert not list(tmp_path.glob(".*"))


def test_columns_are_chosen_and_what_is_absent_is_named(tmp_path: Path, hits: Hits) -> None:
    export_hits(hits, tmp_path / "h.csv", columns=["score"])
    assert (tmp_path / "h.csv").read_text().splitlines()[0] == '"id","geometry","score"'
    with pytest.raises(UsageError, match="no column 'x'"):
        export_hits(hits, tmp_path / "h.csv", columns=["x"])
    with pytest.raises(UsageError, match="'npy'"):
        export_hits(hits, tmp_path / "h.npy")
    with pytest.raises(UsageError, match="no cells"):
        export_places(Places.create(["a"]), tmp_path / "h.csv", geometry="cell")


def test_no_hits_are_a_file_too(tmp_path: Path) -> None:
    nothing = search(make_table(5), like="p00001", k=3).places.take([])
    for ending in ("parquet", "csv", "geojson"):
        assert export_places(nothing, tmp_path / f"n.{ending}")["rows"] == 0
