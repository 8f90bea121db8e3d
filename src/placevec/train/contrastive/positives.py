"""Which places of a batch are positives of each other: near-duplicates, which as negatives would teach nonsense."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def near(a: Tensor, b: Tensor, chord: float) -> Tensor:
    """(n, m) bool: whether the unit vectors (n, 3) and (m, 3) lie within `chord` of each other.

    Differences are taken first, so that float32 is right to half a metre on the ground; a product of float32 unit
    vectors would not tell points within 2 km apart.
    """
    distance = torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")
    return distance <= chord


def alike(a: Tensor, b: Tensor, cosine: float) -> Tensor:
    """(n, m) bool: whether the vectors (n, d) and (m, d) have at least this cosine."""
    return F.normalize(a, dim=1) @ F.normalize(b, dim=1).T >= cosine


def either(*masks: Tensor | None) -> Tensor | None:
    """True where any of the masks is; None where there is none."""
    found: Tensor | None = None
    for mask in masks:
        if mask is not None:
            found = mask if found is None else found | mask
    return found
