"""What a probe answers: one row per features, estimator and split, each with its interval and its verdict."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from placevec.measure.intervals import Comparison, Interval
from placevec.measure.metrics import METRIC_NAMES


@dataclass(frozen=True)
class SplitInfo:
    """How test rows were kept apart.

    Attributes:
        kind: "random" or "block".
        k: folds.
        shuffles: how often the folds were drawn anew.
        block: the partition of the blocks, such as "h3:3"; empty for random folds.
        range_m: the range of the target's variogram that chose the blocks; NaN if they were given.
        buffer_m: rows this near to a test row were not trained on.
        n_train: rows that trained, mean over folds and shuffles.
        n_buffered: rows that the buffer took out of training, mean over folds and shuffles.
        n_test: rows that were tested, mean over shuffles.
        n_strays: rows in no fold, because their group lies elsewhere; mean over shuffles.
    """

    kind: str
    k: int
    shuffles: int
    block: str
    range_m: float
    buffer_m: float
    n_train: float
    n_buffered: float
    n_test: float
    n_strays: float


@dataclass(frozen=True)
class ProbeRow:
    """The scores of one estimator on one set of features under one split.

    Attributes:
        features: features and estimator, as tables show them.
        feature_set: the features.
        estimator: "mean", "ridge", "ols", "knn" or "gp".
        learned: whether the features are learned; if not, this is a baseline.
        split: "random" or "block".
        scores: by metric: mean over shuffles of the pooled folds' score, its bootstrap interval, sd over shuffles.
        per_shuffle: by metric: the score of each shuffle.
        chosen: per shuffle and fold: rows and hyper-parameters.
        rival: the best compulsory baseline of the split; empty for baselines.
        against: the paired comparison with it; None for baselines.
        versus: the same with the best row of each feature set that was asked for, by its `features`.
    """

    features: str
    feature_set: str
    estimator: str
    learned: bool
    split: str
    scores: Mapping[str, Interval]
    per_shuffle: Mapping[str, tuple[float, ...]]
    chosen: tuple[tuple[dict[str, Any], ...], ...]
    rival: str = ""
    against: Comparison | None = None
    versus: Mapping[str, Comparison] = field(default_factory=dict)

    @property
    def outcome(self) -> str:
        """Of the comparison with the best baseline: "beats", "level", "loses"; empty for baselines."""
        if self.against is None:
            return ""
        return {"beats": "beats", "ties": "level", "loses": "loses"}[self.against.outcome]

    @property
    def verdict(self) -> str:
        """The same in words, such as "loses to coordinates · kNN by 0.031 (0.012 to 0.050)"; empty for baselines."""
        return "" if self.against is None else comparison_words(self.rival, self.against)


def comparison_words(rival: str, against: Comparison) -> str:
    """A comparison with `rival` in words, such as "beats coordinates · kNN by 0.031 (0.012 to 0.050)"."""
    gap, low, high, _, outcome = against
    if outcome == "ties":
        return f"ties with {rival} ({_signed(gap)}; {_signed(low)} to {_signed(high)})"
    if outcome == "loses":
        gap, low, high = -gap, -high, -low
    word = "loses to" if outcome == "loses" else "beats"
    return f"{word} {rival} by {_digits(gap)} ({_digits(low)} to {_digits(high)})"


@dataclass(frozen=True, eq=False)
class Residuals:
    """What the best learned row leaves unexplained, place by place, for a map.

    Attributes:
        features: the row that it is about.
        split: of that row: "block" where there is one.
        rows: (m,) row numbers in what was probed; rows without a target are left out.
        values: (m,) y minus the mean out-of-fold prediction over shuffles, in the scale that was probed; for
            classes the share of shuffles in which the class was wrong. NaN for rows that were never tested.
    """

    features: str
    split: str
    rows: NDArray[np.int64]
    values: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ProbeReport:
    """All rows of one probe.

    Attributes:
        target: what was predicted.
        kind: "regression" or "classification".
        metric: the one that verdicts go by: "r2" or "accuracy".
        rows: baselines first, then learned features; split by split.
        splits: how test rows were kept apart.
        n: rows with a target.
        n_missing: rows without one, left out.
        classes: names of the classes, if it is a classification.
        transform: of the target before all else: "" or "log1p".
        absent: compulsory baselines that could not be made, for want of features.
        residuals: of the best learned row under the strictest split.
        about: settings: seed, draws, what is resampled.
    """

    target: str
    kind: str
    metric: str
    rows: tuple[ProbeRow, ...]
    splits: tuple[SplitInfo, ...]
    n: int
    n_missing: int
    classes: tuple[str, ...]
    transform: str
    absent: tuple[str, ...]
    residuals: Residuals
    about: Mapping[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[ProbeRow]:
        return iter(self.rows)

    def best(self, split: str, *, learned: bool | None = None) -> ProbeRow | None:
        """The row with the best score under a split: of all, of the learned (True) or of the baselines (False)."""
        return best_row(self.rows, split, self.metric, learned)

    def to_records(self, metric: str | None = None) -> list[dict[str, Any]]:
        """One JSON object per row.

        mean, low, high and sd are those of `metric`, by default the one that verdicts go by; `scores` holds the
        means of all metrics. With ``metric="all"`` there is one object per row and metric.
        """
        if metric == "all":
            names = [name for name in METRIC_NAMES if any(name in row.scores for row in self.rows)]
            return [record for name in names for record in self.to_records(name)]
        name = metric or self.metric
        info = {split.kind: split for split in self.splits}
        records = []
        for row in self.rows:
            score, split = row.scores[name], info[row.split]
            main = name == self.metric
            records.append(
                {
                    "target": self.target,
                    "features": row.features,
                    "feature_set": row.feature_set,
                    "estimator": row.estimator,
                    "learned": row.learned,
                    "split": row.split,
                    "metric": METRIC_NAMES[name],
                    **score._asdict(),
                    "outcome": row.outcome if main else "",
                    "rival": row.rival if main else "",
                    "verdict": row.verdict if main else "",
                    "scores": {METRIC_NAMES[key]: value.mean for key, value in row.scores.items()},
                    "n": self.n,
                    "n_missing": self.n_missing,
                    "n_train": split.n_train,
                    "n_test": split.n_test,
                    "n_buffered": split.n_buffered,
                    "block": split.block,
                    "buffer_m": split.buffer_m,
                    "folds": split.k,
                    "shuffles": split.shuffles,
                    "chosen": row.chosen,
                }
            )
            # Only where it was asked for: other reports stay as they were.
            if main and row.versus:
                records[-1]["versus"] = {
                    one: {**found._asdict(), "verdict": comparison_words(one, found)}
                    for one, found in row.versus.items()
                }
        return [_plain(record) for record in records]

    def to_json(self) -> str:
        """Everything but the residuals as JSON: settings, splits, and one record per row; equal runs, equal text."""
        head = {
            "target": self.target,
            "kind": self.kind,
            "metric": METRIC_NAMES[self.metric],
            "transform": self.transform,
            "n": self.n,
            "n_missing": self.n_missing,
            "classes": self.classes,
            "absent_baselines": self.absent,
            "splits": [vars(split) for split in self.splits],
            "residuals_of": {"features": self.residuals.features, "split": self.residuals.split},
            "about": self.about,
            "rows": [
                {**record, "intervals": {METRIC_NAMES[key]: value._asdict() for key, value in row.scores.items()}}
                for record, row in zip(self.to_records(), self.rows, strict=True)
            ],
        }
        return json.dumps(_plain(head), ensure_ascii=False, allow_nan=False)


def best_row(rows: tuple[ProbeRow, ...], split: str, metric: str, learned: bool | None = None) -> ProbeRow | None:
    """The row with the largest mean of `metric` under a split; None if there is none."""
    own = [row for row in rows if row.split == split and learned in (None, row.learned)]
    own = [row for row in own if math.isfinite(row.scores[metric].mean)]
    return max(own, key=lambda row: row.scores[metric].mean, default=None)


def _plain(value: Any) -> Any:
    """`value` in the types of JSON; NaN is null."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def _digits(value: float) -> str:
    # A difference that three digits would show as 0 is shown in full: a verdict "by 0.000" says nothing.
    digits = 3 if abs(value) >= 0.0005 or value == 0.0 else 6
    return f"{value:.{digits}f}".replace("-", "−")


def _signed(value: float) -> str:
    return _digits(value) if value < 0 else f"+{_digits(value)}"
