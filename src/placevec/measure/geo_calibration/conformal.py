"""Split-conformal quantiles, of rows or of whole blocks of the Earth, and how far resampled blocks move them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from placevec.errors import DataError
from placevec.measure.intervals import DRAWS, group_codes, percentile_interval, resample_counts

Floats = NDArray[np.float64]

# Sums of weights that differ by rounding only reach a level all the same.
_SLACK = 1e-9


def conformal_quantile(scores: ArrayLike, level: float, groups: ArrayLike | None = None) -> float:
    """The smallest score that a new score is at most with the probability `level`; inf where there are too few.

    For exchangeable rows it is the ⌈(n + 1) level⌉-th smallest of n (Vovk, Gammerman and Shafer 2005). With groups,
    each of K groups counts 1 / (K + 1), shared by its rows, and the guarantee is for a row of a new group of
    exchangeable ones (Lee, Barber and Willett 2023, Distribution-free inference with hierarchical data). With the
    levels of highest-density regions as scores it is HPD-split (Izbicki, Shimizu and Stern 2022).

    Args:
        scores: (n,) of places held out.
        level: from 0 to 1.
        groups: (n,) the block of each, or any other unit that is exchangeable; rows by default.

    Raises:
        DataError: no scores, one that is NaN, groups of another length, or a level outside 0 to 1.
    """
    s, w = _sorted(scores, groups)
    if not 0.0 <= level <= 1.0:
        raise DataError(f"the level {level} is no probability; give a number from 0 to 1")
    reached = np.cumsum(w) >= level - _SLACK
    return float(s[np.argmax(reached)]) if reached.any() else float("inf")


def quantile_interval(
    scores: ArrayLike, level: float, groups: ArrayLike | None = None, *, draws: int = DRAWS, seed: int = 0
) -> tuple[float, float]:
    """The 95 % interval of the pooled quantile of (n,) scores when whole groups are drawn with replacement.

    It says how much the level found would move with other blocks: neighbours in one block are no independent rows.
    """
    s = np.asarray(scores, dtype=np.float64)
    codes = group_codes(groups, len(s))
    order = np.argsort(s, kind="stable")
    counts = resample_counts(int(codes.max()) + 1, draws, seed)
    found = np.empty(len(counts))
    for at, count in enumerate(counts):
        reached = np.cumsum(count[codes[order]], dtype=np.float64)
        found[at] = s[order][min(np.searchsorted(reached, level * reached[-1] - _SLACK), len(s) - 1)]
    return percentile_interval(found)


def coverage(scores: ArrayLike, bounds: Sequence[float], groups: ArrayLike | None = None) -> Floats:
    """The share of scores that are at most each bound; with groups, the mean of the groups' shares."""
    s = np.asarray(scores, dtype=np.float64)
    codes = group_codes(groups, len(s))
    weights = 1.0 / np.bincount(codes)[codes]
    return np.array([float(weights @ (s <= bound) / weights.sum()) for bound in bounds])


def _sorted(scores: ArrayLike, groups: ArrayLike | None) -> tuple[Floats, Floats]:
    s = np.asarray(scores, dtype=np.float64)
    if s.ndim != 1 or len(s) == 0 or np.isnan(s).any():
        raise DataError(f"conformal quantiles need (n,) scores, n > 0, none NaN; not {s.shape}")
    codes = group_codes(groups, len(s))
    sizes = np.bincount(codes)
    weights = np.asarray(1.0 / (sizes[codes] * (len(sizes) + 1.0)), dtype=np.float64)
    order = np.argsort(s, kind="stable")
    return s[order], weights[order]
