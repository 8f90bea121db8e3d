"""The loss of what is decoded: the density of the true point under the mixture of hypotheses."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from placevec.nn.locator import LocatorHead
from placevec.nn.locator.losses import kernel_log_density, move

FLOOR = 0.02
"""Share of the uniform law over the area, so that one image far from all hypotheses does not rule a batch."""


def mixture_loss(
    head: LocatorHead,
    fused: Tensor,
    joint_logs: Tensor,
    centres: Tensor,
    unit: Tensor,
    area_m2: float,
    *,
    hypotheses: int = 10,
) -> Tensor:
    """The mean negative log-density of true points x under the mixture, in nats per km².

    ::

        -log( (1 - f)·Σ_h w_h·vMF(x; mu_h, s_h) + f / A ),   w = the m largest p(cell), their sum made 1

    Each hypothesis is answerable for the truth by its weight: cells that are probable and wrong learn to point towards
    it, as far as their reach goes, and to be as unsure as they ought to be.

    Args:
        head: gives offsets and spreads.
        fused: (n, dims).
        joint_logs: (n, N) log p(cell).
        centres: (N, 3) unit vectors, float64.
        unit: (n, 3) true points, float64.
        area_m2: A.
        hypotheses: m.
    """
    logs, cells = joint_logs.topk(min(hypotheses, joint_logs.shape[1]), dim=1)
    offset_m, log_spread = head.offsets(fused, cells)
    points = move(centres[cells], offset_m)
    kernels = kernel_log_density(points, unit[:, None], log_spread.to(points.dtype))
    weighted = torch.logsumexp(kernels + logs.log_softmax(dim=1), dim=1) + math.log1p(-FLOOR)
    floor = torch.full_like(weighted, math.log(FLOOR) - math.log(area_m2 / 1e6))
    return -torch.logaddexp(weighted, floor).mean()
