"""Approximate search in memory by an inverted file (faiss): for tables of which an exact scan takes too long.

Vectors are divided into cells by k-means and a query looks into the nearest cells only (Jégou, Douze, Schmid, 2011,
section IV). The vectors themselves are kept as they are, so that scores are right and only rows can be missed.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from placevec.errors import UsageError
from placevec.index.base import Found, Index, Rows, Vectors
from placevec.index.exact import ExactIndex
from placevec.index.faiss.common import (
    TRAIN_PER_CELL,
    cell_parameters,
    default_cells,
    faiss_package,
    in_order,
    prepared,
    selector,
    trained_by_cells,
)
from placevec.table import EmbeddingTable, StoredTable

PROBES = 32
# Below this share of allowed rows they are scored one by one.
_SCAN_SHARE = 1 / 8


class FaissIndex(Index):
    """An inverted file of the vectors of a table; it holds a copy of them as float32.

    Args:
        table: in memory, or in a file of any size.
        cells: how many; by default about 2 √n, a power of 2. One where there are few rows: then nothing is missed.
        probes: how many cells a query looks into: more of them find more and take longer.

    Raises:
        MissingExtra: faiss is not installed.
        UsageError: fewer than one cell or probe.
    """

    name = "faiss"
    exact = False

    def __init__(self, table: EmbeddingTable | StoredTable, *, cells: int | None = None, probes: int = PROBES) -> None:
        self._faiss = faiss_package("approximate search in memory")
        if probes < 1 or (cells is not None and cells < 1):
            raise UsageError(f"an inverted file of {cells} cells with {probes} probes cannot be: give at least 1")
        self.table = table
        self.space = table.space
        self.tower = table.meta.tower
        self.num_rows = table.num_rows
        self.cells = cells if cells is not None else default_cells(self.num_rows)
        self.probes = min(probes, self.cells)
        self._index = self._build()

    @cached_property
    def fingerprint(self) -> str:
        """The fingerprint of the table; computed when it is first asked for."""
        return self.table.fingerprint()

    @cached_property
    def _exact(self) -> ExactIndex:
        return ExactIndex(self.table)

    def _build(self) -> Any:
        faiss, dims = self._faiss, self.space.dims
        l2 = self.space.metric == "l2"
        flat = faiss.IndexFlatL2(dims) if l2 else faiss.IndexFlatIP(dims)
        if self.cells == 1 or self.num_rows == 0:
            self.cells = self.probes = 1
            index: Any = flat
        else:
            metric = faiss.METRIC_L2 if l2 else faiss.METRIC_INNER_PRODUCT
            index = trained_by_cells(faiss.IndexIVFFlat(flat, dims, self.cells, metric))
            step = max(1, self.num_rows // (TRAIN_PER_CELL * self.cells))
            index.train(prepared(self._sample(step), self.space))
        for piece in self.table.batches(columns=[]):
            index.add(prepared(piece.vectors(), self.space))
        return index

    def _sample(self, step: int) -> Vectors:
        """Every `step`-th vector: the same ones whenever it is asked."""
        rows = np.arange(0, self.num_rows, step)
        if isinstance(self.table, StoredTable):
            return self.table.take(rows, columns=[]).vectors()
        return self.table.vectors(rows)

    def _search(self, queries: Vectors, k: int, rows: Rows | None) -> Found:
        if rows is not None and len(rows) <= _SCAN_SHARE * self.num_rows:
            return self._exact.search(queries, k, rows)
        allowed = None
        if rows is not None:
            allowed = np.zeros(self.num_rows, dtype=bool)
            allowed[rows] = True
        parameters = self._parameters(k, allowed)
        raw, found = self._index.search(prepared(queries, self.space), k, params=parameters)
        return in_order(np.asarray(found, dtype=np.int64), self._scores(np.asarray(raw, dtype=np.float32)))

    def _parameters(self, k: int, allowed: NDArray[np.bool_] | None) -> Any:
        if self.cells > 1:
            return cell_parameters(self._faiss, self.cells, self.probes, k, allowed, self.num_rows)
        return None if allowed is None else self._faiss.SearchParameters(sel=selector(self._faiss, allowed))

    def _scores(self, raw: NDArray[np.float32]) -> Vectors:
        if self.space.metric == "l2":
            scores: Vectors = np.float32(0.0) - np.sqrt(np.maximum(raw, np.float32(0.0)))
            return scores
        return np.clip(raw, -1.0, 1.0) if self.space.metric == "cosine" else raw
