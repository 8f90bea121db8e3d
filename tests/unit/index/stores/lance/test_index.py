"""LanceIndex: an approximate index in the table itself, or beside it."""

import numpy as np
import pytest

from conftest import make_table
from placevec.errors import StaleIndex, UsageError
from placevec.index.exact import ExactIndex
from placevec.index.planner import Planner
from placevec.index.stores.lance import AnnSettings, LanceIndex
from placevec.index.stores.lance.ann import ann_of
from placevec.provenance import Space
from placevec.registry import get
from placevec.table import open_table, write_table
from placevec.table.lance import append_lance
from placevec.testing import check_index


def test_the_contract() -> None:
    assert get("index", "lance") is LanceIndex
    check_index(LanceIndex)


@pytest.mark.parametrize("kind", ["IVF_SQ", "IVF_HNSW_SQ", "IVF_PQ"])
def test_the_contract_where_lance_is_asked(kind: str) -> None:
    settings = AnnSettings(kind=kind, cells=4)
    check_index(lambda table: LanceIndex(table, exact_rows=0, settings=settings), dtypes=["float32"])


def test_the_contract_in_the_table_itself(tmp_path) -> None:
    def stored(table) -> LanceIndex:
        path = tmp_path / f"{table.fingerprint()}.lance"
        write_table(table, path, order="keep")
        return LanceIndex(open_table(path), exact_rows=0)

    check_index(stored)


def test_the_table_gets_the_index(tmp_path) -> None:
    import lance

    path = tmp_path / "t.lance"
    write_table(make_table(1_000, 8), path)
    before = open_table(path)
    mark = before.fingerprint()
    LanceIndex(before, settings=AnnSettings(cells=8))
    name, settings = ann_of(lance.dataset(str(path)))
    assert (name, settings.cells) == ("placevec-IVF_SQ-8", 8)
    after = open_table(path)
    assert after.fingerprint() == mark
    assert after.schema.equals(before.schema)
    # The second one finds the index there.
    version = lance.dataset(str(path)).version
    index = LanceIndex(after, exact_rows=0)
    assert lance.dataset(str(path)).version == version
    assert Planner(after, index).search(after.take([5]).vectors()[0], 1).rows[0] == 5
    append_lance(make_table(10, 8, seed=9, prefix="more", space=after.space), path)
    with pytest.raises(StaleIndex):
        LanceIndex(after)
    grown = open_table(path)
    found, _ = LanceIndex(grown, exact_rows=0).search(grown.take(range(990, 1_010)).vectors(), 1)
    assert np.array_equal(found[:, 0], np.arange(990, 1_010))


@pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])
@pytest.mark.parametrize("kind", ["IVF_SQ", "IVF_HNSW_SQ"])
def test_nearly_all_are_found_and_always_k(metric: str, kind: str) -> None:
    table = make_table(4_000, 16, unit=False, space=Space.mint(16, metric=metric))
    index = LanceIndex(table, exact_rows=0, settings=AnnSettings(kind=kind))
    queries = make_table(20, 16, seed=5, unit=False).vectors()
    for rows in (None, np.arange(0, 4_000, 3), np.arange(0, 4_000, 97)):
        truth, scores = ExactIndex(table).search(queries, 10, rows)
        found, near = index.search(queries, 10, rows)
        assert (found >= 0).all()
        assert np.mean([len(set(a) & set(b)) / 10 for a, b in zip(truth, found, strict=True)]) >= 0.95
        assert (near <= scores + 1e-6).all()
    found, _ = index.search(queries[:2], 900, np.arange(0, 4_000, 4))
    assert (found >= 0).all()


def test_a_folder_of_its_own(tmp_path) -> None:
    table = make_table(500, 8, dtype="int8")
    index = LanceIndex(table, folder=tmp_path / "side", exact_rows=0)
    assert (tmp_path / "side" / "vectors.lance").is_dir()
    assert index.search(table.vectors()[:5], 1)[0][:, 0].tolist() == [0, 1, 2, 3, 4]


def test_rows_of_zeros_have_a_score(tmp_path) -> None:
    table = make_table(600, 4)
    vectors = table.vectors().copy()
    vectors[10:20] = 0.0
    zeros = table.with_vectors(vectors, Space.mint(4))
    found, scores = LanceIndex(zeros, exact_rows=0).search(vectors[:2], 3, np.arange(10, 20))
    assert (found >= 0).all()
    assert (scores == 0).all()


def test_settings_that_cannot_be() -> None:
    with pytest.raises(UsageError, match="IVF_SQ"):
        AnnSettings(kind="TREE")
    with pytest.raises(UsageError):
        AnnSettings(cells=0)
