"""What a landscape network knows before its first step: scales of values, and a head in closed form."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import eigh

from placevec.encoders.landscape import checked, set_feature_statistics
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


def set_start(
    net: LandscapeNet, anchors: Patches, neighbours: Patches, closed: tuple[float, float] | None, seed: int = 0
) -> NDArray[np.float64]:
    """Scale the features of a network by training pairs and, if wanted, give it a linear head in closed form.

    One half of the head is the canonical correlation of the features of neighbours (Hotelling 1936): of all linear
    functions those that a patch shares most with its neighbour and least with the land at large. With S the covariance
    of the features and C that between neighbours, made symmetric, it solves ``C v = ρ (S + shrink · I) v``; a
    component counts by its correlation ρ. The other half are principal components: what patches themselves are like.
    Both are turned by a random rotation, so that all components vary alike: what scales components one by one, such
    as a ridge or a storage in 8 bits, then leaves the shape of the whole as it is.

    Args:
        net: changed in place.
        anchors: {layer: (n, p, p)}.
        neighbours: of the same pairs.
        closed: (own, shrink): the principal components' share of the variance, and what is added to the variance of
            the scaled features, which is about 1; None: the head stays random.
        seed: of the rotation.

    Returns:
        the correlations of the first half, largest first; empty without a closed form.
    """
    both = {name: np.concatenate([anchors[name], neighbours[name]]) for name in anchors}
    set_feature_statistics(net, both)
    if closed is None:
        return np.empty(0)
    scaled = _scaled(net, both)
    own, shrink = closed
    a, b = np.split(scaled, 2)
    variance = (a.T @ a + b.T @ b) / len(scaled)
    shared = (a.T @ b + b.T @ a) / len(scaled)
    dims = net.config.dims
    first = min(dims // 2 if own > 0 else dims, len(variance)) if own < 1 else 0
    values, vectors = eigh(shared, variance + shrink * np.eye(len(variance)))
    order = np.argsort(-values)[:first]
    correlation = np.maximum(values[order], _LEAST)
    spectrum, axes = eigh(variance)
    principal = np.argsort(-spectrum)[: min(dims - first, len(variance)) if own > 0 else 0]
    parts = [_share(vectors[:, order] * correlation, scaled, 1.0 - own), _share(axes[:, principal], scaled, own)]
    head = np.zeros((len(variance), dims))
    found = np.concatenate(parts, axis=1)
    head[:, : found.shape[1]] = found
    turn, _ = np.linalg.qr(np.random.default_rng(seed).standard_normal((dims, dims)))
    with torch.no_grad():
        net.linear.weight.copy_(torch.from_numpy((head @ turn).T).float())
        net.linear.bias.zero_()
    return np.asarray(correlation, dtype=np.float64)


def _share(head: NDArray[np.float64], scaled: NDArray[np.float64], share: float) -> NDArray[np.float64]:
    """A part of the head, of such a length that its squares sum to `share` over the components, on average."""
    size = float(np.mean(((scaled @ head) ** 2).sum(axis=1))) if head.shape[1] else 0.0
    return head * float(np.sqrt(share / size)) if size > 0 else head


def _scaled(net: LandscapeNet, patches: Patches) -> NDArray[np.float64]:
    tensors = checked(patches, net.config)
    count = len(next(iter(tensors.values())))
    with torch.no_grad():
        parts = [
            net.scaled({name: value[start : start + 256] for name, value in tensors.items()})
            for start in range(0, count, 256)
        ]
    found: NDArray[np.float64] = torch.cat(parts).double().numpy()
    return found
