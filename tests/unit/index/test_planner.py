import os

import numpy as np
import pytest
import shapely

from conftest import make_table
from placevec.errors import StaleIndex, UsageError
from placevec.geo.sphere import LonLat, distance_m
from placevec.index import planner as planning
from placevec.index import resolve as resolving
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


class _Short(_Rough):
    """It names half of what it is asked for, and sometimes a row that was not allowed."""

    reranks = True

    def _search(self, queries: Vectors, k: int, rows: Rows | None) -> Found:
        found, scores = self._inner.search(queries, k, rows)
        found[:, (k + 1) // 2 :], scores[:, (k + 1) // 2 :] = -1, np.nan
        self.asked.append((k, None if rows is None else len(rows)))
        return found, scores


@pytest.mark.parametrize("reranks", [True, False])
def test_an_index_with_too_few_finds_is_asked_again_until_k_are_there(monkeypatch, reranks: bool) -> None:
    table = make_table()
    monkeypatch.setattr(planning, "EXACT_ROWS", 30)
    monkeypatch.setattr(_Short, "reranks", reranks)
    for chosen in (None, Filter(where="elevation > 500")):
        wanted = Planner(table).search_many(table.vectors()[:3], 25, filter=chosen, exclude=[4, 5])
        short = _Short(table)
        hits = Planner(table, short).search_many(table.vectors()[:3], 25, filter=chosen, exclude=[4, 5])
        assert [hit.rows.tolist() for hit in hits] == [hit.rows.tolist() for hit in wanted]
        assert [hit.plan.name for hit in hits] == ["ann-then-exact"] * 3
        if reranks:
            assert [hit.plan.grown for hit in hits] == [1, 1, 1]
            assert "asked 1 times again" in str(hits[0].plan)


def test_as_many_as_there_are_are_found_though_the_index_names_fewer(monkeypatch) -> None:
    table = make_table()
    monkeypatch.setattr(planning, "EXACT_ROWS", 30)
    hits = Planner(table, _Short(table)).search(table.vectors()[0], 500, filter=Filter(where="elevation > 500"))
    assert len(hits) == hits.plan.candidates == len(set(hits.rows.tolist()))


def test_a_filter_for_each_query(stored) -> None:
    table = make_table()
    form = stored(table)
    shared = Filter(bbox=(-5, 38, 0, 42))
    chosen = [shared, None, Filter(where="elevation > 1000"), shared, Filter(near=(100.0, 0.0, 10.0))]
    planner = Planner(form)
    for turn in range(2):  # by the table itself, then by what was got ready
        if turn:
            planner.prepare()
        hits = planner.search_many(table.vectors()[:5], 4, filter=chosen)
        for query, one, hit in zip(table.vectors(), chosen, hits, strict=False):
            alone = Planner(form).search(query, 4, filter=one)
            assert hit.rows.tolist() == alone.rows.tolist()
            assert hit.ids.tolist() == alone.ids.tolist()
            assert hit.places.attributes == alone.places.attributes
            assert (hit.plan.candidates, hit.plan.name, hit.plan.note) == (
                alone.plan.candidates,
                alone.plan.name,
                alone.plan.note,
            )
    with pytest.raises(UsageError, match="2 filters for 5 queries"):
        planner.search_many(table.vectors()[:5], 4, filter=[None, shared])


def test_what_is_kept_of_a_file_is_dropped_when_the_file_changes(tmp_path) -> None:
    table, path = make_table(), tmp_path / "t.parquet"
    write_table(table, path, order="keep")
    planner = Planner(open_table(path))
    planner.prepare()
    before = planner.resolver.resolve(Filter(bbox=(-5, 38, 0, 42)))[0]
    assert planner.resolver._blocks is not None
    os.utime(path, ns=(1, 1))
    assert planner.resolver.resolve(Filter(bbox=(-5, 38, 0, 42)))[0].tolist() == before.tolist()
    assert planner.resolver._blocks is None


def test_many_filters_make_it_get_ready_and_few_do_not() -> None:
    planner = Planner(make_table())
    planner.search(planner.table.vectors()[0], filter=Filter(bbox=(-5, 38, 0, 42)))
    assert planner.resolver._blocks is None
    boxes = [Filter(bbox=(-5, 38, 0, 42 + at)) for at in range(40)]
    planner.search_many(planner.table.vectors()[:60], filter=[*boxes, *[None] * 20])
    assert planner.resolver._blocks is not None


def test_a_table_too_large_to_be_kept_is_asked_itself(monkeypatch) -> None:
    monkeypatch.setattr(resolving, "CACHE_BYTES", 1000)
    table = make_table()
    planner = Planner(table)
    planner.prepare()
    assert planner.resolver._blocks is None
    chosen = Filter(bbox=(-5, 38, 0, 42))
    assert planner.resolver.resolve(chosen)[0].tolist() == table.resolve(chosen)[0].tolist()


@pytest.mark.parametrize("where", ["nothing > 1", "cover > 3"])
def test_a_wrong_attribute_filter_is_refused_wherever_it_is_evaluated(where: str) -> None:
    table = make_table()
    planner = Planner(table)
    for box in ((-5.0, 38.0, 0.0, 42.0), (100.0, 0.0, 101.0, 1.0), None):
        for _ in range(2):
            with pytest.raises(UsageError, match=where.split()[0]):
                planner.search(table.vectors()[0], filter=Filter(bbox=box, where=where))
        planner.prepare()
        with pytest.raises(UsageError, match=where.split()[0]):
            planner.search(table.vectors()[0], filter=Filter(bbox=box, where=where))


def test_the_places_of_hits_are_taken_when_they_are_looked_at() -> None:
    table = make_table()
    hits = Planner(table).search(table.vectors()[3], 5)
    assert "data" not in vars(hits.places)
    assert len(hits.places) == 5
    picked = hits.places.take([1, 0])
    assert picked.ids.tolist() == hits.ids[[1, 0]].tolist()
    assert "data" in vars(hits.places)
    with pytest.raises(AttributeError, match="no attribute 'dats'"):
        getattr(hits.places, "da" + "ts")


def test_a_stale_index_is_refused() -> None:
    table = make_table()
    other = table.with_column("count", table.column("count") + 1)
    with pytest.raises(StaleIndex, match="build it again"):
        Planner(table, _Rough(other))
    with pytest.raises(StaleIndex, match="200 rows, the table has 10"):
        Planner(table.take(np.arange(10)), _Rough(table))
