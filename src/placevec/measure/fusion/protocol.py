"""The protocol that verdicts go by: every fusion on the same folds, nested, buffered, with paired differences."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from placevec.errors import DataError, LeakError, UsageError
from placevec.geo.cells import Cells, parse_cells
from placevec.geo.sphere import LonLat
from placevec.measure.baselines import Estimator, FeatureSet
from placevec.measure.fusion.choose import chosen_inside, fusion_ridge
from placevec.measure.fusion.fold_tables import FoldTable, block_specs, fold_fit, seen_folds, split_of
from placevec.measure.intervals import (
    DRAWS,
    Comparison,
    Interval,
    compare,
    group_codes,
    mean_sd,
    percentile_interval,
    regression_draws,
    resample_counts,
)
from placevec.measure.metrics import REGRESSION, morans_i, near_weights
from placevec.measure.nested import Fit, Floats, Folds
from placevec.measure.parallel import in_parallel
from placevec.measure.probe_report import ProbeReport, ProbeRow, Residuals, SplitInfo, best_row
from placevec.measure.splits import Split, block_split, random_split

Progress = Callable[[str, int, int], None]
Role = Literal["baseline", "learned"]


@dataclass(frozen=True, eq=False)
class FusionRow:
    """One set of features of the report.

    Attributes:
        name: as reports show it.
        role: learned rows are judged against the best baseline; untrained networks are baselines.
        features: what estimators are run on; None of rows that are made otherwise.
        estimator: of `features`.
        among: names of the rows among which each fold chooses inside its training rows.
        fold_tables: vectors that were fitted on labels, fold by fold.
        extra: (n, p) features beside those of `fold_tables`.
    """

    name: str
    role: Role = "baseline"
    features: FeatureSet | None = None
    estimator: Estimator = "ridge"
    among: tuple[str, ...] = ()
    fold_tables: tuple[FoldTable, ...] = ()
    extra: NDArray[np.float32] | None = field(default=None, repr=False)


@dataclass(frozen=True)
class FusionRules:
    """How fusions are measured."""

    block: str  # the blocks of the spatial split, such as "h3:7"
    buffer_m: float  # training rows so near to a test row are left out of block folds
    splits: tuple[str, ...] = ("random", "block")  # of these two
    k: int = 5  # folds, 3 or more
    shuffles: int = 3  # how often folds are drawn anew
    resample: Literal["blocks", "places"] = "blocks"  # what the bootstrap draws; errors of neighbours go together
    draws: int = DRAWS  # bootstrap resamples
    seed: int = 0  # of folds, resamples and subsamples


def measure_fusions(
    rows: Sequence[FusionRow],
    lonlat: LonLat,
    y: Floats,
    keys: NDArray[Any],
    rules: FusionRules,
    *,
    target: str = "",
    transform: str = "",
    n_missing: int = 0,
    versus: Sequence[str] = (),
    progress: Progress | None = None,
) -> ProbeReport:
    """Measure all rows on one target, on the same folds, and judge each learned one against the best baseline.

    The block folds of a fuser that was fitted on labels are its own: its splits are made anew from what its tables
    say, and all other rows are measured on them too.

    Args:
        rows: the sets of features, of all n cells.
        lonlat: (n,) the cells' centres.
        y: (n,) the target, finite.
        keys: (n,) what names a cell.
        rules: splits, buffer and the like.
        target: its name in the report.
        transform: of the target, for the report.
        n_missing: rows that were left out for want of a value.
        versus: names of rows with which each learned row is compared too.
        progress: called with a label, steps done and steps in all.

    Raises:
        DataError: too few rows, or a buffer that leaves nothing to train on.
        LeakError: a fuser saw labels of the rows to be tested.
        UsageError: two rows of one name, or splits that do not exist.
    """
    names = [row.name for row in rows]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UsageError(f"two rows are called {twice!r}: put NAME= before one of the tables")
    if not rules.splits or set(rules.splits) - {"random", "block"}:
        raise UsageError(f"splits {', '.join(rules.splits) or 'none'}: choose of random and block")
    if len(y) < 3 * rules.k:
        raise DataError(f"{len(y)} cells have a value, too few for {rules.k} folds; give {3 * rules.k} or more")
    system = parse_cells(rules.block)
    run = _Run(rows, lonlat, y, keys, rules, system)
    if "block" in rules.splits:
        run.refuse_unjudged()
    found: list[ProbeRow] = []
    infos = []
    guesses: dict[str, Floats] = {}
    total = len(rules.splits) * rules.shuffles * len(rows)
    for at, split in enumerate(rules.splits):
        folds = run.folds(split)
        infos.append(_info(split, folds, rules))

        def told(label: str, done: int, *, split: str = split, before: int = at) -> None:
            if progress is not None:
                progress(f"{split}: {label}", before * rules.shuffles * len(rows) + done, total)

        fits = run.fits(split, folds, told)
        scored = [(*run.score(row, split, fits[row.name]), row.name) for row in rows if fits[row.name]]
        found += _judged([(row, drawn) for row, drawn, _, _ in scored], split, versus)
        guesses = {name: guess for _, _, guess, name in scored}
    strictest = rules.splits[-1]
    learned = best_row(tuple(found), strictest, "r2", True) or best_row(tuple(found), strictest, "r2", False)
    chosen = learned.features if learned is not None else names[0]
    errors = y - guesses[chosen]
    tested = np.isfinite(errors)
    sums, count = np.where(tested, errors, 0.0).sum(axis=0), tested.sum(axis=0)
    return ProbeReport(
        target=target,
        kind="regression",
        metric="r2",
        rows=tuple(found),
        splits=tuple(infos),
        n=len(y),
        n_missing=n_missing,
        classes=(),
        transform=transform,
        absent=(),
        residuals=Residuals(
            chosen, strictest, np.arange(len(y)), np.where(count > 0, sums / np.maximum(count, 1), np.nan)
        ),
        about={"seed": rules.seed, "draws": rules.draws, "resample": rules.resample, "resampled": run.resampled},
    )


class _Run:
    """What all rows of one target share."""

    def __init__(
        self,
        rows: Sequence[FusionRow],
        lonlat: LonLat,
        y: Floats,
        keys: NDArray[Any],
        rules: FusionRules,
        system: Cells,
    ) -> None:
        self.rows, self.lonlat, self.y, self.keys, self.rules, self.system = rows, lonlat, y, keys, rules, system
        self.columns = y[:, None]
        codes = group_codes(system.assign(lonlat) if rules.resample == "blocks" else None, len(y))
        self.resampled = int(codes.max()) + 1
        self.counts = resample_counts(self.resampled, rules.draws, rules.seed)
        self.codes = codes if rules.resample == "blocks" else None
        self.weights = near_weights(lonlat)

    def folds(self, split: str) -> list[Folds]:
        """The folds of all shuffles; those of fusers that saw labels come first."""
        rules = self.rules
        seeds = [rules.seed + shuffle for shuffle in range(rules.shuffles)]
        if split == "random":
            return [Folds(random_split(self.keys, rules.k, seed)) for seed in seeds]
        specs = block_specs([table for row in self.rows for table in row.fold_tables])
        own = [split_of(spec, self.lonlat, rules.buffer_m) for spec in specs[: rules.shuffles]]
        others: list[Split] = [
            block_split(self.lonlat, self.system, rules.k, seed, rules.buffer_m)
            for seed in seeds[: rules.shuffles - len(own)]
        ]
        return [Folds(one) for one in [*own, *others]]

    def fits(self, split: str, folds: list[Folds], told: Callable[..., None]) -> dict[str, list[Fit | None]]:
        """What each row predicts in each shuffle: None where it cannot be judged; an empty list where it never can."""
        plain = [row for row in self.rows if row.features is not None]
        mixed = [row for row in self.rows if row.among]
        work: list[Callable[[], Any]] = []
        labels = []
        for row in plain:
            for shuffle, one in enumerate(folds):
                work.append(partial(self._plain, row, one, self.rules.seed + shuffle))
                labels.append(row.name)
        learned = [row for row in self.rows if row.fold_tables] if split == "block" else []
        for row in learned:
            for one in folds:
                work.append(partial(fold_fit, row.fold_tables, self.columns, one, self.lonlat, self.keys, row.extra))
                labels.append(row.name)
        found: dict[str, list[Fit | None]] = {row.name: [] for row in self.rows}
        losses: dict[str, list[Floats]] = {row.name: [] for row in plain}
        for done, result in enumerate(in_parallel(work)):
            fit, lost = result if isinstance(result, tuple) else (result, None)
            found[labels[done]].append(fit)
            if lost is not None:
                losses[labels[done]].append(lost)
            told(labels[done], done + 1)
        for row in mixed:
            for shuffle, one in enumerate(folds):
                fits = {name: fit for name in row.among if (fit := found[name][shuffle]) is not None}
                found[row.name].append(chosen_inside(fits, {name: losses[name][shuffle] for name in fits}, one))
            told(row.name, len(work) + len(folds))
        return found

    def refuse_unjudged(self) -> None:
        """LeakError, before anything is fitted, if fold tables leave a fold of every split to none of them."""
        folds = self.folds("block")
        for row in self.rows:
            if not row.fold_tables:
                continue
            lacking = [seen_folds(row.fold_tables, one, self.lonlat, self.keys)[0] for one in folds]
            if all(lacking):
                many = "folds" if len(lacking[0]) > 1 else "fold"
                raise LeakError(
                    f"the fold tables {row.name!r}: all {len(row.fold_tables)} saw labels of the test rows of {many} "
                    f"{', '.join(map(str, lacking[0]))}: give one table for each fold, fitted on the other folds"
                )

    def _plain(self, row: FusionRow, folds: Folds, seed: int) -> tuple[Fit, Floats | None]:
        """The predictions of a row, and of a ridge what it lost inside the training rows of each fold."""
        assert row.features is not None
        values = row.features.values
        if row.estimator == "ridge" and isinstance(values, np.ndarray):
            return fusion_ridge(values, self.y, folds)
        return row.features.fit(row.estimator, self.columns, folds, seed=seed), None

    def score(
        self, row: FusionRow, split: str, fits: Sequence[Fit | None]
    ) -> tuple[ProbeRow, dict[int, Floats], Floats]:
        """The row, its bootstrap draws of R² by shuffle, and its predictions (shuffles, n); NaN where not tested."""
        known = {shuffle: fit for shuffle, fit in enumerate(fits) if fit is not None}
        guess = np.stack([fit.prediction[:, 0] for fit in known.values()])
        drawn = regression_draws(self.y, guess, self.counts, self.codes)
        values: dict[str, list[float]] = {name: [] for name in [*REGRESSION, "moran"]}
        for one in guess:
            tested = np.flatnonzero(np.isfinite(one))
            for name, metric in REGRESSION.items():
                values[name].append(metric(self.y[tested], one[tested]))
            weights = self.weights if len(tested) == len(self.y) else near_weights(self.lonlat[tested])
            values["moran"].append(morans_i((self.y - one)[tested], weights).i)
        scores = {}
        for name, per in values.items():
            mean, sd = mean_sd(per)
            low, high = percentile_interval(drawn[name].mean(axis=0)) if name in drawn else (float("nan"),) * 2
            scores[name] = Interval(mean, low, high, sd)
        scored = ProbeRow(
            features=row.name,
            feature_set=row.name,
            estimator=row.estimator,
            learned=row.role == "learned",
            split=split,
            scores=scores,
            per_shuffle={name: tuple(per) for name, per in values.items()},
            chosen=tuple(fit.chosen for fit in known.values()),
        )
        return scored, dict(zip(known, drawn["r2"], strict=True)), guess


def _judged(
    found: Sequence[tuple[ProbeRow, Mapping[int, Floats]]], split: str, versus: Sequence[str]
) -> list[ProbeRow]:
    """The rows of a split, the learned ones with their comparisons, over the shuffles that both have."""
    best = best_row(tuple(row for row, _ in found), split, "r2", False)
    drawn_of = {row.features: (row, drawn) for row, drawn in found}

    def against(name: str, rival: str) -> Comparison:
        ours, theirs = drawn_of[name], drawn_of[rival]
        both = [shuffle for shuffle in ours[1] if shuffle in theirs[1]]
        a, b = (
            [row.per_shuffle["r2"][list(drawn).index(shuffle)] for shuffle in both] for row, drawn in (ours, theirs)
        )
        a_draws, b_draws = (np.stack([drawn[shuffle] for shuffle in both]) for _, drawn in (ours, theirs))
        return compare(a, b, a_draws, b_draws, "r2")

    return [
        replace(
            row,
            rival=best.features,
            against=against(row.features, best.features),
            versus={name: against(row.features, name) for name in versus if name in drawn_of},
        )
        if row.learned and best is not None
        else row
        for row, _ in found
    ]


def _info(kind: str, folds: Sequence[Folds], rules: FusionRules) -> SplitInfo:
    train = np.array([one.allowed.sum(axis=1).mean() for one in folds])
    tested = np.array([np.mean([len(test) for test in one.tests]) for one in folds])
    inside = np.array([sum(len(test) for test in one.tests) for one in folds])
    block = kind == "block"
    return SplitInfo(
        kind=kind,
        k=folds[0].k,
        shuffles=len(folds),
        block=rules.block if block else "",
        range_m=float("nan"),
        buffer_m=rules.buffer_m if block else 0.0,
        n_train=float(train.mean()),
        n_buffered=float((inside - tested - train).mean()),
        n_test=float(inside.mean()),
        n_strays=float(len(folds[0]) - inside.mean()),
    )
