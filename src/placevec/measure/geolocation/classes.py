"""Whether the right region and the right cell were named: accuracies over photos and over classes."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from placevec.errors import DataError

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]


class Share(NamedTuple):
    """How many were right: of all photos, and the mean over the classes that occur (each counts the same)."""

    micro: float
    macro: float
    n: int  # photos that have a true class


def class_ranks(logs: ArrayLike, true: ArrayLike) -> Rows:
    """The rank (n,) of each photo's true class, 1 the best; a tie counts as lost, so that knowing nothing is worst.

    Args:
        logs: (n, k) scores of k classes, larger is likelier; NaN is the least likely.
        true: (n,) the true class, 0 … k − 1; -1: the photo has none, and its rank is 0.

    Raises:
        DataError: a class does not exist, or the lengths differ.
    """
    scores, own = np.asarray(logs, dtype=np.float64), np.asarray(true, dtype=np.int64)
    if scores.ndim != 2 or own.shape != scores.shape[:1]:
        raise DataError(f"scores of the shape {scores.shape} for {own.shape} classes; give (n, k) and (n,)")
    if len(own) and (own.min() < -1 or own.max() >= scores.shape[1]):
        raise DataError(f"class {int(own.max())} of {scores.shape[1]} does not exist")
    known = own >= 0
    scores = np.where(np.isnan(scores), -np.inf, scores)
    mine = scores[np.arange(len(own)), np.maximum(own, 0)]
    ranks = (scores >= mine[:, None]).sum(axis=1)
    return np.where(known, ranks, 0).astype(np.int64)


def share_within(ranks: ArrayLike, true: ArrayLike, k: int = 1) -> Share:
    """Of the photos that have a class, how many have it among the first `k`; NaN where none has one.

    Args:
        ranks: (n,) from `class_ranks`.
        true: (n,) the true class, -1 for none.
        k: how many classes may be named.
    """
    own, rank = np.asarray(true, dtype=np.int64), np.asarray(ranks, dtype=np.int64)
    known = own >= 0
    return share_right(rank[known] <= k, own[known])


def share_right(right: ArrayLike, true: ArrayLike) -> Share:
    """The same of photos (n,) that are right or not, by their true class (n,); -1 is left out."""
    own = np.asarray(true, dtype=np.int64)
    hit = np.asarray(right, dtype=np.float64)[own >= 0]
    own = own[own >= 0]
    if not len(own):
        return Share(float("nan"), float("nan"), 0)
    held = np.bincount(own)
    present = held > 0
    by_class = np.bincount(own, weights=hit)[present] / held[present]
    return Share(float(hit.mean()), float(by_class.mean()), len(own))
