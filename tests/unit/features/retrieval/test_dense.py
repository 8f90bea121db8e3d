"""All rows scored at once, against the index."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conftest import make_table
from placevec.features.retrieval import Bank, Masks, dense
from placevec.features.retrieval.dense import best_rows, is_small
from placevec.features.retrieval.masks import Queries
from placevec.features.retrieval.neighbours import most_alike
from placevec.provenance import Space
from placevec.table import EmbeddingTable

MASKS = [Masks(), Masks(buffer_m=150e3), Masks(max_m=300e3), Masks(buffer_m=90e3, max_m=200e3)]


def asked(masks: Masks, metric="cosine", n=300) -> Queries:
    space = Space.mint(6, metric=metric)
    made = make_table(n, 6, space=space, box=(-9, 36, 3, 43))
    vectors = made.vectors().copy()
    vectors[40:60] = vectors[40]  # ties
    vectors[70] = 0.0
    scaled = vectors * np.random.default_rng(0).uniform(0.5, 2.0, (n, 1)).astype(np.float32)
    place = np.array([f"p{i // 2}" for i in range(n)], dtype=object)
    table = EmbeddingTable.of(made.places().with_column("place", place), scaled, space)
    bank = Bank.of(table, queries=space)
    some = np.arange(0, n, 3)
    lon = table.lon[some].copy()
    lon[5] = np.nan
    return Queries.of(bank, masks, lon, table.lat[some], scaled[some], table.ids[some], place[some])


@pytest.mark.parametrize("masks", MASKS, ids=str)
@pytest.mark.parametrize("metric", ["cosine", "dot"])
@pytest.mark.parametrize("k", [1, 20, 300])
def test_it_is_the_answer_of_the_index(masks: Masks, metric, k: int, monkeypatch) -> None:
    queries = asked(masks, metric)
    index = queries.bank.index
    assert is_small(index, queries)
    rows, scores = most_alike(index, queries, k)
    monkeypatch.setattr(dense, "MOST", 0)
    assert not is_small(index, queries)
    wanted_rows, wanted = most_alike(index, queries, k)
    assert np.array_equal(rows >= 0, wanted_rows >= 0)
    assert np.allclose(scores, wanted, atol=1e-6, equal_nan=True)
    # Vectors of one direction and other lengths have scores that differ in the last digit: then the order may.
    same = rows == wanted_rows
    assert same.mean() > 0.8
    if metric == "dot":
        assert same.all()


def test_a_space_of_distances_is_left_to_the_index() -> None:
    queries = asked(Masks(), "l2")
    assert not is_small(queries.bank.index, queries)


@pytest.mark.parametrize("masks", MASKS, ids=str)
def test_all_pairs_are_judged_as_each_is(masks: Masks) -> None:
    queries = asked(masks)
    query, row = (side.reshape(-1) for side in np.indices((len(queries), len(queries.bank))))
    assert np.array_equal(queries.usable_rows().reshape(-1), queries.usable(query, row))


def test_batches_do_not_show(monkeypatch) -> None:
    queries = asked(Masks(buffer_m=50e3))
    found = []
    for size in (1, 7 * 300, 10**7):
        monkeypatch.setattr(dense, "_SCORES_AT_ONCE", size)
        rows, scores = np.full((100, 9), -1), np.full((100, 9), np.nan, dtype=np.float32)
        best_rows(queries, 9, np.arange(1, 100), rows, scores)
        assert (rows[0] == -1).all()
        found.append(np.nan_to_num(scores, nan=-9.0))
    assert all(np.allclose(found[0], one, atol=1e-6) for one in found)


@given(st.integers(0, 1000), st.integers(1, 12), st.integers(1, 4))
def test_the_largest_in_order_with_ties_by_column(seed: int, k: int, values: int) -> None:
    scores = np.random.default_rng(seed).integers(0, values, (5, 12)).astype(np.float32)
    scores[0] = -np.inf
    wanted = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    assert np.array_equal(dense._largest(scores, k), wanted)
