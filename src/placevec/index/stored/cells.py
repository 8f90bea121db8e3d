"""Of rows that pass a filter, those in the cells of an inverted file that are near to a query.

A filter is known as row numbers before anything is scored, and the cell of each row is known too. So a query does not
have to read its cells and ask of every row there whether it passes: it looks up the cell of each row that passes, and
only those in near cells are scored, by the vectors of the table. Cells count as near, the nearest first, until they
hold enough rows that pass; how many are enough is found by trying when the index is built.
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
"""By the share of rows that pass, the largest first: of how many of them the cells are near."""

_PURPOSE = "an index that is kept"
# Shares that are tried, and the least number of rows that pass.
_SHARES = (1 / 3, 1 / 10, 1 / 30, 1 / 100, 1 / 300, 1 / 1000)
_LEAST_ROWS = 250
# Rows that pass lie at random in the table, or side by side at so many places of it.
_PLACES = 8
# Where more than this share of them would be near, all rows that pass are scored.
_MOST = 1 / 2
# Of more rows than so many times those wanted, most are dropped first: all but those in so many times as many cells
# as hold enough where rows are spread evenly.
_SORTED, _CELLS = 8, 4


class Cells:
    """The cell of each row, and the centres of the cells.

    Args:
        structure: an inverted file of faiss.
        rows: (slots,) the row of each slot, below 0 where there is none.
        space: the Space of the vectors.
        near: see `found_near`.
        k: for how many neighbours it was found.
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

    def enough(self, count: int, k: int) -> int | None:
        """How many of `count` rows must be in cells that are near, for k of them; None where nobody has tried."""
        # The k-th best of those that pass is the (k / share)-th of all, more or less.
        times = max(k, self._k) / self._k
        share = count / max(1, len(self._of_row)) / times
        if not self._near or share < self._near[-1][0]:
            return None
        shares, rows = np.log(np.array(self._near[::-1])).T
        return int(np.ceil(times * np.exp(np.interp(np.log(share), shares, rows))))

    def narrow(self, queries: Vectors, k: int, rows: Sequence[Rows]) -> list[Rows | None]:
        """See `Index.narrow`; queries are `prepared`."""
        wanted = [self.enough(len(own), k) for own in rows]
        if all(count is None for count in wanted):
            return [None] * len(rows)
        close = queries @ self._centres.T
        if self.space.metric == "l2":
            close -= self._squares
        return [
            None if count is None else self._near_rows(line, own, count)
            for line, count, own in zip(close, wanted, rows, strict=True)
        ]

    def _near_rows(self, close: Vectors, rows: Rows, wanted: int) -> Rows:
        """The rows in the nearest cells, as many cells as hold `wanted` of them."""
        near = close.take(self._of_row.take(rows))
        if len(rows) > _SORTED * wanted:
            # Most are in cells that are far away: they are dropped at once, as long as enough are left.
            some = min(self.count, int(_CELLS * wanted * self.count / len(rows)) + 1)
            left = (near >= np.partition(close, self.count - some)[self.count - some]).nonzero()[0]
            if len(left) >= wanted:
                rows, near = rows.take(left), near.take(left)
        # The cell that holds the last of those that are wanted counts as near, and all its rows with it.
        last = len(rows) - min(wanted, len(rows))
        chosen: Rows = rows.take((near >= np.partition(near, last)[last]).nonzero()[0])
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
    """How many rows must lie in near cells that `target` of the k best are among them, with a standard error to spare.

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
    cell = cells_of(structure, rows)
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
        starts = np.arange(_PLACES) * (rows - count) // (_PLACES - 1)
        groups = [(np.arange(len(own)), scattered)]
        groups += [(np.arange(at, len(own), _PLACES), start + np.arange(count)) for at, start in enumerate(starts)]
        before = np.empty((2, len(own), k), dtype=np.int64)
        for at, (members, passing) in enumerate(groups):
            if not len(members):
                continue
            near, _ = scan.search(queries[members], k + 1, passing)
            # Each finds itself where it passes: that is no neighbour.
            others = np.argsort(near == own[members][:, None], axis=1, kind="stable")[:, :k]
            at_place = np.take_along_axis(place[members], cell[np.take_along_axis(near, others, axis=1)], axis=1)
            held = np.bincount(cell[passing], minlength=cells)[order[members]]
            before[min(at, 1), members] = np.take_along_axis(held.cumsum(axis=1) - held, at_place, axis=1)
        least = max(_least(side, target) for side in before)
        if least > _MOST * count:
            break
        found.append((count / rows, least))
    # The more rows pass, the more are to be looked at; a sample may say otherwise.
    most = np.maximum.accumulate([least for _, least in found][::-1])[::-1].tolist()
    return tuple((share, least) for (share, _), least in zip(found, most, strict=True))


def _least(before: NDArray[np.int64], target: float) -> int:
    """How many rows must be looked at to find enough, given how many lie in nearer cells than each neighbour (q, k)."""
    tried = np.unique(before)
    low, high = 0, len(tried) - 1
    while low < high:
        middle = (low + high) // 2
        own = (before <= tried[middle]).mean(axis=1)
        enough = own.mean() - own.std() / np.sqrt(len(own)) >= target
        low, high = (low, middle) if enough else (middle + 1, high)
    return int(tried[low]) + 1
