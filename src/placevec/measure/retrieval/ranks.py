"""Ranks of what belongs together, both directions at once, without ever holding all scores.

Of every query that matters is how many items score higher than the best one that counts, and how many the same. Both
directions and all definitions of what counts are read off one block of scores after another, so that 100,000 images
and 500,000 captions take no more memory than their vectors and one block. Scores that are too near to tell in float32
are computed again exactly (`vectors.pair_scores`): the answer does not depend on blocks or threads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from placevec.errors import DataError, SpaceMismatch, UsageError
from placevec.measure.retrieval.chances import expected_rank, expected_reciprocal, found_within
from placevec.measure.retrieval.pairing import Relation, Rows
from placevec.measure.retrieval.vectors import Floats, Side, Vectors, error_unit, pair_scores

Ties = Literal["pessimistic", "expected", "optimistic"]
TIES: dict[str, Ties] = {"pessimistic": "pessimistic", "expected": "expected", "optimistic": "optimistic"}
Progress = Callable[[int, int], None]

# One block of scores takes 8 MB, and two masks of a quarter of that.
IMAGES_AT_ONCE, CAPTIONS_AT_ONCE = 1024, 2048


@dataclass(frozen=True)
class Standing:
    """How the items that count stand among all items, for each query of one direction.

    Attributes:
        ahead: (q,) items that do not count and score higher than the best that counts.
        level: (q,) items that do not count and score the same as it.
        own: (q,) items that count and score the same as it, itself included.
        counting: (q,) all items that count; 0 for a query that asks for nothing.
        items: how many items there are.
    """

    ahead: Rows
    level: Rows
    own: Rows
    counting: Rows
    items: int

    def take(self, queries: NDArray[np.int64]) -> Standing:
        """Those of some queries."""
        return Standing(self.ahead[queries], self.level[queries], self.own[queries], self.counting[queries], self.items)

    def ranks(self, ties: Ties = "expected") -> Floats:
        """The rank (q,) of the best item that counts, 1 the first.

        Args:
            ties: where items of the same score stand. "pessimistic": those that do not count stand first,
                "optimistic": last, "expected": the mean over all orders of them.
        """
        if checked(ties) == "expected":
            return expected_rank(self.own, self.level, self.ahead)
        before = self.ahead + self.level if ties == "pessimistic" else self.ahead
        return before.astype(np.float64) + 1.0

    def found(self, k: int, ties: Ties = "expected") -> Floats:
        """Whether (q,) an item that counts is among the first `k`: 0 or 1, or its probability where ties are open."""
        if checked(ties) == "expected":
            return found_within(self.own, self.level, k - self.ahead)
        return (self.ranks(ties) <= k).astype(np.float64)

    def reciprocals(self, ties: Ties = "expected") -> Floats:
        """1 / rank (q,), or its mean over all orders of ties."""
        if checked(ties) == "expected":
            return expected_reciprocal(self.own, self.level, self.ahead)
        return 1.0 / self.ranks(ties)


@dataclass(frozen=True)
class Ranks:
    """Both directions under one definition of what counts.

    Attributes:
        image_to_text: images ask, captions are found.
        text_to_image: captions ask, images are found.
    """

    image_to_text: Standing
    text_to_image: Standing


def checked(ties: str) -> Ties:
    """`ties`, or UsageError where there is no such rule."""
    if ties not in TIES:
        raise UsageError(f"ties cannot be counted {ties!r}; choose one of {', '.join(TIES)}")
    return TIES[ties]


def rank_all(
    images: NDArray[Any],
    captions: NDArray[Any],
    relations: Sequence[Relation],
    *,
    metric: str = "cosine",
    block: tuple[int, int] = (IMAGES_AT_ONCE, CAPTIONS_AT_ONCE),
    progress: Progress | None = None,
) -> list[Ranks]:
    """Rank all captions for every image and all images for every caption.

    Args:
        images: (n, d) their vectors, in memory or mapped.
        captions: (m, d) those of the captions.
        relations: what counts, one answer for each.
        metric: of the Space: "cosine", "dot" or "l2".
        block: images and captions that are scored together.
        progress: told of the scores made so far, and of all.

    Raises:
        DataError: vectors that are not finite numbers (n, d), or a relation of another size.
        SpaceMismatch: images and captions have another number of components.
    """
    left, right = Side(images, metric, 0, "image"), Side(captions, metric, 1, "caption")
    if left.dims != right.dims:
        raise SpaceMismatch(
            f"images have {left.dims} components and captions {right.dims}: embed both with the towers of one model"
        )
    n, m = len(left), len(right)
    for relation in relations:
        if (relation.left.shape[0], relation.right.shape[0]) != (n, m):
            raise DataError(
                f"{n} images and {m} captions, but what belongs together is said of {relation.left.shape[0]} and "
                f"{relation.right.shape[0]}: give a vector for each"
            )
    tallies = [_Tally(n, m) for _ in relations]
    for own, others in _blocks(n, m, block):
        for relation, tally in zip(relations, tallies, strict=True):
            row, column = relation.pairs(own, others)
            tally.best(row + own.start, column + others.start, left, right)
    unit = error_unit(left.dims)
    known: tuple[slice, Vectors, Floats] | None = None
    done = 0
    for own, others in _blocks(n, m, block):
        if known is None or known[0] != others:
            known = (others, *right.rough(others))
        rough, lengths = left.rough(own)
        scores = rough @ known[1].T
        margin = unit * lengths[:, None] * known[2].max(initial=0.0), unit * known[2] * lengths.max(initial=0.0)
        for relation, tally in zip(relations, tallies, strict=True):
            row, column = relation.pairs(own, others)
            kept = scores[row, column]
            scores[row, column] = -np.inf  # what counts is not ahead of itself
            tally.count(scores, own, others, (margin[0][:, 0], margin[1]), left, right)
            scores[row, column] = kept
        done += scores.size
        if progress is not None:
            progress(done, n * m)
    return [tally.ranks() for tally in tallies]


class _Way:
    """The queries of one direction, as they are counted."""

    def __init__(self, queries: int, items: int) -> None:
        self.items = items
        self.top = np.full(queries, -np.inf, dtype=np.float32)
        self.own, self.counting, self.ahead, self.level = (np.zeros(queries, dtype=np.int64) for _ in range(4))

    def best(self, query: Rows, scores: Vectors) -> None:
        """Take up the scores of items that count."""
        touched = np.unique(query)
        before = self.top[touched]
        np.maximum.at(self.top, query, scores)
        self.own[touched[self.top[touched] > before]] = 0
        np.add.at(self.own, query[scores == self.top[query]], 1)
        np.add.at(self.counting, query, 1)

    def bounds(self, block: slice, margin: Floats) -> tuple[Vectors, Vectors]:
        """Between these two rough scores (q,) of a query, who is higher than its best must be computed exactly."""
        top = self.top[block].astype(np.float64)
        asks = self.counting[block] > 0
        low = np.where(asks, np.nextafter((top - margin).astype(np.float32), np.float32(-np.inf)), np.inf)
        high = np.where(asks, np.nextafter((top + margin).astype(np.float32), np.float32(np.inf)), np.inf)
        return low.astype(np.float32), high.astype(np.float32)

    def standing(self) -> Standing:
        return Standing(self.ahead, self.level, self.own, self.counting, self.items)


class _Tally:
    """What is known of both directions under one definition."""

    def __init__(self, images: int, captions: int) -> None:
        self.images, self.captions = _Way(images, captions), _Way(captions, images)

    def best(self, image: Rows, caption: Rows, left: Side, right: Side) -> None:
        """Take up pairs that count."""
        if len(image):
            scores = pair_scores(left, right, image, caption)
            self.images.best(image, scores)
            self.captions.best(caption, scores)

    def count(
        self, scores: Vectors, own: slice, others: slice, margins: tuple[Floats, Floats], left: Side, right: Side
    ) -> None:
        """Count a block of rough scores; what counts is -inf in it."""
        for axis, way, block in ((1, self.images, own), (0, self.captions, others)):
            low, high = way.bounds(block, margins[1 - axis])
            shaped = (low[:, None], high[:, None]) if axis else (low, high)
            above, reach = scores > shaped[1], scores >= shaped[0]
            clear = int(np.count_nonzero(above))
            if clear:
                way.ahead[block] += _counts(above, axis, clear)
            if np.count_nonzero(reach) == clear:
                continue
            reach ^= above
            row, column = np.divmod(np.flatnonzero(reach), scores.shape[1])
            query = (row if axis else column) + block.start
            found = pair_scores(left, right, row + own.start, column + others.start)
            np.add.at(way.ahead, query[found > way.top[query]], 1)
            np.add.at(way.level, query[found == way.top[query]], 1)

    def ranks(self) -> Ranks:
        return Ranks(self.images.standing(), self.captions.standing())


def _counts(mask: NDArray[np.bool_], axis: int, total: int) -> Rows:
    """The true values along an axis; where there are few, by their places, which is faster."""
    if total * 16 < mask.size:
        row, column = np.divmod(np.flatnonzero(mask), mask.shape[1])
        return np.bincount(row if axis else column, minlength=mask.shape[1 - axis])
    return np.asarray(np.add.reduce(mask, axis=axis, dtype=np.int64))


def _blocks(n: int, m: int, block: tuple[int, int]) -> Iterator[tuple[slice, slice]]:
    for caption in range(0, m, block[1]):
        for image in range(0, n, block[0]):
            yield slice(image, min(image + block[0], n)), slice(caption, min(caption + block[1], m))
