"""The empirical semivariogram of a target on the sphere, and the range of the spherical model fitted to it."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize_scalar, nnls
from scipy.spatial import cKDTree

from placevec.errors import DataError
from placevec.geo.sphere import Floats, LonLat, distance_m

_NEAREST = 16
# Of the sill, what must depend on distance for a range to be reported at all.
_STRUCTURE = 0.05


def semivariogram(
    lonlat: LonLat, values: ArrayLike, seed: int = 0, *, pairs: int = 200_000, bins: int = 24
) -> tuple[Floats, Floats, Floats]:
    """The mean lags in metres, the semivariances and the numbers of pairs of up to `bins` classes of distance.

    Half of the pairs are drawn at random from all rows, half from the nearest neighbours of random rows,
    since random pairs alone are hardly ever near each other. Lags go to half of the 95th percentile of the
    random distances. The semivariance is Cressie and Hawkins' robust one (1980, equation 12), for classes the
    share of unlike pairs.

    Args:
        lonlat: (n,) where the rows are.
        values: (n,) numbers (rows with NaN are left out), or classes of any other type.
        seed: of the random pairs.
        pairs: how many pairs to draw.
        bins: classes of distance, of equal numbers of pairs.

    Raises:
        DataError: fewer than 3 rows with values, or lengths that differ.
    """
    target = np.asarray(values)
    if target.shape != (len(lonlat),):
        raise DataError(f"values of the shape {target.shape} for {len(lonlat)} places; give one per place")
    numeric = target.dtype.kind in "iuf"
    if numeric:
        target = target.astype(np.float64)
        rows = np.flatnonzero(np.isfinite(target))
        target, lonlat = target[rows], lonlat[rows]
    n = len(target)
    if n < 3:
        raise DataError(f"a variogram needs 3 places with a value or more, not {n}")
    first, second, spread = _pairs(lonlat, np.random.default_rng(seed), pairs)
    lag = distance_m(lonlat[first], lonlat[second])
    reach = max(0.5 * spread, float(np.percentile(lag, 10)))
    near = (lag > 0.0) & (lag <= reach)
    first, second, lag = first[near], second[near], lag[near]
    if len(lag) == 0:
        return np.zeros(0), np.zeros(0), np.zeros(0)
    edges = np.unique(np.quantile(lag, np.linspace(0.0, 1.0, bins + 1)))
    which = np.clip(np.searchsorted(edges, lag, side="right") - 1, 0, max(len(edges) - 2, 0))
    count = np.bincount(which).astype(np.float64)
    held = count > 0
    count = count[held]
    lags = np.bincount(which, lag)[held] / count
    if numeric:
        root = np.bincount(which, np.sqrt(np.abs(target[first] - target[second])))[held] / count
        gamma = 0.5 * root**4 / (0.457 + 0.494 / count)
    else:
        gamma = 0.5 * np.bincount(which, (target[first] != target[second]).astype(np.float64))[held] / count
    return lags, gamma, count


def variogram_range_m(
    lonlat: LonLat, values: ArrayLike, seed: int = 0, *, pairs: int = 200_000, bins: int = 24
) -> float:
    """The range in metres of the spherical model fitted to the semivariogram.

    0 where nothing depends on distance (a constant, or less than 5 % of the sill); the largest lag where the
    semivariance still rises there. For a given range the model is linear in nugget and sill, so that these
    are found exactly (non-negative least squares, bins weighted by the root of their pairs over their
    semivariance) and only the range is searched: no start values, no local minimum of three parameters.
    """
    lags, gamma, count = semivariogram(lonlat, values, seed, pairs=pairs, bins=bins)
    if len(lags) < 3 or gamma.max() <= 0.0:
        return 0.0
    weight = np.sqrt(count) / np.maximum(gamma, 0.05 * gamma.max())

    def fit(log_range: float) -> tuple[NDArray[np.float64], float]:
        design = np.stack([np.ones(len(lags)), spherical(lags, float(np.exp(log_range)))], axis=1)
        coefficients, residual = nnls(design * weight[:, None], gamma * weight)
        return coefficients, float(residual)

    low, high = np.log(lags[0]), np.log(lags[-1])
    candidates = np.linspace(low, high, 64)
    best = int(np.argmin([fit(c)[1] for c in candidates]))
    bracket = (candidates[max(best - 1, 0)], candidates[min(best + 1, 63)])
    found = minimize_scalar(lambda c: fit(c)[1], bounds=bracket, method="bounded")
    log_range = float(found.x) if found.fun < fit(candidates[best])[1] else float(candidates[best])
    nugget, sill = fit(log_range)[0]
    if sill <= _STRUCTURE * (nugget + sill):
        return 0.0
    return float(np.exp(log_range))


def spherical(lag: ArrayLike, range_m: float) -> Floats:
    """The spherical model of nugget 0 and sill 1: 1.5 h/a − 0.5 (h/a)³ up to the range a, then 1 (Matheron, 1963)."""
    share = np.minimum(np.asarray(lag, dtype=np.float64) / range_m, 1.0)
    return 1.5 * share - 0.5 * share**3


def _pairs(lonlat: LonLat, rng: np.random.Generator, pairs: int) -> tuple[NDArray[np.int64], NDArray[np.int64], float]:
    """Rows of pairs, and the 95th percentile of the distances of the random ones."""
    n = len(lonlat)
    if n * (n - 1) // 2 <= pairs:
        first, second = (r.astype(np.int64) for r in np.triu_indices(n, k=1))
        return first, second, float(np.percentile(distance_m(lonlat[first], lonlat[second]), 95))
    half = pairs // 2
    first, second = rng.integers(0, n, half), rng.integers(0, n - 1, half)
    second = second + (second >= first)
    spread = float(np.percentile(distance_m(lonlat[first], lonlat[second]), 95))
    xyz = lonlat.unit()
    rows = rng.choice(n, min(n, half), replace=False)
    _, near = cKDTree(xyz).query(xyz[rows], k=min(_NEAREST + 1, n))
    columns = rng.integers(0, near.shape[1], (len(rows), max(1, half // len(rows))))
    partner = np.take_along_axis(near, columns, axis=1).ravel()
    return (
        np.concatenate([first, np.repeat(rows, columns.shape[1])]).astype(np.int64),
        np.concatenate([second, partner]).astype(np.int64),
        spread,
    )
