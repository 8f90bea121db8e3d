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
from placevec.registry import need
from placevec.table import EmbeddingTable, StoredTable

PROBES = 32
# k-means needs this many vectors for each cell; more only take time.
_TRAIN_PER_CELL = 48
# Up to this many rows all are compared: cells would save nothing.
_FLAT_ROWS = 4096
# Below this share of allowed rows they are scored one by one.
_SCAN_SHARE = 1 / 8
_SEED = 1234


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
        self._faiss = need("faiss", extra="faiss", purpose="approximate search in memory")
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
            index = faiss.IndexIVFFlat(flat, dims, self.cells, metric)
            index.cp.seed = _SEED
            index.cp.niter = 10
            # Without its own warnings: few vectors for a cell are not wrong, only slow.
            index.cp.min_points_per_centroid = 1
            index.cp.max_points_per_centroid = _TRAIN_PER_CELL
            step = max(1, self.num_rows // (_TRAIN_PER_CELL * self.cells))
            index.train(self._prepared(self._sample(step)))
        for piece in self.table.batches(columns=[]):
            index.add(self._prepared(piece.vectors()))
        return index

    def _sample(self, step: int) -> Vectors:
        """Every `step`-th vector: the same ones whenever it is asked."""
        rows = np.arange(0, self.num_rows, step)
        if isinstance(self.table, StoredTable):
            return self.table.take(rows, columns=[]).vectors()
        return self.table.vectors(rows)

    def _prepared(self, vectors: Vectors) -> Vectors:
        """Contiguous vectors, of length 1 for cosine (a row of zeros stays one, and so scores 0)."""
        out = np.ascontiguousarray(vectors, dtype=np.float32)
        if self.space.metric != "cosine":
            return out
        length = np.sqrt(np.einsum("ij,ij->i", out, out, dtype=np.float64))
        return (out / np.where(length > 0, length, 1.0)[:, None]).astype(np.float32)

    def _search(self, queries: Vectors, k: int, rows: Rows | None) -> Found:
        if rows is not None and len(rows) <= _SCAN_SHARE * self.num_rows:
            return self._exact.search(queries, k, rows)
        wanted = self._prepared(queries)
        selector = None
        if rows is not None:
            bits = np.zeros(self.num_rows, dtype=bool)
            bits[rows] = True
            packed = np.packbits(bits, bitorder="little")
            selector = self._faiss.IDSelectorBitmap(packed)
        if self.cells == 1:
            parameters = None if selector is None else self._faiss.SearchParameters(sel=selector)
        else:
            # A cell holds as many fewer allowed rows as there are fewer of them; and k rows must fit into the cells.
            share = 1.0 if rows is None else len(rows) / self.num_rows
            room = 2 * k * self.cells / max(1, self.num_rows)
            probes = int(min(self.cells, np.ceil(max(self.probes, room) / share)))
            parameters = self._faiss.SearchParametersIVF(sel=selector, nprobe=probes)
        raw, found = self._index.search(wanted, k, params=parameters)
        return _ordered(np.asarray(found, dtype=np.int64), self._scores(np.asarray(raw, dtype=np.float32)))

    def _scores(self, raw: NDArray[np.float32]) -> Vectors:
        if self.space.metric == "l2":
            scores: Vectors = np.float32(0.0) - np.sqrt(np.maximum(raw, np.float32(0.0)))
            return scores
        return np.clip(raw, -1.0, 1.0) if self.space.metric == "cosine" else raw


def default_cells(rows: int) -> int:
    """About 2 √n cells, a power of 2; 1 where all rows are compared at once."""
    return 1 if rows <= _FLAT_ROWS else int(2 ** np.round(np.log2(2.0 * np.sqrt(rows))))


def _ordered(rows: Rows, scores: Vectors) -> Found:
    """Padding with NaN and at the end, equal scores by row number."""
    scores = np.where(rows < 0, np.float32(np.nan), scores)
    equal = (scores[:, 1:] == scores[:, :-1]).any(axis=1)
    for query in np.flatnonzero(equal):
        order = np.lexsort((rows[query], -scores[query]))  # NaN stays last
        rows[query], scores[query] = rows[query][order], scores[query][order]
    return rows, scores
