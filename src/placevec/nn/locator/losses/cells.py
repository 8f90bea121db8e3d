"""Losses of classification: regions, and cells with targets that are soft by distance."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from placevec.nn.locator.losses.sphere import pairwise_m

TAU_M = 70_000.0
"""Temperature of the soft targets: PIGEON takes 75 km, PIGEOTTO 65 (Haas et al. 2024, section 3.2)."""

CUT = 5.0
"""Cells so many temperatures farther than the true one get none of the target: e^-5 is 0.7 %."""


def soft_targets(
    unit: Tensor, centres: Tensor, true_cell: Tensor, tau_m: float | Tensor = TAU_M, cut: float | None = CUT
) -> Tensor:
    """The target law over all cells, of whatever region, around the true point x.

    ::

        q(c) ∝ exp( -(d(x, c) - d(x, c*)) / tau )

    with c* the true cell (Haas et al. 2024, PIGEON, eq. 1), and 0 where d(x, c) - d(x, c*) > cut·tau.

    Args:
        unit: (n, 3) unit vectors of the true points.
        centres: (N, 3) unit vectors of the cells' centres.
        true_cell: (n,) int64 rows of the true cells.
        tau_m: metres; or (N,), the temperature of the points of each cell (see `region_tau`).
        cut: see above; None: every cell gets its share.

    Returns:
        (n, N) float32, rows of sum 1; no gradient.
    """
    with torch.no_grad():
        metres = pairwise_m(unit, centres)
        farther = metres.sub_(metres.gather(1, true_cell[:, None]))
        tau = tau_m.to(farther.dtype)[true_cell][:, None] if isinstance(tau_m, Tensor) else float(tau_m)
        scaled = farther.div_(-tau)
        if cut is not None:
            scaled.masked_fill_(scaled < -cut, -torch.inf)
        law: Tensor = scaled.to(torch.float32).softmax(dim=1)
        return law


def region_tau(areas_m2: Tensor, region: Tensor, tau_m: float = TAU_M) -> Tensor:
    """Temperatures (N,) for `soft_targets` where regions are tiny: at most the radius of a disc of the region's area.

    Otherwise a city state of 900 km² would give all of its cells, and its neighbours', the same target.

    Args:
        areas_m2: (P,) areas of the regions.
        region: (N,) int64 region of each cell.
        tau_m: the temperature elsewhere.
    """
    return (areas_m2 / math.pi).sqrt().clamp(max=tau_m)[region]


def geocell_loss(joint_logs: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:
    """The Kullback-Leibler divergence of the predicted law over cells from the target law.

    ::

        L = Σ_i w_i Σ_c q_ic · (log q_ic - log p_ic) / Σ_i w_i,   log p(c) = log p(region) + log p(c | region)

    Args:
        joint_logs: (n, N) log p.
        targets: (n, N) q, rows of sum 1; zeros count nothing.
        weights: (n,) weights of the images; by default all the same.
    """
    # Entropy and cross-entropy apart: the first has no gradient, and one product is left.
    each: Tensor = torch.special.xlogy(targets, targets).sum(dim=1) - (targets * joint_logs).sum(dim=1)
    return each.mean() if weights is None else (weights * each).sum() / weights.sum()


def region_loss(logits: Tensor, target: Tensor, weights: Tensor | None = None) -> Tensor:
    """The weighted cross-entropy of regions, L = -Σ_i w(r_i)·log p_i(r_i) / Σ_i w(r_i).

    Args:
        logits: (n, P).
        target: (n,) int64 true regions.
        weights: (P,) weights of the regions; by default all the same.
    """
    return F.cross_entropy(logits, target, weight=weights)
