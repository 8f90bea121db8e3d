"""The real engine of Qdrant, with its graph and 8 bits a component: the full k, and nearly all of the true ones."""

import time

import numpy as np
import pytest

from placevec.geo.sphere import LonLat
from placevec.index.stores.qdrant import QdrantStore
from placevec.provenance import Space
from placevec.table import EmbeddingTable, Filter, Places
from placevec.testing.index import brute_force
from qdrant_tables import on_edge

N, D, K = 6000, 24, 10


@pytest.fixture(scope="module")
def table() -> EmbeddingTable:
    rng = np.random.default_rng(2)
    centres = rng.standard_normal((40, D))
    vectors = centres[rng.integers(0, 40, N)] + 0.4 * rng.standard_normal((N, D))
    lon, lat = rng.uniform(170, 190, N), rng.uniform(-10, 10, N)
    places = Places.create(
        [f"row-{i}" for i in range(N)],
        lonlat=LonLat(np.where(lon > 180, lon - 360, lon), lat),
        attributes={"share": rng.random(N)},
    )
    return EmbeddingTable.of(places, vectors, Space.mint(D), tower="image")


@pytest.fixture(scope="module")
def store(table, tmp_path_factory) -> QdrantStore:
    made = on_edge(tmp_path_factory.mktemp("edge"))
    loaded = made.load(table)
    assert loaded.added == N
    info = made.link.client().get_collection("places")
    assert info.indexed_vectors_count == N  # the graph is there
    made.exact_rows = 50
    return made


def recall(found: np.ndarray, truth: np.ndarray, rows: np.ndarray) -> float:
    best = np.sort(truth[rows])[::-1][min(K, len(rows)) - 1]
    return float((truth[found] >= best - 1e-5).sum()) / min(K, len(rows))


SETS = {
    "all": None,
    "most": Filter(where="share > 0.001"),
    "a tenth": Filter(where="share > 0.9"),
    "a hundredth": Filter(bbox=(179.0, -1.0, -179.0, 1.0)),
    "a circle": Filter(near=(180.0, 0.0, 300_000.0)),
    "few": Filter(where="share > 0.999"),
}


@pytest.mark.parametrize("name", SETS)
def test_a_filtered_search_of_the_graph(store, table, name) -> None:
    queries = np.random.default_rng(4).standard_normal((20, D)).astype(np.float32)
    truth = brute_force(table, queries)
    rows = table.resolve(SETS[name])[0]
    shares = []
    for query, own in zip(queries, truth, strict=True):
        hits = store.search(query, K, SETS[name])
        assert len(hits) == min(K, len(rows))
        assert hits.plan.exact == (len(rows) <= 50)
        shares.append(recall(table.rows_of(hits.ids), own, rows))
    assert np.mean(shares) >= 0.99


@pytest.mark.parametrize("share", [1.0, 0.999, 0.5, 0.05])
def test_an_index_of_the_graph(store, table, share) -> None:
    rng = np.random.default_rng(6)
    rows = np.sort(rng.choice(N, int(share * N), replace=False))
    queries = rng.standard_normal((20, D)).astype(np.float32)
    truth = brute_force(table, queries)
    found, _ = store.index(table).search(queries, K, rows)
    assert (found >= 0).all()
    assert np.isin(found, rows).all()
    assert np.mean([recall(near, own, rows) for near, own in zip(found, truth, strict=True)]) >= 0.99


def test_loading_again_takes_no_time(store, table) -> None:
    began = time.monotonic()
    assert store.load(table).unchanged == N
    assert time.monotonic() - began < 5
