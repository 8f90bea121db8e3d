"""Which rows to ask about next: uncertain ones, in crowded parts of the space, unlike each other and what is known."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]

POOL = 20  # of so many times the rows that are asked for, the most uncertain, the answer is chosen
LEAST_POOL = 500
SAMPLE = 1024  # rows by which it is found how crowded a place of the space is


def entropy(probabilities: Floats) -> Floats:
    """The entropy (n,) of probabilities (n, c) as a share of the largest: 0 is sure, 1 knows nothing."""
    p = np.asarray(probabilities, dtype=np.float64)
    bits = -(p * np.log(np.where(p > 0, p, 1.0))).sum(axis=1)
    return np.asarray(bits / np.log(max(2, p.shape[1])))


def margin(probabilities: Floats) -> Floats:
    """By how much (n,) the likeliest class leads the second."""
    two = np.sort(probabilities, axis=1)[:, -2:]
    return np.asarray(two[:, 1] - two[:, 0])


def ask_next(
    vectors: NDArray[Any], uncertainty: Floats, labelled: Rows, count: int, seed: int = 0
) -> tuple[Rows, Floats]:
    """The rows to ask about, the best first, and the worth of each when it was chosen.

    Of the most uncertain rows one after another is taken whose product of uncertainty, density (the mean likeness to a
    sample of all rows: Settles and Craven, 2008) and distance from the nearest row that is labelled or taken
    (k-centre greedy: Sener and Savarese, 2018) is greatest. So two rows that look alike are not both asked about.

    Args:
        vectors: (n, d).
        uncertainty: (n,) from 0.
        labelled: rows that are known; they are never asked about.
        count: how many rows at most.
        seed: of the sample.

    Returns:
        At most `count` rows and their worth; fewer where no other row is unlike those that are known.
    """
    n = len(vectors)
    open_rows = np.setdiff1d(np.arange(n), labelled)
    size = min(len(open_rows), max(LEAST_POOL, POOL * count))
    pool = open_rows[np.argsort(-uncertainty[open_rows], kind="stable")[:size]]
    if not len(pool) or count < 1:
        return np.empty(0, dtype=np.int64), np.empty(0)
    sample = np.sort(np.random.default_rng(seed).choice(n, min(n, SAMPLE), replace=False))
    mine = _unit(vectors[pool])
    density = np.maximum((mine @ _unit(vectors[sample]).T).mean(axis=1) + 1.0, 0.0) / 2.0
    known = _unit(vectors[labelled])
    gap = np.full(len(pool), 2.0)
    for start in range(0, len(known), 1024):
        gap = np.minimum(gap, 1.0 - (mine @ known[start : start + 1024].T).max(axis=1))
    worth = uncertainty[pool] * density
    chosen, worths = [], []
    for _ in range(min(count, len(pool))):
        value = worth * np.maximum(gap, 0.0)
        best = int(value.argmax())
        if value[best] <= 1e-12:
            break
        chosen.append(best)
        worths.append(float(value[best]))
        gap = np.minimum(gap, 1.0 - mine @ mine[best])
    return pool[np.array(chosen, dtype=np.int64)], np.array(worths)


def _unit(vectors: NDArray[Any]) -> Floats:
    values = np.asarray(vectors, dtype=np.float64)
    length = np.linalg.norm(values, axis=1, keepdims=True)
    return np.asarray(values / np.where(length > 0, length, 1.0))
