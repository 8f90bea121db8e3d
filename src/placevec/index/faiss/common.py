"""What every use of faiss needs: the package itself, vectors in its form, its finds in ours, one seed, one thread."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from placevec.index.base import Found, Rows, Vectors
from placevec.provenance import Space
from placevec.registry import need

SEED = 1234
# k-means needs this many vectors for each cell; more only take time.
TRAIN_PER_CELL = 48
# Up to this many rows all are compared: cells would save nothing.
_FLAT_ROWS = 4096


def faiss_package(purpose: str) -> Any:
    """The package faiss; MissingExtra, saying what it is for, where it is not installed."""
    return need("faiss", extra="faiss", purpose=purpose)


def default_cells(rows: int) -> int:
    """About 2 √n cells, a power of 2; 1 where all rows are compared at once."""
    return 1 if rows <= _FLAT_ROWS else int(2 ** np.round(np.log2(2.0 * np.sqrt(rows))))


def prepared(vectors: NDArray[Any], space: Space) -> Vectors:
    """Contiguous float32 (n, d), of length 1 for cosine (a row of zeros stays one, and so scores 0)."""
    out = np.ascontiguousarray(vectors, dtype=np.float32)
    if space.metric != "cosine":
        return out
    length = np.sqrt(np.einsum("ij,ij->i", out, out, dtype=np.float64))
    divisor = np.where(length > 0, length, 1.0)[:, None]
    # Divided in float64 and rounded once, without an array of float64.
    return np.divide(out, divisor, out=np.empty_like(out), casting="same_kind")


def trained_by_cells(index: Any, most: int = TRAIN_PER_CELL) -> Any:
    """An inverted file whose k-means is the same in each run, with at most `most` vectors a cell and without a least.

    Few vectors for a cell are not wrong, only slow; faiss would warn of them.
    """
    index.cp.seed = SEED
    index.cp.niter = 10
    index.cp.min_points_per_centroid = 1
    index.cp.max_points_per_centroid = most
    return index


def selector(faiss: Any, allowed: NDArray[np.bool_]) -> Any:
    """The rows that may be found, as faiss asks for them: one bit each."""
    return faiss.IDSelectorBitmap(np.packbits(allowed, bitorder="little"))


def cell_parameters(faiss: Any, cells: int, probes: int, k: int, allowed: NDArray[np.bool_] | None, rows: int) -> Any:
    """How an inverted file of `cells` is asked for k of the `rows` rows, those allowed only."""
    # A cell holds as many fewer allowed rows as there are fewer of them; and k rows must fit into the cells.
    share = 1.0 if allowed is None else max(1, int(np.count_nonzero(allowed))) / max(1, rows)
    room = 2 * k * cells / max(1, rows)
    wanted = int(min(cells, np.ceil(max(probes, room) / share)))
    chosen = None if allowed is None else selector(faiss, allowed)
    return faiss.SearchParametersIVF(sel=chosen, nprobe=wanted)


def products_of_rows(vectors: Vectors, probe: Vectors, rows: Rows, out: Vectors) -> None:
    """The products of some rows of `vectors` (n, d) with `probe` (d,), written to `out`; all are contiguous."""
    faiss = faiss_package("products of rows that lie apart")
    at = faiss.swig_ptr
    faiss.fvec_inner_products_by_idx(at(out), at(probe), at(vectors), at(rows), len(probe), 1, len(rows))


def in_order(rows: Rows, scores: Vectors) -> Found:
    """The finds (q, k) of each query the best first: padding (-1) gets NaN and the last place, ties go by row."""
    scores = np.where(rows < 0, np.float32(np.nan), scores)
    equal = (scores[:, 1:] == scores[:, :-1]).any(axis=1)
    for query in np.flatnonzero(equal):
        order = np.lexsort((rows[query], -scores[query]))  # NaN stays last
        rows[query], scores[query] = rows[query][order], scores[query][order]
    return rows, scores


@contextmanager
def one_thread(faiss: Any) -> Iterator[None]:
    """Work of faiss in one thread: where threads race for the order of insertion, each run makes another index."""
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)
