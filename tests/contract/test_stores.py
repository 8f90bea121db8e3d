"""Every store keeps the contract of an index, and those of loading and of filters."""

import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from shapely.geometry import Polygon

from placevec.errors import SpaceMismatch, StaleIndex, UsageError
from placevec.index.base import Index
from placevec.index.stores import Store, open_store, parse_store_url
from placevec.index.stores.qdrant import QdrantStore
from placevec.provenance import Space
from placevec.registry import get
from placevec.table import EmbeddingTable, Filter
from placevec.testing import check_index
from placevec.testing.index import brute_force, sample_table
from postgres_server import at, shared_url
from qdrant_edge_client import EdgeClient

Open = Callable[[str], Store]
QDRANT = os.environ.get("PLACEVEC_TEST_QDRANT", "")


def _memory(_: Path) -> Open:
    return lambda name: open_store(f"qdrant://:memory:/{name}")


def _edge(folder: Path) -> Open:
    return lambda name: QdrantStore(parse_store_url(f"qdrant://edge/{name}"), client=EdgeClient(folder / name))


def _server(_: Path) -> Open:
    if not QDRANT:
        pytest.skip("no Qdrant server: set PLACEVEC_TEST_QDRANT=qdrant://host:6333")
    return lambda name: open_store(f"{QDRANT.rstrip('/')}/{name}")


# One line each: how the store with a name is opened.
STORES: dict[str, Callable[[Path], Open]] = {
    "qdrant-memory": _memory,
    "qdrant-edge": _edge,
    "qdrant-server": _server,
    "lance": lambda folder: lambda name: open_store(f"lance://{folder}/{name}.lance"),
    "postgres": lambda _: lambda name: open_store(at(shared_url(), name)),
}
_NUMBERS = itertools.count()


@pytest.fixture(params=STORES)
def opened(request, tmp_path) -> Iterator[Callable[[], Store]]:
    """What opens a new store; all of them are removed at the end."""
    open_ = STORES[request.param](tmp_path)
    made: list[Store] = []

    def new() -> Store:
        made.append(open_(f"placevec-{os.getpid()}-{next(_NUMBERS)}-test"))
        return made[-1]

    yield new
    for store in made:
        store.drop()
        store.close()


@pytest.mark.parametrize("name", ["exact", "faiss"])
def test_indexes_that_are_no_stores(name: str) -> None:
    if name == "faiss":
        pytest.importorskip("faiss")
    check_index(get("index", name))


def test_the_index_of_a_store(opened, request) -> None:
    def make(table: EmbeddingTable) -> Index:
        store = opened()
        store.load(table)
        return store.index(table)

    # What is sent is decoded: the storage type matters to none of them.
    every = ["float32", "float16", "int8"] if "memory" in request.node.name else ["int8"]
    check_index(make, dtypes=every)


def test_the_index_of_a_store_above_the_bound_of_exact_search(opened) -> None:
    def make(table: EmbeddingTable) -> Index:
        store = opened()
        store.exact_rows = 5
        store.load(table)
        return store.index(table)

    check_index(make, metrics=["cosine", "l2"], dtypes=["float32"])


FILTERS = {
    "none": None,
    "a box across the antimeridian": Filter(bbox=(178.0, -10.0, -177.0, 10.0)),
    "a polygon across the antimeridian": Filter(within=Polygon([(178, -9), (184, -9), (184, 9), (178, 9)])),
    "a polygon with a hole": Filter(
        within=Polygon([(174, -19), (186, -19), (186, 19), (174, 19)], [[(178, -9), (182, -9), (182, 9), (178, 9)]])
    ),
    "a circle across the antimeridian": Filter(near=(179.5, 0.0, 400_000.0)),
    "an attribute": Filter(where="elevation > 2000"),
    "an attribute and a box": Filter(where="not (elevation > 2000)", bbox=(175.0, -20.0, 180.0, 20.0)),
    "ids": Filter(ids=["row-001", "row-017", "row-100", "no such row"]),
    "nothing": Filter(where="elevation > 5000"),
}


@pytest.mark.parametrize("exact_rows", [100_000, 5])
@pytest.mark.parametrize("metric", ["cosine", "l2"])
def test_a_filter_finds_the_best_of_what_passes(opened, metric, exact_rows) -> None:
    table = sample_table(metric=metric)
    store = opened()
    store.exact_rows = exact_rows
    store.load(table)
    query = np.random.default_rng(5).standard_normal(table.dims).astype(np.float32)
    truth = brute_force(table, query[None, :])[0]
    for name, condition in FILTERS.items():
        rows = table.resolve(condition)[0]
        hits = store.search(query, 10, condition)
        reach = min(10, len(rows))
        assert len(hits) == reach, name
        found = table.rows_of(hits.ids)
        assert np.isin(found, rows).all(), name
        best = np.sort(truth[rows])[::-1][:reach]
        assert np.allclose(hits.scores, truth[found], atol=2e-5), name
        assert (truth[found] >= best[-1] - 2e-5).mean() >= 0.9 if reach else True, name
        assert np.allclose(hits.lon, table.lon[found], equal_nan=True), name
        # JSON readers may miss the last bit of a double.
        assert np.allclose(hits.places.column("elevation"), table.column("elevation")[found], rtol=1e-14), name


def test_loading_again_changes_nothing_and_follows_the_table(opened) -> None:
    table = sample_table()
    store = opened()
    assert store.card() is None
    first = store.load(table)
    assert (first.rows, first.added, first.removed, first.unchanged) == (260, 260, 0, 0)
    again = store.load(table)
    assert (again.added, again.removed, again.unchanged) == (0, 0, 260)
    card = store.card()
    assert card is not None
    assert (card.fingerprint, card.rows, card.complete) == (table.fingerprint(), 260, True)
    assert card.space == table.space
    fewer = table.take(np.arange(20, 260))
    changed = fewer.with_column("elevation", np.where(np.arange(240) == 3, 9999.0, fewer.column("elevation")))
    with pytest.raises(StaleIndex):
        store.index(fewer)
    loaded = store.load(changed)
    assert (loaded.added, loaded.removed, loaded.unchanged) == (1, 20, 239)
    store.index(changed).check(changed)
    assert store.search(np.ones(12), 1, Filter(where="elevation == 9999")).ids.tolist() == ["row-023"]
    with pytest.raises(UsageError, match="row-000"):
        store.vectors(["row-000"])
    assert np.allclose(store.vectors(["row-030", "row-025"]), table.vectors(np.array([30, 25])), atol=1e-5)


def test_another_space_is_refused(opened) -> None:
    table = sample_table()
    store = opened()
    store.load(table)
    foreign = EmbeddingTable(table.data, table.meta.replace(space=Space.mint(table.dims)))
    with pytest.raises(SpaceMismatch, match="--replace"):
        store.load(foreign)
    with pytest.raises(SpaceMismatch):
        store.index(foreign)
    with pytest.raises(UsageError, match="--replace"):
        store.load(table.take(np.arange(10)))
    assert store.card().fingerprint == table.fingerprint()
    assert store.load(foreign, replace=True).added == 260
    store.index(foreign)
    store.drop()
    assert store.card() is None
    store.drop()
    with pytest.raises(UsageError):
        store.search(np.ones(12), 3)
