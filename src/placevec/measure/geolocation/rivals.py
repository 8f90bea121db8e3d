"""What a locator has to beat: a random training place, their middle, and the training photos that look most alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import cKDTree

from placevec.errors import DataError
from placevec.geo.sphere import EARTH_RADIUS_M, LonLat, chord_of, pairwise_m
from placevec.measure.geolocation.draws import mid_quantiles
from placevec.measure.knn import Metric, Neighbourhood

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]

KS = (1, 2, 3, 5, 8, 12, 20, 40)
"""The numbers of neighbours tried."""

MOST_JUDGED = 4096
"""Training photos by which a baseline's own parameter is chosen."""

_ERRORS_AT_MOST = 20_000_000
_PAIRS_AT_ONCE = 4_000_000
_STEPS = 200
_NEAR = 1e-9  # radians, 6 mm: two points that are one


def chance_km(truth: LonLat, train: LonLat) -> Floats:
    """The errors (n, s) of answering with a training place at random: all of them, equally likely.

    Nothing is sampled. Beyond 20 million errors those of a photo are given by the middles of s equal parts of them.

    Args:
        truth: n places.
        train: training places, at least one.
    """
    if not len(train) or not len(truth):
        raise DataError("chance needs a training place and a photo; none was given")
    most = max(64, _ERRORS_AT_MOST // len(truth))
    step = max(1, _PAIRS_AT_ONCE // len(train))
    parts = [
        mid_quantiles(pairwise_m(truth[start : start + step], train) / 1000.0, most)
        for start in range(0, len(truth), step)
    ]
    return np.concatenate(parts)


def middle_of(train: LonLat, weights: ArrayLike | None = None) -> LonLat:
    """The point (a LonLat of length 1) from which training places are nearest in the mean: the geometric median.

    Weiszfeld's iteration in the tangent plane of the current point (Fletcher, Venkatasubramanian & Joshi, 2009), with
    the step of Vardi & Zhang (2000) where it meets a training place; the best place among those seen is the answer, so
    that it is never worse than the nearest training place to it.

    Raises:
        DataError: there are no places.
    """
    if not len(train):
        raise DataError("the middle of no training places is undefined; give at least one")
    xyz = train.unit()
    w = np.ones(len(xyz)) if weights is None else np.asarray(weights, dtype=np.float64)
    mean = w @ xyz
    # Places that cancel each other have no mean direction: any of them is a start.
    at = mean / np.linalg.norm(mean) if np.linalg.norm(mean) > 1e-9 * w.sum() else xyz[0]
    best, least = at, _mean_angle(at, xyz, w)
    for _ in range(_STEPS):
        angle, tangent = _log_map(at, xyz)
        away = angle > _NEAR
        inverse = np.where(away, w / np.where(away, angle, 1.0), 0.0)
        if not away.any():
            break
        pull = (inverse[:, None] * tangent).sum(axis=0) / inverse.sum()
        here = w[~away].sum()
        force = np.linalg.norm(pull) * inverse.sum()
        share = max(0.0, 1.0 - here / force) if force > 0 else 0.0
        moved = _exp_map(at, share * pull)
        gone = float(np.linalg.norm(moved - at))
        at = moved
        cost = _mean_angle(at, xyz, w)
        if cost < least:
            best, least = at, cost
        if gone < _NEAR:
            break
    nearest = xyz[np.argmax(xyz @ best)]
    if _mean_angle(nearest, xyz, w) < least:
        best = nearest
    return LonLat.from_unit(best[None])


@dataclass(frozen=True, eq=False)
class Alike:
    """The training photos most like each photo, and the number of them whose mean is best inside the training.

    Attributes:
        nearest: (n,) rows of the training photos, the most similar one of each photo.
        mean: the spherical means of the `k` most similar.
        k: that number.
        inside_km: by k, the median error among the training photos alone, from which it was chosen.
    """

    nearest: Rows
    mean: LonLat
    k: int
    inside_km: dict[int, float]


def alike(
    queries: NDArray[np.floating],
    gallery: NDArray[np.floating],
    where: LonLat,
    folds: ArrayLike,
    *,
    metric: Metric = "cosine",
    ks: Sequence[int] = KS,
    buffer_m: float = 0.0,
) -> Alike:
    """The most similar training photos, by the cosine of vectors or the distance of standardised features.

    k is chosen by the median error of the training photos themselves, each asked among those of the other folds.

    Args:
        queries: (n, d) vectors of the photos that are tested.
        gallery: (g, d) those of the training photos.
        where: where the training photos are.
        folds: (g,) the block or fold of each, so that no photo is answered by its neighbour.
        metric: "cosine", or "euclidean" of features standardised by the training photos.
        ks: the numbers to choose from.
        buffer_m: no training photo is asked among those nearer than this, as no tested one is.
    """
    if len(gallery) != len(where) or not len(gallery) or len(queries) == 0:
        raise DataError(f"{len(queries)} photos, {len(gallery)} training vectors, {len(where)} places; give all")
    around = Neighbourhood(np.concatenate([gallery, queries]), metric)
    train = np.arange(len(gallery))
    unit = where.unit()
    usable = sorted({min(k, len(gallery)) for k in ks})
    inside = _inside(around, unit, held_out(unit, np.asarray(folds), buffer_m), usable)
    best = min(inside, key=lambda k: (inside[k], k)) if inside else usable[0]
    found = around.find(train, len(gallery) + np.arange(len(queries)), max(best, 1))
    return Alike(found[:, 0], LonLat.from_unit(_means(unit, found[:, :best])), best, inside)


def fold_numbers(blocks: ArrayLike, folds: int = 5, seed: int = 0) -> Rows:
    """A fold 0 … folds − 1 for each row (n,), the same for all rows of a block; of fewer blocks, as many folds."""
    _, code = np.unique(np.asarray(blocks), return_inverse=True)
    count = int(code.max()) + 1
    turned = np.random.default_rng(seed).permutation(count)
    return np.asarray(turned[code] % min(folds, count), dtype=np.int64)


def held_out(
    unit: Floats, folds: NDArray[np.generic], buffer_m: float, most: int = MOST_JUDGED
) -> list[tuple[Rows, Rows]]:
    """For each fold its rows, and those of the others that lie farther from them than the buffer.

    Args:
        unit: (n, 3) places.
        folds: (n,).
        buffer_m: in metres. Without it a choice made inside the training is made for neighbours, not for places afar.
        most: of the rows of all folds only so many are given, at random: the cost is their number times n, and a choice
            of one parameter needs no more. The buffer is around all of them nevertheless.
    """
    pairs = []
    judged = np.zeros(len(unit), dtype=bool)
    judged[np.random.default_rng(0).permutation(len(unit))[:most]] = True
    limit = float(chord_of(buffer_m))
    for fold in np.unique(folds):
        held, rest = np.flatnonzero(folds == fold), np.flatnonzero(folds != fold)
        if buffer_m > 0 and len(rest):
            gap, _ = cKDTree(unit[held]).query(unit[rest], k=1)
            rest = rest[gap > limit]
        held = held[judged[held]]
        if len(rest) and len(held):
            pairs.append((held.astype(np.int64), rest.astype(np.int64)))
    return pairs


def _inside(
    around: Neighbourhood, unit: Floats, pairs: Sequence[tuple[Rows, Rows]], ks: Sequence[int]
) -> dict[int, float]:
    errors: dict[int, list[Floats]] = {k: [] for k in ks}
    for held, rest in pairs:
        found = rest[around.find(rest, held, min(ks[-1], len(rest)))]
        for k in ks:
            mean = _means(unit, found[:, :k])
            errors[k].append(_angles(mean, unit[held]))
    return {k: float(np.median(np.concatenate(parts)) * EARTH_RADIUS_M / 1000) for k, parts in errors.items() if parts}


def _means(unit: Floats, rows: Rows) -> Floats:
    """The mean directions (n, 3) of the points of each line of rows (n, k); the first where they cancel each other."""
    sums = unit[rows].sum(axis=1)
    length = np.linalg.norm(sums, axis=1, keepdims=True)
    return np.where(length > 1e-9, sums / np.where(length > 1e-9, length, 1.0), unit[rows[:, 0]])


def _angles(p: Floats, q: Floats) -> Floats:
    return np.asarray(2.0 * np.arctan2(np.linalg.norm(p - q, axis=-1), np.linalg.norm(p + q, axis=-1)))


def _mean_angle(at: Floats, xyz: Floats, weights: Floats) -> float:
    return float(weights @ _angles(at, xyz) / weights.sum())


def _log_map(at: Floats, xyz: Floats) -> tuple[Floats, Floats]:
    """Angles (n,) from `at`, and the vectors (n, 3) of those lengths that touch the sphere there."""
    angle = _angles(at, xyz)
    across = xyz - (xyz @ at)[:, None] * at
    size = np.linalg.norm(across, axis=1)
    return angle, across * (angle / np.where(size > 0, size, 1.0))[:, None]


def _exp_map(at: Floats, tangent: Floats) -> Floats:
    angle = float(np.linalg.norm(tangent))
    if angle == 0.0:
        return at
    moved = np.cos(angle) * at + np.sin(angle) * tangent / angle
    return np.asarray(moved / np.linalg.norm(moved))
