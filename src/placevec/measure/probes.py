"""The probe: how much of a target frozen vectors explain, beside every baseline, under random and block splits."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from placevec.errors import DataError, UsageError
from placevec.geo.cells import Cells, parse_cells
from placevec.geo.grids import GridCells
from placevec.geo.sphere import LonLat
from placevec.measure.baselines import Estimator, FeatureSet, compulsory
from placevec.measure.intervals import (
    DRAWS,
    Comparison,
    Counts,
    Interval,
    classification_draws,
    compare,
    group_codes,
    mean_sd,
    percentile_interval,
    regression_draws,
    resample_counts,
)
from placevec.measure.metrics import CLASSIFICATION, REGRESSION, morans_i, near_weights
from placevec.measure.nested import Fit, Fitted, Floats, Folds, Rows, as_features
from placevec.measure.parallel import in_parallel
from placevec.measure.probe_report import ProbeReport, ProbeRow, Residuals, SplitInfo, best_row
from placevec.measure.splits import block_split, random_split, suggest_block

Kind = Literal["regression", "classification", "auto"]
Transform = Literal["", "log1p"]
Progress = Callable[[str, int, int], None]

_SPLITS = ("random", "block")
_ESTIMATORS: tuple[Estimator, ...] = ("ridge", "ols", "knn", "gp")


def probe(
    vectors_by_name: Mapping[str, NDArray[Any] | Fitted],
    lonlat: LonLat,
    y: ArrayLike,
    *,
    kind: Kind = "auto",
    target: str = "",
    splits: Sequence[str] = _SPLITS,
    k: int = 5,
    shuffles: int = 3,
    block: Cells | str | float | None = None,
    buffer_m: float = 0.0,
    groups: ArrayLike | None = None,
    strays: Literal["join", "drop"] = "join",
    h3: ArrayLike | None = None,
    raw: ArrayLike | None = None,
    untrained: Mapping[str, NDArray[Any]] | None = None,
    fixed: Mapping[str, NDArray[Any]] | None = None,
    blocks: Mapping[str, Sequence[tuple[str, int, int]]] | None = None,
    estimators: Sequence[str] = ("ridge", "knn"),
    transform: Transform = "",
    resample: Literal["places", "blocks"] = "places",
    draws: int = DRAWS,
    seed: int = 0,
    versus: Sequence[str] = (),
    baselines: bool = True,
    progress: Progress | None = None,
) -> ProbeReport:
    """Probe a target with vectors and with all compulsory baselines, by nested ridge and kNN.

    Each score is that of the out-of-fold predictions of all folds pooled, averaged over the shuffles of the
    folds. A learned row is compared with the best baseline of its split by paired differences (`compare`).

    Args:
        vectors_by_name: learned vectors (n, d) by name; or vectors that are fitted on the training rows of each fold,
            such as what is retrieved from a bank of them, see `placevec.measure.nested.Fitted`.
        lonlat: (n,) where the rows are.
        y: (n,) numbers or classes; rows with NaN, None or "" are left out and counted.
        kind: "auto" takes numbers for a regression, all else (also booleans) for classes.
        target: the name of y in the report.
        splits: of "random" and "block".
        k: folds, 3 or more.
        shuffles: how often the folds are drawn anew, by the seeds seed, seed + 1 …
        block: the blocks: a partition, its name ("h3:3", "grid:2.5") or degrees; absent, found from the range of
            the target's variogram (`suggest_block`).
        buffer_m: training rows within so many metres of a test row are left out of block folds; at least as wide
            as the receptive field of the vectors.
        groups: (n,) rows of one group (a place, user or sensor) share a fold, and are resampled together.
        strays: what to do with groups that lie in several blocks, see `block_split`.
        h3: (n,) uint64 cells of one resolution, for raw features averaged over rings; absent, nearest places.
        raw: (n, p) raw features.
        untrained: vectors (n, d) of untrained networks of the same shape, by name.
        fixed: features (n, d) by name that nobody learned, such as spherical harmonics: further baselines.
        blocks: the parts (name, first column, column after the last) of learned vectors, by their names: the GP gives
            each part a kernel of its own.
        estimators: of "ridge", "ols", "knn" and "gp", run on all vectors.
        transform: "log1p" takes ln(1 + y) of a regression target; all scores are then in that scale.
        resample: what the bootstrap draws: "places", or "blocks" (wider intervals, where errors of neighbours go
            together).
        draws: bootstrap resamples.
        seed: of folds, resamples and subsamples.
        versus: feature sets that no learned row may leave out: each is compared with the best row of each of them as
            well, whichever baseline is the best of all.
        baselines: whether the compulsory baselines are run; without them vectors are only compared with each other
            (`versus`), for tables that stand beside a report that has them.
        progress: called with a label, steps done and steps in all.

    Raises:
        DataError: lengths differ, features are not finite, fewer than 3 k rows have a target or it does not vary,
            or no split into blocks is possible.
        UsageError: an option that does not exist, or two features of one name.
    """
    _check(splits, estimators, k, shuffles, transform, resample)
    data = _target(y, len(lonlat), kind, transform, k)
    run_on = _estimators(estimators)
    learned = [
        FeatureSet(
            name,
            v if callable(v) else as_features(v),
            run_on,
            learned=True,
            blocks=tuple((blocks or {}).get(name, ())),
        )
        for name, v in vectors_by_name.items()
    ]
    rivals, absent = compulsory(lonlat, h3=h3, raw=raw, untrained=untrained, estimators=run_on)
    more = [FeatureSet(name, as_features(v), run_on, metric="euclidean") for name, v in (fixed or {}).items()]
    every = [*(rivals if baselines else ()), *more, *learned]
    labels = _labels(every, len(lonlat))

    keep = data.rows
    sets = [one.take(keep) for one in every]
    places = lonlat[keep]
    keys = keep if groups is None else group_codes(groups, len(lonlat))[keep]
    system, range_m = None, float("nan")
    if "block" in splits or resample == "blocks":
        system, range_m = _blocks(block, places, data.y, k, seed)
    codes = group_codes(system.assign(places) if resample == "blocks" and system is not None else keys, len(keep))
    counts = resample_counts(int(codes.max()) + 1, draws, seed)
    run = _Run(data, places, counts, None if counts.shape[1] == len(keep) else codes)

    rows: list[ProbeRow] = []
    infos = []
    guesses: dict[tuple[str, str], Floats] = {}
    total = len(splits) * len(labels) * shuffles
    for name in splits:
        folds = []
        for s in range(shuffles):
            if name == "block" and system is not None:
                own = None if groups is None else keys
                folds.append(Folds(block_split(places, system, k, seed + s, buffer_m, own, strays)))
            else:
                folds.append(Folds(random_split(keys, k, seed + s)))
        infos.append(_info(name, folds, system, range_m))
        found: list[tuple[ProbeRow, dict[str, Floats]]] = []
        pairs = list(_pairs(sets))
        ready = in_parallel(
            [
                partial(one.fit, estimator, data.targets, folds[s], shared=run.classes, seed=seed + s)
                for one, estimator in pairs
                for s in range(shuffles)
            ]
        )
        for one, estimator in pairs:
            fits = []
            for s in range(shuffles):
                fits.append(next(ready))
                if progress is not None:
                    progress(f"{name}: {one.label(estimator)}", len(guesses) * shuffles + s + 1, total)
            row, drawn, guess = run.score(one, estimator, name, fits)
            guesses[name, row.features] = guess
            found.append((row, drawn))
        rows += _judge(found, name, run.metric, versus)

    strictest = "block" if "block" in splits else splits[0]
    best = best_row(tuple(rows), strictest, run.metric, True if learned else None)
    chosen = best.features if best is not None else rows[0].features
    return ProbeReport(
        target=target,
        kind="classification" if run.classes else "regression",
        metric=run.metric,
        rows=tuple(rows),
        splits=tuple(infos),
        n=len(keep),
        n_missing=len(lonlat) - len(keep),
        classes=data.names,
        transform=transform,
        absent=tuple(absent),
        residuals=Residuals(chosen, strictest, keep, run.residuals(guesses[strictest, chosen])),
        about={"seed": seed, "draws": len(counts), "resample": resample, "resampled": counts.shape[1]},
    )


@dataclass(frozen=True, eq=False)
class _Target:
    """The target of the rows that have one: numbers, or class numbers with their names; and as columns (n, t)."""

    rows: Rows
    y: NDArray[Any]
    targets: Floats
    names: tuple[str, ...]


class _Run:
    """What all rows of a probe share, and how one is scored."""

    def __init__(self, data: _Target, places: LonLat, counts: Counts, codes: Rows | None) -> None:
        self.data = data
        self.places = places
        self.counts = counts
        self.codes = codes
        self.classes = bool(data.names)
        self.metric = "accuracy" if self.classes else "r2"
        self._weights: dict[bytes, sparse.csr_array] = {}

    def score(
        self, one: FeatureSet, estimator: Estimator, split: str, fits: list[Fit]
    ) -> tuple[ProbeRow, dict[str, Floats], Floats]:
        """The row, its bootstrap draws by metric, and its predictions (r, n), NaN where not tested."""
        y = self.data.y
        if self.classes:
            guess = np.stack([_argmax(fit.prediction) for fit in fits])
            numbers = np.where(np.isnan(guess), -1, guess).astype(np.int64)
            drawn = classification_draws(y, numbers, self.counts, self.codes)
        else:
            guess = np.stack([fit.prediction[:, 0] for fit in fits])
            drawn = regression_draws(y, guess, self.counts, self.codes)
        metrics = CLASSIFICATION if self.classes else REGRESSION
        values: dict[str, list[float]] = {name: [] for name in [*metrics, "moran"]}
        for g in guess:
            tested = np.flatnonzero(~np.isnan(g))
            for name, metric in metrics.items():
                values[name].append(metric(y[tested], g[tested]))
            values["moran"].append(morans_i(self._error(g)[tested], self._near(tested)).i)
        scores = {}
        for name, per in values.items():
            mean, sd = mean_sd(per)
            low, high = percentile_interval(drawn[name].mean(axis=0)) if name in drawn else (float("nan"),) * 2
            scores[name] = Interval(mean, low, high, sd)
        row = ProbeRow(
            features=one.label(estimator),
            feature_set=one.name,
            estimator=estimator,
            learned=one.learned,
            split=split,
            scores=scores,
            per_shuffle={name: tuple(per) for name, per in values.items()},
            chosen=tuple(fit.chosen for fit in fits),
        )
        return row, drawn, guess

    def residuals(self, guess: Floats) -> Floats:
        """The residuals (n,), mean over the shuffles in which a row was tested; NaN if in none."""
        errors = np.stack([self._error(g) for g in guess])
        tested = ~np.isnan(errors)
        count = tested.sum(axis=0)
        sums = np.where(tested, errors, 0.0).sum(axis=0)
        return np.where(count > 0, sums / np.maximum(count, 1), np.nan)

    def _error(self, guess: Floats) -> Floats:
        if not self.classes:
            return np.asarray(self.data.y - guess, dtype=np.float64)
        return np.where(np.isnan(guess), np.nan, (guess != self.data.y).astype(np.float64))

    def _near(self, tested: Rows) -> sparse.csr_array:
        key = tested.tobytes()
        if key not in self._weights:
            self._weights = {key: near_weights(self.places[tested])}
        return self._weights[key]


def _target(y: ArrayLike, n: int, kind: Kind, transform: str, k: int) -> _Target:
    column = np.asarray(y)
    if column.shape != (n,):
        raise DataError(f"a target of the shape {column.shape} for {n} places; give one value per place")
    if kind not in ("regression", "classification", "auto"):
        raise UsageError(f"kind is {kind!r}; choose regression, classification or auto")
    if column.dtype.kind == "O":
        given = [value for value in column.tolist() if value is not None]
        if given and all(isinstance(v, int | float | np.number) and not isinstance(v, bool) for v in given):
            column = np.array([np.nan if value is None else value for value in column.tolist()], dtype=np.float64)
    numeric = column.dtype.kind in "iuf"
    if kind == "regression" and not numeric and column.dtype.kind != "b":
        raise UsageError(f"the target holds {str(column[0])!r}, which is no number; probe it as classes")
    if kind == "regression" or (kind == "auto" and numeric):
        return _numbers(column.astype(np.float64), transform, k)
    if transform:
        raise UsageError(f"the transform {transform!r} is for numbers, not for classes; leave it out")
    if numeric:
        missing = np.isnan(column) if column.dtype.kind == "f" else np.zeros(n, dtype=bool)
    else:
        missing = np.array([v is None or v != v or str(v) == "" for v in column.tolist()])
    keep = np.flatnonzero(~missing)
    # Numbers in the order of numbers, all else in that of their texts.
    held = column[keep] if numeric else np.array([str(v) for v in column[keep].tolist()])
    names, codes = np.unique(held, return_inverse=True)
    _enough(held, k)
    classes = tuple(str(v) for v in names.tolist())
    return _Target(keep.astype(np.int64), codes.astype(np.int64), np.eye(len(names))[codes], classes)


def _numbers(values: Floats, transform: str, k: int) -> _Target:
    keep = np.flatnonzero(~np.isnan(values))
    values = values[keep]
    if not np.isfinite(values).all():
        raise DataError("the target holds an infinite value; drop that row")
    if transform == "log1p":
        if len(values) and values.min() <= -1.0:
            raise DataError(f"the target reaches {values.min():g}, and log1p needs more than −1; do not transform it")
        values = np.log1p(values)
    _enough(values, k)
    return _Target(keep.astype(np.int64), values, values[:, None], ())


def _enough(values: NDArray[Any], k: int) -> None:
    if len(values) < 3 * k:
        raise DataError(f"{len(values)} rows have a target, too few for {k} folds; give {3 * k} or more")
    if (values == values[0]).all():
        raise DataError(f"the target is {values[0]} in all {len(values)} rows; there is nothing to predict")


def _labels(sets: list[FeatureSet], n: int) -> list[str]:
    for one in sets:
        if one.values is not None and not callable(one.values) and len(one.values) != n:
            raise DataError(f"{one.name}: {len(one.values)} rows for {n} places; they must be the same rows")
    labels = [one.label(estimator) for one, estimator in _pairs(sets)]
    if len(set(labels)) < len(labels):
        twice = next(label for label in labels if labels.count(label) > 1)
        raise UsageError(f"two features make the row {twice!r}; name the vectors differently")
    return labels


def _blocks(
    block: Cells | str | float | None, places: LonLat, y: NDArray[Any], k: int, seed: int
) -> tuple[Cells, float]:
    if block is None:
        # Class numbers are names, not amounts.
        values = y.astype(str) if y.dtype.kind == "i" else y
        resolution, range_m = suggest_block(places, values, k=k, seed=seed)
        return parse_cells(f"h3:{resolution}"), range_m
    if isinstance(block, str):
        return parse_cells(block), float("nan")
    if isinstance(block, int | float | np.number):
        return GridCells(float(block)), float("nan")
    return block, float("nan")


def _info(kind: str, folds: list[Folds], system: Cells | None, range_m: float) -> SplitInfo:
    train = np.array([f.allowed.sum(axis=1) for f in folds])
    tested = np.array([[len(t) for t in f.tests] for f in folds])
    inside = tested.sum(axis=1)
    first = folds[0].split
    return SplitInfo(
        kind=kind,
        k=first.k,
        shuffles=len(folds),
        block=system.name if kind == "block" and system is not None else "",
        range_m=range_m if kind == "block" else float("nan"),
        buffer_m=first.buffer_m,
        n_train=float(train.mean()),
        n_buffered=float((inside[:, None] - tested - train).mean()),
        n_test=float(inside.mean()),
        n_strays=float(len(first) - inside.mean()),
    )


def _judge(
    found: list[tuple[ProbeRow, dict[str, Floats]]], split: str, metric: str, versus: Sequence[str]
) -> list[ProbeRow]:
    """The rows of one split, the learned ones with their comparison to the best baseline and to those named."""
    rivals = {name: best_row(tuple(r for r, _ in found if r.feature_set == name), split, metric) for name in versus}
    best = best_row(tuple(row for row, _ in found), split, metric, False)
    drawn_of = {row.features: drawn[metric] for row, drawn in found}

    def against(row: ProbeRow, rival: ProbeRow) -> Comparison:
        ours, theirs = row.per_shuffle[metric], rival.per_shuffle[metric]
        return compare(ours, theirs, drawn_of[row.features], drawn_of[rival.features], metric)

    return [
        replace(
            row,
            rival="" if best is None else best.features,
            against=None if best is None else against(row, best),
            versus={one.features: against(row, one) for one in rivals.values() if one is not None},
        )
        if row.learned
        else row
        for row, _ in found
    ]


def _argmax(prediction: Floats) -> Floats:
    untested = np.isnan(prediction[:, 0])
    likeliest = np.where(untested[:, None], 0.0, prediction).argmax(axis=1)
    return np.where(untested, np.nan, likeliest.astype(np.float64))


def _pairs(sets: list[FeatureSet]) -> Iterator[tuple[FeatureSet, Estimator]]:
    return ((one, estimator) for one in sets for estimator in one.estimators)


def _estimators(names: Sequence[str]) -> tuple[Estimator, ...]:
    known: tuple[Estimator, ...] = _ESTIMATORS
    return tuple(name for name in known if name in names)


def _check(
    splits: Sequence[str], estimators: Sequence[str], k: int, shuffles: int, transform: str, resample: str
) -> None:
    for word, given, known in (
        ("splits", splits, _SPLITS),
        ("estimators", estimators, _ESTIMATORS),
        ("transform", [transform], ("", "log1p")),
        ("resample", [resample], ("places", "blocks")),
    ):
        if not given or len(set(given)) < len(given) or set(given) - set(known):
            raise UsageError(f"{word}: {', '.join(map(repr, given)) or 'none'} cannot be; choose of {known}")
    if k < 3:
        raise UsageError(f"a probe chooses within folds and needs 3 or more, not {k}")
    if shuffles < 1:
        raise UsageError(f"{shuffles} shuffles show nothing; give 1 or more, 3 for a spread")
