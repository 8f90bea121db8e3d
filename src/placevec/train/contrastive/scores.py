"""How well places and their images, or captions, find each other; and what chance would do."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

PART = 4096  # queries at a time: cosines of all with all would not fit


def retrieval(queries: Tensor, items: Tensor) -> dict[str, float]:
    """How well query i finds item i by cosine among all items: ties count against it.

    Returns:
        recall_at_1, recall_at_10, mrr (mean reciprocal rank), and percentile: the mean share of the other items that
        stand behind its own (chance: 0.5).
    """
    q, v = F.normalize(queries, dim=1), F.normalize(items, dim=1)
    ranks = []
    for start in range(0, len(q), PART):
        cosines = q[start : start + PART] @ v.T
        own = cosines.diagonal(start)[: len(cosines), None]
        ranks.append((cosines >= own).sum(dim=1))
    rank = torch.cat(ranks).double()
    return {
        "recall_at_1": float((rank <= 1).double().mean()),
        "recall_at_10": float((rank <= 10).double().mean()),
        "mrr": float((1.0 / rank).mean()),
        "percentile": float((1.0 - (rank - 1) / max(1, len(items) - 1)).mean()),
    }


def chance(count: int) -> dict[str, float]:
    """What `retrieval` expects of a random order of `count` items: the mean reciprocal rank is their harmonic mean."""
    return {
        "chance_recall_at_1": 1.0 / count,
        "chance_recall_at_10": min(1.0, 10.0 / count),
        "chance_mrr": float((1.0 / torch.arange(1, count + 1, dtype=torch.float64)).mean()),
        "chance_percentile": 0.5,
    }
