"""The queries that find rows by their vectors: all that pass compared, or the index of vectors asked."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from placevec.index.base import Vectors, exact_scores
from placevec.index.stores.base import StoreCard
from placevec.index.stores.postgres.ann import OPERATORS, has_ann, operand
from placevec.index.stores.postgres.connection import Connection
from placevec.index.stores.postgres.driver import sql
from placevec.index.stores.postgres.layout import SLOT, VECTOR, Layout, Version
from placevec.index.stores.postgres.where import Clause
from placevec.index.stores.postgres.wire import vectors_of

# So many finds for each row that is wanted are scored again: of an index, and of a scan in the server's float32.
_OVERSAMPLE, _SPARE = 4, 16
# Nodes that HNSW keeps in sight: fewer lose neighbours, and pgvector allows no more than the second.
_LEAST_EF, _MOST_EF = 200, 1_000
# From 0.8 on pgvector goes on looking until enough rows pass a filter.
_ITERATES = (0, 8)
# Up to so many rows of a table all are compared: no index is faster.
SCAN_ROWS = 5_000

_SLOT, _VECTOR = sql.Identifier(SLOT), sql.Identifier(VECTOR)


class Finder:
    """Finds the rows of one stored table, by their slots.

    Args:
        connection: to the database.
        name: of the table.
        card: of the table, as it is now.
        layout: of it.
        version: of pgvector there.
    """

    def __init__(self, connection: Connection, name: str, card: StoreCard, layout: Layout, version: Version) -> None:
        self.connection = connection
        self.table = sql.Identifier(name)
        self.layout = layout
        self.card = card
        self.space = card.space
        self.version = version
        self.rows = card.rows
        kind = layout.indexed(version)
        self.ann = kind if kind is not None and has_ann(connection, name) else None
        self._type = "halfvec" if layout.half else "vector"

    def find(
        self, query: Vectors, k: int, clause: Clause | None, candidates: int, exact_rows: int
    ) -> tuple[NDArray[np.int64], Vectors, bool]:
        """The k best of the `candidates` rows that meet the clause: slots (k,), scores (k,), and if all were compared.

        Never fewer than k, where so many rows meet it.
        """
        k = min(k, candidates)
        if k == 0:
            return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32), True
        scan = candidates <= (exact_rows if clause is not None else min(exact_rows, SCAN_ROWS))
        if not scan and self.ann is not None:
            found = self._near(query, k, clause, candidates)
            if len(found[0]) == k:
                return found[0], found[1], False
        # Compared without an index, or the index did not find k rows that pass.
        text = sql.SQL("coalesce(nullif({} {} %s::{}, 'NaN'), 1)").format(
            _VECTOR, self._operator, sql.SQL(_text(self._type))
        )
        return (*self._best(query, k, clause, text, k + _SPARE), True)

    @property
    def _operator(self) -> sql.Composable:
        return sql.SQL(_text(OPERATORS[self.space.metric]))

    def _near(
        self, query: Vectors, k: int, clause: Clause | None, candidates: int
    ) -> tuple[NDArray[np.int64], Vectors]:
        """What the index of vectors finds, which may be fewer than k."""
        assert self.ann is not None
        share = max(candidates, 1) / max(self.rows, 1)
        wanted = _OVERSAMPLE * k
        ef = int(min(max(_LEAST_EF, wanted / share), _MOST_EF))
        self._set("hnsw.ef_search", ef)
        if self.version >= _ITERATES:
            self._set("hnsw.iterative_scan", "strict_order")
            self._set("hnsw.max_scan_tuples", int(min(max(20_000, 8 * wanted / share), 2**31 - 1)))
        elif wanted > ef * share:
            wanted = max(k, int(ef * share))
        text = sql.SQL("{} {} %s::{}").format(
            operand(self.layout, self.ann), self._operator, sql.SQL(_text(f"{self.ann}({self.layout.dims})"))
        )
        return self._best(query, k, clause, text, wanted)

    def _set(self, name: str, value: object) -> None:
        self.connection.execute("select set_config(%s, %s, true)", [name, str(value)])

    def _best(
        self, query: Vectors, k: int, clause: Clause | None, order: sql.Composable, limit: int
    ) -> tuple[NDArray[np.int64], Vectors]:
        """The rows that come first in an order, scored by their vectors: the k best."""
        text = "[" + ",".join(repr(float(value)) for value in query) + "]"
        where: sql.Composable = sql.SQL("")
        values: list[Any] = []
        if clause is not None:
            where, values = sql.SQL("where {}").format(clause.text), clause.values
        asked = sql.SQL("select {}, {} from {} {} order by {} limit %s").format(
            _SLOT, _VECTOR, self.table, where, order
        )
        rows = self.connection.cursor(binary=True).execute(asked, [*values, text, limit]).fetchall()
        slots = np.array([slot for slot, _ in rows], dtype=np.int64)
        vectors = vectors_of([vector for _, vector in rows], self.layout.dims, half=self.layout.half)
        scores = exact_scores(np.broadcast_to(query, vectors.shape), vectors, self.space)
        best = np.lexsort((slots, -scores))[:k]
        return slots[best], scores[best]

    def vectors(self, ids: list[str]) -> dict[str, Vectors]:
        """The vector of each id that is there."""
        asked = sql.SQL("select id, {} from {} where id = any(%s::text[])").format(_VECTOR, self.table)
        rows = self.connection.cursor(binary=True).execute(asked, [ids]).fetchall()
        matrix = vectors_of([vector for _, vector in rows], self.layout.dims, half=self.layout.half)
        return {str(name): vector for (name, _), vector in zip(rows, matrix, strict=True)}


def among(slots: NDArray[np.int64]) -> Clause:
    """The condition of rows with one of these slots."""
    return Clause(sql.SQL("{} = any(%s::bigint[])").format(_SLOT), [slots.tolist()])


def _text(text: str) -> Any:
    """A word that stands in this package, for a query."""
    return text
