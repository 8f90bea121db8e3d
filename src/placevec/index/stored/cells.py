"""Of rows that pass a filter, those in the cells of an inverted file that are near to a query.

A filter is known as row numbers before anything is scored, and the cell of each row is known too. So a query does not
have to read its cells and ask of every row there whether it passes: it looks up the cell of each row that passes, and
only those in near cells are scored, by the vectors of the table. The fewer rows pass, the farther the k best of them
lie, and the more cells count as near: how many is found by trying when the index is built.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from placevec.index.base import Rows, Vectors
from placevec.index.exact import ExactIndex
from placevec.index.faiss.common import faiss_package, prepared
from placevec.provenance import Space, TableMeta
from placevec.table import EmbeddingTable
from placevec.table.embeddings import to_arrow

Near = tuple[tuple[float, int], ...]
"""How many cells are near, by the share of rows that pass, the largest share first."""

_PURPOSE = "an index that is kept"
# Shares that are tried, and the least number of rows that pass.
_SHARES = (1 / 3, 1 / 10, 1 / 30, 1 / 100, 1 / 300, 1 / 1000)
_LEAST_ROWS = 250
# Rows that pass lie at random in the table, or side by side at so many places of it.
_PLACES = 8
# Where more than this share of the cells would be near, all rows that pass are scored.
_MOST = 1 / 2


class Cells:
    """The cell of each row, and the centres of the cells.

    Args:
        structure: an inverted file of faiss.
        rows: (slots,) the row of each slot, below 0 where there is none.
        space: the Space of the vectors.
        near: how many cells are near.
        k: for how many neighbours `near` was found.
    """

    def __init__(self, structure: Any, rows: Rows, space: Space, near: Near, k: int) -> None:
        self.space = space
        self.count = int(structure.nlist)
        self._near, self._k = near, k
        slots = cells_of(structure, len(rows))
        living = np.flatnonzero((rows >= 0) & (slots >= 0))
        # As wide as numpy's own indices, which it else would make of them for every query.
        self._of_row = np.zeros(int(rows.max(initial=-1)) + 1, dtype=np.intp)
        self._of_row[rows[living]] = slots[living]
        self._centres = centres_of(structure)
        self._squares = np.einsum("ij,ij->i", self._centres, self._centres) * np.float32(0.5)

    def near(self, share: float, k: int) -> int | None:
        """How many cells hold the k best where `share` of the rows pass; None where nobody has tried."""
        # The k-th best of those that pass is the (k / share)-th of all, more or less.
        wanted = share * self._k / max(k, self._k)
        if not self._near or wanted < self._near[-1][0]:
            return None
        shares, counts = np.log(np.array(self._near[::-1])).T
        return min(self.count, int(np.ceil(np.exp(np.interp(np.log(wanted), shares, counts)) - 1e-6)))

    def narrow(self, queries: Vectors, k: int, rows: Sequence[Rows]) -> list[Rows | None]:
        """See `Index.narrow`; queries are `prepared`."""
        counts = [self.near(len(own) / max(1, len(self._of_row)), k) for own in rows]
        if all(count is None for count in counts):
            return [None] * len(rows)
        close = queries @ self._centres.T
        if self.space.metric == "l2":
            close -= self._squares
        return [
            None if count is None else own[self._chosen(line, count).take(self._of_row.take(own))]
            for line, count, own in zip(close, counts, rows, strict=True)
        ]

    def _chosen(self, close: Vectors, count: int) -> NDArray[np.bool_]:
        """Which cells are the `count` nearest."""
        chosen: NDArray[np.bool_] = close >= np.partition(close, self.count - count)[self.count - count]
        return chosen


def cells_of(structure: Any, slots: int) -> NDArray[np.int32]:
    """The cell of each of the `slots`, -1 of those that are in none."""
    faiss = faiss_package(_PURPOSE)
    cells = np.full(slots, -1, dtype=np.int32)
    lists = structure.invlists
    for cell in range(structure.nlist):
        size = lists.list_size(cell)
        if size:
            ids = lists.get_ids(cell)
            members = faiss.rev_swig_ptr(ids, size)
            # A damaged structure may name slots that do not exist.
            cells[members[(members >= 0) & (members < slots)]] = cell
            lists.release_ids(cell, ids)
    return cells


def centres_of(structure: Any) -> Vectors:
    """The centres (cells, d)."""
    coarse = faiss_package(_PURPOSE).downcast_index(structure.quantizer)
    return np.ascontiguousarray(coarse.reconstruct_n(0, structure.nlist), dtype=np.float32)


def found_near(structure: Any, vectors: Any, space: Space, own: Rows, k: int, target: float) -> Near:
    """How many cells must count as near that `target` of the k best are in them, with a standard error to spare.

    Args:
        structure: an inverted file of faiss, with all vectors in it.
        vectors: (n, d) those that the index keeps.
        space: their Space.
        own: rows that ask for their neighbours.
        k: how many each asks for.
        target: which share of them is to be found.
    """
    rows, cells = len(vectors), int(structure.nlist)
    if cells == 1 or not len(own):
        return ()
    slots = cells_of(structure, rows)
    queries = prepared(vectors[own], space)
    order = np.asarray(structure.quantizer.search(queries, cells)[1])
    place = np.empty_like(order)
    np.put_along_axis(place, order, np.arange(cells)[None, :], axis=1)
    meta = TableMeta(space, dtype=str(vectors.dtype))
    scan = ExactIndex(EmbeddingTable(pa.table({"embedding": to_arrow(vectors)}), meta))
    rng = np.random.default_rng(0)
    found: list[tuple[float, int]] = []
    for share in _SHARES:
        count = int(share * rows)
        if count < max(_LEAST_ROWS, 2 * k):
            break
        scattered = np.sort(rng.choice(rows, count, replace=False))
        starts = np.arange(_PLACES) * (rows - count) // max(1, _PLACES - 1)
        beside = [start + np.arange(count) for start in starts.tolist()]
        groups = [(np.arange(len(own)), scattered)]
        groups += [(np.arange(at, len(own), _PLACES), part) for at, part in enumerate(beside)]
        places = np.empty((2, len(own), k), dtype=np.int64)
        for at, (members, passing) in enumerate(groups):
            if not len(members):
                continue
            near, _ = scan.search(queries[members], k + 1, passing)
            # Each finds itself where it passes: that is no neighbour.
            others = np.argsort(near == own[members][:, None], axis=1, kind="stable")[:, :k]
            cell = slots[np.take_along_axis(near, others, axis=1)]
            places[min(at, 1), members] = np.take_along_axis(place[members], cell, axis=1)
        least = max(_least(side, target) for side in places)
        if least > _MOST * cells:
            break
        found.append((share, max(least, found[-1][1] if found else 1)))
    return tuple(found)


def _least(places: NDArray[np.int64], target: float) -> int:
    """So many of the nearest cells hold enough, given at which place (q, k) the cell of each neighbour stands."""
    for count in np.unique(places) + 1:
        own = (places < count).mean(axis=1)
        if own.mean() - own.std() / np.sqrt(len(own)) >= target:
            return int(count)
    return int(places.max()) + 1
