"""Searching a collection with a filter, without the table: counted first, then exact or by the graph, then checked.

Up to `exact_rows` points that pass are compared by the server one by one. Of more, the graph gives the nearest of all
points, and the server is asked which of these pass; it is asked for more until k do, and where that reaches too far,
the points that pass are compared after all. So the full k is always found.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from placevec.errors import DataError, UsageError
from placevec.index.base import check_k, check_queries, exact_scores
from placevec.index.stores.base import StoreCard
from placevec.index.stores.keys import keys_of_ids
from placevec.index.stores.qdrant.api import models
from placevec.index.stores.qdrant.ask import REACH, Answer, ask, count, depth, exactly, nearly, vectors_of
from placevec.index.stores.qdrant.conditions import Pushed, pushed, unlocated
from placevec.index.stores.qdrant.layout import places_of
from placevec.index.stores.qdrant.link import Link
from placevec.results import Hits, Plan
from placevec.table import Filter, Places

# Points of one answer; a further page is four times as long as the one before, up to this.
_PAGE = 4096
# So many finds more than wanted: for those that do not pass after all, and for rows that are as good as the last one.
_MORE = 16


def search(
    link: Link,
    card: StoreCard,
    schema: pa.Schema,
    query: NDArray[Any],
    k: int,
    filter: Filter | None,
    *,
    exact_rows: int,
) -> Hits:
    """See `Store.search`."""
    began = time.perf_counter()
    if np.ndim(query) != 1:
        raise UsageError(f"one query is a vector (d,), not {np.shape(query)}")
    queries = check_queries(np.asarray(query)[None, :], card.space)
    k = check_k(k)
    push = pushed(filter, schema)
    candidates = count(link, push.filter)
    total = candidates if push.filter is None else count(link)
    asker = _Asker(link, card, schema, queries, k, filter, push)
    found = None if candidates <= exact_rows else asker.nearly(candidates, total)
    exact = found is None
    if found is None:
        found = asker.exactly(candidates)
    filtered = push.filter is not None or bool(push.left)
    plan = Plan(
        name="ann-then-exact" if not exact else "filter-then-exact" if filtered else "scan",
        exact=exact,
        candidates=candidates,
        total=total,
        unlocated=count(link, unlocated()) if push.geographic else 0,
        note=_note(card, push, k, len(found), candidates),
    )
    places = found.take(np.arange(min(len(found), k + _MORE)))
    scores = _scores(link, card, queries[0], places)
    order = np.lexsort((places.ids.astype(str), -scores))[:k]
    plan = replace(plan, seconds=time.perf_counter() - began)
    return Hits(np.full(len(order), -1, dtype=np.int64), scores[order], places.take(order), plan)


def _scores(link: Link, card: StoreCard, query: NDArray[np.float32], places: Places) -> NDArray[np.float32]:
    """The scores (n,) by the vectors that the server keeps, whatever its own rounding."""
    keys = keys_of_ids(places.ids.tolist())
    kept = vectors_of(link, keys, card.space.dims)
    if any(key not in kept for key in keys):
        raise DataError(f"{link.address.shown} lost rows while it was searched: search again")
    vectors = np.array([kept[key] for key in keys], dtype=np.float32).reshape(len(keys), card.space.dims)
    return exact_scores(np.broadcast_to(query, vectors.shape), vectors, card.space)


@dataclass(frozen=True)
class _Asker:
    """One query with its filter."""

    link: Link
    card: StoreCard
    schema: pa.Schema  # of the attributes
    queries: NDArray[np.float32]  # (1, d)
    k: int
    filter: Filter | None
    push: Pushed

    def exactly(self, candidates: int) -> Places:
        """The best by comparing all that pass: pages of them are looked at, until k rows pass or there are no more."""
        offset, limit, found = 0, self.k + _MORE, self._places([])
        while len(found) < self.k and offset < candidates:
            answer = self._ask(limit, self.push.filter, offset)
            found = _joined(found, self._places(answer.payloads))
            if len(answer.keys) < limit:
                break
            offset += limit
            limit = min(4 * limit, _PAGE)
        return found

    def nearly(self, candidates: int, total: int) -> Places | None:
        """The best of what the graph finds; None if it would have to look too far for k rows that pass."""
        if self.filter is None or self.filter.empty:
            wanted = self.k + _MORE
            answer = ask(self.link, self.card.space, self.queries, wanted, params=nearly(wanted), payload=True)[0]
            return self._places(answer.payloads) if len(answer.keys) >= min(self.k, total) else None
        wanted = depth(self.k, candidates, total)
        while wanted <= REACH:
            near = ask(self.link, self.card.space, self.queries, wanted, params=nearly(wanted))[0]
            conditions = [models.HasIdCondition(has_id=near.keys), *([self.push.filter] if self.push.filter else [])]
            passing = self._ask(len(near.keys), models.Filter(must=conditions), 0)
            found = self._places(passing.payloads)
            if len(found) >= self.k:
                return found
            wanted *= 4
        return None

    def _ask(self, limit: int, condition: Any, offset: int) -> Answer:
        """The best of all points that meet a condition, from one on."""
        return ask(
            self.link,
            self.card.space,
            self.queries,
            limit,
            filter=condition,
            params=exactly(),
            offset=offset,
            payload=True,
        )[0]

    def _places(self, payloads: list[dict[str, Any]]) -> Places:
        """The rows that pass the filter, by placevec's own reading of it."""
        places = places_of(payloads, self.schema)
        return places if self.filter is None or self.filter.empty else places.select(self.filter)


def _joined(one: Places, other: Places) -> Places:
    return Places(pa.concat_tables([one.data, other.data]).combine_chunks())


def _note(card: StoreCard, push: Pushed, k: int, found: int, candidates: int) -> str:
    notes = []
    if not card.complete:
        notes.append("the last load was cut short: rows may be missing")
    if push.left:
        notes.append(f"the server cannot decide {' and '.join(push.left)}: placevec looked at what it found")
    if not candidates:
        notes.append("the store is empty" if push.filter is None else "no row passes the filter: widen it")
    elif found < k:
        notes.append(f"{k} hits were asked for, only {found} rows may be found")
    return "; ".join(notes)
