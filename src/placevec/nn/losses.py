"""Losses: contrastive and self-supervised. Each is checked against a slow per-sample form in float64 by a test."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Temperature(nn.Module):
    """The learnable scale 1/t of cosines in a contrastive loss, kept between 1 and `ceiling`.

    The logarithm is learned and clipped after each update, as in CLIP (Radford et al. 2021, section 2.5): without the
    upper limit training becomes unstable.

    Args:
        initial: the temperature t at the start.
        ceiling: the largest scale.
    """

    def __init__(self, initial: float = 0.07, ceiling: float = 100.0) -> None:
        super().__init__()
        self.ceiling = math.log(ceiling)
        self.log_scale = nn.Parameter(torch.tensor(math.log(1.0 / initial)))

    def forward(self) -> Tensor:
        """The scale, a scalar."""
        with torch.no_grad():  # on the value and not in the graph: a clamp there would have no gradient to come back by
            self.log_scale.clamp_(0.0, self.ceiling)
        return self.log_scale.exp()


def symmetric_infonce(
    a: Tensor,
    b: Tensor,
    scale: Tensor | float,
    positives: Tensor | None = None,
    negatives: Tensor | None = None,
    excluded: Tensor | None = None,
) -> Tensor:
    """The symmetric InfoNCE loss of two towers.

    With s_ij = scale · cos(a_i, b_j) and P(i) the positives of row i (only i itself where `positives` is None)::

        L(s) = mean_i  -1/|P(i)| · Σ_(p in P(i)) log( exp s_ip / Σ_j exp s_ij )
        loss = (L(s) + L(sᵀ)) / 2

    (van den Oord et al. 2018 eq. 4; the symmetric form of CLIP, Radford et al. 2021 figure 3; several positives as in
    SupCon, Khosla et al. 2020 eq. 2.) Further vectors of the first tower, such as those of a queue, add the terms
    exp(scale · cos(b_i, negative)) to the sums of L(sᵀ), as in GeoCLIP (Vivanco Cepeda et al. 2023, section 3.3).

    Args:
        a: (n, d) vectors of any length.
        b: (n, d) vectors of any length; row i belongs to row i of `a`.
        scale: 1/temperature.
        positives: (n, n) bool, True where a_i and b_j belong together; the diagonal counts always.
        negatives: (q, d) further vectors of the tower of `a`, with which no row of `b` belongs together.
        excluded: (n, q) bool, True where one of those is no negative of b_i after all, and is left out.
    """
    own = F.normalize(a, dim=1)
    others = F.normalize(b, dim=1)
    mask = None
    if positives is not None:
        mask = positives | torch.eye(len(a), dtype=torch.bool, device=a.device)
    # Two products instead of one and its transpose: reading a matrix against its rows takes longer than making it.
    there = (scale * own) @ others.T
    back = (scale * others) @ own.T
    if negatives is not None:
        further = (scale * others) @ F.normalize(negatives, dim=1).T
        if excluded is not None:
            further = further.masked_fill(excluded, -torch.inf)
        back = torch.cat([back, further], dim=1)
    return (_one_way(there, mask) + _one_way(back, None if mask is None else mask.T)) / 2


def _one_way(logits: Tensor, mask: Tensor | None) -> Tensor:
    """L of (n, n or more) logits; columns beyond n are negatives only."""
    n = len(logits)
    if mask is None:
        return F.cross_entropy(logits, torch.arange(n, device=logits.device))
    # The mean over the positives of log(exp s_ip / Σ) is their mean logit less the logarithm of the sum.
    mean = (logits[:, :n] * mask).sum(dim=1) / mask.sum(dim=1)
    return (logits.logsumexp(dim=1) - mean).mean()


def nt_xent(a: Tensor, b: Tensor, temperature: float = 0.1) -> Tensor:
    """NT-Xent, the loss of SimCLR (Chen et al. 2020, eq. 1).

    Of the 2n vectors z = [a; b], each has its other view as the positive and the 2n - 2 others as negatives::

        loss = mean_i  -log( exp(cos(z_i, z_pos(i)) / t) / Σ_(k ≠ i) exp(cos(z_i, z_k) / t) )

    Args:
        a: (n, d) first views.
        b: (n, d) second views.
        temperature: t.
    """
    n = len(a)
    z = F.normalize(torch.cat([a, b]), dim=1)
    logits = (z @ z.T) / temperature
    logits = logits.masked_fill(torch.eye(2 * n, dtype=torch.bool, device=z.device), -torch.inf)
    partner = torch.arange(2 * n, device=z.device).roll(n)
    return F.cross_entropy(logits, partner)


def vicreg(
    a: Tensor, b: Tensor, *, invariance: float = 25.0, variance: float = 25.0, covariance: float = 1.0
) -> Tensor:
    """VICReg: views agree, each component varies, components do not correlate (Bardes, Ponce and LeCun 2022).

    With C the covariance matrix (n - 1 in the denominator)::

        s = mean over pairs and components of (a - b)²
        v(z) = 1/d · Σ_j max(0, 1 - sqrt(var(z_j) + 1e-4)),    c(z) = 1/d · Σ_(i ≠ j) C(z)_ij²
        loss = invariance · s + variance/2 · (v(a) + v(b)) + covariance · (c(a) + c(b))

    (eq. 1 to 6; the halving of v follows the authors' code.)

    Args:
        a: (n, d) first views, n at least 2.
        b: (n, d) second views.
        invariance: weight λ.
        variance: weight μ.
        covariance: weight ν.
    """
    spread = _hinge(a) + _hinge(b)
    return invariance * F.mse_loss(a, b) + variance / 2 * spread + covariance * (_entangled(a) + _entangled(b))


def _hinge(z: Tensor) -> Tensor:
    return F.relu(1.0 - torch.sqrt(z.var(dim=0) + 1e-4)).mean()


def _entangled(z: Tensor) -> Tensor:
    centred = z - z.mean(dim=0)
    matrix = (centred.T @ centred) / (len(z) - 1)
    return (matrix.square().sum() - matrix.diagonal().square().sum()) / z.shape[1]
