"""Bisecting spherical k-means, of many groups at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from placevec.geo.geocells.points import Ints
from placevec.geo.sphere import Floats

_ROUNDS = 10


def bisect(unit: Floats, label: Ints, split: NDArray[np.bool_]) -> Ints:
    """New groups (n,), in which each group that `split` names is two, by spherical 2-means (Dhillon and Modha 2001).

    The first two centres are a point that lies farthest from the mean and the one farthest from it, so that
    nothing is drawn at random. All groups are split in one pass over the points.

    Args:
        unit: (n, 3) unit vectors.
        label: (n,) the group of each, from 0 to N - 1.
        split: (N,) which groups are to be split; one whose points coincide stays whole.

    Returns:
        Labels in which the second halves have numbers from N on, without gaps.
    """
    rows = np.flatnonzero(split[label])
    if len(rows) == 0:
        return label
    rows = rows[np.argsort(label[rows], kind="stable")]
    x, own = unit[rows], label[rows]
    starts = np.flatnonzero(np.concatenate([[True], own[1:] != own[:-1]]))
    group = np.repeat(np.arange(len(starts)), np.diff(np.append(starts, len(rows))))
    mean = _directions(np.add.reduceat(x, starts))
    one = x[_farthest(x, mean[group], starts, group)]
    two = x[_farthest(x, one[group], starts, group)]
    second = np.zeros(len(rows), dtype=bool)
    for _ in range(_ROUNDS):
        # Beyond the middle between them: this form keeps the digits of points that lie near each other.
        nearer = np.einsum("ij,ij->i", x - ((one + two) / 2.0)[group], (two - one)[group]) > 0.0
        sizes = np.add.reduceat(nearer.astype(np.int64), starts)
        whole = (sizes == 0) | (sizes == np.diff(np.append(starts, len(rows))))
        nearer = np.where(whole[group], second, nearer)
        if np.array_equal(nearer, second):
            break
        second = nearer
        one = _directions(np.add.reduceat(x * ~second[:, None], starts), one)
        two = _directions(np.add.reduceat(x * second[:, None], starts), two)
    halves = np.add.reduceat(second.astype(np.int64), starts) > 0
    number = len(split) + np.cumsum(halves) - 1
    out = label.copy()
    out[rows[second]] = number[group[second]]
    return out


def _farthest(x: Floats, origin: Floats, starts: Ints, group: Ints) -> Ints:
    """The row of the point of each group that lies farthest from its origin; the first of several."""
    away = np.einsum("ij,ij->i", x - origin, x - origin)
    hit = away == np.maximum.reduceat(away, starts)[group]
    found: Ints = np.minimum.reduceat(np.where(hit, np.arange(len(x)), len(x)), starts)
    return found


def _directions(total: Floats, otherwise: Floats | None = None) -> Floats:
    """Sums of unit vectors to length 1; `otherwise` where they cancel each other."""
    length = np.linalg.norm(total, axis=1, keepdims=True)
    lost = length < 1e-12
    unit: Floats = total / np.where(lost, 1.0, length)
    return unit if otherwise is None else np.where(lost, otherwise, unit)
