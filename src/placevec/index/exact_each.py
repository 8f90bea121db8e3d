"""Exact search for many queries, each among rows of its own: what several look at is read once.

One product of many queries with a page of the table costs a third of their products one by one, which wait for the
memory; and where few rows are to be scored, most of the time goes into calling numpy.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from importlib.util import find_spec

import numpy as np

from placevec.index.base import Found, Rows, Vectors, best_of, exact_scores
from placevec.index.exact import ONE_BYTES, ExactIndex, Facts, Race, not_finite
from placevec.table import EmbeddingTable
from placevec.table.codec import decode

# Queries with rows of their own go together, so many at a time: those with so many numbers to read share the pages of
# the table (one of which a query wants less than one in `_DENSE` rows it reads alone), those with few are scored in
# blocks of so many bytes.
_PAGED_NUMBERS = 1 << 18
_BESIDE_BYTES = 1 << 20
_TOGETHER = 256
# Of more rows than so many times k it is found out first, in float32, which may be among the best.
_PLENTY = 2
# To copy vectors of so many components takes longer than to score them.
_LONG = 256
_DENSE = 8


def find_each(index: ExactIndex, queries: Vectors, k: int, rows: Sequence[Rows]) -> list[Found]:
    """As `ExactIndex.find` for each query (q, d) and its own `rows`, in shapes (1, k)."""
    answers: list[Found] = []
    for start in range(0, len(rows), _TOGETHER):
        part = slice(start, start + _TOGETHER)
        few = _beside(index, queries[part], k, rows[part])
        rough = _shared(index, queries[part], rows[part])
        for at, own in enumerate(rows[part]):
            query = queries[start + at]
            if at in few:
                answers.append(few[at])
            elif at in rough and len(own) > k:
                found, scores = index.one(query, k, own, rough[at])
                answers.append((found[None], scores[None]))
            else:
                answers.append(index.find(query[None], k, own))
    return answers


def _beside(index: ExactIndex, queries: Vectors, k: int, rows: Sequence[Rows]) -> dict[int, Found]:
    """The answers to those queries that have not many rows of a table in memory, though k at least: all at once."""
    dims = index.space.dims
    if not isinstance(index.table, EmbeddingTable):
        return {}
    most = _PAGED_NUMBERS // dims
    chosen = [at for at, own in enumerate(rows) if k <= len(own) <= most and index.quick(len(own))]
    if len(chosen) < 2:
        return {}
    asked, own = queries[chosen], [rows[at] for at in chosen]
    facts = index.known
    if facts is not None and any(len(each) > _PLENTY * k for each in own):
        own = _nearest(index, facts, asked, k, own)
    together = np.concatenate(own)
    owner = np.repeat(np.arange(len(own)), [len(each) for each in own])
    scores = np.empty(len(together), dtype=np.float32)
    step = max(1, _BESIDE_BYTES // (8 * dims))
    for start in range(0, len(together), step):
        part = slice(start, start + step)
        vectors = decode(index.raw.take(together[part], axis=0), index.table.meta.codec)
        scores[part] = exact_scores(asked[owner[part]], vectors, index.space)
    if np.isnan(scores).any():
        raise not_finite(int(together[np.argmax(np.isnan(scores))]))
    found, best = best_of(owner, together, scores, len(own), k)
    return {at: (found[place][None], best[place][None]) for place, at in enumerate(chosen)}


def _nearest(index: ExactIndex, facts: Facts, queries: Vectors, k: int, rows: Sequence[Rows]) -> list[Rows]:
    """Those of the rows of each query that may be among its k best, k at least."""
    race, dims, metric = Race(queries, k, index), index.space.dims, index.space.metric
    lengths = np.array([len(own) for own in rows])
    ends = np.cumsum(lengths)
    together = np.concatenate(rows)
    raw, codec = index.raw, index.table.meta.codec
    plain = raw.dtype == np.float32 and codec is None
    step = max(64, ONE_BYTES // (4 * dims))
    beside = _where_they_lie() if plain and dims >= _LONG else None
    held = np.empty((step, dims), dtype=raw.dtype)
    rough = np.empty(len(together), dtype=np.float32)
    weight = None if metric == "dot" else facts.weight.take(together)
    kth = np.empty(len(rows))
    with np.errstate(invalid="ignore", over="ignore"):
        for at, (own, probe, low, high) in enumerate(
            zip(rows, race.probe, (ends - lengths).tolist(), ends.tolist(), strict=True)
        ):
            part = rough[low:high]
            for start in range(0, len(own), step):
                some = own[start : start + step]
                if beside is not None:
                    beside(raw, probe, some, part[start : start + step])
                    continue
                vectors = raw.take(some, axis=0, out=held[: len(some)], mode="clip")
                np.dot(vectors if plain else decode(vectors, codec), probe, out=part[start : start + step])
            if weight is not None and metric == "cosine":
                part *= weight[low:high]
            elif weight is not None:
                part -= weight[low:high]
            kth[at] = np.partition(part, len(part) - k)[len(part) - k]
    limit = (kth - 2 * race.margin(slice(None), facts.longest)).astype(np.float32)
    limit = np.nextafter(limit, np.float32(-np.inf))
    # Where products overflow nothing is known: all are scored.
    limit[~np.isfinite(limit)] = -np.inf
    near = ~(rough < np.repeat(limit, lengths))
    counts = np.add.reduceat(near, ends - lengths, dtype=np.int64)
    return np.split(together[near], np.cumsum(counts)[:-1])


@cache
def _where_they_lie() -> Callable[[Vectors, Vectors, Rows, Vectors], None] | None:
    """What computes products of rows without a copy of them: faiss, where it is installed."""
    from placevec.index.faiss.common import products_of_rows

    return products_of_rows if find_spec("faiss") is not None else None


def _shared(index: ExactIndex, queries: Vectors, rows: Sequence[Rows]) -> dict[int, Vectors]:
    """The products of each query with its rows, of those queries that have many: page by page of the table."""
    least = _PAGED_NUMBERS // index.space.dims
    many = [at for at, own in enumerate(rows) if least < len(own) < index.num_rows and index.quick(len(own))]
    if len(many) < 2:
        return {}
    probes = Race(queries[many], 1, index).probe
    step = max(256, ONE_BYTES // (4 * index.space.dims))
    edges = np.arange(0, index.num_rows + step, step)
    bounds = np.stack([np.searchsorted(rows[at], edges) for at in many])
    counts = np.diff(bounds, axis=1)
    dense = counts * _DENSE >= step
    rough = [np.empty(len(rows[at]), dtype=np.float32) for at in many]
    for page in np.flatnonzero(dense.any(axis=0)).tolist():
        first = page * step
        vectors = decode(index.raw[first : first + step], index.table.meta.codec)
        who = np.flatnonzero(dense[:, page])
        with np.errstate(invalid="ignore", over="ignore"):
            products = probes[who] @ vectors.T
        for line, at in zip(products, who.tolist(), strict=True):
            low, high = bounds[at, page], bounds[at, page + 1]
            whole = high - low == len(vectors)
            rough[at][low:high] = line if whole else line.take(rows[many[at]][low:high] - first)
    for at, number in enumerate(many):
        rest = np.repeat(~dense[at], counts[at]).nonzero()[0]
        if len(rest):
            rough[at][rest] = index.products(probes[at], rows[number][rest])
    return dict(zip(many, rough, strict=True))
