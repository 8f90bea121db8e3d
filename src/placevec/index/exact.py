"""Exact search: every allowed row is scored, in batches, in bounded memory.

A batch is scored in float32 by one matrix product. Its rounding depends on the shape of the batch, so it only
decides who is near enough to the best: whoever could belong to the k best, given the largest error that such a
product can have, is scored again pair by pair (`exact_scores`). The answer is therefore the same whatever the
batches, the number of queries and the threads.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from placevec.errors import SchemaError
from placevec.index.base import Fingerprinted, Found, Index, Rows, Vectors, best_of, exact_scores
from placevec.table import EmbeddingTable, StoredTable
from placevec.table.codec import decode

Floats = NDArray[np.float64]
_Batch: TypeAlias = tuple[int | Rows, Vectors, NDArray[np.bool_] | None]
"""Row numbers (an int: the first of consecutive rows), decoded vectors, and which of them may be found (None: all)."""

# A batch that stays in the processor's cache is scored twice as fast as one that does not.
_BATCH_BYTES = 8 << 20
_SCORES_BYTES = 8 << 20
_PAIRS_BYTES = 8 << 20
# Rows scored at a time for a single query, and so few numbers that sorting the near from the far costs more than it
# saves.
ONE_BYTES = 1 << 19
FEW_NUMBERS = 16_384
# Up to so many queries go one by one over the same rows.
_ALONE = 2
# Below this share of a stored table, rows are fetched one by one instead of streamed past.
_FETCH_SHARE = 1 / 8
# Lengths in this range neither overflow nor underflow when squared in float32.
_TINY, _HUGE = 1e-15, 1e15


class ExactIndex(Index):
    """The table itself as an index: nothing is built.

    Args:
        table: in memory, or in a file of any size.
        batch_rows: rows scored at a time; by default as many as fit the processor's cache.
    """

    name = "exact"
    exact = True

    def __init__(self, table: EmbeddingTable | StoredTable, *, batch_rows: int | None = None) -> None:
        self.table = table
        self.space = table.space
        self.tower = table.meta.tower
        self.num_rows = table.num_rows
        self._looked = 0
        self.batch_rows = batch_rows or int(np.clip(_BATCH_BYTES // (4 * self.space.dims), 256, 65_536))

    @cached_property
    def fingerprint(self) -> str:
        """The fingerprint of the table; computed when it is first asked for."""
        return self.table.fingerprint()

    def check(self, table: Fingerprinted) -> None:
        """See `Index.check`; its own table is never stale."""
        if table is not self.table:
            super().check(table)

    def _search(self, queries: Vectors, k: int, rows: Rows | None) -> Found:
        if rows is not None and len(queries) <= _ALONE and self.quick(len(rows)):
            answers = [self.one(query, k, rows) for query in queries]
            if len(answers) == 1:
                return answers[0][0][None], answers[0][1][None]
            return np.stack([found for found, _ in answers]), np.stack([scores for _, scores in answers])
        race = Race(queries, k, self)
        for numbers, vectors, allowed in self._batches(rows):
            race.enter(numbers, vectors, allowed)
        return race.found()

    def _batches(self, rows: Rows | None) -> Iterator[_Batch]:
        if isinstance(self.table, EmbeddingTable):
            return self._from_memory(rows)
        if rows is not None and len(rows) <= _FETCH_SHARE * self.num_rows:
            return self._fetched(self.table, rows)
        return self._streamed(self.table, rows)

    def quick(self, rows: int) -> bool:
        """Whether `_one` can answer for so many rows of a table in memory: that of many needs the facts of all."""
        if not isinstance(self.table, EmbeddingTable):
            return False
        if rows * self.space.dims <= FEW_NUMBERS:
            return True
        # The facts cost a look at every row: who has looked at as many rows anyway has paid for it.
        self._looked += rows
        return ("_facts" in self.__dict__ or self._looked > self.num_rows) and not len(self._facts.odd)

    def one(self, query: Vectors, k: int, rows: Rows, products: Vectors | None = None) -> Found:
        """The k best of some rows of a table in memory for one query (d,): what `Race` finds, in fewer steps."""
        if len(rows) * self.space.dims > FEW_NUMBERS:
            rows = rows[self._near(query, k, rows, products)]
        vectors = decode(self.raw.take(rows, axis=0), self.table.meta.codec)
        scores = exact_scores(query[None], vectors, self.space)
        if np.isnan(scores).any():
            raise not_finite(int(rows[np.argmax(np.isnan(scores))]))
        best = np.lexsort((rows, -scores))[:k]
        return rows[best], scores[best]

    def _near(self, query: Vectors, k: int, rows: Rows, products: Vectors | None) -> NDArray[np.intp]:
        """The places in `rows` of those that may be among the k best."""
        race = Race(query[None], k, self)
        rough = self.products(race.probe[0], rows) if products is None else products
        facts, alone = self._facts, slice(0, 1)
        if self.space.metric == "cosine":
            rough *= facts.weight[rows]
        elif self.space.metric == "l2":
            rough -= facts.weight[rows]
        kth = float(np.partition(rough, len(rough) - k)[len(rough) - k])
        limit = np.nextafter(np.float32(kth - 2 * race.margin(alone, facts.longest)[0]), np.float32(-np.inf))
        # Where products overflow nothing is known: all are scored.
        return np.flatnonzero(rough >= limit) if np.isfinite(limit) else np.arange(len(rows))

    @property
    def known(self) -> Facts | None:
        """The facts of every row, where they are there already and say something of every row."""
        facts = self.__dict__.get("_facts")
        return None if facts is None or len(facts.odd) else facts

    def products(self, probe: Vectors, rows: Rows) -> Vectors:
        """The products (n,) of the vectors of `rows` with `probe`, with rounding."""
        raw, codec = self.raw, self.table.meta.codec
        plain = raw.dtype == np.float32 and codec is None
        step = max(256, ONE_BYTES // (4 * self.space.dims))
        rough = np.empty(len(rows), dtype=np.float32)
        held = np.empty((min(step, len(rows)), self.space.dims), dtype=raw.dtype)
        with np.errstate(invalid="ignore", over="ignore"):
            for start in range(0, len(rows), step):
                part = rows[start : start + step]
                first, span = int(part[0]), int(part[-1]) + 1 - int(part[0])
                if plain and 2 * span <= 3 * len(part):
                    # Nearly side by side: scored where they lie, the gaps as well.
                    beside = raw[first : first + span] @ probe
                    rough[start : start + step] = beside if span == len(part) else beside[part - first]
                    continue
                # In this mode numpy copies row by row without a buffer between.
                own = raw.take(part, axis=0, out=held[: len(part)], mode="clip")
                np.dot(own if plain else decode(own, codec), probe, out=rough[start : start + step])
        return rough

    @cached_property
    def raw(self) -> NDArray[Any]:
        """The stored components (n, d) of a table in memory."""
        assert isinstance(self.table, EmbeddingTable)
        return self.table.raw

    def _from_memory(self, rows: Rows | None) -> Iterator[_Batch]:
        codec, step = self.table.meta.codec, self.batch_rows
        if rows is None:
            for start in range(0, self.num_rows, step):
                yield start, decode(self.raw[start : start + step], codec), None
            return
        at = 0
        while at < len(rows):
            first = int(rows[at])
            # Rows that stand almost side by side are scored where they lie; a copy would cost more than the gaps.
            beside = int(np.searchsorted(rows, first + step))
            span = int(rows[beside - 1]) + 1 - first
            if 2 * (beside - at) >= span:
                allowed = None
                if span != beside - at:
                    allowed = np.zeros(span, dtype=bool)
                    allowed[rows[at:beside] - first] = True
                yield first, decode(self.raw[first : first + span], codec), allowed
                at = beside
            else:
                numbers = rows[at : at + step]
                yield numbers, decode(self.raw.take(numbers, axis=0), codec), None
                at += len(numbers)

    def _fetched(self, table: StoredTable, rows: Rows) -> Iterator[_Batch]:
        for start in range(0, len(rows), self.batch_rows):
            numbers = rows[start : start + self.batch_rows]
            yield numbers, table.take(numbers, columns=[]).vectors(), None

    def _streamed(self, table: StoredTable, rows: Rows | None) -> Iterator[_Batch]:
        for first, piece in table.scan(["embedding"], rows, self.batch_rows):
            vectors = EmbeddingTable(piece, table.meta).vectors()
            allowed = None
            if rows is not None:
                low, high = np.searchsorted(rows, (first, first + len(vectors)))
                if high - low < len(vectors):
                    allowed = np.zeros(len(vectors), dtype=bool)
                    allowed[rows[low:high] - first] = True
            yield first, vectors, allowed

    def facts(self, numbers: int | Rows, vectors: Vectors) -> Facts:
        """What a batch's rough scores need besides the products; looked up where it is known already."""
        if isinstance(self.table, EmbeddingTable) and (isinstance(numbers, int) or "_facts" in self.__dict__):
            known = self._facts
            if isinstance(numbers, int):
                at = slice(numbers, numbers + len(vectors))
                low, high = np.searchsorted(known.odd, (at.start, at.stop))
                return Facts(known.weight[at], known.odd[low:high] - at.start, known.longest)
            odd = np.flatnonzero(np.isin(numbers, known.odd)) if len(known.odd) else known.odd
            return Facts(known.weight[numbers], odd, known.longest)
        return _facts(vectors, self.space.metric)

    @cached_property
    def _facts(self) -> Facts:
        """The facts of every row of a table in memory: each scan asks for them again."""
        parts = [(number, _facts(vectors, self.space.metric)) for number, vectors, _ in self._from_memory(None)]
        return Facts(
            np.concatenate([part.weight for _, part in parts]),
            np.concatenate([part.odd + number for number, part in parts]),
            max(part.longest for _, part in parts),
        )


class Facts(NamedTuple):
    """Of the rows of a batch: what turns a product into a rough score.

    Attributes:
        weight: (n,) 1 / |v| for cosine, |v|² / 2 for l2, 1 for dot.
        odd: rows whose rough score says nothing, because float32 cannot hold their squared length.
        longest: no other row is longer.
    """

    weight: NDArray[np.float32]
    odd: Rows
    longest: float


def _facts(vectors: Vectors, metric: str) -> Facts:
    with np.errstate(over="ignore", divide="ignore"):
        squares = np.einsum("ij,ij->i", vectors, vectors)
        lengths = np.sqrt(squares)
        weight = np.ones_like(lengths)
        if metric == "cosine":
            weight = np.where(lengths > 0, np.float32(1) / lengths, np.float32(0))
        elif metric == "l2":
            weight = squares * np.float32(0.5)
    usual = (lengths > _TINY) & (lengths < _HUGE)
    odd = np.flatnonzero(~usual)
    # Rows of zeros are in order: their products are exact.
    odd = odd[vectors[odd].any(axis=1)]
    return Facts(weight, odd, float(lengths[usual].max(initial=0.0)))


class Race:
    """The k best so far of each query."""

    def __init__(self, queries: Vectors, k: int, index: ExactIndex) -> None:
        self.queries = queries
        self.k = k
        self.index = index
        self.metric = index.space.metric
        length = np.sqrt(np.einsum("ij,ij->i", queries, queries, dtype=np.float64))
        self.size = length
        self.probe = queries
        if self.metric == "cosine":
            self.probe = (queries / length[:, None]).astype(np.float32)
            self.size = np.ones(len(queries))
        # A float32 sum of d products is wrong by at most d · 2^-24 · |q| |v|; some roundings come on top of it.
        self.unit = (index.space.dims + 16) * 2.0**-24
        self.rows = np.full((len(queries), k), np.iinfo(np.int64).max, dtype=np.int64)
        self.scores = np.full((len(queries), k), -np.inf, dtype=np.float32)

    def found(self) -> Found:
        """Their rows and scores."""
        return self.rows, self.scores

    def enter(self, numbers: int | Rows, vectors: Vectors, allowed: NDArray[np.bool_] | None) -> None:
        """Let a batch of rows compete."""
        facts = self.index.facts(numbers, vectors)
        step = max(1, _SCORES_BYTES // (4 * max(1, len(vectors))))
        for start in range(0, len(self.queries), step):
            block = slice(start, start + step)
            rough = self._rough(block, vectors, facts.weight)
            if len(facts.odd):
                rough[:, facts.odd] = np.inf
            if allowed is not None:
                rough[:, ~allowed] = -np.inf
            query, at = self._near(rough, block, self.margin(block, facts.longest))
            if len(query):
                row = at + numbers if isinstance(numbers, int) else numbers[at]
                self._merge(block, query, row, self._score(query + start, at, vectors, row))

    def _rough(self, block: slice, vectors: Vectors, weight: NDArray[np.float32]) -> Vectors:
        """Scores (q, n) with rounding; of l2, what ranks like it: q·v - |v|² / 2."""
        # What overflows here is scored exactly, see `Facts.odd`.
        with np.errstate(invalid="ignore", over="ignore"):
            rough: Vectors = self.probe[block] @ vectors.T
            if self.metric == "cosine":
                rough *= weight
            elif self.metric == "l2":
                rough -= weight
        return rough

    def margin(self, block: slice, longest: float) -> Floats:
        """How far (q,) a rough score can be from the true one."""
        if self.metric == "cosine":
            return np.full(len(self.probe[block]), 4 * self.unit)
        size: Floats = self.size[block]
        if self.metric == "l2":
            return 2 * self.unit * (size + longest) ** 2
        return 2 * self.unit * size * longest

    def _floor(self, block: slice) -> Floats:
        """The rough score (q,) that the k-th best so far has, if there was no rounding."""
        last = self.scores[block, -1].astype(np.float64)
        if self.metric == "l2":
            last = (self.size[block] ** 2 - last**2) / 2
        return last

    def _near(self, rough: Vectors, block: slice, margin: Floats) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """The pairs (query of the block, column) that may be among the k best."""
        limit = self._floor(block) - margin
        # Compared in float32: rounded down, so that nobody is lost.
        least = np.nextafter(limit.astype(np.float32), np.float32(-np.inf))
        # -inf is not allowed ever; a limit that low means that all others are.
        least = np.maximum(least, np.finfo(np.float32).min)
        near = rough >= least[:, None]
        width = rough.shape[1]
        if self.k < width and np.count_nonzero(near) > 4 * self.k + 64:
            crowded = np.flatnonzero(near.sum(axis=1) > 4 * self.k + 64)
            if len(crowded):
                kth = np.partition(rough[crowded], width - self.k, axis=1)[:, width - self.k].astype(np.float64)
                tight = np.nextafter((kth - 2 * margin[crowded]).astype(np.float32), np.float32(-np.inf))
                tight = np.where(np.isfinite(tight), tight, least[crowded])
                near[crowded] = rough[crowded] >= np.maximum(tight, least[crowded])[:, None]
        query, column = np.divmod(np.flatnonzero(near), width)
        return query, column

    def _score(self, query: NDArray[np.intp], at: NDArray[np.intp], vectors: Vectors, row: Rows) -> Vectors:
        scores = np.empty(len(query), dtype=np.float32)
        step = max(1, _PAIRS_BYTES // (8 * self.index.space.dims))
        for start in range(0, len(query), step):
            part = slice(start, start + step)
            scores[part] = exact_scores(self.queries[query[part]], vectors[at[part]], self.index.space)
        if np.isnan(scores).any():
            raise not_finite(int(row[np.argmax(np.isnan(scores))]))
        return scores

    def _merge(self, block: slice, query: NDArray[np.intp], row: Rows, score: Vectors) -> None:
        held = self.rows[block]
        owner = np.repeat(np.arange(len(held)), self.k)
        rows = np.concatenate([held.reshape(-1), row])
        scores = np.concatenate([self.scores[block].reshape(-1), score])
        owners = np.concatenate([owner, query])
        self.rows[block], self.scores[block] = best_of(owners, rows, scores, len(held), self.k)


def not_finite(row: int) -> SchemaError:
    """What is raised for a row whose vector cannot be scored."""
    return SchemaError(f"the vector of row {row} holds values that are not finite: make or import the table again")
