"""Whether probabilities mean what they say: reliability, and the expected calibration error."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from placevec.errors import DataError

Floats = NDArray[np.float64]

BINS = 10


class Bin(NamedTuple):
    """Predictions that are nearly alike: their mean, how often they came true, and their share of the weight."""

    said: float
    true: float
    share: float


def reliability(
    probabilities: ArrayLike, truth: ArrayLike, *, weights: ArrayLike | None = None, bins: int = BINS
) -> list[Bin]:
    """What was said beside what was true, in `bins` steps of equal width from 0 to 1; empty steps are left out.

    Args:
        probabilities: (n,) from 0 to 1.
        truth: (n,) whether it came true.
        weights: (n,) of the rows; 1 by default.
        bins: how many steps.

    Raises:
        DataError: lengths differ, nothing was given, or something is no probability.
    """
    p, y = np.asarray(probabilities, dtype=np.float64), np.asarray(truth, dtype=np.float64)
    w = np.ones(len(p)) if weights is None else np.asarray(weights, dtype=np.float64)
    if p.ndim != 1 or not (len(p) == len(y) == len(w)) or len(p) == 0:
        raise DataError(f"{p.shape} probabilities, {y.shape} outcomes and {w.shape} weights; give n > 0 of each")
    if not ((p >= 0) & (p <= 1)).all():
        raise DataError("a probability lies outside 0 to 1, or is not a number")
    step = np.minimum((p * bins).astype(np.int64), bins - 1)
    held, said, true = (np.bincount(step, weights=column, minlength=bins) for column in (w, w * p, w * y))
    total = float(w.sum())
    return [Bin(said[at] / held[at], true[at] / held[at], held[at] / total) for at in np.flatnonzero(held > 0)]


def expected_calibration_error(
    probabilities: ArrayLike, truth: ArrayLike, *, weights: ArrayLike | None = None, bins: int = BINS
) -> float:
    """The mean over all predictions of |said − true| of their bin (Naeini et al. 2015); see `reliability`."""
    steps = reliability(probabilities, truth, weights=weights, bins=bins)
    return float(sum(step.share * abs(step.said - step.true) for step in steps))


def brier_score(probabilities: ArrayLike, truth: ArrayLike, *, weights: ArrayLike | None = None) -> float:
    """The mean squared distance of a probability from what came true (Brier, 1950): 0 is best."""
    p, y = np.asarray(probabilities, dtype=np.float64), np.asarray(truth, dtype=np.float64)
    w = np.ones(len(p)) if weights is None else np.asarray(weights, dtype=np.float64)
    return float(w @ (p - y) ** 2 / w.sum())
