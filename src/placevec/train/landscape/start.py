"""What a landscape network knows before its first step: scales of values, and a head in closed form."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from placevec.encoders.landscape import set_feature_statistics
from placevec.nn.landscape import LandscapeNet, PlaneConfig
from placevec.train.landscape.pairs import Patches

SAMPLE = 8192  # pairs from which scales and head are taken, at most
_FLAT = 1e-6  # a range below this share of the values is none
_LEAST = 1e-3  # the least correlation that counts, so that no component vanishes


def robust_scales(name: str, values: NDArray[np.float32]) -> PlaneConfig:
    """The plane of a layer of values: their median, and half the range of the middle 90 %, over all patches at once.

    Where these 90 % are one value, the standard deviation of all takes the place of the range. Scaling every patch by
    itself would make a plain of a mountain range.
    """
    known = values[np.isfinite(values)]
    if not len(known):
        return PlaneConfig(name)
    low, middle, high = np.quantile(known, [0.05, 0.5, 0.95])
    # Of what is the same nearly everywhere, as the height of the sea is, the rest has to tell relief from none.
    spreads = (float(high - low) / 2.0, float(known.std(dtype=np.float64)), 1.0)
    least = _FLAT * max(1.0, abs(float(middle)))
    return PlaneConfig(name, 0, float(middle), next(spread for spread in spreads if spread > least or spread == 1.0))


def set_start(net: LandscapeNet, anchors: Patches, neighbours: Patches, shrink: float | None) -> NDArray[np.float64]:
    """Scale the features of a network by training pairs and, with `shrink`, give it a linear head in closed form.

    The head is the canonical correlation of the features of neighbours (Hotelling 1936): of all linear functions
    those that a patch shares most with its neighbour and least with the land at large. With S the covariance of the
    features and C that between neighbours, made symmetric, it solves ``C v = ρ (S + shrink · I) v``; a component
    counts by its correlation ρ.

    Args:
        net: changed in place.
        anchors: {layer: (n, p, p)}.
        neighbours: of the same pairs.
        shrink: what is added to the variance of the scaled features, which is about 1; None: the head stays.

    Returns:
        the correlations (dims,) of the head, largest first; empty without one.
    """
    both = {name: np.concatenate([anchors[name], neighbours[name]]) for name in anchors}
    features = set_feature_statistics(net, both)
    if shrink is None:
        return np.empty(0)
    scaled = ((features - net.mean) / net.spread).double().numpy()
    a, b = np.split(scaled, 2)
    variance = (a.T @ a + b.T @ b) / len(scaled)
    shared = (a.T @ b + b.T @ a) / len(scaled)
    from scipy.linalg import eigh

    values, vectors = eigh(shared, variance + shrink * np.eye(len(variance)))
    order = np.argsort(-values)[: net.config.dims]
    correlation = np.maximum(values[order], _LEAST)
    # The sign of an eigenvector is free: fix it, so that machines agree.
    directions = vectors[:, order]
    directions *= np.sign(directions[np.abs(directions).argmax(axis=0), np.arange(len(order))])
    head = (directions * correlation).T
    with torch.no_grad():
        net.linear.weight.zero_()
        net.linear.weight[: len(head)] = torch.from_numpy(head).float()
        net.linear.bias.zero_()
    found: NDArray[np.float64] = correlation
    return found
