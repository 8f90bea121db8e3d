import numpy as np
import pyarrow as pa
import pytest

from conftest import make_table
from placevec.errors import SchemaError, UsageError
from placevec.index.exact import ExactIndex
from placevec.provenance import Space
from placevec.table import EmbeddingTable, Places, open_table, write_table
from placevec.testing import brute_force


def table_of(vectors: np.ndarray, metric: str = "cosine", dtype: str = "float32", **more) -> EmbeddingTable:
    places = Places.create([f"r{i}" for i in range(len(vectors))])
    return EmbeddingTable.of(places, vectors, Space.mint(vectors.shape[1], metric=metric), dtype=dtype, **more)


def truth(table: EmbeddingTable, queries: np.ndarray, k: int) -> np.ndarray:
    scores = brute_force(table, queries).astype(np.float32)
    return np.stack([np.lexsort((np.arange(len(own)), -own))[:k] for own in scores])


@pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])
@pytest.mark.parametrize("scale", [1e-20, 1e-3, 1.0, 1e4, 1e18])
def test_any_scale_of_vectors(metric: str, scale: float) -> None:
    rng = np.random.default_rng(0)
    table = table_of((scale * rng.standard_normal((300, 6))).astype(np.float32), metric)
    queries = (scale * rng.standard_normal((4, 6))).astype(np.float32)
    rows, _ = ExactIndex(table, batch_rows=50).search(queries, 9)
    assert np.array_equal(rows, truth(table, queries, 9))


@pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])
def test_vectors_that_float32_cannot_tell_apart_in_a_product(metric: str) -> None:
    # All rows lie within rounding of each other around a far point: the matrix product alone would shuffle them.
    rng = np.random.default_rng(1)
    far = rng.standard_normal(32) * 100
    vectors = (far + 1e-4 * rng.standard_normal((2000, 32))).astype(np.float32)
    table = table_of(vectors, metric)
    queries = vectors[:3]
    rows, _ = ExactIndex(table).search(queries, 20)
    assert np.array_equal(rows, truth(table, queries, 20))


def test_rows_of_zeros_have_the_score_zero() -> None:
    vectors = np.array([[0, 0], [1, 0], [-1, 0], [0, 0]], dtype=np.float32)
    rows, scores = ExactIndex(table_of(vectors)).search(np.array([[1.0, 0.0]]), 4)
    assert rows.tolist() == [[1, 0, 3, 2]]
    assert scores.tolist() == [[1.0, 0.0, 0.0, -1.0]]


def test_equal_vectors_stand_by_row_whatever_the_batches() -> None:
    vectors = np.tile(np.random.default_rng(2).standard_normal((1, 33)).astype(np.float32), (500, 1))
    for batch_rows in (1, 3, 64, 499, 1000):
        rows, scores = ExactIndex(table_of(vectors), batch_rows=batch_rows).search(vectors[:2], 7)
        assert rows.tolist() == [list(range(7))] * 2
        assert len(np.unique(scores)) == 1


def test_l2_scores_are_negated_distances() -> None:
    table = table_of(np.array([[0, 0], [3, 4], [0, 1]], dtype=np.float32), "l2")
    rows, scores = ExactIndex(table).search(np.zeros((1, 2)), 3)
    assert rows.tolist() == [[0, 2, 1]]
    assert scores.tolist() == [[0.0, -1.0, -5.0]]
    assert not np.signbit(scores[0, 0])


@pytest.mark.parametrize("dtype", ["float16", "int8"])
def test_stored_forms_are_decoded(dtype: str) -> None:
    table = make_table(400, 16, dtype=dtype)
    queries = make_table(5, 16, seed=9).vectors()
    rows, _ = ExactIndex(table, batch_rows=33).search(queries, 8)
    assert np.array_equal(rows, truth(table, queries, 8))


def test_alphaearth_vectors_are_decoded() -> None:
    raw = np.random.default_rng(3).integers(-127, 128, (200, 8)).astype(np.int8)
    table = table_of(raw, dtype="int8", codec={"method": "alphaearth"})
    queries = table.vectors()[:4]
    rows, _ = ExactIndex(table).search(queries, 5)
    assert np.array_equal(rows, truth(table, queries, 5))


def test_a_vector_that_is_not_finite_is_named() -> None:
    raw = np.full((20, 4), 5, dtype=np.int8)
    raw[13, 2] = -128  # AlphaEarth's nodata
    table = table_of(raw, dtype="int8", codec={"method": "alphaearth"})
    with pytest.raises(SchemaError, match="row 13"):
        ExactIndex(table).search(np.ones((1, 4)), 3)


def test_many_queries_at_once() -> None:
    table = make_table(900, 12)
    queries = make_table(700, 12, seed=5).vectors()
    index = ExactIndex(table, batch_rows=128)
    rows, scores = index.search(queries, 6)
    assert np.array_equal(rows, truth(table, queries, 6))
    alone = [index.search(query[None], 6) for query in queries[:20]]
    assert np.array_equal(rows[:20], np.concatenate([found for found, _ in alone]))
    assert np.array_equal(scores[:20], np.concatenate([score for _, score in alone]))


def test_a_table_of_several_chunks() -> None:
    table = make_table(300, 8)
    pieces = pa.concat_tables([table.data.slice(0, 100), table.data.slice(100, 7), table.data.slice(107)])
    queries = table.vectors()[:3]
    found = ExactIndex(EmbeddingTable(pieces, table.meta)).search(queries, 5)
    assert np.array_equal(found[0], ExactIndex(table).search(queries, 5)[0])


@pytest.mark.parametrize("form", ["parquet", "lance"])
@pytest.mark.parametrize("share", [0.002, 0.1, 0.6, 1.0])
def test_rows_of_a_stored_table(form: str, share: float, tmp_path) -> None:
    table = make_table(5000, 8)
    write_table(table, tmp_path / f"t.{form}", order="keep")
    rng = np.random.default_rng(4)
    rows = np.sort(rng.choice(5000, int(5000 * share), replace=False))
    queries = table.vectors()[:2]
    wanted = ExactIndex(table).search(queries, 10, rows)
    found = ExactIndex(open_table(tmp_path / f"t.{form}"), batch_rows=300).search(queries, 10, rows)
    assert np.array_equal(found[0], wanted[0])
    assert np.array_equal(found[1], wanted[1], equal_nan=True)


def test_only_row_groups_with_candidates_are_read(tmp_path, monkeypatch) -> None:
    table = make_table(5000, 8)
    monkeypatch.setattr("placevec.table.parquet.GROUP_BYTES", 1)  # 1024 rows to a group
    write_table(table, tmp_path / "t.parquet", order="keep")
    stored = open_table(tmp_path / "t.parquet")
    read: list[int] = []
    original = stored._scan_groups

    def spy(groups, columns, batch_rows):
        read.extend(groups)
        return original(groups, columns, batch_rows)

    monkeypatch.setattr(stored, "_scan_groups", spy)
    ExactIndex(stored).search(table.vectors()[:1], 5, np.arange(1100, 2000))
    assert read == [1]


def test_the_streamed_memory_is_bounded_by_the_batch(tmp_path) -> None:
    table = make_table(3000, 8)
    write_table(table, tmp_path / "t.parquet")
    index = ExactIndex(open_table(tmp_path / "t.parquet"), batch_rows=100)
    sizes = [len(vectors) for _, vectors, _ in index._batches(None)]
    assert sum(sizes) == 3000
    assert max(sizes) <= 100


def test_bad_arguments() -> None:
    index = ExactIndex(make_table(20, 4))
    with pytest.raises(UsageError, match="whole number"):
        index.search(np.ones((1, 4)), True)
    with pytest.raises(UsageError, match="1-D array of whole numbers"):
        index.search(np.ones((1, 4)), 1, np.array([0.5]))
    with pytest.raises(UsageError, match="numbers of the shape"):
        index.search(np.array([["a"] * 4]), 1)


def test_its_own_table_is_never_stale() -> None:
    table = make_table(20, 4)
    index = ExactIndex(table)
    index.check(table)
    assert "fingerprint" not in index.__dict__  # that would have cost a pass over the table
    assert repr(index).startswith("ExactIndex(20 rows")
