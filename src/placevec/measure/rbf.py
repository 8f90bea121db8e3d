"""A Gaussian process: on coordinates the smooth map that any location embedding has to beat; also on vectors."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.linalg import cho_factor, cho_solve, eigh
from scipy.spatial.distance import cdist

from placevec.geo.sphere import EARTH_RADIUS_M, LonLat
from placevec.measure.knn import Metric
from placevec.measure.nested import Fit, Fitted, Floats, Folds, Rows, as_features, as_folds, as_targets, fitted_features
from placevec.measure.splits import Split

CAP = 1500
"""At most this many training rows make the prediction; the others are left out at random, by the seed."""

# Length scale and noise are chosen on this many rows: one eigendecomposition for each length scale.
_CHOOSING = 300
_LENGTHS = 8
_NOISE: Floats = 10.0 ** np.arange(-4.0, 1.5, 0.5)
_QUERIES_AT_ONCE = 4096


def nested_gp(
    x: LonLat | ArrayLike | Fitted,
    y: ArrayLike,
    split: Split | Folds,
    *,
    metric: Metric = "cosine",
    cap: int = CAP,
    seed: int = 0,
) -> Fit:
    """Out-of-fold means of a Gaussian process with a Matérn-3/2 kernel of the chord, or of the distance of vectors.

    Length scale and the ratio of noise to signal maximise the marginal likelihood of (at most 300 of) the
    training rows; mean and signal variance are found in closed form for each target (Rasmussen and Williams,
    2006, equations 2.25, 4.17 and 5.8). All targets share length scale and noise; classes are one-hot columns.

    Args:
        x: (n,) where the rows are; or vectors (n, d); or vectors that are fitted on training rows (`Fitted`).
        y: (n,) or (n, t) targets.
        split: the folds.
        metric: of vectors: "cosine" brings them to length 1, "euclidean" columns to unit variance in training.
        cap: at most this many training rows, drawn by the seed.
        seed: of that draw.

    Raises:
        DataError: something is not finite, lengths differ, or a buffer leaves nothing to train on.
        UsageError: fewer than 3 folds.
    """
    n = len(split) if callable(x) else len(x) if isinstance(x, LonLat) else len(as_features(x))
    folds, targets = as_folds(split, n), as_targets(y, n)
    prediction = np.full(targets.shape, np.nan)
    chosen = []
    for f, test in enumerate(folds.tests):
        train = folds.train(f)
        used = np.random.default_rng([seed, f]).permutation(train)[:cap]
        xyz = _points(x, folds.train(f), used, metric, n)
        length, noise = _most_likely(xyz[used[:_CHOOSING]], targets[used[:_CHOOSING]])
        mean = targets[used].mean(axis=0)
        kernel = _matern(_apart(xyz[used], xyz[used]), length)
        kernel[np.diag_indices_from(kernel)] += noise
        dual = cho_solve(cho_factor(kernel, overwrite_a=True, check_finite=False), targets[used] - mean)
        for start in range(0, len(test), _QUERIES_AT_ONCE):
            rows = test[start : start + _QUERIES_AT_ONCE]
            prediction[rows] = mean + _matern(_apart(xyz[rows], xyz[used]), length) @ dual
        chosen.append(
            {
                "fold": f,
                "n_train": len(used),
                "n_test": len(test),
                **({"length_m": length * EARTH_RADIUS_M} if isinstance(x, LonLat) else {"length": length}),
                "noise": noise,
            }
        )
    return Fit(prediction, tuple(chosen))


def _points(x: LonLat | ArrayLike | Fitted, train: Rows, used: Rows, metric: Metric, n: int) -> Floats:
    """The points (n, d) between which distances count; scales come from the rows `used`."""
    if isinstance(x, LonLat):
        return x.unit()
    vectors = (fitted_features(x, train, n) if callable(x) else as_features(x)).astype(np.float64)
    if metric == "cosine":
        size = np.linalg.norm(vectors, axis=1, keepdims=True)
        return np.asarray(vectors / np.where(size > 0.0, size, 1.0))
    mean, sd = vectors[used].mean(axis=0), vectors[used].std(axis=0)
    return np.asarray((vectors - mean) / np.where(sd > 1e-12 * np.abs(mean), sd, np.inf))


def _apart(a: Floats, b: Floats) -> Floats:
    """The distances (n, m) of points (n, d) and (m, d)."""
    if a.shape[1] <= 4:
        return np.asarray(cdist(a, b))
    # Of many dimensions: |a − b|² = |a|² + |b|² − 2 a·b, a product of matrices.
    square = (a * a).sum(axis=1)[:, None] + (b * b).sum(axis=1) - 2.0 * (a @ b.T)
    return np.asarray(np.sqrt(np.maximum(square, 0.0)))


def _most_likely(xyz: Floats, y: Floats) -> tuple[float, float]:
    """The length scale (chord on the unit sphere) and noise ratio of the greatest marginal likelihood."""
    distance = _apart(xyz, xyz)
    np.fill_diagonal(distance, 0.0)
    apart = distance[distance > 0.0]
    centred = y - y.mean(axis=0)
    moving = (centred**2).sum(axis=0) > 0.0
    if len(apart) == 0 or not moving.any():
        return 1.0, float(_NOISE[-1])
    lengths = np.geomspace(0.5 * np.quantile(apart, 0.01), np.quantile(apart, 0.95), _LENGTHS)
    best, most = (float(lengths[-1]), float(_NOISE[-1])), -np.inf
    for length in lengths:
        values, vectors = eigh(_matern(distance, float(length)), driver="evd", overwrite_a=True, check_finite=False)
        power = (vectors.T @ centred[:, moving]) ** 2
        total = np.maximum(values, 0.0)[:, None] + _NOISE
        # The signal variance of each target, at its optimum: y'(K + δI)⁻¹y / n.
        signal = np.maximum(power.T @ (1.0 / total) / len(xyz), np.finfo(float).tiny)
        likelihood = -0.5 * len(xyz) * np.log(signal).sum(axis=0) - 0.5 * moving.sum() * np.log(total).sum(axis=0)
        i = int(np.argmax(likelihood))
        if likelihood[i] > most:
            best, most = (float(length), float(_NOISE[i])), float(likelihood[i])
    return best


def _matern(distance: Floats, length: float) -> Floats:
    """The Matérn kernel of smoothness 3/2."""
    scaled = distance * (np.sqrt(3.0) / length)
    kernel = np.exp(-scaled)
    scaled += 1.0
    kernel *= scaled
    return np.asarray(kernel)
