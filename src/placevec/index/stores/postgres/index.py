"""PostgresIndex: the Index contract over a stored table, for one placevec table."""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import cached_property
from typing import Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from placevec.errors import StaleIndex
from placevec.index.base import Found, Index, Rows, Vectors
from placevec.index.stored.slots import Slots, keys_of
from placevec.index.stores.base import StoreCard, Table
from placevec.index.stores.postgres.finder import Finder, among
from placevec.index.stores.postgres.where import Clause

# Above this share of rows that may be found, those that may not are named to the server.
_MOST = 1 / 2


class Source(Protocol):
    """What an index needs of its store."""

    url: str
    exact_rows: int

    def finding(self) -> AbstractContextManager[Finder]:
        """A Finder, good for one transaction."""

    def slots(self) -> tuple[pa.ChunkedArray, NDArray[np.int64]]:
        """The ids and slots of all rows."""


class PostgresIndex(Index):
    """Asks a table in PostgreSQL. What it finds is scored by the vectors kept there; a row can be missed.

    Args:
        source: the store.
        card: of the store, which belongs to `table`.
        table: as it is now; its rows may stand in another order than when they were loaded.
    """

    name = "postgresql"
    exact = False
    reranks = True

    def __init__(self, source: Source, card: StoreCard, table: Table) -> None:
        self.source = source
        self.card = card
        self.table = table
        self.space = card.space
        self.tower = card.tower
        self.num_rows = card.rows

    @property
    def fingerprint(self) -> str:
        """The fingerprint of the table that the store holds."""
        return self.card.fingerprint

    @cached_property
    def _slots(self) -> NDArray[np.int64]:
        """The slot (n,) of each row of the table."""
        ids, slots = self.source.slots()
        nothing = np.zeros(len(slots), dtype=np.uint64)
        kept = Slots(ids, keys_of(ids), nothing, np.arange(len(slots)))
        stale = StaleIndex(f"{self.source.url} was loaded with another table meanwhile: load it again")
        if len(slots) != self.num_rows:
            raise stale
        try:
            rows = kept.rows_in(self.table)
        except StaleIndex:
            raise stale from None
        found = np.empty(self.num_rows, dtype=np.int64)
        found[rows] = slots
        return found

    @cached_property
    def _by_slot(self) -> tuple[NDArray[np.int64], Rows]:
        """The slots in order, and the row of each."""
        order = np.argsort(self._slots, kind="stable")
        return self._slots[order], order

    def _search(self, queries: Vectors, k: int, rows: Rows | None) -> Found:
        count, clause = self.num_rows, None
        if rows is not None:
            count, clause = len(rows), self._clause(rows)
        found = np.empty((len(queries), k), dtype=np.int64)
        scores = np.empty((len(queries), k), dtype=np.float32)
        known, order = self._by_slot
        with self.source.finding() as finder:
            if _state(finder.card) != _state(self.card):
                raise StaleIndex(f"{self.source.url} was loaded again meanwhile: open its index again")
            for at, query in enumerate(queries):
                slots, score, _ = finder.find(query, k, clause, count, self.source.exact_rows)
                place = np.minimum(np.searchsorted(known, slots), len(known) - 1)
                if len(slots) < k or (known[place] != slots).any():
                    raise StaleIndex(f"{self.source.url} was loaded again meanwhile: open its index again")
                near = order[place]
                best = np.lexsort((near, -score))
                found[at], scores[at] = near[best], score[best]
        return found, scores

    def _clause(self, rows: Rows) -> Clause:
        if len(rows) <= _MOST * self.num_rows:
            return among(self._slots[rows])
        left_out = np.ones(self.num_rows, dtype=bool)
        left_out[rows] = False
        return among(self._slots[left_out]).negated()


def _state(card: StoreCard) -> tuple[str, str]:
    """What is another after a load that changed a row, or that replaced the table."""
    return card.fingerprint, str(card.details.get("mark", ""))
