"""Every index keeps the one contract."""

import numpy as np
import pytest

from placevec.index.base import Found, Index, Rows, Vectors, check_rows
from placevec.index.exact import ExactIndex
from placevec.registry import get
from placevec.table import EmbeddingTable, open_table, write_table
from placevec.testing import check_index


def test_the_exact_index() -> None:
    check_index(get("index", "exact"))


@pytest.mark.parametrize("batch_rows", [1, 7, 259, 10_000])
def test_the_exact_index_in_batches(batch_rows: int) -> None:
    check_index(lambda table: ExactIndex(table, batch_rows=batch_rows), dtypes=["float32"])


@pytest.mark.parametrize("form", ["parquet", "lance"])
def test_the_exact_index_of_a_stored_table(form: str, tmp_path) -> None:
    def stored(table: EmbeddingTable) -> Index:
        path = tmp_path / f"{table.fingerprint()}.{form}"
        write_table(table, path, order="keep")
        return ExactIndex(open_table(path), batch_rows=64)

    check_index(stored)


class _Faulty(Index):
    """An exact index that can be made to break its word in one way."""

    name = "faulty"
    exact = True

    def __init__(self, table: EmbeddingTable, fault: str) -> None:
        self._inner = ExactIndex(table)
        self.fault = fault
        self.space = table.space
        self.tower = "" if fault == "tower" else table.meta.tower
        self.num_rows = len(table)
        self._calls = 0

    @property
    def fingerprint(self) -> str:
        return "" if self.fault == "fingerprint" else self._inner.fingerprint

    def _search(self, queries: Vectors, k: int, rows: Rows | None) -> Found:
        self._calls += 1
        if self.fault == "post-filter" and rows is not None:
            found, scores = self._inner.search(queries, k)
            stray = ~np.isin(found, rows)
            order = np.argsort(stray, axis=1, kind="stable")
            found, scores = np.where(stray, -1, found), np.where(stray, np.nan, scores)
            return np.take_along_axis(found, order, axis=1), np.take_along_axis(scores, order, axis=1)
        if self.fault == "ignores rows":
            rows = None
        found, scores = self._inner.search(queries, k, rows)
        if self.fault == "misses the best" and k > 1:
            found, scores = self._inner.search(queries, k + 1, rows)
            found, scores = found[:, 1:], scores[:, 1:]
        if self.fault == "distances" and self.space.metric == "l2":
            scores = -scores
        if self.fault == "moody":
            scores = scores - np.float32(1e-6) * self._calls
        if self.fault == "int32":
            found = found.astype(np.int32)
        return found, scores

    def search(self, queries, k, rows=None):
        if self.fault == "unchecked" and rows is not None:
            rows = check_rows(np.clip(rows, 0, self.num_rows - 1), self.num_rows)
        found, scores = super().search(queries, k, rows)
        return (found.astype(np.int32), scores) if self.fault == "int32" else (found, scores)

    def check(self, table) -> None:
        if self.fault != "never stale":
            super().check(table)


@pytest.mark.parametrize(
    ("fault", "word"),
    [
        ("tower", "tower"),
        ("fingerprint", "fingerprint"),
        ("post-filter", "could be|better row|-1"),
        ("ignores rows", "not allowed"),
        ("misses the best", "better row|could be|-1"),
        ("distances", "wrong score|do not fall"),
        ("moody", "two searches|other scores"),
        ("int32", "int64"),
        ("unchecked", "row that does not exist"),
        ("never stale", "other content"),
    ],
)
def test_the_suite_catches(fault: str, word: str) -> None:
    with pytest.raises(AssertionError, match=word):
        check_index(lambda table: _Faulty(table, fault))


def test_a_sound_index_passes_the_suite() -> None:
    check_index(lambda table: _Faulty(table, ""), dtypes=["float32"])
