"""The reference protocol over all rows, as a report of the same form as that of the nested one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from placevec.geo.sphere import LonLat
from placevec.measure.fusion.protocol import FusionRow
from placevec.measure.fusion.reference import (
    BLOCKS_UP,
    FOLDS,
    Floats,
    Kind,
    Rows,
    reference_folds,
    reference_knn,
    reference_mean,
    reference_ridge,
)
from placevec.measure.fusion.rings import resolution_of
from placevec.measure.intervals import Comparison, Interval
from placevec.measure.metrics import REGRESSION
from placevec.measure.parallel import in_parallel
from placevec.measure.probe_report import ProbeReport, ProbeRow, Residuals, SplitInfo, best_row

Progress = Callable[[str, int, int], None]
KINDS: tuple[Kind, ...] = ("random", "block")
NAN = float("nan")


def reference_report(
    rows: Sequence[FusionRow],
    cells: NDArray[np.uint64],
    lonlat: LonLat,
    y: Floats,
    *,
    target: str = "",
    transform: str = "",
    n_missing: int = 0,
    shuffles: int = 3,
    progress: Progress | None = None,
) -> ProbeReport:
    """Measure all rows that are features of a ridge, kNN or the mean by the reference protocol.

    There are no bootstrap intervals. A learned row beats the best baseline if their mean difference over the shuffles
    is more than its standard deviation, loses if it is less than its negative, and else ties. Standard deviations
    divide by the number of shuffles, as those of the reference do.

    Args:
        rows: the sets of features at n cells; those that choose inside folds, or are fitted fold by fold, are left out.
        cells: (n,) H3 cells of one resolution.
        lonlat: (n,) their centres.
        y: (n,) the target, transformed.
        target: its name.
        transform: what was done to it.
        n_missing: rows left out for want of a value.
        shuffles: by the seeds 0, 1 …
        progress: called with a label, steps done and steps in all.
    """
    usable = [row for row in rows if row.features is not None and _known(row)]
    found: list[ProbeRow] = []
    residuals: dict[str, Floats] = {}
    done = 0
    for kind in KINDS:
        folds = [reference_folds(kind, cells, seed) for seed in range(shuffles)]
        own: list[ProbeRow] = []
        predicted = in_parallel([partial(_predicted, row, lonlat, y, fold) for row in usable for fold in folds])
        for row in usable:
            guesses = [next(predicted) for _ in folds]
            own.append(_scored(row, kind, y, guesses))
            residuals[row.name] = y - np.mean(guesses, axis=0)
            done += 1
            if progress is not None:
                progress(f"{kind}: {row.name}", done, len(KINDS) * len(usable))
        found += _judged(own, kind)
    best = best_row(tuple(found), "block", "r2", True) or best_row(tuple(found), "block", "r2")
    assert best is not None
    n = len(y)
    block = f"h3:{max(resolution_of(cells) - BLOCKS_UP, 0)}"
    infos = [
        SplitInfo(kind, FOLDS, shuffles, block if kind == "block" else "", NAN, 0.0, n * (1 - 1 / FOLDS), 0.0, n, 0.0)
        for kind in KINDS
    ]
    return ProbeReport(
        target=target,
        kind="regression",
        metric="r2",
        rows=tuple(found),
        splits=tuple(infos),
        n=n,
        n_missing=n_missing,
        classes=(),
        transform=transform,
        absent=(),
        residuals=Residuals(best.features, "block", np.arange(n), residuals[best.features]),
        about={"seed": 0, "draws": 0, "resample": "none"},
    )


def _known(row: FusionRow) -> bool:
    """Whether the reference has such a row: ridge on vectors, kNN on coordinates, the mean."""
    assert row.features is not None
    vectors = isinstance(row.features.values, np.ndarray)
    return row.estimator == "mean" or (row.estimator == "ridge" if vectors else row.estimator == "knn")


def _predicted(row: FusionRow, lonlat: LonLat, y: Floats, fold: Rows) -> Floats:
    assert row.features is not None
    if row.estimator == "mean":
        return reference_mean(y, fold)
    values = row.features.values
    if isinstance(values, np.ndarray):
        return reference_ridge(values, y, fold)
    return reference_knn(lonlat, y, fold)


def _scored(row: FusionRow, split: str, y: Floats, guesses: Sequence[Floats]) -> ProbeRow:
    per = {name: tuple(metric(y, guess) for guess in guesses) for name, metric in REGRESSION.items()}
    return ProbeRow(
        features=row.name,
        feature_set=row.name,
        estimator=row.estimator,
        learned=row.role == "learned",
        split=split,
        scores={name: Interval(float(np.mean(v)), NAN, NAN, float(np.std(v))) for name, v in per.items()},
        per_shuffle=per,
        chosen=(),
    )


def _judged(rows: Sequence[ProbeRow], split: str) -> list[ProbeRow]:
    best = best_row(tuple(rows), split, "r2", False)
    if best is None:
        return list(rows)

    def against(row: ProbeRow) -> Comparison:
        gaps = np.subtract(row.per_shuffle["r2"], best.per_shuffle["r2"])
        gap, sd = float(gaps.mean()), float(gaps.std())
        return Comparison(gap, NAN, NAN, sd, "beats" if gap > sd else "loses" if gap < -sd else "ties")

    return [replace(row, rival=best.features, against=against(row)) if row.learned else row for row in rows]
