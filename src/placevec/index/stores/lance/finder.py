"""Finding rows of a Lance dataset by their vectors: some of them compared, or the approximate index asked."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from placevec.index.base import Vectors, exact_scores
from placevec.index.exact import ExactIndex
from placevec.index.stores.lance.ann import ann_of
from placevec.index.stores.lance.dataset import VECTOR, Addresses, allowlist
from placevec.provenance import Space, TableMeta
from placevec.table import EmbeddingTable
from placevec.table.embeddings import from_arrow, to_arrow

# So many finds for each row that is wanted are scored again by the vectors: 8 bits a component rank roughly.
_OVERSAMPLE = 4
# Queries that Lance answers at once: their finds come with their vectors.
_QUERIES = 64
_BATCH_ROWS = 16_384

Near = tuple[Addresses, Vectors]
"""The addresses of rows and their scores, the best first."""


class Finder:
    """Finds rows of one version of a dataset by their addresses.

    Args:
        dataset: opened.
        space: of its vectors.
    """

    def __init__(self, dataset: Any, space: Space) -> None:
        self.dataset = dataset
        self.space = space
        found = ann_of(dataset)
        self.ann = None if found is None else found[1]
        self.rows = int(dataset.count_rows())

    def near(self, queries: Vectors, k: int, allowed: Addresses | None) -> list[Near]:
        """What the approximate index finds for each query, which may be fewer than k."""
        assert self.ann is not None
        options: dict[str, Any] = {"columns": [VECTOR], "with_row_id": True, "prefilter": True}
        share, reach = 1.0, min(_OVERSAMPLE * k, self.rows)
        if allowed is not None:
            options["row_addr_allowlist"] = allowlist(allowed)
            share, reach = len(allowed) / max(1, self.rows), min(reach, len(allowed))
        out: list[Near] = []
        for start in range(0, len(queries), _QUERIES):
            block = queries[start : start + _QUERIES]
            wanted = {"column": VECTOR, "q": block, "k": reach, "metric": str(self.space.metric)}
            found = self.dataset.scanner(nearest={**wanted, **self.ann.asked(reach, share)}, **options).to_table()
            owner = found["query_index"].to_numpy()
            address = found["_rowid"].to_numpy()
            vectors = _matrix(found[VECTOR], self.space.dims)
            score = exact_scores(block[owner], vectors, self.space)
            for at in range(len(block)):
                own = np.flatnonzero(owner == at)
                own = own[np.lexsort((address[own], -score[own]))]
                # A row can be found twice, in an index and among rows that came after it.
                _, first = np.unique(address[own], return_index=True)
                own = own[np.sort(first)][:k]
                out.append((address[own], score[own]))
        return out

    def compare(self, queries: Vectors, k: int, allowed: Addresses | None) -> list[Near]:
        """The k best of the allowed rows (all if None) for each query, every one of them compared."""
        best: list[Near] = [(np.empty(0, np.uint64), np.empty(0, np.float32)) for _ in queries]
        options = {} if allowed is None else {"row_addr_allowlist": allowlist(allowed)}
        scanner = self.dataset.scanner(columns=[VECTOR], with_row_id=True, batch_size=_BATCH_ROWS, **options)
        for batch in scanner.to_batches():
            if not batch.num_rows:
                continue
            address = batch["_rowid"].to_numpy()
            vectors = pa.table({VECTOR: to_arrow(_matrix(batch[VECTOR], self.space.dims))})
            # Compared in float32 first, then those near the best exactly: see `index.exact`.
            exact = ExactIndex(EmbeddingTable(vectors, TableMeta(self.space)))
            rows, scores = exact.search(queries, min(k, len(address)))
            for at in range(len(queries)):
                both = np.concatenate([best[at][0], address[rows[at]]]), np.concatenate([best[at][1], scores[at]])
                order = np.lexsort((both[0], -both[1]))[:k]
                best[at] = both[0][order], both[1][order]
        return best


def _matrix(column: Any, dims: int) -> NDArray[np.float32]:
    chunks = [from_arrow(chunk) for chunk in getattr(column, "chunks", [column])]
    return np.concatenate([np.empty((0, dims), np.float32), *chunks]).astype(np.float32, copy=False)
