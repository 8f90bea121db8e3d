"""Random orders: how soon the first of some items that count comes, in closed form.

One question is behind three figures. A ranker without any knowledge orders all items at random (chance); an ideal one
puts first the items that it cannot tell apart, in random order (the ceiling that equal captions impose); and items of
one score stand in no order of their own (ties). Each time `own` of `own + others` items count, in an order where all
permutations are equally likely.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import digamma

Floats = NDArray[np.float64]

HALF = 0.5 - 1e-9  # a half, whatever the rounding of the sum


def found_within(own: ArrayLike, others: ArrayLike, places: ArrayLike) -> Floats:
    """The probability that at least one of `own` items stands on the first `places` of own + others.

    The hypergeometric 1 - C(others, places) / C(own + others, places); 0 for no places, or for no own items.

    Args:
        own: a, items that count; whole numbers from 0, broadcast with the others.
        others: b, those that do not.
        places: r; below 0 counts as 0, more than there are items as all.
    """
    a, b, r = np.broadcast_arrays(*(np.asarray(value, dtype=np.float64) for value in (own, others, places)))
    missed = np.ones(a.shape)
    most = np.where(a > 0, np.minimum(np.maximum(r, 0.0), b + 1.0), 0.0)  # beyond b + 1 places one is found surely
    # C(b, r) / C(a + b, r) = C(a + b - r, a) / C(a + b, a): the shorter of the two products is made.
    by_place = most <= a
    for place in range(int(np.where(by_place, most, 0.0).max(initial=0.0))):
        drawn = by_place & (place < most)
        missed[drawn] *= np.maximum(b[drawn] - place, 0.0) / (a[drawn] + b[drawn] - place)
    for place in range(int(np.where(by_place, 0.0, a).max(initial=0.0))):
        drawn = ~by_place & (place < a)
        total = a[drawn] + b[drawn] - place
        missed[drawn] *= np.maximum(total - most[drawn], 0.0) / total
    return np.asarray(1.0 - missed)


def expected_reciprocal(own: ArrayLike, others: ArrayLike, ahead: ArrayLike = 0) -> Floats:
    """The mean of 1 / rank of the first of the own items, where `ahead` items stand before all of them.

    With one own item the mean of 1 / (ahead + 1) ... 1 / (ahead + 1 + others), a difference of two harmonic numbers;
    else the sum over j others before the first own item, of which the probability is
    C(own + others - 1 - j, own - 1) / C(own + others, own).

    Args:
        own: (q,) from 1.
        others: (q,) from 0.
        ahead: (q,) from 0.
    """
    a, b, before = (np.atleast_1d(x) for x in np.broadcast_arrays(own, others, ahead))
    out = 1.0 / (before + 1.0)
    one = (a == 1) & (b > 0)
    start = before[one].astype(np.float64)
    out[one] = (digamma(start + b[one] + 2.0) - digamma(start + 1.0)) / (b[one] + 1.0)
    several = np.flatnonzero((a > 1) & (b > 0))
    if len(several):
        kinds, which = np.unique(np.stack([a, b, before])[:, several], axis=1, return_inverse=True)
        out[several] = np.array([_reciprocal(*map(int, kind)) for kind in kinds.T])[which.reshape(-1)]
    return out


def expected_rank(own: ArrayLike, others: ArrayLike, ahead: ArrayLike = 0) -> Floats:
    """The mean rank of the first of the own items: 1 + ahead + others / (own + 1)."""
    return np.asarray(1.0 + np.asarray(ahead) + np.asarray(others) / (np.asarray(own, dtype=np.float64) + 1.0))


def median_of(found: Callable[[int], float], most: int) -> float:
    """The least rank, up to `most`, by which half of the queries are served.

    Args:
        found: the share of queries whose rank is at most r; it grows with r.
        most: the number of items.
    """
    low, high = 1, max(most, 1)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if found(middle) >= HALF else (middle + 1, high)
    return float(low)


def _reciprocal(own: int, others: int, ahead: int) -> float:
    before = np.arange(others, dtype=np.float64)
    steps = (others - before) / (own + others - 1.0 - before)
    probability = own / (own + others) * np.concatenate([[1.0], np.cumprod(steps)])
    return float(probability @ (1.0 / (ahead + 1.0 + np.arange(others + 1))))
