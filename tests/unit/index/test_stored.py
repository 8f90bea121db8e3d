"""Indexes in a folder: they keep the contract, belong to their table, and say so in one line where they do not."""

import json
import sys
from itertools import count

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conftest import make_table
from placevec.errors import CheckpointError, MissingExtra, SchemaError, SpaceMismatch, StaleIndex, UsageError
from placevec.index import planner as planning
from placevec.index.base import exact_scores
from placevec.index.exact import ExactIndex
from placevec.index.planner import Planner
from placevec.index.stored import KINDS, IndexSettings, StoredIndex, build_index
from placevec.index.stored import index as opened
from placevec.provenance import Space
from placevec.table import EmbeddingTable, Filter, Places, open_table, write_table
from placevec.testing import check_index

pytest.importorskip("faiss")


@pytest.fixture
def faiss_alone(monkeypatch) -> None:
    """What finds is asked however few rows there are: else small tables would be scanned."""
    monkeypatch.setattr(opened, "_FEW", 0)
    monkeypatch.setattr(opened, "_MANY", 2)


def recall(found: np.ndarray, wanted: np.ndarray) -> float:
    return float(np.mean([np.isin(a, b).mean() for a, b in zip(wanted, found, strict=True)]))


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_keeps_the_contract(kind: str, tmp_path, faiss_alone) -> None:
    numbers = count()

    def make(table: EmbeddingTable) -> StoredIndex:
        folder = tmp_path / f"{next(numbers)}.index"
        build_index(table, folder, IndexSettings(kind))
        return StoredIndex(folder, table)

    check_index(make)


def test_small_tables_are_scanned_and_keep_the_contract_too(tmp_path) -> None:
    numbers = count()

    def make(table: EmbeddingTable) -> StoredIndex:
        path = tmp_path / f"{next(numbers)}.parquet"
        write_table(table, path, order="keep")
        build_index(open_table(path), path.with_suffix(".index"), IndexSettings("ivf-sq8"))
        return StoredIndex(path.with_suffix(".index"), open_table(path))

    check_index(make, dtypes=["float32"])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])
def test_nearly_all_neighbours_are_found(kind: str, metric: str, tmp_path) -> None:
    table = make_table(6000, 16, space=Space.mint(16, metric=metric), unit=False)
    queries = make_table(50, 16, seed=3, unit=False).vectors()
    build_index(table, tmp_path / "t.index", IndexSettings(kind))
    index = StoredIndex(tmp_path / "t.index", table)
    found, scores = index.search(queries, 10)
    exact, _ = ExactIndex(table).search(queries, 10)
    # Without any clusters, a quarter of the cells holds less than all.
    assert recall(found, exact) >= (0.998 if kind == "flat" else 0.93)
    truth = exact_scores(queries, table.vectors()[found[:, 0]], table.space)
    assert np.allclose(scores[:, 0], truth, atol=3e-4 if metric == "cosine" else 1e-6)
    assert (np.diff(scores, axis=1) <= 0).all()
    assert index.vectors.dtype == (np.float16 if metric == "cosine" else np.float32)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rows", [slice(0, 3000), slice(0, None, 2), slice(0, 100), slice(0, 5999)])
def test_among_allowed_rows_the_full_k_is_found(kind: str, rows: slice, tmp_path) -> None:
    # Sorted by their first component, so that a slice leaves out a whole region of the vectors.
    table = make_table(6000, 16)
    table = table.take(np.argsort(table.vectors()[:, 0]))
    allowed = np.arange(6000)[rows]
    queries = make_table(30, 16, seed=3).vectors()
    build_index(table, tmp_path / "t.index", IndexSettings(kind))
    found, _ = StoredIndex(tmp_path / "t.index", table).search(queries, 10, allowed)
    exact, _ = ExactIndex(table).search(queries, 10, allowed)
    assert np.isin(found, allowed).all()
    assert recall(found, exact) > 0.9


def test_cells_without_enough_rows_are_made_up_for(tmp_path, faiss_alone) -> None:
    table = make_table(2000, 8)
    build_index(table, tmp_path / "t.index", IndexSettings("ivf-sq8", cells=500, probes=1))
    index = StoredIndex(tmp_path / "t.index", table)
    found, _ = index.search(table.vectors()[:20], 30)
    assert (found >= 0).all()


@pytest.mark.parametrize("kind", KINDS)
def test_two_builds_are_the_same_bytes(kind: str, tmp_path) -> None:
    table = make_table(5000, 8)
    one, other = (build_index(table, tmp_path / f"{at}.index", IndexSettings(kind)).card for at in range(2))
    assert one == other
    assert all((tmp_path / "0.index" / name).stat().st_size == digest.bytes for name, digest in one.files.items())


def test_probes_and_ef_can_be_set_when_it_is_opened(tmp_path) -> None:
    table = make_table(6000, 16)
    queries = make_table(50, 16, seed=3).vectors()
    exact, _ = ExactIndex(table).search(queries, 10)
    build_index(table, tmp_path / "t.index", IndexSettings("ivf-sq8", cells=64, probes=1))
    few = recall(StoredIndex(tmp_path / "t.index", table).search(queries, 10)[0], exact)
    all_ = recall(StoredIndex(tmp_path / "t.index", table, probes=64).search(queries, 10)[0], exact)
    assert few < 0.9 < 0.99 < all_
    with pytest.raises(UsageError, match="ef means nothing to an index of the kind 'ivf-sq8'"):
        StoredIndex(tmp_path / "t.index", table, ef=3)


@pytest.mark.parametrize("form", ["parquet", "lance"])
def test_a_table_written_again_in_another_order(form: str, tmp_path) -> None:
    table = make_table(800, 8)
    path, folder = tmp_path / f"t.{form}", tmp_path / "t.index"
    write_table(table, path, order="keep")
    build_index(open_table(path), folder, IndexSettings("hnsw"))
    before = StoredIndex(folder, open_table(path))
    query = table.vectors()[:5]
    names = np.asarray(open_table(path).places().ids)[before.search(query, 7)[0]]
    old = open_table(path).state
    write_table(table.take(np.random.default_rng(0).permutation(800)), path, order="keep")
    after = StoredIndex(folder, open_table(path))
    assert (np.asarray(open_table(path).places().ids)[after.search(query, 7)[0]] == names).all()
    assert form == "lance" or old != open_table(path).state
    with pytest.raises(StaleIndex, match="another order"):
        before.check(open_table(path))


def test_a_table_as_it_was_is_not_read(tmp_path, monkeypatch) -> None:
    path, folder = tmp_path / "t.parquet", tmp_path / "t.index"
    write_table(make_table(300), path)
    build_index(open_table(path), folder)

    def never(self) -> str:
        raise AssertionError("the table was read")

    monkeypatch.setattr("placevec.table.stored.StoredTable.fingerprint", never)
    StoredIndex(folder, open_table(path)).check(open_table(path))


@pytest.mark.parametrize("form", ["parquet", "lance"])
def test_a_table_with_the_same_rows_and_other_values_is_stale(form: str, tmp_path) -> None:
    table, path = make_table(300), tmp_path / f"t.{form}"
    write_table(table, path)
    build_index(open_table(path), tmp_path / "t.index")
    write_table(table.with_column("count", np.asarray(table.column("count")) + 1), path)
    with pytest.raises(StaleIndex, match=r"another state of the table .*--update"):
        StoredIndex(tmp_path / "t.index", open_table(path))


def test_what_it_was_not_made_from_is_refused(tmp_path) -> None:
    table, folder = make_table(300), tmp_path / "t.index"
    build_index(table, folder)
    with pytest.raises(StaleIndex, match=r"knows 300 rows, the table has 299: .*--update"):
        StoredIndex(folder, table.take(np.arange(299)))
    with pytest.raises(SpaceMismatch, match=r"is of the Space trained:.*build it again with"):
        StoredIndex(folder, EmbeddingTable(table.data, table.meta.replace(space=Space.mint(8))))
    with pytest.raises(StaleIndex, match="weights abababababab: build it again"):
        StoredIndex(folder, EmbeddingTable(table.data, table.meta.replace(weights_sha256="ab" * 32)))
    with pytest.raises(SpaceMismatch, match="queries of 9 components"):
        StoredIndex(folder, table).search(np.ones((1, 9), dtype=np.float32), 3)


def test_no_index_is_there(tmp_path) -> None:
    with pytest.raises(UsageError, match="is no index, it has no index.json: make one with `placevec index"):
        StoredIndex(tmp_path, make_table(10))
    (tmp_path / "precious.txt").write_text("mine")
    with pytest.raises(UsageError, match="is there already and is no index"):
        build_index(make_table(10), tmp_path)
    assert (tmp_path / "precious.txt").read_text() == "mine"


@pytest.fixture(scope="module")
def whole_index(tmp_path_factory):
    """A table and the folder of its index, of the kind with the most to break."""
    folder = tmp_path_factory.mktemp("damage") / "t.index"
    table = make_table(400, 8)
    build_index(table, folder, IndexSettings("hnsw"))
    return table, folder


@given(name=st.sampled_from(["index.faiss", "vectors.npy", "ids.arrow"]), at=st.floats(0, 1), bit=st.integers(0, 7))
def test_one_bit_that_is_not_what_was_written(whole_index, tmp_path, name: str, at: float, bit: int) -> None:
    table, folder = whole_index
    path = folder / name
    good = path.read_bytes()
    bad = bytearray(good)
    bad[int(at * (len(bad) - 1))] ^= 1 << bit
    try:
        path.write_bytes(bytes(bad))
        with pytest.raises(CheckpointError, match=f"{name} is damaged .*build it again with `placevec index TABLE`"):
            StoredIndex(folder, table)
    finally:
        path.write_bytes(good)


@given(name=st.sampled_from(["index.faiss", "vectors.npy", "ids.arrow", "index.json"]), share=st.floats(0, 0.999))
def test_a_file_that_was_cut_short(whole_index, name: str, share: float) -> None:
    table, folder = whole_index
    path = folder / name
    good = path.read_bytes()
    try:
        path.write_bytes(good[: int(share * len(good))])
        with pytest.raises(CheckpointError, match="build it again"):
            StoredIndex(folder, table)
    finally:
        path.write_bytes(good)


@given(share=st.floats(0, 0.999), name=st.sampled_from(["index.faiss", "vectors.npy", "ids.arrow"]))
def test_a_file_whose_card_was_made_for_it(whole_index, tmp_path_factory, share: float, name: str) -> None:
    # Whoever forges the checksums too still gets an error and no crash.
    from placevec.index.stored.digests import FileDigest

    table, folder = whole_index
    path, card = folder / name, folder / "index.json"
    good, before = path.read_bytes(), card.read_text()
    try:
        path.write_bytes(good[: int(share * len(good))])
        value = json.loads(before)
        value["files"][name] = FileDigest.of(path).to_json()
        card.write_text(json.dumps(value))
        with pytest.raises(CheckpointError, match="build it again"):
            StoredIndex(folder, table)
    finally:
        path.write_bytes(good)
        card.write_text(before)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda card: card.update(version=99), "has version 99"),
        (lambda card: card.pop("slots"), "is damaged"),
        (lambda card: card.update(kind="best"), "is damaged"),
        (lambda card: card.update(files=[]), "is damaged"),
        (lambda card: card["space"].update(metric="taxi"), "is damaged"),
        (lambda card: card["files"].update({"gone": card["files"]["ids.arrow"]}), "gone is missing"),
        (lambda card: card.update(slots=401, rows=400), "cannot be read"),
        (lambda card: card.update(dtype="float32"), "holds float16"),
        (lambda card: card.update(kind="ivf", probes=3), "holds IndexHNSWSQ, not what 'ivf' needs"),
    ],
)
def test_a_card_that_says_something_else(whole_index, change, words: str) -> None:
    table, folder = whole_index
    path = folder / "index.json"
    good = path.read_text()
    value = json.loads(good)
    change(value)
    try:
        path.write_text(json.dumps(value))
        with pytest.raises(CheckpointError, match=words):
            StoredIndex(folder, table)
    finally:
        path.write_text(good)


def test_an_empty_table_has_an_index(tmp_path) -> None:
    empty = make_table(5).take([])
    for kind in KINDS:
        build_index(empty, tmp_path / f"{kind}.index", IndexSettings(kind))
        rows, scores = StoredIndex(tmp_path / f"{kind}.index", empty).search(np.ones((2, 8)), 3)
        assert (rows == -1).all()
        assert np.isnan(scores).all()


def test_rows_of_zeros_and_huge_and_tiny_vectors(tmp_path) -> None:
    rng = np.random.default_rng(0)
    for metric in ("cosine", "dot", "l2"):
        vectors = rng.standard_normal((300, 6)).astype(np.float32)
        vectors[:100] *= 1e-12
        vectors[100:200] *= 1e9
        vectors[7] = 0
        table = EmbeddingTable.of(Places.create([f"r{i}" for i in range(300)]), vectors, Space.mint(6, metric=metric))
        build_index(table, tmp_path / "t.index", IndexSettings("flat"))
        queries = vectors[[3, 150, 250]]
        found, _ = StoredIndex(tmp_path / "t.index", table).search(queries, 5)
        exact, _ = ExactIndex(table).search(queries, 5)
        assert recall(found, exact) >= 0.9, metric


def test_a_float16_table_is_kept_bit_by_bit(tmp_path) -> None:
    table = make_table(300, dtype="float16")
    build_index(table, tmp_path / "t.index", IndexSettings("flat"))
    index = StoredIndex(tmp_path / "t.index", table)
    assert np.array_equal(index.vectors, table.raw)
    found, scores = index.search(table.vectors()[:4], 9)
    exact, truth = ExactIndex(table).search(table.vectors()[:4], 9)
    assert np.array_equal(found, exact)
    assert np.array_equal(scores, truth)


def test_a_vector_that_is_not_finite_is_named(tmp_path) -> None:
    table = make_table(20)
    vectors = table.vectors().copy()
    vectors[3, 1] = np.nan
    from placevec.table.embeddings import to_arrow

    at = table.data.schema.get_field_index("embedding")
    broken = EmbeddingTable(table.data.set_column(at, "embedding", to_arrow(vectors)), table.meta)
    with pytest.raises(SchemaError, match="'p00003' holds values that are not finite"):
        build_index(broken, tmp_path / "t.index")
    assert list(tmp_path.iterdir()) == []


def test_a_flat_index_needs_no_faiss_and_others_say_so(tmp_path, monkeypatch) -> None:
    table = make_table(300)
    build_index(table, tmp_path / "hnsw.index", IndexSettings("hnsw"))
    monkeypatch.setitem(sys.modules, "faiss", None)
    build_index(table, tmp_path / "flat.index", IndexSettings("flat"))
    found, _ = StoredIndex(tmp_path / "flat.index", table).search(table.vectors()[:5], 3)
    assert (found[:, 0] == np.arange(5)).all()
    with pytest.raises(MissingExtra, match=r"placevec\[faiss\]"):
        StoredIndex(tmp_path / "hnsw.index", table)
    with pytest.raises(MissingExtra, match=r"placevec\[faiss\]"):
        build_index(table, tmp_path / "ivf.index", IndexSettings("ivf"))


def test_the_planner_takes_its_scores_as_they_are(tmp_path, monkeypatch) -> None:
    table, path = make_table(2000, 16), tmp_path / "t.parquet"
    write_table(table, path)
    build_index(open_table(path), tmp_path / "t.index", IndexSettings("ivf-sq8"))
    stored = open_table(path)
    index = StoredIndex(tmp_path / "t.index", stored)
    monkeypatch.setattr(planning, "EXACT_ROWS", 100)
    planner = Planner(stored, index)
    monkeypatch.setattr(planner.exact, "search", None)  # no vector of the table is read again
    query = table.vectors()[7]
    for chosen in (None, Filter(where="elevation > 1000")):
        hits = planner.search(query, 5, filter=chosen, exclude=[0])
        assert (hits.plan.name, hits.plan.exact) == ("ann-then-exact", False)
        exact = Planner(stored).search(query, 5, filter=chosen, exclude=[0])
        assert set(hits.ids) == set(exact.ids)
        assert np.allclose(hits.scores, exact.scores, atol=2e-4)
