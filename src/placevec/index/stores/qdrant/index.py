"""QdrantIndex: a collection as an Index of the table that it holds."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from placevec.errors import StaleIndex
from placevec.index.base import Found, Index, Rows, Vectors, exact_scores
from placevec.index.stores.base import StoreCard, Table
from placevec.index.stores.keys import PointId, RowsByKey, point_ids
from placevec.index.stores.qdrant.api import models
from placevec.index.stores.qdrant.ask import REACH, Answer, ask, depth, exactly, nearly, vectors_of
from placevec.index.stores.qdrant.link import Link
from placevec.table import EmbeddingTable

# So many finds more than wanted are ranked here: which of several equal rows a server finds is chance.
_TIES = 16
# Ids that one request names.
_NAMED = 20_000


class QdrantIndex(Index):
    """A collection, searched for rows of its table.

    Up to `exact_rows` rows that may be found the server compares all of them; above, it is asked for more than k and
    again for more, until k of the finds are allowed. Hits are scored here, by the vectors of the table or, where that
    is in a file, by those that the server keeps: whatever the server's own rounding, one pair has one score.

    Args:
        link: to the server.
        card: of the collection, which holds the table as it is now.
        table: that it holds.
        exact_rows: up to so many rows are compared one by one.
    """

    name = "qdrant"
    exact = False
    reranks = True

    def __init__(self, link: Link, card: StoreCard, table: Table, *, exact_rows: int) -> None:
        self.link = link
        self.card = card
        self.space = card.space
        self.tower = card.tower
        self.num_rows = card.rows
        self.exact_rows = exact_rows
        self.table = table
        self._keys = point_ids(table)
        self._rows = RowsByKey(self._keys)

    @property
    def fingerprint(self) -> str:
        """The fingerprint of the table that the collection holds."""
        return self.card.fingerprint

    def _search(self, queries: Vectors, k: int, rows: Rows | None) -> Found:
        found, scores = self._asked(queries, min(k + _TIES, self.num_rows if rows is None else len(rows)), rows)
        return found[:, :k], scores[:, :k]

    def _asked(self, queries: Vectors, k: int, rows: Rows | None) -> Found:
        if rows is None:
            params = exactly() if self.num_rows <= self.exact_rows else nearly(k)
            answers = ask(self.link, self.space, queries, k, params=params)
            return self._ranked(queries, [self._pairs(answer) for answer in answers], k)
        if len(rows) > self.exact_rows:
            return self._grown(queries, k, rows)
        return self._named(queries, k, rows)

    def _grown(self, queries: Vectors, k: int, rows: Rows) -> Found:
        """Many rows: more are asked for than are wanted, until enough of them are allowed."""
        wanted = depth(k, len(rows), self.num_rows)
        while wanted <= REACH:
            answers = ask(self.link, self.space, queries, wanted, params=nearly(wanted))
            pairs = []
            for answer in answers:
                found, scores = self._pairs(answer)
                keep = np.isin(found, rows, assume_unique=True)
                pairs.append((found[keep], scores[keep]))
            if all(len(found) >= k for found, _ in pairs):
                return self._ranked(queries, pairs, k)
            wanted *= 4
        return self._named(queries, k, rows)

    def _named(self, queries: Vectors, k: int, rows: Rows) -> Found:
        """The rows are named to the server, some at a time, and all of them compared."""
        pairs = [(np.empty(0, np.int64), np.empty(0, np.float32)) for _ in queries]
        for start in range(0, len(rows), _NAMED):
            part = rows[start : start + _NAMED]
            condition = models.Filter(must=[models.HasIdCondition(has_id=self._ids(part))])
            limit = min(k, len(part))
            answers = ask(self.link, self.space, queries, limit, filter=condition, params=exactly())
            more = [self._pairs(answer) for answer in answers]
            pairs = [
                (np.concatenate([a[0], b[0]]), np.concatenate([a[1], b[1]])) for a, b in zip(pairs, more, strict=True)
            ]
        return self._ranked(queries, pairs, k)

    def _ids(self, rows: Rows) -> list[PointId]:
        return [self._keys[row] for row in rows.tolist()]

    def _pairs(self, answer: Answer) -> tuple[Rows, NDArray[np.float32]]:
        rows = self._rows.rows(answer.keys)
        if (rows < 0).any():
            raise StaleIndex(
                f"{self.link.address.shown} found a row that the table has not: it was loaded with another table since"
            )
        return rows, answer.scores

    def _ranked(self, queries: Vectors, pairs: list[tuple[Rows, NDArray[np.float32]]], k: int) -> Found:
        rows = np.full((len(pairs), k), -1, dtype=np.int64)
        scores = np.full((len(pairs), k), np.nan, dtype=np.float32)
        found = [near[np.lexsort((near, -score))[:k]] for near, score in pairs]
        vectors = self._vectors(np.unique(np.concatenate(found)))
        for at, near in enumerate(found):
            query = np.broadcast_to(queries[at], (len(near), self.space.dims))
            score = exact_scores(query, vectors(near), self.space)
            best = np.lexsort((near, -score))
            rows[at, : len(best)], scores[at, : len(best)] = near[best], score[best]
        return rows, scores

    def _vectors(self, rows: Rows) -> Callable[[Rows], Vectors]:
        """What gives the vectors (n, d) of any of `rows`, which are sorted."""
        if isinstance(self.table, EmbeddingTable):
            return self.table.vectors
        keys = self._ids(rows)
        by_key = vectors_of(self.link, keys, self.space.dims)
        if len(by_key) < len(keys):
            raise StaleIndex(f"{self.link.address.shown} lost rows while it was searched: search again")
        kept = np.stack([by_key[key] for key in keys])
        return lambda wanted: kept[np.searchsorted(rows, wanted)]
