"""Transfer: a probe that was fitted in one city, judged in another, beside what the other city would teach itself.

City A has labels; city B has none, or a few. All rows predict the same folds of B (whole blocks, with the buffer), so
that their differences are paired and B's own cross-validation is their ceiling:

- "mean of A": the mean of A's target, everywhere;
- "probe of A": ridge fitted on all of A, its penalty chosen by block folds within A;
- "probe of A, each city standardised": the same with the columns of each city standardised by that city alone, which
  looks at B's columns but at no label, and takes away a shift of all columns between the cities;
- "probe of A + n labels": n labelled places of B among the training rows of each fold correct that of the two probes
  which errs less on them, by ridge on its errors, w = w_A + δ with α|δ|² (biased regularisation; Kuzborskij and
  Orabona, ICML 2013); α is chosen among the n by leave-one-out and may be infinite, which leaves w_A and moves the
  intercept alone, or nothing at all;
- "n labels alone": ridge on these n labels of B, which never heard of A;
- "B's own probe": nested ridge on all training rows of B's folds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from placevec.errors import DataError, UsageError
from placevec.geo.cells import Cells, parse_cells
from placevec.geo.sphere import LonLat
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
from placevec.measure.linear import Linear, Scaler, best_alpha, fit_linear
from placevec.measure.metrics import REGRESSION
from placevec.measure.nested import Floats, Folds, Rows, as_features, as_targets
from placevec.measure.parallel import in_parallel
from placevec.measure.ridge import ALPHAS, nested_ridge
from placevec.measure.splits import block_split, suggest_block

LABELS = (0, 10, 50, 200)
SLOPES_FROM = 20
"""From so many labels on slopes of A's probe may be corrected; fewer correct its level alone."""

MEAN_OF_A = "mean of A"
PROBE_OF_A = "probe of A"
STANDARDISED = "probe of A, each city standardised"
OWN = "B's own probe, block folds"


@dataclass(frozen=True, eq=False)
class City:
    """One city's rows.

    Attributes:
        name: for people.
        x: (n, p) vectors of one Space.
        lonlat: (n,) where they are.
        y: (n,) the target.
    """

    name: str
    x: NDArray[Any]
    lonlat: LonLat
    y: Floats


@dataclass(frozen=True)
class TransferRow:
    """The scores of one way to predict B.

    Attributes:
        name: the way.
        labels: of B that it saw in each fold; -1: all training rows, 0: none.
        from_a: whether it knows A.
        scores: r2, mae, rmse and spearman: mean over shuffles, interval by resampled blocks of B, sd over shuffles.
        against: its R² against that of the same labels alone, or of the mean of A for those without labels; None for
            rows that are such a rival, and for B's own.
    """

    name: str
    labels: int
    from_a: bool
    scores: dict[str, Interval]
    against: Comparison | None = None


@dataclass(frozen=True)
class Transfer:
    """All rows of one transfer.

    Attributes:
        target: what is predicted.
        source: the name of A.
        goal: the name of B.
        n_source: rows of A.
        n_goal: rows of B.
        alpha: the penalty of A's probe.
        blocks: of A and B, such as ("h3:7", "h3:7").
        n_blocks: of B, which are resampled.
        rows: baselines first, then by labels.
        transform: of the target: "" or "log1p".
        about: settings.
    """

    target: str
    source: str
    goal: str
    n_source: int
    n_goal: int
    alpha: float
    blocks: tuple[str, str]
    n_blocks: int
    rows: tuple[TransferRow, ...]
    transform: str
    about: dict[str, Any]

    def row(self, name: str) -> TransferRow:
        """The row of a name."""
        return next(row for row in self.rows if row.name == name)

    def to_records(self) -> list[dict[str, Any]]:
        """One JSON object per row."""
        return [
            {
                "target": self.target,
                "train": self.source,
                "test": self.goal,
                "row": row.name,
                "labels": row.labels if row.labels >= 0 else None,
                "from_a": row.from_a,
                "r2": _finite(row.scores["r2"].mean),
                "low": _finite(row.scores["r2"].low),
                "high": _finite(row.scores["r2"].high),
                "sd": _finite(row.scores["r2"].sd),
                **{name: _finite(row.scores[name].mean) for name in ("mae", "rmse", "spearman")},
                "gain": None if row.against is None else _finite(row.against.difference),
                "gain_low": None if row.against is None else _finite(row.against.low),
                "gain_high": None if row.against is None else _finite(row.against.high),
                "outcome": "" if row.against is None else row.against.outcome,
            }
            for row in self.rows
        ]


def transfer(
    a: City,
    b: City,
    *,
    target: str = "",
    labels: Sequence[int] = LABELS,
    block: Cells | str | None = None,
    buffer_m: float = 0.0,
    k: int = 5,
    shuffles: int = 3,
    transform: str = "",
    draws: int = DRAWS,
    seed: int = 0,
) -> Transfer:
    """Judge a probe of city A in city B.

    Args:
        a: where all labels are known.
        b: where it is judged; of its labels each fold sees as many as `labels` says.
        target: its name.
        labels: how many places of B are labelled; each count is a pair of rows. Counts beyond the training rows of a
            fold are left out.
        block: the blocks of both cities' folds; by default from the range of each city's variogram.
        buffer_m: training rows of B within so many metres of a test row are left out of its fold (of A's folds too).
        k: folds.
        shuffles: how often folds and labels are drawn anew.
        transform: "log1p" takes ln(1 + y); all scores are in that scale.
        draws: resamples of B's blocks.
        seed: of everything random.

    Raises:
        DataError: something is not finite, the target does not vary, or there are too few places.
        UsageError: the columns of A and B differ in number, or a count of labels cannot be.
    """
    xa, xb = as_features(a.x), as_features(b.x)
    if xa.shape[1] != xb.shape[1]:
        raise UsageError(f"{a.name} has {xa.shape[1]} columns and {b.name} has {xb.shape[1]}; they must be one Space's")
    if transform not in ("", "log1p"):
        raise UsageError(f"the transform {transform!r} is unknown; choose log1p, or none")
    if any(count < 0 or count in (1, 2) for count in labels):
        raise UsageError(f"labels {tuple(labels)}: give 0, or 3 and more, which leave something to choose a penalty by")
    ya, yb = (_goal(city, transform) for city in (a, b))
    system_a, system_b = (_system(block, city.lonlat, y, k, seed) for city, y in ((a, ya), (b, yb)))
    folds_a = Folds(block_split(a.lonlat, system_a, k, seed, buffer_m))
    folds = [Folds(block_split(b.lonlat, system_b, k, seed + s, buffer_m)) for s in range(shuffles)]

    # A's own columns, and the same with each city standardised alone.
    forms = {PROBE_OF_A: (Scaler.of(xa), Scaler.of(xa)), STANDARDISED: (Scaler.of(xa), Scaler.of(xb))}
    alpha = best_alpha(xa, ya, folds_a)
    model = fit_linear(xa, ya, alpha)
    plain = {name: _said(model, scaler, xb) for name, (_, scaler) in forms.items()}
    guesses: dict[tuple[str, int, bool], Floats] = {(MEAN_OF_A, 0, True): np.full((shuffles, len(xb)), ya.mean())}
    if 0 in labels:
        guesses |= {(name, 0, True): np.tile(said, (shuffles, 1)) for name, said in plain.items()}
    ready = [(scaler(xb), plain[name]) for name, (_, scaler) in forms.items()]
    least = min(int(f.allowed.sum(axis=1).min()) for f in folds)
    for count in sorted({one for one in labels if one}):
        if count > least:
            continue
        work = [partial(_few, ready, yb, one, count, seed + s) for s, one in enumerate(folds)]
        both = np.stack(list(in_parallel(work)))
        guesses[f"probe of A + {count} labels", count, True] = both[:, 0]
        guesses[f"{count} labels alone", count, False] = both[:, 1]
    own = in_parallel([partial(nested_ridge, xb, yb, one) for one in folds])
    guesses[OWN, -1, False] = np.stack([fit.prediction[:, 0] for fit in own])

    codes = group_codes(system_b.assign(b.lonlat), len(xb))
    counts = resample_counts(int(codes.max()) + 1, draws, seed)
    rows = _judged(guesses, yb, counts, codes)
    return Transfer(
        target=target,
        source=a.name,
        goal=b.name,
        n_source=len(xa),
        n_goal=len(xb),
        alpha=alpha,
        blocks=(system_a.name, system_b.name),
        n_blocks=int(codes.max()) + 1,
        rows=tuple(rows),
        transform=transform,
        about={
            "k": k,
            "shuffles": shuffles,
            "buffer_m": buffer_m,
            "least_train": least,
            "draws": len(counts),
            "seed": seed,
        },
    )


def _goal(city: City, transform: str) -> Floats:
    y = as_targets(city.y, len(city.x))[:, 0]
    if len(city.lonlat) != len(y):
        raise DataError(f"{city.name}: {len(y)} rows for {len(city.lonlat)} places; they must be the same rows")
    if transform == "log1p":
        if y.min() <= -1.0:
            raise DataError(f"{city.name}: the target reaches {y.min():g}, and log1p needs more than −1")
        y = np.log1p(y)
    if (y == y[0]).all():
        raise DataError(f"{city.name}: the target is {y[0]:g} in all {len(y)} rows; there is nothing to predict")
    return y


def _system(block: Cells | str | None, lonlat: LonLat, y: Floats, k: int, seed: int) -> Cells:
    if block is None:
        return parse_cells(f"h3:{suggest_block(lonlat, y, k=k, seed=seed)[0]}")
    return parse_cells(block) if isinstance(block, str) else block


def _said(model: Linear, scaler: Scaler, x: NDArray[Any]) -> Floats:
    return np.asarray(scaler(x) @ model.weights[:, 0] + model.intercept[0])


def _few(forms: Sequence[tuple[Floats, Floats]], y: Floats, folds: Folds, count: int, seed: int) -> Floats:
    """Out-of-fold predictions (2, n): A's corrected by `count` labels of each fold's training rows, and these alone.

    Of A's probes, each its columns and its predictions, that is corrected which errs least on these labels. The labels
    alone are given the columns as A scales them.
    """
    out = np.full((2, len(y)), np.nan)
    rng = np.random.default_rng([seed, count])
    for f, test in enumerate(folds.tests):
        rows = np.sort(rng.choice(folds.train(f), count, replace=False))
        z, said = min(forms, key=lambda form: float(((y[rows] - form[1][rows]) ** 2).sum()))
        out[0, test] = said[test] + _by_few(z, y - said, rows, test, errors_of_a=True)
        out[1, test] = _by_few(forms[0][0], y, rows, test, errors_of_a=False)
    return out


def _by_few(z: Floats, y: Floats, rows: Rows, test: Rows, *, errors_of_a: bool) -> Floats:
    """Ridge of a few rows, its penalty chosen by leave-one-out.

    With the kernel K of the centred rows, H = 1/n + K (K + αI)⁻¹ gives the fitted values, and the error of row i when
    it is left out is e_i / (1 − H_ii), as for every linear smoother of this form (Rifkin and Lippert, 2007, "Notes on
    regularized least squares").

    Candidates go from simple to free: no change at all (only of A's probe), a constant, then slopes with less and less
    penalty. Rows alone take the one with the least error. What corrects A's probe has to earn it: the simplest
    candidate counts that is not worse than the best by more than one standard error of their paired difference, as ten
    labels are soon fitted by a slope that holds nowhere else.
    """
    own, goal = z[rows], y[rows]
    n = len(rows)
    middle, level = own.mean(axis=0), goal.mean()
    centred = own - middle
    values, vectors = np.linalg.eigh(centred @ centred.T)
    values = np.maximum(values, 0.0)
    turned = vectors.T @ (goal - level)
    flat = np.zeros(n)
    # A constant: the error of a row left out is n / (n − 1) times its distance from the mean.
    losses = [((goal - level) * n / (n - 1)) ** 2]
    answers = [(level, flat)]
    if errors_of_a:
        losses.insert(0, goal**2)
        answers.insert(0, (0.0, flat))
    for alpha in ALPHAS[::-1].tolist() if n >= SLOPES_FROM or not errors_of_a else ():
        inverse = 1.0 / (values + alpha)
        dual = vectors @ (inverse * turned)
        hat = 1.0 / n + (vectors**2) @ (values * inverse)
        losses.append((alpha * dual / np.maximum(1.0 - hat, 1e-12)) ** 2)
        answers.append((level, dual))
    loss = np.stack(losses)
    chosen = int(np.argmin(loss.mean(axis=1)))
    if errors_of_a:
        gap = loss - loss[chosen]
        chosen = int(np.argmax(gap.mean(axis=1) <= gap.std(axis=1, ddof=1) / np.sqrt(n)))
    constant, dual = answers[chosen]
    return np.asarray((z[test] - middle) @ (centred.T @ dual) + constant)


def _judged(
    guesses: dict[tuple[str, int, bool], Floats], y: Floats, counts: NDArray[np.uint8], codes: Rows
) -> list[TransferRow]:
    scores, drawn, per = {}, {}, {}
    for key, guess in guesses.items():
        tested = [np.flatnonzero(np.isfinite(one)) for one in guess]
        drawn[key] = regression_draws(y, guess, counts, codes)
        found = {}
        for name, metric in REGRESSION.items():
            values = [metric(y[rows], one[rows]) for rows, one in zip(tested, guess, strict=True)]
            mean, sd = mean_sd(values)
            found[name] = Interval(mean, *percentile_interval(drawn[key][name].mean(axis=0)), sd)
            if name == "r2":
                per[key] = values
        scores[key] = found
    rows = []
    for key, found in scores.items():
        name, labels, from_a = key
        rival = next((k for k in scores if k[1] == labels and k != key and _rivals(k)), None)
        against = None
        if from_a and not _rivals(key) and rival is not None:
            against = compare(per[key], per[rival], drawn[key]["r2"], drawn[rival]["r2"], "r2")
        rows.append(TransferRow(name, labels, from_a, found, against))
    return rows


def _rivals(key: tuple[str, int, bool]) -> bool:
    return key[0] == MEAN_OF_A or (key[1] > 0 and not key[2])


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None
