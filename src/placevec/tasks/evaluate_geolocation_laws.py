"""What `evaluate geolocation` says of laws: density and coverage at the truth, areas, confidence, regions and cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely
from numpy.typing import ArrayLike, NDArray

from placevec.geo.mixture import credible_level, credible_regions, log_density, temper
from placevec.geo.sphere import LonLat
from placevec.measure.calibration import reliability
from placevec.measure.geolocation import Law, class_ranks, confidence_figures, risk_coverage, share_within

if TYPE_CHECKING:
    from placevec.tasks.evaluate_geolocation_answers import Answering, Answers, Progress

Floats = NDArray[np.float64]

_KM2 = 1e6
_WHOLE = 1.0 - 1e-9  # a region of all of the mass has no rim
_LOGS_AT_ONCE = 1 << 22
_CURVE = 200  # points of a risk-coverage curve that are kept


@dataclass(frozen=True, eq=False)
class Measured:
    """The law of a locator, as it was measured.

    Attributes:
        law: at the truth, with the levels that its calibration asks for.
        plain: by level, the share of truths in the regions of just that mass: coverage without the conformal levels.
        drawn: of how many photos the regions were drawn.
    """

    law: Law
    plain: Mapping[float, float]
    drawn: int


def credible_law(
    locator: Answering, answers: Answers, levels: Sequence[float], areas: int, progress: Progress | None
) -> Measured:
    """Hold the law of each photo against its truth.

    A truth is covered at a level if the mass of the highest-density region that just holds it is at most the mass that
    the calibration gives to that level (Izbicki, Shimizu & Stern, 2022).

    Args:
        locator: whose calibration says which mass a level takes.
        answers: laws and truths.
        levels: wanted coverages.
        areas: regions are drawn for at most so many photos, evenly spread.
        progress: told of the photos whose regions are drawn.
    """
    mixture, truth = answers.mixture, answers.truth
    masses = {level: min(float(locator.calibration.nominal(level)), _WHOLE) for level in levels}
    own = credible_level(mixture, truth)
    logs = log_density(mixture, truth) + np.log(_KM2)
    count = min(areas, len(truth))
    chosen = np.unique(np.rint(np.linspace(0, len(truth) - 1, count)).astype(np.int64)) if count else np.empty(0, int)
    domain = shapely.union_all(locator.geocells.regions.polygons) if count else None
    area = {level: np.full(len(truth), np.nan) for level in levels}
    for done, row in enumerate(chosen):
        drawn = credible_regions(mixture[int(row)], sorted(set(masses.values())), domain)
        by_mass = {round(region.level, 9): region.area_m2 / _KM2 for region in drawn}
        for level in levels:
            area[level][row] = by_mass.get(round(masses[level], 9), np.nan)
        if progress is not None:
            progress("areas of regions", done + 1, count)
    # Rounding must not lose a truth that lies on the rim.
    covered = {level: own <= masses[level] + 1e-9 for level in levels}
    plain = {level: float((own <= level + 1e-9).mean()) for level in levels}
    return Measured(Law(logs, covered, area if count else {}), plain, len(chosen))


def law_record(measured: Measured) -> dict[str, float]:
    """The figures of a law, with its coverage as it would be without the conformal levels."""
    plain = {f"coverage_{100 * level:g}_uncorrected": share for level, share in measured.plain.items()}
    return {**measured.law.figures(), **plain}


def class_table(cells: Any, truth: LonLat, region_logs: ArrayLike, cell_logs: ArrayLike) -> dict[str, float]:
    """Accuracies of the region, the cell, and the five best cells of the joint law, over photos and over classes.

    Args:
        cells: the `GeoCells`.
        truth: n true places; one in no cell counts for regions alone.
        region_logs: (n, P).
        cell_logs: (n, N) of the cells within their regions.
    """
    by_region, by_cell = np.asarray(region_logs), np.asarray(cell_logs)
    true_region, true_cell = np.asarray(cells.regions.assign(truth)), np.asarray(cells.rows(truth))
    ranks: list[list[NDArray[Any]]] = [[], []]
    # Several arrays as large as the answers are needed on the way: some photos at a time.
    step = max(1, _LOGS_AT_ONCE // max(1, by_cell.shape[1]))
    for start in range(0, len(truth), step):
        part = slice(start, start + step)
        regions, within = temper(by_region[part], by_cell[part], cells.starts)
        joint = regions[:, np.asarray(cells.region)] + within
        ranks[0].append(class_ranks(regions, true_region[part]))
        ranks[1].append(class_ranks(joint, true_cell[part]))
    of_region, of_cell = (np.concatenate(parts) for parts in ranks)
    found: dict[str, float] = {}
    for name, own, true, k in (
        ("region", of_region, true_region, 1),
        ("cell", of_cell, true_cell, 1),
        ("cell_top5", of_cell, true_cell, 5),
    ):
        share = share_within(own, true, k)
        found |= {f"{name}_micro": share.micro, f"{name}_macro": share.macro, f"{name}_photos": float(share.n)}
    return found


def confidence_record(km: Floats, confidence: ArrayLike, within_m: float) -> dict[str, Any]:
    """Calibration of the confidence, its reliability in steps, and the risk-coverage curve.

    Args:
        km: (n,) errors.
        confidence: (n,) the probability that an error is at most `within_m`.
        within_m: that distance, in metres.
    """
    said = np.asarray(confidence, dtype=np.float64)
    if not (np.isfinite(said).all() and (said >= 0).all() and (said <= 1).all()):
        return {}
    right = km <= within_m / 1000.0
    risk = risk_coverage(said, km)
    kept = np.unique(np.rint(np.linspace(0, len(km) - 1, min(_CURVE, len(km)))).astype(np.int64))
    return {
        "within_km": within_m / 1000.0,
        **confidence_figures(said, right),
        "aurc_km": risk.aurc_km,
        "aurc_best_km": risk.best_km,
        "aurc_random_km": risk.chance_km,
        "reliability": [step._asdict() for step in reliability(said, right)],
        "risk_coverage": {
            "coverage": risk.coverage[kept].tolist(),
            "mean_km": risk.mean_km[kept].tolist(),
            "median_km": risk.median_km[kept].tolist(),
        },
    }
