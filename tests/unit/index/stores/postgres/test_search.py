"""What the server finds is what placevec's own filters and scores say."""

import numpy as np
import pytest
from hypothesis import given, settings

from conftest import make_table
from placevec.errors import SpaceMismatch, StaleIndex, UsageError
from placevec.index.exact import ExactIndex
from placevec.index.stores import open_store
from placevec.provenance import Space
from placevec.table import Filter, Places
from placevec.table.fingerprint import fingerprint
from placevec.testing import check_index
from postgres_server import at
from store_cases import BAD_WHERE, FILTERS, WHERE, hard_table, wheres


@pytest.fixture(scope="module", params=[5, None], ids=["h3", "no h3"])
def kept(request, postgres_url):
    table = hard_table(h3=request.param)
    with open_store(at(postgres_url, f"kept_{request.param}"), ann_rows=10**9) as store:
        store.load(table, replace=True)
        yield table, store
        store.drop()


def expected(table, query, k, filter):
    rows = table.resolve(filter)[0]
    found, scores = ExactIndex(table).search(query[None, :], k, rows)
    real = found[0] >= 0
    return found[0][real], scores[0][real], len(rows)


@pytest.mark.parametrize("name", FILTERS)
def test_filters(kept, name: str) -> None:
    table, store = kept
    query = np.ones(table.dims, dtype=np.float32)
    rows, scores, count = expected(table, query, 1000, FILTERS[name])
    hits = store.search(query, 1000, FILTERS[name])
    assert hits.plan.candidates == count
    assert set(hits.ids) == set(table.ids[rows])
    assert np.allclose(hits.scores, scores)
    assert hits.plan.exact
    assert len(store.search(query, 3, FILTERS[name])) == min(3, count)


@pytest.mark.parametrize("kept", [5], ids=["h3"], indirect=True)
@pytest.mark.parametrize("where", WHERE)
def test_where(kept, where: str) -> None:
    table, store = kept
    hits = store.search(np.ones(table.dims), 1000, Filter(where=where))
    assert set(hits.ids) == set(table.ids[table.resolve(Filter(where=where))[0]])


@pytest.mark.parametrize("kept", [5], ids=["h3"], indirect=True)
@pytest.mark.parametrize("where", BAD_WHERE)
def test_where_refused(kept, where: str) -> None:
    table, store = kept
    with pytest.raises(UsageError):
        store.search(np.ones(table.dims), 3, Filter(where=where))


@pytest.mark.parametrize("kept", [5], ids=["h3"], indirect=True)
@given(where=wheres)
@settings(max_examples=25)
def test_where_is_what_arrow_says(kept, where: str) -> None:
    table, store = kept
    hits = store.search(np.ones(table.dims), 1000, Filter(where=where))
    assert set(hits.ids) == set(table.ids[table.resolve(Filter(where=where))[0]])


def test_hits_come_with_all_their_columns(kept) -> None:
    table, store = kept
    hits = store.search(np.ones(table.dims), 1000)
    assert hits.plan.name == "scan"
    assert hits.places.data.schema.equals(table.places().data.schema)
    assert fingerprint([hits.places.data]) == fingerprint([table.places().data])
    assert (hits.rows == -1).all()
    assert isinstance(hits.places, Places)


def test_vectors(kept) -> None:
    table, store = kept
    rows = [50, 3, 3, 399]
    assert np.array_equal(store.vectors(list(table.ids[rows])), table.vectors(np.array(rows)))
    assert store.vectors([]).shape == (0, table.dims)
    with pytest.raises(UsageError, match="not there"):
        store.vectors(["not there"])


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8"])
def test_vectors_lose_nothing(make_store, dtype: str) -> None:
    table = make_table(50, 8, dtype=dtype)
    store = make_store()
    store.load(table)
    assert np.array_equal(store.vectors(list(table.ids)), table.vectors())


@pytest.mark.parametrize("options", [{}, {"exact_rows": 0, "ann_rows": 0}, {"exact_rows": 60, "ann_rows": 0}])
def test_the_contract_of_an_index(make_store, options) -> None:
    store = make_store(**options)

    def loaded(table):
        store.load(table, replace=True)
        return store.index(table)

    check_index(loaded, dtypes=["int8"] if options else ["float32", "float16"])


@pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])
def test_a_graph_finds_nearly_all_and_always_k(make_store, metric: str) -> None:
    table = make_table(3000, 16, unit=False, space=Space.mint(16, metric=metric))
    store = make_store(exact_rows=0, ann_rows=0)
    store.load(table)
    queries = make_table(20, 16, seed=5, unit=False).vectors()
    truth, _ = ExactIndex(table).search(queries, 10)
    found, _ = store.index(table).search(queries, 10)
    assert np.mean([len(set(a) & set(b)) / 10 for a, b in zip(truth, found, strict=True)]) >= 0.99
    for wish in (Filter(where="cover == 'grass'"), Filter(where="count == 7"), Filter(bbox=(-4.0, 40.0, -3.8, 40.2))):
        rows = table.resolve(wish)[0]
        truth, _ = ExactIndex(table).search(queries, 10, rows)
        found, _ = store.index(table).search(queries, 10, rows)
        hits = store.search(queries[0], 10, wish)
        assert len(hits) == min(10, len(rows))
        assert ((found >= 0) == (truth >= 0)).all()
        wanted = [set(best[best >= 0]) for best in truth]
        assert np.mean([len(a & set(b)) / len(a) for a, b in zip(wanted, found, strict=True)]) >= 0.95
    hits = store.search(queries[0], 10)
    assert (hits.plan.name, hits.plan.exact) == ("ann-then-exact", False)
    assert len(store.search(queries[0], 2900)) == 2900


def test_rows_in_another_order(make_store, table) -> None:
    store = make_store()
    store.load(table)
    turned = table.take(np.arange(len(table))[::-1])
    query = table.vectors()[:3]
    rows, _ = store.index(turned).search(query, 5, np.arange(100))
    truth, _ = ExactIndex(turned).search(query, 5, np.arange(100))
    assert np.array_equal(rows, truth)


def test_an_index_of_something_else(make_store, table) -> None:
    store = make_store()
    with pytest.raises(UsageError, match="nothing at"):
        store.index(table)
    with pytest.raises(UsageError, match="nothing at"):
        store.search(table.vectors()[0], 3)
    store.load(table)
    with pytest.raises(StaleIndex):
        store.index(table.take(range(10)))
    with pytest.raises(SpaceMismatch):
        store.index(make_table(len(table)))
    index = store.index(table)
    index.search(table.vectors()[:1], 3)
    store.load(make_table(30, 8, prefix="q", space=table.space), replace=True)
    with pytest.raises(StaleIndex):
        index.search(table.vectors()[:1], 3)


def test_queries_are_looked_at(make_store, table) -> None:
    store = make_store()
    store.load(table)
    with pytest.raises(SpaceMismatch):
        store.search(np.ones(3), 3)
    with pytest.raises(UsageError):
        store.search(np.zeros(8), 3)
    with pytest.raises(UsageError):
        store.search(np.ones(8), 0)


def test_an_empty_table(make_store, table) -> None:
    store = make_store(ann_rows=0)
    assert store.load(table.take([])).rows == 0
    assert len(store.search(np.ones(8), 3)) == 0
    assert len(store.search(np.ones(8), 3, Filter(bbox=(0.0, 0.0, 1.0, 1.0)))) == 0
    assert store.load(table).added == 200
