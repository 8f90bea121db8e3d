"""An index brought up to date answers as one that is built anew, and a kill or an error leaves the old one."""

import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conftest import make_table
from placevec.errors import CheckpointError, DataError, SpaceMismatch, StaleIndex, UsageError
from placevec.index.exact import ExactIndex
from placevec.index.stored import KINDS, IndexSettings, StoredIndex, build_index, read_card, update_index
from placevec.index.stored import index as opened
from placevec.index.stored import write as writing
from placevec.provenance import Space
from placevec.table import EmbeddingTable, open_table, write_table

pytest.importorskip("faiss")

SPACE = Space.asserted("update", 8)


@pytest.fixture
def faiss_alone(monkeypatch) -> None:
    monkeypatch.setattr(opened, "_FEW", 0)
    monkeypatch.setattr(opened, "_MANY", 2)


def joined(*tables: EmbeddingTable) -> EmbeddingTable:
    out = tables[0]
    for table in tables[1:]:
        out = out.append(table)
    return out


def answers(index: StoredIndex, queries: np.ndarray, k: int = 10) -> list[set[int]]:
    return [set(rows.tolist()) for rows in index.search(queries, k)[0]]


@pytest.mark.parametrize("kind", KINDS)
def test_rows_come_and_go_and_change(kind: str, tmp_path, faiss_alone) -> None:
    first = make_table(3000, 8, space=SPACE)
    folder = tmp_path / "t.index"
    build_index(first, folder, IndexSettings(kind))
    other = make_table(3000, 8, seed=9, space=SPACE)  # the same ids, other vectors
    new = make_table(400, 8, seed=5, space=SPACE, prefix="q")
    now = joined(first.take(np.arange(200, 2900)), other.take(np.arange(50)), new)
    written = update_index(now, folder)
    assert (written.added, written.removed, written.rebuilt) == (450, 300, False)
    index = StoredIndex(folder, now)
    assert (index.card.rows, index.card.slots) == (3150, 3450)
    assert index.fingerprint == now.fingerprint()
    queries = now.vectors()[::21]
    exact, truth = ExactIndex(now).search(queries, 10)
    found, scores = index.search(queries, 10)
    assert np.mean([np.isin(a, b).mean() for a, b in zip(exact, found, strict=True)]) > 0.95
    # The new rows and the changed ones are found as what they are now.
    assert (found[:, 0] == np.arange(len(now))[::21]).all()
    assert np.allclose(scores[:, 0], truth[:, 0], atol=2e-4)
    build_index(now, tmp_path / "fresh.index", IndexSettings(kind))
    if kind == "flat":
        assert answers(index, queries) == answers(StoredIndex(tmp_path / "fresh.index", now), queries)


@given(data=st.data())
def test_any_sequence_of_updates_equals_a_fresh_build(data, tmp_path_factory) -> None:
    folder = tmp_path_factory.mktemp("u")
    pool = make_table(60, 4, space=Space.asserted("u", 4), dtype="float16")
    other = make_table(60, 4, seed=1, space=Space.asserted("u", 4), dtype="float16")
    names = st.lists(st.tuples(st.integers(0, 59), st.booleans()), max_size=40, unique_by=lambda pair: pair[0])
    kind = data.draw(st.sampled_from(KINDS))
    for step in range(3):
        rows = data.draw(names)
        old = pool.take([row for row, changed in rows if not changed])
        table = old.append(other.take([row for row, changed in rows if changed]))
        if step == 0:
            build_index(table, folder / "t.index", IndexSettings(kind))
            continue
        update_index(table, folder / "t.index")
        index = StoredIndex(folder / "t.index", table)
        queries = pool.vectors()[:7]
        found, scores = index.search(queries, 6)
        exact, truth = ExactIndex(table).search(queries, 6)
        assert np.array_equal(np.sort(found), np.sort(exact)), kind
        assert np.array_equal(scores, truth, equal_nan=True), kind
        if len(table):
            allowed = np.arange(0, len(table), 2)
            assert set(index.search(queries, 60, allowed)[0][0].tolist()) - {-1} == set(allowed.tolist())


def test_nothing_changed_and_nothing_is_written_again(tmp_path) -> None:
    path, folder = tmp_path / "t.parquet", tmp_path / "t.index"
    table = make_table(500, 8)
    write_table(table, path, order="keep")
    build_index(open_table(path), folder, IndexSettings("hnsw"))
    before = {name: (folder / name).stat().st_ino for name in ("vectors.npy", "index.faiss")}
    # Another attribute and another order: the fingerprint differs, no vector does.
    changed = table.with_column("count", np.asarray(table.column("count")) + 1).take(np.arange(499, -1, -1))
    write_table(changed, path, order="keep")
    with pytest.raises(StaleIndex):
        StoredIndex(folder, open_table(path))
    written = update_index(open_table(path), folder)
    assert (written.added, written.removed, written.rebuilt) == (0, 0, False)
    assert {name: (folder / name).stat().st_ino for name in before} == before
    index = StoredIndex(folder, open_table(path))
    assert (index.search(changed.vectors()[:9], 1)[0][:, 0] == np.arange(9)).all()


def test_files_are_copied_where_the_disk_knows_no_links(tmp_path, monkeypatch) -> None:
    def no_links(old, new) -> None:
        raise OSError("not supported")

    table = make_table(100)
    build_index(table, tmp_path / "t.index")
    monkeypatch.setattr(os, "link", no_links)
    update_index(table.take(np.arange(99)), tmp_path / "t.index")
    assert StoredIndex(tmp_path / "t.index", table.take(np.arange(99))).card.slots == 100


@pytest.mark.parametrize("kind", KINDS)
def test_where_a_fifth_is_dead_it_is_built_again(kind: str, tmp_path) -> None:
    table = make_table(1000)
    build_index(table, tmp_path / "t.index", IndexSettings(kind))
    assert not update_index(table.take(np.arange(800)), tmp_path / "t.index").rebuilt
    assert read_card(tmp_path / "t.index").slots == 1000
    assert update_index(table.take(np.arange(799)), tmp_path / "t.index").rebuilt
    assert read_card(tmp_path / "t.index").slots == 799


def test_where_the_table_has_doubled_it_is_built_again(tmp_path) -> None:
    table = make_table(1000)
    build_index(table.take(np.arange(450)), tmp_path / "t.index", IndexSettings("ivf-sq8"))
    assert not update_index(table.take(np.arange(900)), tmp_path / "t.index").rebuilt
    assert read_card(tmp_path / "t.index").trained == 450
    assert update_index(table.take(np.arange(901)), tmp_path / "t.index").rebuilt
    assert read_card(tmp_path / "t.index").trained == 901


def test_from_nothing_and_to_nothing(tmp_path) -> None:
    table = make_table(100)
    build_index(table.take([]), tmp_path / "t.index", IndexSettings("hnsw"))
    assert update_index(table, tmp_path / "t.index").added == 100
    assert update_index(table.take([]), tmp_path / "t.index").removed == 100
    assert StoredIndex(tmp_path / "t.index", table.take([])).search(np.ones((1, 8)), 2)[0].tolist() == [[-1, -1]]


def test_what_cannot_be_brought_up_to_date(tmp_path) -> None:
    table = make_table(100)
    with pytest.raises(UsageError, match="make one with `placevec index TABLE`"):
        update_index(table, tmp_path / "t.index")
    build_index(table, tmp_path / "t.index")
    with pytest.raises(SpaceMismatch, match="is of the Space trained:.*build it again"):
        update_index(make_table(100), tmp_path / "t.index")
    path = tmp_path / "t.index" / "vectors.npy"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match="were written: build it again"):
        update_index(table, tmp_path / "t.index")


def test_an_error_on_the_way_leaves_the_old_index(tmp_path, monkeypatch) -> None:
    table, folder = make_table(1000), tmp_path / "t.index"
    build_index(table.take(np.arange(900)), folder, IndexSettings("ivf-sq8"))
    before = {part.name: part.read_bytes() for part in folder.iterdir()}

    def full(index, path) -> None:
        raise DataError("the disk is full")

    monkeypatch.setattr(writing, "write_structure", full)
    for work in (update_index, build_index):
        with pytest.raises(DataError, match="disk is full"):
            work(table, folder, *([IndexSettings("hnsw")] if work is build_index else []))
        assert {part.name: part.read_bytes() for part in folder.iterdir()} == before
        assert [part.name for part in tmp_path.iterdir()] == ["t.index"]


def test_a_table_that_changes_meanwhile_is_noticed(tmp_path) -> None:
    path = tmp_path / "t.parquet"
    write_table(make_table(100), path)

    def meddle(done: int, total: int, facts) -> None:
        write_table(make_table(100, seed=4), path)

    with pytest.raises(DataError, match="changed while it was read"):
        build_index(open_table(path), tmp_path / "t.index", progress=meddle)
    assert not (tmp_path / "t.index").exists()
