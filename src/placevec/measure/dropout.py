"""Modality drop-one: what each modality adds to all the others together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from placevec.errors import DataError, UsageError
from placevec.geo.sphere import LonLat
from placevec.measure.intervals import Comparison
from placevec.measure.metrics import METRIC_NAMES
from placevec.measure.nested import as_features
from placevec.measure.probe_report import ProbeRow
from placevec.measure.probes import probe

ALL = "all modalities"


def drop_one(
    blocks: Mapping[str, NDArray[Any]],
    lonlat: LonLat,
    y: ArrayLike,
    *,
    alone: bool = True,
    estimators: Sequence[str] = ("ridge",),
    **options: Any,
) -> list[dict[str, Any]]:
    """Probe a target with all modalities, and without each in turn; say what each adds, with a paired interval.

    A modality that adds nothing may still know much: what it knows, others know too. So beside what it adds stands its
    score alone. It "helps" only where all modalities beat those without it by the rule of `intervals.compare`; it
    "hurts" where the whole interval lies below 0.

    Args:
        blocks: the columns (n, d_i) of each modality, by name; two or more. Cells of which a modality says nothing are
            filled by the caller, who knows how.
        lonlat: (n,) where the rows are.
        y: (n,) the target.
        alone: whether each modality is probed by itself too.
        estimators: each gives records of its own.
        options: of `measure.probes.probe`: kind, target, splits, k, shuffles, block, buffer_m, groups, transform,
            resample, draws, seed and so on.

    Returns:
        One JSON object per split, estimator and modality, the one that adds most first: target, split, estimator,
        modality, columns, metric, all, without and alone (the scores), adds (all − without), low, high, sd, outcome
        ("helps", "level", "hurts") and words.

    Raises:
        DataError: as `probe`, or modalities differ in their rows.
        UsageError: fewer than two modalities, or as `probe`.
    """
    if len(blocks) < 2:
        raise UsageError(f"{len(blocks)} modalities: to leave one out takes two or more")
    parts = {name: as_features(part) for name, part in blocks.items()}
    for name, part in parts.items():
        if len(part) != len(lonlat):
            raise DataError(f"the modality {name}: {len(part)} rows for {len(lonlat)} places; give the same rows")
    without = {name: f"without {name}" for name in parts}
    sets = {ALL: _beside(list(parts.values()))}
    sets |= {without[name]: _beside([part for other, part in parts.items() if other != name]) for name in parts}
    if alone:
        sets |= {f"{name} alone": part for name, part in parts.items()}
    records = []
    for estimator in estimators:
        # A run for each estimator: the rows that are compared are of one.
        report = probe(
            sets, lonlat, y, estimators=(estimator,), versus=tuple(without.values()), baselines=False, **options
        )
        for split in dict.fromkeys(row.split for row in report):
            rows = {row.feature_set: row for row in report if row.split == split}
            here = [
                {
                    "target": report.target,
                    "split": split,
                    "estimator": estimator,
                    "modality": name,
                    "columns": int(part.shape[1]),
                    "metric": METRIC_NAMES[report.metric],
                    "all": _score(rows[ALL], report.metric),
                    "without": _score(rows[without[name]], report.metric),
                    "alone": _score(rows[f"{name} alone"], report.metric) if alone else None,
                    **_added(name, rows[ALL].versus[rows[without[name]].features]),
                    "n": report.n,
                }
                for name, part in parts.items()
            ]
            records += sorted(here, key=lambda record: -record["adds"])
    return records


def _added(name: str, found: Comparison) -> dict[str, Any]:
    # A modality is not blamed for a loss that its interval does not show: it is no rival that has to earn a win.
    outcome = "helps" if found.outcome == "beats" else "hurts" if found.high < 0.0 else "level"
    gap = f"{found.difference:+.3f} ({found.low:+.3f} to {found.high:+.3f})".replace("-", "−")
    words = {"helps": f"{name} adds {gap}", "level": f"{name} makes no sure difference, {gap}"}
    return {
        "adds": found.difference,
        "low": found.low,
        "high": found.high,
        "sd": found.sd if np.isfinite(found.sd) else None,
        "outcome": outcome,
        "words": words.get(outcome, f"{name} takes away, {gap}"),
    }


def _score(row: ProbeRow, metric: str) -> float:
    return row.scores[metric].mean


def _beside(parts: Sequence[NDArray[Any]]) -> NDArray[Any]:
    return np.concatenate(list(parts), axis=1)
