"""A Gaussian process whose kernel is a sum over the blocks of a vector, each with a length and a weight of its own.

An augmented vector lays unlike things side by side: where a place is, what it looks like, what lies around it. One
distance over all of them lets the largest block decide. Here the kernel is ::

    k(x, x') = Σ_b  w_b · m(|x_b - x'_b| / l_b)  +  δ · [x = x'],      m(r) = (1 + √3 r) exp(-√3 r)

(Duvenaud, Nickisch and Rasmussen, Additive Gaussian Processes, 2011, with blocks in the place of single inputs), and
weights, lengths and noise are those of the greatest marginal likelihood of the training rows: a block that says nothing
of a target gets no weight. With coordinates as the only block this is the coordinate baseline of `measure.rbf`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import cho_factor, cho_solve, lapack
from scipy.optimize import minimize
from scipy.spatial.distance import cdist, pdist

from placevec.errors import DataError
from placevec.measure.fitted import Blocks, FittedParts
from placevec.measure.nested import Fit, Floats, Folds, as_features, as_folds, as_targets
from placevec.measure.splits import Split

CAP = 1500
"""At most this many training rows make the prediction; the others are left out at random, by the seed."""

_CHOOSING = 400  # rows on which weights, lengths and noise are chosen
_STEPS = 40
_PRIOR = 0.02  # of the log settings: keeps those that the data leave open near their start
_JITTER = 1e-6
_QUERIES_AT_ONCE = 2048
_BOUND = 9.0  # of the logarithm of every setting


def nested_additive_gp(
    x: ArrayLike | FittedParts,
    y: ArrayLike,
    split: Split | Folds,
    blocks: Blocks = (),
    *,
    cap: int = CAP,
    seed: int = 0,
) -> Fit:
    """Out-of-fold means of a Gaussian process with an additive kernel over blocks of columns.

    Per fold O(steps · b · 400³ + cap³) time and O(b · 400² + cap²) memory for b blocks.

    Args:
        x: (n, p) vectors; or vectors in blocks that are fitted on the training rows of each fold.
        y: (n,) or (n, t) targets; all share the kernel; classes are one-hot columns.
        split: the folds.
        blocks: (name, first column, column after the last) of each block; fitted vectors bring their own.
        cap: at most this many training rows, drawn by the seed.
        seed: of that draw.

    Raises:
        DataError: something is not finite, lengths differ, a block lies outside of the columns, or a buffer leaves
            nothing to train on.
        UsageError: fewer than 3 folds.
    """
    fixed = None if callable(x) else as_features(x)
    n = len(split) if fixed is None else len(fixed)
    folds, targets = as_folds(split, n), as_targets(y, n)
    prediction = np.full(targets.shape, np.nan)
    chosen: list[dict[str, Any]] = []
    for f, test in enumerate(folds.tests):
        used = np.random.default_rng([seed, f]).permutation(folds.train(f))[:cap]
        if callable(x):
            found, blocks = x.parts(folds.train(f))
            features = as_features(found)
        else:
            assert fixed is not None
            features = fixed
        for name, start, stop in blocks:
            if not 0 <= start < stop <= features.shape[1]:
                raise DataError(f"the block {name!r} takes columns {start} to {stop} of {features.shape[1]}")
        parts = [_scaled(features[:, start:stop], used) for _, start, stop in blocks]
        mean = targets[used].mean(axis=0)
        spread = targets[used].std(axis=0)
        goal = (targets[used] - mean) / np.where(spread > 0.0, spread, 1.0)
        settings = fit([part[used[:_CHOOSING]] for part in parts], goal[:_CHOOSING])
        matrix = settings.kernel([cdist(part[used], part[used]) for part in parts])
        matrix[np.diag_indices_from(matrix)] += settings.noise + _JITTER
        dual = cho_solve(cho_factor(matrix, overwrite_a=True, check_finite=False), goal)
        for at in range(0, len(test), _QUERIES_AT_ONCE):
            rows = test[at : at + _QUERIES_AT_ONCE]
            near = settings.kernel([cdist(part[rows], part[used]) for part in parts])
            prediction[rows] = mean + spread * (near @ dual)
        names = [name for name, _, _ in blocks]
        chosen.append(
            {
                "fold": f,
                "n_train": len(used),
                "n_test": len(test),
                "noise": settings.noise,
                "weights": dict(zip(names, settings.weights.round(4).tolist(), strict=True)),
            }
        )
    return Fit(prediction, tuple(chosen))


@dataclass(frozen=True, eq=False)
class Settings:
    """Of an additive kernel.

    Attributes:
        lengths: (b,) length of each block, in its median distance.
        weights: (b,) variance of each block, where the target has variance 1.
        noise: variance of what is left.
        medians: (b,) median distance of each block.
    """

    lengths: Floats
    weights: Floats
    noise: float
    medians: Floats

    def kernel(self, distances: Sequence[Floats]) -> Floats:
        """The kernel (n, m) from the distances (n, m) of each block, which are overwritten."""
        total: Floats | None = None
        for distance, length, weight, median in zip(distances, self.lengths, self.weights, self.medians, strict=True):
            distance *= np.sqrt(3.0) / (length * median)
            falling = np.exp(-distance)
            distance += 1.0
            distance *= falling
            distance *= weight
            total = distance if total is None else np.add(total, distance, out=total)
        assert total is not None
        return total


def fit(parts: Sequence[Floats], y: Floats) -> Settings:
    """The settings of the greatest marginal likelihood (with a weak prior) of targets (n, t) of mean 0, variance 1."""
    distances = [pdist(part) for part in parts]
    medians = np.array([_median(distance) for distance in distances])
    scaled = [np.sqrt(3.0) * distance / median for distance, median in zip(distances, medians, strict=True)]
    b = len(parts)
    best = None
    # Two starts: smooth with much noise, and rough with little; the likelihood of a mixture has more than one top.
    for length, noise in ((1.0, -1.0), (-1.5, -3.0)):
        start = np.concatenate([np.full(b, length), np.full(b, -np.log(b)), [noise]])
        found = minimize(
            _loss, start, (scaled, y), method="L-BFGS-B", jac=True, bounds=[(-_BOUND, _BOUND)] * len(start),
            options={"maxiter": _STEPS},
        )  # fmt: skip
        if best is None or found.fun < best.fun:
            best = found
    assert best is not None
    return Settings(np.exp(best.x[:b]), np.exp(best.x[b : 2 * b]), float(np.exp(best.x[-1])), medians)


def _loss(logs: Floats, scaled: Sequence[Floats], y: Floats) -> tuple[float, Floats]:
    """The negative log posterior and its gradient (Rasmussen and Williams, 2006, equations 2.30 and 5.9).

    `scaled` holds √3 times the distances of each block, one for each pair of rows as `pdist` has them: kernels are
    symmetric, and half of each is enough.
    """
    b, n, t = len(scaled), *y.shape
    upper = _pairs(n)
    slopes = []
    pairs = np.zeros_like(scaled[0])
    for i, distance in enumerate(scaled):
        r = distance * np.exp(-logs[i])
        part = np.exp(logs[b + i] - r)
        by_length = r * r
        by_length *= part
        r += 1.0
        part *= r
        pairs += part
        slopes.append((by_length, part))
    noise = np.exp(logs[-1])
    matrix = np.zeros((n, n))
    matrix.ravel()[upper] = pairs
    matrix[np.diag_indices(n)] = np.exp(logs[b : 2 * b]).sum() + noise + _JITTER
    # LAPACK counts columns first: what it takes for the lower triangle is numpy's upper one.
    factor, info = lapack.dpotrf(matrix.T, lower=1, overwrite_a=1)
    if info:
        return 1e12, np.zeros_like(logs)
    dual = lapack.dpotrs(factor, y, lower=1)[0]
    value = 0.5 * float((y * dual).sum()) + t * float(np.log(np.diagonal(factor)).sum())
    inverse = lapack.dpotri(factor, lower=1, overwrite_c=1)[0].T
    # d value / d setting = ½ Σ (t · K⁻¹ - dual dual') ∘ dK, each pair counted twice
    outer = t * inverse.ravel()[upper] - (dual @ dual.T).ravel()[upper]
    diagonal = t * float(np.trace(inverse)) - float((dual * dual).sum())
    gradient = np.empty_like(logs)
    for i, (by_length, by_weight) in enumerate(slopes):
        gradient[i] = outer @ by_length
        gradient[b + i] = outer @ by_weight + 0.5 * np.exp(logs[b + i]) * diagonal
    gradient[-1] = 0.5 * noise * diagonal
    return value + _PRIOR * float(logs @ logs), gradient + 2.0 * _PRIOR * logs


@lru_cache(maxsize=2)
def _pairs(n: int) -> NDArray[np.int64]:
    """Where in a raveled (n, n) matrix the pairs stand, in the order of `pdist`."""
    row, column = np.triu_indices(n, 1)
    return np.asarray(row * n + column, dtype=np.int64)


def _scaled(block: NDArray[Any], used: NDArray[np.int64]) -> Floats:
    """A block as float64, less its mean, so that its digits are kept."""
    part = block.astype(np.float64)
    return np.asarray(part - part[used].mean(axis=0))


def _median(distance: Floats) -> float:
    apart = distance[distance > 0.0]
    return float(np.median(apart)) if len(apart) else 1.0
