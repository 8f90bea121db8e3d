"""Whether the law that was given for a place means what it says: density at the truth, coverage, area, confidence.

All densities are per square kilometre, so that laws of different areas compare: the negative log-density of the uniform
law over A km² is log A nats.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from placevec.errors import DataError
from placevec.measure.calibration import Bin, brier_score, expected_calibration_error, reliability

Floats = NDArray[np.float64]

LEVELS = (0.5, 0.8, 0.95)
"""The credible regions that are reported."""


@dataclass(frozen=True, eq=False)
class Law:
    """What a law of each of n places said about its true point.

    Attributes:
        log_density_km2: (n,) log-density of the true point, per km².
        covered: by wanted level, (n,) whether the credible region of that level holds the true point.
        area_km2: by wanted level, (n,) the area of that region in km²; NaN where it was not measured.
    """

    log_density_km2: Floats
    covered: Mapping[float, NDArray[np.bool_]] = field(default_factory=dict)
    area_km2: Mapping[float, Floats] = field(default_factory=dict)

    def __post_init__(self) -> None:
        lengths = {len(self.log_density_km2), *map(len, self.covered.values()), *map(len, self.area_km2.values())}
        if len(lengths) != 1 or len(self.log_density_km2) == 0:
            raise DataError(f"a law of {sorted(lengths)} places; give the same number, at least one, of each")

    def rows(self) -> dict[str, Floats]:
        """By figure, the (n,) values whose means are `figures`: nll, and the coverage of each level."""
        return {"nll": -self.log_density_km2} | {
            f"coverage_{_percent(level)}": held.astype(np.float64) for level, held in self.covered.items()
        }

    def figures(self) -> dict[str, float]:
        """The mean negative log-density in nats per km², the coverage of each region, and its mean and median area."""
        found = {name: float(values.mean()) for name, values in self.rows().items()}
        for level, area in self.area_km2.items():
            known = area[np.isfinite(area)]
            if len(known):
                found[f"area_{_percent(level)}_mean_km2"] = float(known.mean())
                found[f"area_{_percent(level)}_median_km2"] = float(np.median(known))
        return found


class Risk(NamedTuple):
    """What is gained by answering only the photos that one is surest of (Geifman & El-Yaniv, 2017).

    Attributes:
        coverage: (n,) the share of the photos that are answered, rising.
        mean_km: (n,) the mean error of those.
        median_km: (n,) their median error.
        aurc_km: the mean of `mean_km` over all coverages: the area under the curve.
        best_km: the same if the photos were ordered by their true errors: no order is better.
        chance_km: the same for a random order: the mean error.
    """

    coverage: Floats
    mean_km: Floats
    median_km: Floats
    aurc_km: float
    best_km: float
    chance_km: float


def confidence_figures(confidence: ArrayLike, right: ArrayLike) -> dict[str, float]:
    """Expected calibration error and Brier score of (n,) probabilities that an answer is right, and what they gain.

    The Brier score of saying the share of right answers for every photo is `brier_constant`: a confidence that tells
    the good from the bad has less.

    Raises:
        DataError: lengths differ, nothing was given, or something is no probability.
    """
    said, true = np.asarray(confidence, dtype=np.float64), np.asarray(right, dtype=np.float64)
    return {
        "ece": expected_calibration_error(said, true),
        "brier": brier_score(said, true),
        "brier_constant": float(true.mean() * (1.0 - true.mean())),
        "confidence_mean": float(said.mean()),
        "right": float(true.mean()),
    }


def risk_coverage(confidence: ArrayLike, km: ArrayLike) -> Risk:
    """The risk-coverage curve of errors by falling confidence.

    Photos of one confidence stand in no order: the mean error and the area under the curve are those expected over all
    of their orders.

    Args:
        confidence: (n,) larger is surer.
        km: (n,) errors in kilometres.

    Raises:
        DataError: lengths differ, nothing was given, or a value is not finite.
    """
    said, error = np.asarray(confidence, dtype=np.float64), np.asarray(km, dtype=np.float64)
    if said.shape != error.shape or said.ndim != 1 or len(said) == 0:
        raise DataError(f"{said.shape} confidences for {error.shape} errors; give n > 0 of each")
    if not (np.isfinite(said).all() and np.isfinite(error).all()):
        raise DataError("a confidence or an error is not finite; leave those rows out first")
    order = np.lexsort((error, -said))
    _, group = np.unique(-said[order], return_inverse=True)
    expected = np.bincount(group, weights=error[order]) / np.bincount(group)
    means = _running_means(expected[group])
    return Risk(
        np.arange(1, len(error) + 1) / len(error),
        means,
        _running_medians(error[order], group),
        float(means.mean()),
        float(_running_means(np.sort(error)).mean()),
        float(error.mean()),
    )


def _running_means(values: Floats) -> Floats:
    return np.asarray(np.cumsum(values) / np.arange(1, len(values) + 1))


def _running_medians(values: Floats, group: NDArray[np.intp]) -> Floats:
    """The median of the first k values for each k; within a group of equals that of the whole group and before."""
    ends = np.searchsorted(group, np.arange(group[-1] + 1), side="right")
    if len(ends) > _MEDIANS:
        ends = np.unique(ends[np.rint(np.linspace(0, len(ends) - 1, _MEDIANS)).astype(np.int64)])
    medians = np.array([np.median(values[:end]) for end in ends])
    return medians[np.searchsorted(ends, np.arange(1, len(values) + 1), side="left")]


# A curve of more steps shows no more.
_MEDIANS = 400


def _percent(level: float) -> str:
    return f"{100 * level:g}"


__all__ = ["LEVELS", "Bin", "Law", "Risk", "confidence_figures", "reliability", "risk_coverage"]
