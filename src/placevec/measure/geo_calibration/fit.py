"""Fitting a calibration on places held out by block, cross-fitted: no place is judged by what it was fitted to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize, minimize_scalar
from scipy.special import expit, logit, logsumexp

from placevec.errors import DataError
from placevec.geo.mixture import credible_level, joint_at, mass_radii, points, rescored, temper, within_mass
from placevec.geo.mixture.law import LEAST_SPREAD_M, Mixture, log_kernel
from placevec.geo.mixture.points import REACH_M, Kind
from placevec.geo.sphere import LonLat, distance_m
from placevec.measure.geo_calibration.calibration import CONFIDENCE_M, LEVELS, Calibration
from placevec.measure.geo_calibration.confidence import fit_confidence
from placevec.measure.geo_calibration.conformal import conformal_quantile, quantile_interval
from placevec.measure.intervals import group_codes

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]

FOLDS = 5
# Fewer places than this in the other folds fit no temperature.
_FEWEST = 10
_LEAST_LOG_T, _MOST_LOG_T = np.log(0.05), np.log(20.0)


@dataclass(frozen=True, eq=False)
class Holdout:
    """What a locator said, uncalibrated, of n places held out, and where they are.

    Attributes:
        region_logs: (n, P) logits or log probabilities of the regions.
        cell_logs: (n, N) those of the cells.
        starts: (P + 1,) the cells of region r are starts[r] to starts[r + 1].
        region: (n,) the true region; −1 outside all.
        cell: (n,) the true cell; −1 outside all.
        truth: n places.
        rows: (n, m) cells of the hypotheses, from `hypotheses`.
        unit: (n, m, 3) where they lie.
        spread_m: (n, m) their predicted spreads.
        area_m2: of the area of study.
        groups: (n,) the spatial block of each place; None if each place is one.
        similarity: (n, m) of the training images, where a refinement re-scores weights; see `refine`.
        gain: `rescore` / `temperature` of that refinement.
        ground: (q, 3) points spread evenly over the area of study, see `even_points`.
    """

    region_logs: Floats
    cell_logs: Floats
    starts: Rows
    region: Rows
    cell: Rows
    truth: LonLat
    rows: Rows
    unit: Floats
    spread_m: Floats
    area_m2: float
    groups: NDArray[Any] | None = None
    similarity: Floats | None = None
    gain: float = 0.0
    ground: Floats | None = None

    def __post_init__(self) -> None:
        n = len(self.truth)
        columns = ("region_logs", "cell_logs", "region", "cell", "rows", "unit", "spread_m", "groups", "similarity")
        lengths = {name: len(getattr(self, name)) for name in columns if getattr(self, name) is not None}
        wrong = {name: length for name, length in lengths.items() if length != n}
        if wrong or n == 0:
            raise DataError(f"{n} places are held out, but there are {wrong or 'none'}; give one row for each place")

    def __len__(self) -> int:
        return len(self.truth)

    def take(self, rows: Rows) -> Holdout:
        """Some of the places."""
        names = ("region_logs", "cell_logs", "region", "cell", "truth", "rows", "unit", "spread_m")
        more: dict[str, Any] = {name: getattr(self, name)[rows] for name in names}
        for name in ("groups", "similarity"):
            column = getattr(self, name)
            more[name] = None if column is None else np.asarray(column)[rows]
        return replace(self, **more)

    def mixture(self, calibration: Calibration) -> Mixture:
        """The mixtures that a calibration makes of the hypotheses."""
        regions, cells = calibration.temper(self.region_logs, self.cell_logs, self.starts)
        weights = joint_at(regions, cells, self.starts, self.rows)
        if self.similarity is not None:
            weights = rescored(weights, self.similarity, self.gain)
        return calibration.mixture(self.unit, weights, self.spread_m, self.area_m2, self.ground)


def fit_calibration(
    held: Holdout,
    *,
    levels: Sequence[float] = LEVELS,
    confidence_m: float = CONFIDENCE_M,
    point: Kind = "mode",
    reach_m: float = REACH_M,
    by_block: bool = False,
    folds: int = FOLDS,
    progress: Callable[[float], None] | None = None,
) -> Calibration:
    """Temperatures, spread and floor by likelihood; levels, radii and confidence by what came true.

    The likelihoods are those of the true region, of the true cell in it and of the true place; each parameter has a
    prior of the weight of one place, so that a few lucky places do not drive it away. Whole blocks are dealt into
    folds; the scores that the conformal quantiles and the confidence map are made of are those of each fold under the
    parameters fitted to the others (cross-conformal, Vovk 2015). The parameters kept are those of all places.

    Args:
        held: n places that neither the network nor its cells have seen.
        levels: of the regions and radii.
        confidence_m: the error that the confidence is about, in metres.
        point: the point estimate that radius and confidence are about, see `geo.mixture.points`.
        reach_m: its reach.
        by_block: whether the guarantee of the levels is for a place of a new block (each block counts as one, and with
            fewer than level / (1 − level) blocks no bound can be given) rather than for a new place of these.
        folds: into which the blocks are dealt.
        progress: told the share done, from 0 to 1.

    Raises:
        DataError: a level is not between 0 and 1, or fewer than two folds are asked for.
    """
    if folds < 2 or not all(0.0 < level < 1.0 for level in levels):
        raise DataError(f"levels lie between 0 and 1 and folds are 2 or more, not {list(levels)} and {folds}")
    codes = group_codes(held.groups, len(held))
    tell = progress or (lambda share: None)
    final = replace(_parameters(held), confidence_m=confidence_m, rows=len(held), blocks=int(codes.max()) + 1)
    fold = _deal(codes, folds)
    scores, ratios = np.empty(len(held)), np.empty((len(held), len(levels)))
    said, close = np.empty(len(held)), np.empty(len(held), dtype=bool)
    for one in range(int(fold.max()) + 1):
        out = np.flatnonzero(fold == one)
        others = np.flatnonzero(fold != one)
        fitted = _parameters(held.take(others)) if len(others) >= _FEWEST else final
        part = held.take(out)
        law = part.mixture(fitted)
        centre = points(law, point, reach_m=reach_m)
        error = distance_m(centre, part.truth)
        scores[out] = credible_level(law, part.truth)
        ratios[out] = error[:, None] / np.maximum(mass_radii(law, centre, levels), LEAST_SPREAD_M)
        said[out], close[out] = within_mass(law, centre, confidence_m), error <= confidence_m
        tell((one + 1.0) / (int(fold.max()) + 1.0))
    groups = codes if by_block else None
    return replace(
        final,
        levels={level: min(conformal_quantile(scores, level, groups), 1.0) for level in levels},
        level_intervals={level: quantile_interval(scores, level, codes) for level in levels},
        radius_factors={level: conformal_quantile(ratios[:, at], level, groups) for at, level in enumerate(levels)},
        confidence=fit_confidence(said, close, fold),
    )


def fit_temperature(logs: Floats, truth: Rows) -> float:
    """The temperature T that makes softmax(logs / T) most likely (Guo et al. 2017), from 0.05 to 20.

    Args:
        logs: (n, c) logits or log probabilities; −inf for what cannot be.
        truth: (n,) the true column; rows that are −1, or whose truth cannot be, do not count.
    """
    known = truth >= 0
    known[known] = np.isfinite(logs[known, truth[known]])
    own, column = logs[known], truth[known]

    def loss(log_t: float) -> float:
        scaled = own * np.exp(-log_t)
        chosen = np.take_along_axis(scaled, column[:, None], axis=1)[:, 0]
        return float((logsumexp(scaled, axis=1) - chosen).sum() + 0.5 * log_t**2)

    if len(own) == 0:
        return 1.0
    found = minimize_scalar(loss, bounds=(_LEAST_LOG_T, _MOST_LOG_T), method="bounded", options={"xatol": 1e-4})
    return float(np.exp(found.x))


def _parameters(held: Holdout) -> Calibration:
    bounds = np.asarray(held.starts, dtype=np.int64)
    regions, cells = temper(held.region_logs, held.cell_logs, bounds)
    region_temperature = fit_temperature(regions, held.region.copy())
    # Cells of other regions cannot be: each row has the logits of its true region's cells.
    inside = (held.cell >= 0) & (held.cell < cells.shape[1])
    region_of = np.repeat(np.arange(len(bounds) - 1), np.diff(bounds))
    own = region_of[np.where(inside, held.cell, 0)]
    masked = np.where(region_of[None, :] == own[:, None], cells, -np.inf)
    cell_temperature = fit_temperature(masked, np.where(inside, held.cell, -1))
    tempered = Calibration(region_temperature=region_temperature, cell_temperature=cell_temperature)
    return _density(held, tempered)


def _density(held: Holdout, tempered: Calibration) -> Calibration:
    """Spread factor, floor and tail that make the true places most likely."""
    law = held.mixture(tempered)
    regions, cells = tempered.temper(held.region_logs, held.cell_logs, held.starts)
    missing = np.clip(1.0 - joint_at(regions, cells, held.starts, held.rows).sum(axis=1), 0.0, 1.0)
    chord2 = ((held.truth.unit()[:, None, :] - law.unit) ** 2).sum(axis=2)
    with np.errstate(divide="ignore"):
        log_weights = np.log(law.weights)
    log_area = np.log(held.area_m2)
    few = logit(0.02)

    def loss(theta: Floats) -> float:
        widen, low, rest = float(np.exp(theta[0])), expit(theta[1]), expit(theta[2])
        floor = low + (1.0 - low) * rest * missing
        own = logsumexp(log_weights + log_kernel(chord2, law.spread_m * widen), axis=1)
        held_logs = np.logaddexp(np.log1p(-floor) + own, np.log(floor) - log_area)
        prior = 0.5 * (theta[0] ** 2 + ((theta[1] - few) / 2.0) ** 2 + (theta[2] / 2.0) ** 2)
        return float(prior - held_logs.sum())

    limits = [(np.log(0.02), np.log(50.0)), (-14.0, 3.0), (-14.0, 14.0)]
    starts = [np.array([first, few, 0.0]) for first in (0.0, 1.0)]
    tries = [minimize(loss, start, method="L-BFGS-B", bounds=limits) for start in starts]
    best = min(tries, key=lambda one: float(one.fun)).x
    return replace(
        tempered, spread_factor=float(np.exp(best[0])), floor=float(expit(best[1])), tail=float(expit(best[2]))
    )


def _deal(codes: Rows, folds: int) -> Rows:
    """Blocks dealt into folds, the largest first, each to the fold with the fewest places so far."""
    sizes = np.bincount(codes)
    load = np.zeros(min(folds, len(sizes)), dtype=np.int64)
    fold_of = np.empty(len(sizes), dtype=np.int64)
    for block in np.argsort(-sizes, kind="stable"):
        fold_of[block] = np.argmin(load)
        load[fold_of[block]] += sizes[block]
    dealt: Rows = fold_of[codes]
    return dealt
