"""Similarity maps: every row of a region scored against examples, drawn, and written as a layer."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import shapely

from conftest import make_table
from placevec.area import StudyArea
from placevec.cli.main import run
from placevec.errors import SpaceMismatch, UsageError
from placevec.geo.cells import H3Cells
from placevec.provenance import Space
from placevec.table import EmbeddingTable, Filter, Places, open_table, write_table
from placevec.tasks.map import map_tables
from placevec.tasks.map_similarity import region_rows, score_rows, similarity
from placevec.tasks.search import search
from placevec.tasks.search_examples import rocchio

rasterio = pytest.importorskip("rasterio")

SPACE = Space("trained:sim", 6)
SMALL = {"width": 120, "layouts": ()}


def cells_table(metric: str = "cosine", box: tuple[float, ...] = (-6.0, 38.0, 0.0, 43.0)) -> EmbeddingTable:
    cells = H3Cells(5).cover(shapely.box(*box))
    centres = H3Cells(5).centre(cells)
    rng = np.random.default_rng(1)
    wave = np.column_stack([np.sin(centres.lon), np.cos(centres.lat), np.sin(centres.lat + centres.lon)])
    vectors = (wave @ rng.normal(size=(3, 6)) + 0.05 * rng.normal(size=(len(cells), 6))).astype("f4")
    places = Places.create(
        [f"{cell:x}" for cell in cells], centres, h3=cells, attributes={"kind": np.where(wave[:, 0] > 0, "a", "b")}
    )
    return EmbeddingTable.of(places, vectors, Space(SPACE.id, 6, metric))


@pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])
def test_scores_are_those_of_a_search_in_every_metric(tmp_path: Path, metric: str) -> None:
    table = cells_table(metric)
    write_table(table, tmp_path / "t.parquet")
    stored = open_table(tmp_path / "t.parquet")
    like, unlike = [str(one) for one in table.ids[[3, 70]]], str(table.ids[400])
    for one in (table, stored):
        found = similarity(one, like=like, unlike=unlike, filter=Filter(bbox=(-5.0, 39.0, -2.0, 41.0)))
        known = search(
            one, like=like, unlike=unlike, filter=Filter(bbox=(-5.0, 39.0, -2.0, 41.0)), k=10_000, exclude_self=False
        )
        assert np.array_equal(found.scores[np.argsort(found.rows)], found.scores)
        by_row = dict(zip(known.rows.tolist(), known.scores.tolist(), strict=True))
        assert by_row == dict(zip(found.rows.tolist(), found.scores.tolist(), strict=True))
        assert (len(found.liked), len(found.disliked)) == (2, 1)
        places = found.places()
        assert np.array_equal(places.column("score"), found.scores)


def test_a_point_and_a_vector_are_examples_too() -> None:
    table = cells_table()
    row = int(np.argmin(np.hypot(table.lon + 3, table.lat - 40)))
    at = similarity(table, at=(-3.0, 40.0))
    assert at.scores[row] == pytest.approx(1.0)
    assert str(table.ids[row]) in at.plan.note
    same = similarity(table, vector=table.vectors()[row])
    assert np.allclose(same.scores, at.scores)
    with pytest.raises(UsageError, match="nothing to be like"):
        similarity(table, unlike=str(table.ids[0]))
    with pytest.raises(SpaceMismatch):
        similarity(table, vector=np.zeros(6), space=Space("trained:other", 6))
    with pytest.raises(UsageError, match="not in the table"):
        similarity(table, like="nobody")


def test_rows_are_scored_alike_in_parts_and_whole(tmp_path: Path) -> None:
    table = make_table(300, 16)
    write_table(table, tmp_path / "t.parquet", order="keep")
    query = rocchio([table.vectors()[0]], [], table.space)
    rows = np.array([0, 5, 6, 7, 150, 299])
    whole = score_rows(table, query, np.arange(300))
    assert np.array_equal(score_rows(table, query, rows), whole[rows])
    assert np.array_equal(score_rows(open_table(tmp_path / "t.parquet"), query, rows), whole[rows])


def test_cells_on_the_border_belong_to_a_study_area(tmp_path: Path) -> None:
    boundary = shapely.box(-4.0, 39.0, -2.0, 41.0)
    area = StudyArea("box", boundary, (5,))
    area.save(tmp_path)
    table = cells_table()
    write_table(table, tmp_path / "t.parquet")
    for one in (table, open_table(tmp_path / "t.parquet")):
        rows, _ = region_rows(one, None, tmp_path)
        ids = one.places().ids[rows]
        assert sorted(ids) == sorted(f"{cell:x}" for cell in area.cells(5))
    # Points have no outline: theirs is inside or not.
    points = make_table(500)
    rows, _ = region_rows(points, None, area)
    inside = (points.lon >= -4) & (points.lon <= -2) & (points.lat >= 39) & (points.lat <= 41)
    assert np.array_equal(rows, np.flatnonzero(inside))


def test_a_map_of_examples_draws_the_region_with_its_scores(tmp_path: Path) -> None:
    table = cells_table()
    names = ",".join(str(one) for one in table.ids[[3, 70]])
    near = Filter(near=(-3.0, 40.5, 90_000.0))
    (drawn,) = map_tables(
        [table], tmp_path / "s.png", by="similarity", like=names, unlike=str(table.ids[400]), filter=near, **SMALL
    )
    found = similarity(table, like=names.split(","), unlike=str(table.ids[400]), filter=near)
    assert drawn.rows == len(found)
    assert drawn.said == ("like: 2 places", f"unlike: {table.ids[400]}")
    with rasterio.open(drawn.geotiff) as raster:
        values = raster.read(1)
        seen = np.unique(values[np.isfinite(values)])
        assert raster.descriptions == ("similarity",)
    assert np.isin(seen, found.scores).all()
    assert len(seen) > 0.9 * len(np.unique(found.scores))


def test_coverage_shows_the_best_share_and_writes_it_as_a_layer(tmp_path: Path) -> None:
    table = cells_table()
    name = str(table.ids[3])
    layer = tmp_path / "s.geojson"
    (drawn,) = map_tables([table], tmp_path / "s.png", by="similarity", like=name, coverage=0.2, layer=layer, **SMALL)
    part = similarity(table, like=name).covered(0.2)
    assert str(part) in drawn.said
    features = json.loads(layer.read_text())["features"]
    assert {one["geometry"]["type"] for one in features} == {"Polygon"}
    assert [one["properties"]["covered"] for one in features] == part.inside.tolist()
    with rasterio.open(drawn.geotiff) as raster:
        values, covered = raster.read()
        assert raster.descriptions == ("similarity", "covered")
    assert set(np.unique(covered[np.isfinite(covered)])) == {0.0, 1.0}
    assert values[covered == 1].min() >= np.float32(part.least)
    assert np.nanmax(values[covered == 0]) <= part.least


def test_a_figure_has_its_marks_and_its_grey_rest(tmp_path: Path) -> None:
    table = cells_table()
    (drawn,) = map_tables(
        [table],
        tmp_path / "s.png",
        by="similarity",
        like=[str(table.ids[3])],
        unlike=str(table.ids[90]),
        coverage=0.3,
        width=200,
    )
    assert drawn.png.stat().st_size > 10_000


def test_regions_and_coverage_are_for_tables_and_for_similarity(tmp_path: Path) -> None:
    table = cells_table()
    with pytest.raises(UsageError, match="not of --by pca"):
        map_tables([table], tmp_path / "x.png", coverage=0.1)
    with pytest.raises(UsageError, match="draw one"):
        map_tables([table], tmp_path / "x.png", layer=tmp_path / "x.csv")
    with pytest.raises(UsageError, match="lies in the region"):
        map_tables([table], tmp_path / "x.png", filter=Filter(bbox=(50.0, 0.0, 51.0, 1.0)), **SMALL)
    (drawn,) = map_tables([table], tmp_path / "x.png", filter=Filter(where="kind == 'a'"), **SMALL)
    assert drawn.rows == int((table.column("kind") == "a").sum())


def test_the_command_line_maps_by_similarity_where_there_is_an_example(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = cells_table()
    write_table(table, tmp_path / "t.parquet")
    words = ["map", str(tmp_path / "t.parquet"), "-o", str(tmp_path / "m.png"), "--width", "120"]
    assert run([*words, "--like", str(table.ids[3]), "--near=-3,40,150km", "--coverage", "0.1"]) == 0
    assert "best 10" in capsys.readouterr().err
    assert run([*words, "--like", str(table.ids[3]), "--coverage", "7"]) == 2
    assert "share of the area" in capsys.readouterr().err
