"""Coverage: the best-matching share of the ground."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from conftest import make_table
from placevec.errors import UsageError
from placevec.geo.areas import cell_areas
from placevec.geo.cells import H3Cells
from placevec.geo.sphere import LonLat
from placevec.provenance import Space
from placevec.table import EmbeddingTable, Filter, Places, open_table, write_table
from placevec.tasks.coverage import best_share, check_share, row_areas
from placevec.tasks.map_similarity import coverage, similarity
from placevec.tasks.search import search

SPACE = Space("trained:cover", 5)


def cells_table(resolution: int = 4, box: tuple[float, ...] = (-9.0, 36.0, 3.0, 43.0)) -> EmbeddingTable:
    cells = H3Cells(resolution).cover(shapely.box(*box))
    vectors = np.random.default_rng(0).standard_normal((len(cells), SPACE.dims)).astype("f4")
    places = Places.create([f"{cell:x}" for cell in cells], H3Cells(resolution).centre(cells), h3=cells)
    return EmbeddingTable.of(places, vectors, SPACE)


@given(
    st.lists(st.tuples(st.integers(-5, 5), st.floats(0.1, 9.0)), min_size=1, max_size=40),
    st.floats(0.01, 1.0),
)
def test_no_other_number_of_best_rows_comes_nearer(rows: list[tuple[int, float]], share: float) -> None:
    scores = np.array([score for score, _ in rows], dtype=np.float32)
    areas = np.array([area for _, area in rows])
    found = best_share(scores, areas, True, share)
    order = sorted(range(len(rows)), key=lambda row: (-scores[row], row))
    sums = [sum(areas[row] for row in order[:count]) for count in range(1, len(rows) + 1)]
    miss = min(abs(total - share * areas.sum()) for total in sums)
    assert abs(found.area_m2 - share * areas.sum()) == pytest.approx(miss, abs=1e-9)
    assert found.share == pytest.approx(areas[found.inside].sum() / areas.sum())
    assert set(np.flatnonzero(found.inside)) == set(order[: int(found.inside.sum())])
    assert found.least == scores[found.inside].min()


def test_shares_that_are_none_are_refused() -> None:
    for share in (0.0, -1.0, 1.01, float("nan")):
        with pytest.raises(UsageError, match="above 0 and up to 1"):
            check_share(share)
    with pytest.raises(UsageError, match="widen it"):
        best_share(np.empty(0, np.float32), np.empty(0), True, 0.5)


def test_a_share_is_of_the_ground_and_not_of_the_rows() -> None:
    # Few large cells that match, many small ones that do not.
    large, small = H3Cells(3).assign(LonLat.of(0, 45)), H3Cells(5).cover(shapely.box(10, 45, 11, 46))
    cells = np.concatenate([large, small])
    vectors = np.tile(np.array([[0.0, 1.0]], "f4"), (len(cells), 1))
    vectors[0] = [1.0, 0.0]
    where = LonLat(np.zeros(len(cells)), np.zeros(len(cells)))
    places = Places.create([str(row) for row in range(len(cells))], where, h3=cells)
    table = EmbeddingTable.of(places, vectors, Space("trained:two", 2))
    areas = cell_areas(cells)
    share = float(areas[0] / areas.sum())
    hits = coverage(table, share, like="0")
    assert list(hits.ids) == ["0"]
    assert hits.plan.name == "coverage"
    assert "km²" in hits.plan.note


def test_hits_are_those_of_a_search_as_far_down_as_the_share_reaches(tmp_path: Path) -> None:
    table = cells_table()
    write_table(table, tmp_path / "t.parquet")
    stored = open_table(tmp_path / "t.parquet")
    name = str(table.ids[50])
    near = Filter(near=(-3.0, 40.0, 300_000.0))
    for one in (table, stored):
        hits = coverage(one, 0.25, like=name, filter=near)
        known = search(one, like=name, filter=near, k=len(hits), exclude_self=False)
        assert hits.ids.tolist() == known.ids.tolist()
        assert np.array_equal(hits.scores, known.scores)
        areas = cell_areas(one.places().take(one.resolve(near)[0]).column("h3").astype("u8"))
        got = cell_areas(hits.places.column("h3").astype("u8")).sum() / areas.sum()
        assert got == pytest.approx(0.25, abs=areas.max() / areas.sum())
    assert len(coverage(table, 1.0, like=name)) == len(table)


def test_rows_of_one_cell_share_its_area_and_points_count_alike() -> None:
    cell = H3Cells(4).assign(LonLat.of(0, 45))
    places = Places.create(["a", "b"], LonLat(np.zeros(2), np.full(2, 45.0)), h3=np.repeat(cell, 2))
    table = EmbeddingTable.of(places, np.eye(2, 5, dtype="f4"), SPACE)
    areas, weighted = row_areas(table, np.arange(2))
    assert weighted
    assert areas.sum() == pytest.approx(cell_areas(cell)[0])
    points, weighted = row_areas(make_table(7), np.arange(7))
    assert not weighted
    assert points.tolist() == [1.0] * 7
    assert "they have no areas" in str(similarity(make_table(7), like="p00001").covered(0.5))


def test_polygons_count_by_their_area() -> None:
    shapes = np.array([shapely.box(0, 0, 2, 1), shapely.box(5, 0, 6, 1)], dtype=object)
    places = Places.create(["a", "b"], geometry=shapes)
    areas, weighted = row_areas(EmbeddingTable.of(places, np.eye(2, 5, dtype="f4"), SPACE), np.arange(2))
    assert weighted
    assert areas[0] == pytest.approx(2 * areas[1], rel=1e-3)
