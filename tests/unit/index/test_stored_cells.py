"""Under a filter only rows in near cells are scored: enough of them, of the right ones, and all where that is few."""

import numpy as np
import pytest

from placevec.geo.sphere import LonLat
from placevec.index import planner as planning
from placevec.index.exact import ExactIndex
from placevec.index.planner import Planner
from placevec.index.stored import IndexSettings, StoredIndex, build_index, read_card, update_index
from placevec.provenance import Space
from placevec.table import EmbeddingTable, Filter, Places, open_table, write_table

pytest.importorskip("faiss")

ROWS, DIMS = 9000, 16


def table_of(metric: str, seed: int = 0, n: int = ROWS) -> EmbeddingTable:
    """Clustered vectors; places at random, so that a box holds some of each cluster."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((60, DIMS))
    vectors = (centres[rng.integers(0, 60, n)] + 0.5 * rng.standard_normal((n, DIMS))).astype(np.float32)
    places = Places.create([f"r{at}" for at in range(n)], LonLat(rng.uniform(-50, 50, n), rng.uniform(-50, 50, n)))
    return EmbeddingTable.of(places, vectors, Space.asserted("cells", DIMS, metric=metric))


@pytest.fixture(scope="module", params=["cosine", "dot", "l2"])
def made(request, tmp_path_factory):
    table = table_of(request.param)
    folder = tmp_path_factory.mktemp("cells") / "t.index"
    build_index(table, folder, IndexSettings("ivf-sq8"))
    return table, StoredIndex(folder, table), folder


def boxes(count: int, seed: int, widths: tuple[float, ...] = (12.0, 20.0, 30.0)) -> list[Filter]:
    rng = np.random.default_rng(seed)
    x, y = rng.uniform(-50, 20, (2, count))
    return [Filter(bbox=(x[at], y[at], x[at] + widths[at % 3], y[at] + widths[at % 3])) for at in range(count)]


def test_what_was_measured_stands_in_the_card_the_more_rows_the_more_to_look_at(made) -> None:
    _, index, folder = made
    measured = read_card(folder).measured
    assert measured is not None
    shares, rows = zip(*measured.near, strict=True)
    assert index.narrows
    assert list(shares) == sorted(shares, reverse=True)
    assert list(rows) == sorted(rows, reverse=True)
    assert all(10 <= least <= share * ROWS / 2 for share, least in measured.near)


def test_the_rows_kept_are_those_of_the_nearest_cells(made) -> None:
    table, index, _ = made
    cells = index._cells
    rng = np.random.default_rng(1)
    for count in (3000, 900, 400):
        rows = np.sort(rng.choice(ROWS, count, replace=False))
        query = table.vectors()[rng.integers(ROWS)][None]
        (near,) = index.narrow(query, 10, [rows])
        wanted = cells.enough(count, 10)
        own = query[0] / np.linalg.norm(query) if table.space.metric == "cosine" else query[0]
        away = -(cells._centres @ own)
        if table.space.metric == "l2":
            away = np.linalg.norm(cells._centres - own, axis=1)
        order = np.argsort(away, kind="stable")
        of_row = cells._of_row[rows]
        taken = 1 + int(np.argmax(np.bincount(of_row, minlength=cells.count)[order].cumsum() >= wanted))
        assert np.array_equal(near, rows[np.isin(of_row, order[:taken])])
        assert len(near) >= wanted


def test_boxes_find_what_a_scan_finds_and_say_that_it_may_not_be_all(made, monkeypatch) -> None:
    table, index, _ = made
    monkeypatch.setattr(planning, "NARROW_WORK", 0)
    chosen = boxes(60, 2)
    queries = table.vectors()[::150] + np.float32(0.1) * np.random.default_rng(3).standard_normal((60, DIMS))
    hits = Planner(table, index).search_many(queries, 10, filter=chosen)
    exact = Planner(table).search_many(queries, 10, filter=chosen)
    assert all(len(mine) == 10 for mine in hits)
    assert np.mean([np.isin(true.rows, mine.rows).mean() for mine, true in zip(hits, exact, strict=True)]) >= 0.97
    assert {hit.plan.name for hit in hits} == {"ann-then-exact", "filter-then-exact"}
    for query, mine, true in zip(queries, hits, exact, strict=True):
        assert mine.plan.exact == (mine.plan.name == "filter-then-exact")
        assert mine.plan.candidates == true.plan.candidates
        # Scored by the table itself, whatever the index keeps.
        assert np.array_equal(mine.scores, ExactIndex(table).search(query[None], 10, mine.rows)[1][0])


def test_one_search_is_as_one_of_many(made, monkeypatch) -> None:
    table, index, _ = made
    monkeypatch.setattr(planning, "NARROW_WORK", 0)
    chosen, queries = boxes(9, 5), table.vectors()[:9]
    planner = Planner(table, index)
    for query, one, mine in zip(queries, chosen, planner.search_many(queries, 7, filter=chosen), strict=True):
        alone = planner.search(query, 7, filter=one)
        assert np.array_equal(alone.rows, mine.rows)
        assert (alone.plan.name, alone.plan.candidates) == (mine.plan.name, mine.plan.candidates)


def test_few_candidates_are_all_scored(made) -> None:
    table, index, _ = made
    hits = Planner(table, index).search_many(table.vectors()[:6], 10, filter=boxes(6, 6))
    assert {hit.plan.name for hit in hits} == {"filter-then-exact"}


def test_fewer_near_rows_than_are_wanted_are_followed_by_all(made, monkeypatch) -> None:
    table, index, _ = made
    monkeypatch.setattr(planning, "NARROW_WORK", 0)
    monkeypatch.setattr(StoredIndex, "narrow", lambda self, queries, k, rows: [own[: k - 1] for own in rows])
    chosen, queries = boxes(4, 7), table.vectors()[:4]
    hits = Planner(table, index).search_many(queries, 10, filter=chosen)
    exact = Planner(table).search_many(queries, 10, filter=chosen)
    for mine, true in zip(hits, exact, strict=True):
        assert np.array_equal(mine.rows, true.rows)
        assert (mine.plan.exact, mine.plan.grown) == (True, 1)


def test_more_neighbours_take_more_rows_and_too_many_take_all(made) -> None:
    table, index, _ = made
    rows = np.arange(0, ROWS, 9)
    few, more = (index.narrow(table.vectors()[:1], k, [rows])[0] for k in (10, 30))
    assert few is not None
    assert more is None or len(more) > len(few)
    assert index.narrow(table.vectors()[:1], 500, [rows]) == [None]


def test_after_an_update_rows_are_known_by_their_new_numbers(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(planning, "NARROW_WORK", 0)
    table, folder = table_of("cosine"), tmp_path / "t.index"
    build_index(table, folder, IndexSettings("ivf-sq8"))
    rng = np.random.default_rng(8)
    kept = table.take(rng.permutation(ROWS)[: ROWS - 500])
    update_index(kept, folder)
    planner = Planner(kept, StoredIndex(folder, kept))
    chosen, queries = boxes(30, 9), kept.vectors()[:30]
    hits = planner.search_many(queries, 10, filter=chosen)
    exact = Planner(kept).search_many(queries, 10, filter=chosen)
    assert any(hit.plan.name == "ann-then-exact" for hit in hits)
    assert np.mean([np.isin(true.rows, mine.rows).mean() for mine, true in zip(hits, exact, strict=True)]) >= 0.97


def test_an_index_without_cells_or_measures_says_nothing(tmp_path) -> None:
    table = table_of("cosine", n=600)
    for kind in ("flat", "hnsw", "ivf-sq8"):
        build_index(table, tmp_path / f"{kind}.index", IndexSettings(kind))
        index = StoredIndex(tmp_path / f"{kind}.index", table)
        assert not index.narrows
        assert index.narrow(table.vectors()[:2], 5, [np.arange(300), np.arange(400)]) == [None, None]


@pytest.mark.parametrize("kind", ["flat", "hnsw", "ivf-sq8"])
@pytest.mark.parametrize("metric", ["cosine", "dot"])
def test_the_rows_of_a_file_are_scored_by_the_vectors_that_the_index_keeps(
    tmp_path, monkeypatch, kind: str, metric: str
) -> None:
    write_table(table_of(metric, n=2500), tmp_path / "t.parquet", order="keep")
    table = open_table(tmp_path / "t.parquet")
    build_index(table, tmp_path / "t.index", IndexSettings(kind))
    queries, chosen = table.take(np.arange(6), columns=[]).vectors(), boxes(6, 4)
    exact = Planner(table).search_many(queries, 10, filter=chosen)
    monkeypatch.setattr(ExactIndex, "_fetched", None)  # nothing is read from the file
    hits = Planner(table, StoredIndex(tmp_path / "t.index", table)).search_many(queries, 10, filter=chosen)
    for mine, true in zip(hits, exact, strict=True):
        assert np.allclose(mine.scores, true.scores, atol=1e-3)
        assert mine.plan.name == "filter-then-exact"
        # Vectors compared by cosine are kept as float16: of two nearly equal ones the wrong one may come first.
        assert mine.plan.exact == (metric == "dot")
        assert metric == "cosine" or np.array_equal(mine.rows, true.rows)
