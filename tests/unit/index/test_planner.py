import numpy as np
import pytest
import shapely

from conftest import make_table
from placevec.errors import StaleIndex, UsageError
from placevec.geo.sphere import LonLat, distance_m
from placevec.index import planner as planning
from placevec.index.base import Found, Index, Rows, Vectors
from placevec.index.exact import ExactIndex
from placevec.index.planner import Around, Planner
from placevec.table import EmbeddingTable, Filter, open_table, write_table
from placevec.testing import sample_table


@pytest.fixture(params=["memory", "parquet", "lance"])
def stored(request, tmp_path):
    """A function that gives a table in each of its forms."""

    def form(table: EmbeddingTable):
        if request.param == "memory":
            return table
        path = tmp_path / f"t.{request.param}"
        write_table(table, path, order="keep")
        return open_table(path)

    return form


def test_without_a_filter_every_row_is_scored(stored) -> None:
    table = make_table()
    hits = Planner(stored(table)).search(table.vectors()[3], 5)
    assert hits.ids[0] == "p00003"
    assert (hits.plan.name, hits.plan.exact, hits.plan.candidates, hits.plan.total) == ("scan", True, 200, 200)
    assert hits.plan.note == ""
    assert hits.plan.seconds > 0


def test_a_filter_is_resolved_first(stored) -> None:
    table = make_table()
    chosen = Filter(bbox=(-5, 38, 0, 42), where="elevation > 1000")
    hits = Planner(stored(table)).search(table.vectors()[0], 8, filter=chosen)
    allowed = np.flatnonzero(chosen.mask(table))
    wanted, scores = ExactIndex(table).search(table.vectors()[:1], 8, allowed)
    assert np.array_equal(hits.rows, wanted[0])
    assert np.array_equal(hits.scores, scores[0])
    assert hits.plan.name == "filter-then-exact"
    assert hits.plan.candidates == len(allowed)
    assert hits.places.column("elevation").min() > 1000
    assert "embedding" not in hits.places.data.schema.names


def test_rows_without_geometry_are_left_out_and_counted(stored) -> None:
    table = sample_table()
    hits = Planner(stored(table)).search(table.vectors()[0], 300, filter=Filter(bbox=(174, -20, -174, 20)))
    assert hits.plan.unlocated == 20
    assert len(hits) == 240 == hits.plan.candidates
    assert not np.isnan(hits.lon).any()
    assert "only 240 rows may be found" in hits.plan.note
    assert "20 rows without a geometry left out" in str(hits.plan)


def test_nothing_passes(stored) -> None:
    table = make_table()
    hits = Planner(stored(table)).search(table.vectors()[0], 5, filter=Filter(near=(100.0, 0.0, 10.0)))
    assert len(hits) == 0
    assert "no row passes the filter" in hits.plan.note
    assert hits.to_records() == []
    assert hits.to_geojson()["features"] == []
    with pytest.raises(UsageError, match="not finite"):
        Planner(stored(table)).search(np.full(8, np.nan), 5, filter=Filter(near=(100.0, 0.0, 10.0)))


def test_an_empty_table() -> None:
    table = make_table().take([])
    assert Planner(table).search(np.ones(8, dtype=np.float32)).plan.note == "the table is empty"


@pytest.mark.parametrize("count", [1, 40, 150])
def test_excluded_rows_are_not_found(stored, count: int) -> None:
    table = make_table()
    away = np.random.default_rng(0).choice(200, count, replace=False)
    for chosen in (None, Filter(where="elevation > 500")):
        hits = Planner(stored(table)).search(table.vectors()[int(away[0])], 30, filter=chosen, exclude=away)
        allowed = np.setdiff1d(np.arange(200) if chosen is None else np.flatnonzero(chosen.mask(table)), away)
        wanted, _ = ExactIndex(table).search(table.vectors()[away[:1]], 30, allowed)
        assert np.array_equal(hits.rows, wanted[0][wanted[0] >= 0])
        assert hits.plan.candidates == len(allowed)


def test_all_rows_excluded() -> None:
    table = make_table(20)
    hits = Planner(table).search(table.vectors()[0], 3, exclude=np.arange(20))
    assert len(hits) == 0
    assert "no row is left" in hits.plan.note
    with pytest.raises(UsageError, match="row 20 does not exist"):
        Planner(table).search(table.vectors()[0], 3, exclude=[20])


def test_circles_around_the_query_are_kept_out(stored) -> None:
    table = sample_table()
    centre = LonLat(np.array([180.0, -176.0]), np.array([0.0, 10.0]))
    hits = Planner(stored(table)).search(table.vectors()[0], 300, around=Around(centre, 500_000.0))
    located = np.flatnonzero(table.located)
    far = np.min([distance_m(table.lonlat(located), c) for c in centre], axis=0) > 500_000.0
    assert set(hits.rows.tolist()) == set(located[far].tolist())
    assert hits.plan.unlocated == 20


def test_a_polygon_across_the_antimeridian(stored) -> None:
    table = sample_table()
    area = shapely.Polygon([(178, -9), (184, -9), (184, 9), (178, 9)])
    hits = Planner(stored(table)).search(table.vectors()[1], 300, filter=Filter(within=area))
    lon = table.lon % 360
    inside = (lon >= 178) & (lon <= 184) & (np.abs(table.lat) <= 9)
    assert set(hits.rows.tolist()) == set(np.flatnonzero(inside).tolist())


def test_many_queries_share_one_plan() -> None:
    table = make_table()
    hits = Planner(table).search_many(table.vectors()[:4], 3, filter=Filter(where="count > 10"), columns=["cover"])
    assert len(hits) == 4
    assert all(hit.plan == hits[0].plan for hit in hits)
    assert hits[0].places.attributes == ("cover",)
    with pytest.raises(UsageError, match="search_many"):
        Planner(table).search(table.vectors()[:4])


class _Rough(Index):
    """An approximate index: it finds good rows, in a wrong order, with wrong scores."""

    name, exact = "rough", False

    def __init__(self, table: EmbeddingTable) -> None:
        self._inner = ExactIndex(table)
        self.space, self.tower, self.num_rows = table.space, table.meta.tower, len(table)
        self.asked: list[tuple[int, int | None]] = []

    @property
    def fingerprint(self) -> str:
        return self._inner.fingerprint

    def _search(self, queries: Vectors, k: int, rows: Rows | None) -> Found:
        self.asked.append((k, None if rows is None else len(rows)))
        found, scores = self._inner.search(queries, k, rows)
        return found[:, ::-1], scores * np.float32(0.5)


def test_an_approximate_index_is_asked_for_more_and_its_finds_scored_exactly(monkeypatch) -> None:
    table = make_table()
    rough = _Rough(table)
    exact = Planner(table).search(table.vectors()[0], 5, exclude=[0])
    few = Planner(table, rough).search(table.vectors()[0], 5, exclude=[0])
    assert (few.plan.name, rough.asked) == ("scan", [])  # so few rows are scored exactly
    monkeypatch.setattr(planning, "EXACT_ROWS", 100)
    many = Planner(table, rough).search(table.vectors()[0], 5, exclude=[0])
    assert (many.plan.name, many.plan.exact) == ("ann-then-exact", False)
    assert rough.asked == [(24, None)]
    assert np.array_equal(many.rows, exact.rows)
    assert np.array_equal(many.scores, exact.scores)


def test_a_stale_index_is_refused() -> None:
    table = make_table()
    other = table.with_column("count", table.column("count") + 1)
    with pytest.raises(StaleIndex, match="build it again"):
        Planner(table, _Rough(other))
    with pytest.raises(StaleIndex, match="200 rows, the table has 10"):
        Planner(table.take(np.arange(10)), _Rough(table))
