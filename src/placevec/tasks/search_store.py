"""`search` of a store: without the table, by ids and vectors that the store holds."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from placevec.errors import UsageError
from placevec.index.base import check_k
from placevec.index.stores import open_store
from placevec.provenance import Space
from placevec.results import Hits
from placevec.table import Filter
from placevec.tasks.search_examples import given, rocchio


def search_store(
    url: str,
    *,
    like: Sequence[str] = (),
    unlike: Sequence[str] = (),
    vector: NDArray[Any] | None = None,
    space: Space | None = None,
    k: int = 10,
    filter: Filter | None = None,
    exclude_self: bool = True,
) -> Hits:
    """The k rows of a store most like the examples given.

    Args:
        url: the address of the store.
        like: ids of positive examples; their vectors are read from the store.
        unlike: ids of negative examples.
        vector: (d,) a positive example.
        space: the Space of `vector`; that of the store by default.
        k: hits wanted.
        filter: which rows may be found.
        exclude_self: whether the examples themselves are kept out of the hits.

    Raises:
        UsageError: nothing to be like, no such store, an id that it lacks.
        SpaceMismatch: the vector is of another Space.
        DataError: the store cannot be reached.
    """
    began = time.perf_counter()
    k = check_k(k)
    if not like and vector is None:
        raise UsageError("nothing to be like: a store is searched by ids (like) or a vector")
    with open_store(url) as store:
        card = store.card()
        if card is None:
            raise UsageError(f"there is nothing at {store.url}: load it with `placevec index TABLE --to URL`")
        positive = list(store.vectors(like)) if like else []
        if vector is not None:
            positive.append(given(vector, space, card.space))
        query = rocchio(positive, list(store.vectors(unlike)) if unlike else [], card.space)
        itself = {*like, *unlike} if exclude_self else set()
        hits = store.search(query, k + len(itself), filter)
    keep = np.flatnonzero([name not in itself for name in hits.ids.tolist()])[:k]
    plan = replace(hits.plan, note=_note(hits, k, len(keep)), seconds=time.perf_counter() - began)
    return Hits(hits.rows[keep], hits.scores[keep], hits.places.take(keep), plan)


def _note(hits: Hits, k: int, found: int) -> str:
    """The store's note, without its count of hits where that counted the examples."""
    notes = [part for part in hits.plan.note.split("; ") if part and "hits were asked for" not in part]
    if 0 < found < k:
        notes.append(f"{k} hits were asked for, only {found} rows may be found")
    return "; ".join(notes)
