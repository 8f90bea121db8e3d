"""What chance reaches, and what equal captions let nobody exceed on average.

An image set has far fewer sentences than captions. A ranker that sees a caption cannot know which of the images that
carry the very same one is meant: the best it can do is to put them first, in any order. An image that asks for its
captions can begin with the copies of that one of its sentences which the fewest other images share. What such a ranker
is expected to reach is the ceiling, in closed form (`chances.found_within`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from placevec.measure.retrieval.chances import Floats, expected_reciprocal, found_within, median_of
from placevec.measure.retrieval.pairing import Pairing, Rows

Direction = Literal["image to text", "text to image"]
Definition = Literal["official", "duplicate-aware"]
DIRECTIONS: tuple[Direction, ...] = ("image to text", "text to image")
DEFINITIONS: tuple[Definition, ...] = ("official", "duplicate-aware")


@dataclass(frozen=True)
class Bound:
    """What a ranker that knows only so much is expected to reach, as functions of the queries.

    Attributes:
        found: of k, the probability (q,) that an item that counts is among the first k.
        reciprocals: (q,) the mean of 1 / rank.
        items: how many items there are.
    """

    found: Callable[[int], Floats]
    reciprocals: Floats
    items: int

    def recall(self, k: int) -> float:
        """The mean over queries, in [0, 1]."""
        return float(self.found(k).mean())

    @property
    def mrr(self) -> float:
        """The mean reciprocal rank."""
        return float(self.reciprocals.mean())

    @property
    def median_rank(self) -> float:
        """The rank by which half of the queries are served."""
        return median_of(self.recall, self.items)


def chance(pairing: Pairing, direction: Direction, definition: Definition) -> Bound:
    """Of a ranker that orders all items at random."""
    counting, items = _counting(pairing, direction, definition)
    return _bound(counting, items - counting, items)


def ceiling(pairing: Pairing, direction: Direction, definition: Definition) -> Bound:
    """Of an ideal ranker that knows all, except which of equal captions is meant.

    Under the duplicate-aware definition it is never wrong. With the official one, text to image: one image of the
    b + 1 that carry the caption counts, in random order, so that R@k = min(1, k / (b + 1)). Image to text: copies of
    the caption of the image stand first, of which a are its own and b of others; that caption is taken of which R@k is
    highest, 1 - C(b, k) / C(a + b, k).
    """
    counting, items = _counting(pairing, direction, definition)
    if definition == "duplicate-aware":
        return _bound(counting, np.zeros_like(counting), items)
    image, words, own = pairing.said
    if direction == "text to image":
        carriers = np.bincount(words)[pairing.words]
        return _bound(np.ones_like(carriers), carriers - 1, items)
    others = np.bincount(pairing.words)[words] - own
    starts = np.searchsorted(image, pairing.asked)

    def best(values: Floats) -> Floats:
        return np.maximum.reduceat(values, starts)

    return Bound(lambda k: best(found_within(own, others, k)), best(expected_reciprocal(own, others)), items)


def _counting(pairing: Pairing, direction: Direction, definition: Definition) -> tuple[Rows, int]:
    """How many items count for each query, and how many there are."""
    image, words, _ = pairing.said
    official = definition == "official"
    if direction == "text to image":
        return (np.ones_like(pairing.words) if official else np.bincount(words)[pairing.words]), pairing.images
    if official:
        return np.bincount(pairing.image_of, minlength=pairing.images)[pairing.asked], pairing.captions
    rows = np.bincount(pairing.words)[words]
    return np.add.reduceat(rows, np.searchsorted(image, pairing.asked)), pairing.captions


def _bound(own: Rows, others: Rows, items: int) -> Bound:
    # Queries of one kind are counted once: there are few kinds.
    kinds, which = np.unique(np.stack([own, others]), axis=1, return_inverse=True)
    at = which.reshape(-1)
    reciprocals = expected_reciprocal(kinds[0], kinds[1])[at]
    return Bound(lambda k: found_within(kinds[0], kinds[1], k)[at], reciprocals, items)
