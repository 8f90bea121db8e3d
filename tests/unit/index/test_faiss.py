import sys

import numpy as np
import pytest

from conftest import make_table
from placevec.errors import MissingExtra, UsageError
from placevec.index.exact import ExactIndex
from placevec.index.faiss import FaissIndex, default_cells
from placevec.registry import get
from placevec.table import EmbeddingTable, open_table, write_table
from placevec.testing import check_index

pytest.importorskip("faiss")


def test_it_keeps_the_contract() -> None:
    check_index(get("index", "faiss"))


def test_with_cells_it_keeps_the_contract() -> None:
    check_index(lambda table: FaissIndex(table, cells=4, probes=4), dtypes=["float32"])


@pytest.mark.parametrize("form", ["parquet", "lance"])
def test_of_a_stored_table(form: str, tmp_path) -> None:
    def stored(table: EmbeddingTable) -> FaissIndex:
        path = tmp_path / f"{table.fingerprint()}.{form}"
        write_table(table, path, order="keep")
        return FaissIndex(open_table(path))

    check_index(stored, dtypes=["float32"], metrics=["cosine"])


def test_recall_rises_with_probes_to_all() -> None:
    table = make_table(6000, 16)
    queries = make_table(50, 16, seed=3).vectors()
    exact, _ = ExactIndex(table).search(queries, 20)
    recalls = []
    for probes in (1, 8, 64):
        found, scores = FaissIndex(table, cells=64, probes=probes).search(queries, 20)
        recalls.append(np.mean([len(np.intersect1d(a, b)) / 20 for a, b in zip(found, exact, strict=True)]))
        assert (np.diff(scores, axis=1) <= 0).all()
    assert recalls[0] < recalls[1] < recalls[2] == 1.0


def test_two_builds_answer_alike() -> None:
    table = make_table(6000, 8)
    queries = make_table(20, 8, seed=3).vectors()
    one, other = (FaissIndex(table).search(queries, 30) for _ in range(2))
    assert np.array_equal(one[0], other[0])
    assert np.array_equal(one[1], other[1])


def test_many_allowed_rows_are_found_in_the_cells() -> None:
    table = make_table(6000, 8)
    allowed = np.flatnonzero(np.arange(6000) % 3 > 0)
    queries = make_table(20, 8, seed=3).vectors()
    found, _ = FaissIndex(table, cells=32, probes=16).search(queries, 10, allowed)
    exact, _ = ExactIndex(table).search(queries, 10, allowed)
    assert np.isin(found, allowed).all()
    assert np.mean([np.isin(a, b).mean() for a, b in zip(found, exact, strict=True)]) > 0.95


def test_cells_grow_with_the_root_of_the_rows() -> None:
    assert [default_cells(n) for n in (0, 100, 10_000, 1_000_000)] == [1, 1, 256, 2048]


def test_nonsense_is_refused() -> None:
    with pytest.raises(UsageError, match="0 probes"):
        FaissIndex(make_table(10), probes=0)


def test_without_faiss_the_extra_is_named(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(MissingExtra, match=r"placevec\[faiss\]"):
        FaissIndex(make_table(10))
