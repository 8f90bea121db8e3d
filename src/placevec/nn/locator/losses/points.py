"""Losses of points: offsets, their spread, and the auxiliary guess."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from placevec.geo.sphere import EARTH_RADIUS_M
from placevec.nn.locator.losses.sphere import distance_m


def offset_loss(points: Tensor, truth: Tensor, scale_m: float = 10_000.0, weights: Tensor | None = None) -> Tensor:
    """The mean great-circle distance in units of `scale_m`: Σ_i w_i·d(p_i, x_i) / (scale·Σ_i w_i).

    Args:
        points: (n, 3) unit vectors, the true cell's centre moved by its offset.
        truth: (n, 3) unit vectors of the true points.
        scale_m: metres that count as 1.
        weights: (n,) weights of the images; by default all the same.
    """
    return _mean(distance_m(points, truth) / scale_m, weights)


def auxiliary_loss(
    directions: Tensor, truth: Tensor, scale_m: float = 100_000.0, weights: Tensor | None = None
) -> Tensor:
    """The mean distance of the auxiliary head's unit vectors (n, 3), in units of `scale_m`; see `offset_loss`."""
    return _mean(distance_m(directions, truth) / scale_m, weights)


def kernel_log_density(points: Tensor, truth: Tensor, log_spread: Tensor) -> Tensor:
    """The logarithm of the von Mises-Fisher density at x, per km², with mean direction mu and spread s in metres.

    ::

        log f(x) = log kappa - log(2π R²) - log(1 - e^(-2 kappa)) - kappa·|mu - x|² / 2,   kappa = (R / s)²

    R in km. The form with the chord |mu - x| is exact in float32; the usual kappa·(mu·x - 1) loses 60 nats at a spread
    of 200 m (Fisher 1953; Mardia and Jupp 2000, eq. 9.3.4).

    Args:
        points: (..., 3) unit vectors mu.
        truth: (..., 3) unit vectors x.
        log_spread: (...) log s, s in metres.
    """
    log_kappa = 2.0 * (math.log(EARTH_RADIUS_M) - log_spread)
    kappa = log_kappa.exp()
    area = math.log(2.0 * math.pi * (EARTH_RADIUS_M / 1000.0) ** 2)
    # A spread wider than the Earth would make log(1 - 1): log(1 - e^-2k) of tiny k is log 2k, by expm1.
    closing = torch.log(-torch.expm1(-2.0 * kappa))
    return log_kappa - area - closing - kappa * (points - truth).square().sum(dim=-1) / 2.0


def spread_loss(
    points: Tensor, truth: Tensor, log_spread: Tensor, through_point: bool = False, weights: Tensor | None = None
) -> Tensor:
    """The negative log-density of the true point under the kernel of the true cell's hypothesis, nats per km².

    Args:
        points: (n, 3) unit vectors of the hypotheses.
        truth: (n, 3) unit vectors of the true points.
        log_spread: (n,) log spread in metres.
        through_point: also move the points by it. By default only the spread learns here: the square of the distance
            would draw the points to the mean, where `offset_loss` wants the median.
        weights: (n,) weights of the images; by default all the same.
    """
    mu = points if through_point else points.detach()
    return _mean(-kernel_log_density(mu, truth, log_spread), weights)


def _mean(each: Tensor, weights: Tensor | None) -> Tensor:
    return each.mean() if weights is None else (weights * each).sum() / weights.sum()
