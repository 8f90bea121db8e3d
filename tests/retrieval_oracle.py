"""The slow and obvious way: one query after another, every item looked at."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import permutations
from typing import Any

import numpy as np


def score(a: np.ndarray, b: np.ndarray, metric: str) -> float:
    """The score of a pair as a float32, by the definition of the metric."""
    x, y = [float(v) for v in a], [float(v) for v in b]
    if metric == "l2":
        return float(np.float32(-0.5 * math.fsum((p - q) ** 2 for p, q in zip(x, y, strict=True))))
    dot = math.fsum(p * q for p, q in zip(x, y, strict=True))
    if metric == "cosine":
        size = math.sqrt(math.fsum(p * p for p in x)) * math.sqrt(math.fsum(q * q for q in y))
        dot = dot / size if size else 0.0
    return float(np.float32(dot))


def standing(scores: Sequence[float], counts: Sequence[bool]) -> tuple[int, int, int, int]:
    """Ahead, level, own, counting of one query."""
    best = max(s for s, c in zip(scores, counts, strict=True) if c)
    ahead = sum(s > best and not c for s, c in zip(scores, counts, strict=True))
    level = sum(s == best and not c for s, c in zip(scores, counts, strict=True))
    own = sum(s == best and c for s, c in zip(scores, counts, strict=True))
    return ahead, level, own, sum(counts)


def matrix(images: np.ndarray, captions: np.ndarray, metric: str) -> list[list[float]]:
    """All scores."""
    return [[score(i, c, metric) for c in captions] for i in images]


def recall(rows: Sequence[tuple[int, int, int, int]], k: int) -> float:
    """The share of queries that find something among the first k, over all orders of what is level."""
    shares = []
    for ahead, level, own, _ in rows:
        orders = list(permutations([True] * own + [False] * level)) if own + level <= 6 else []
        if orders:
            shares.append(np.mean([ahead + 1 + order.index(True) <= k for order in orders]))
        else:
            left = k - ahead
            missed = math.comb(level, left) / math.comb(own + level, left) if 0 < left <= level else float(left <= 0)
            shares.append(1.0 - missed)
    return float(np.mean(shares))


def plain_ranks(images: np.ndarray, captions: np.ndarray, image_of: Sequence[int]) -> dict[str, Any]:
    """The evaluation as it is commonly written: sort the items of each query, look for its own."""
    i2t, t2i = [], []
    for i, image in enumerate(images):
        order = sorted(range(len(captions)), key=lambda t: -float(image @ captions[t]))
        i2t.append(1 + next(rank for rank, t in enumerate(order) if image_of[t] == i))
    for t, caption in enumerate(captions):
        order = sorted(range(len(images)), key=lambda i: -float(images[i] @ caption))
        t2i.append(1 + order.index(image_of[t]))
    return {"image to text": np.array(i2t), "text to image": np.array(t2i)}
