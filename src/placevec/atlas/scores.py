"""Probe scores as figures and reports show them, and the verdict of a learned score against the baselines."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

from placevec.errors import SchemaError

Outcome = Literal["beats", "level", "loses", ""]

SPLIT_WORDS = {"random": "Random split", "block": "Spatial blocks", "blocks": "Spatial blocks"}
SPLIT_NOTES = {
    "random": "neighbours leak; flatters",
    "block": "whole regions held out",
    "blocks": "whole regions held out",
}
LOWER_IS_BETTER = ("mae", "rmse", "mse", "error", "nll", "ece", "median", "km", "moran", "rank")


@dataclass(frozen=True)
class ScoreRow:
    """One score with its interval.

    Attributes:
        features: what the probe was given.
        split: "random", "block" or another name.
        mean: the score.
        low: lower end of its interval.
        high: upper end of its interval.
        learned: whether the features are learned; if not, they are a baseline.
        target: what was predicted.
        metric: of the score, "R²" or "MAE, m".
        sd: standard deviation over the repetitions; NaN if there was one only.
        better: "higher" or "lower"; empty: told from the metric's name.
        verdict: words of a test that was made elsewhere (of paired differences, for example); empty: compared here.
        outcome: what those words come to.
    """

    features: str
    split: str
    mean: float
    low: float
    high: float
    learned: bool = False
    target: str = ""
    metric: str = "R²"
    sd: float = math.nan
    better: Literal["higher", "lower", ""] = ""
    verdict: str = ""
    outcome: Outcome = ""

    @property
    def higher_is_better(self) -> bool:
        """Whether a greater score is a better one."""
        if self.better:
            return self.better == "higher"
        return not any(word in self.metric.lower() for word in LOWER_IS_BETTER)

    def better_than(self, other: ScoreRow) -> bool:
        """Whether the mean is better than that of `other`."""
        return self.mean > other.mean if self.higher_is_better else self.mean < other.mean


@dataclass(frozen=True)
class Match:
    """The best learned row of a target and split, and the best baseline that it has to beat.

    Attributes:
        target: what was predicted.
        metric: of the scores.
        split: "random", "block" or another name.
        learned: the learned row with the best mean.
        baseline: the baseline with the best mean.
    """

    target: str
    metric: str
    split: str
    learned: ScoreRow
    baseline: ScoreRow

    @property
    def outcome(self) -> Outcome:
        """Of the learned row."""
        return verdict(self.learned, self.baseline)[0]


def score_rows(records: Iterable[Mapping[str, Any] | ScoreRow]) -> list[ScoreRow]:
    """Records with the keys of `ScoreRow` (others are left aside) as rows; null is NaN. SchemaError without a key."""
    known = {field.name for field in fields(ScoreRow)}
    rows = []
    for record in records:
        if isinstance(record, ScoreRow):
            rows.append(record)
            continue
        absent = {"features", "split", "mean", "low", "high"} - set(record)
        if absent:
            raise SchemaError(f"score record without {', '.join(sorted(absent))}: {dict(record)}")
        given = {key: value for key, value in record.items() if key in known and value is not None}
        rows.append(ScoreRow(**{"mean": math.nan, "low": math.nan, "high": math.nan, **given}))
    return rows


def split_order(rows: Sequence[ScoreRow]) -> list[str]:
    """The splits of `rows`, the lenient first: random, then the others by name."""
    return sorted({row.split for row in rows}, key=lambda name: (name != "random", name))


def ranked_features(rows: Sequence[ScoreRow]) -> list[str]:
    """The features of `rows` (of one target), best first on the strictest split that each has."""
    splits = split_order(rows)

    def rank(name: str) -> tuple[int, float]:
        own = [row for split in splits for row in rows if row.features == name and row.split == split]
        last = own[-1]
        value = -last.mean if last.higher_is_better else last.mean
        return (1, 0.0) if math.isnan(value) else (0, value)

    return sorted(dict.fromkeys(row.features for row in rows), key=rank)


def best(rows: Iterable[ScoreRow]) -> ScoreRow | None:
    """The row with the best mean; None if there is none."""
    top: ScoreRow | None = None
    for row in rows:
        if math.isfinite(row.mean) and (top is None or row.better_than(top)):
            top = row
    return top


def matches(rows: Sequence[ScoreRow]) -> list[Match]:
    """For each split (the strictest first) and target the best learned row and the best baseline, where it has both."""
    found = []
    for split in reversed(split_order(rows)):
        for target, metric in dict.fromkeys((row.target, row.metric) for row in rows):
            own = [row for row in rows if (row.split, row.target, row.metric) == (split, target, metric)]
            learned, baseline = best(row for row in own if row.learned), best(row for row in own if not row.learned)
            if learned is not None and baseline is not None:
                found.append(Match(target, metric, split, learned, baseline))
    return found


def verdict(row: ScoreRow, rival: ScoreRow | None) -> tuple[Outcome, str]:
    """A learned row against the best baseline of its target and split, in one word and in words.

    A lower mean is a loss, whatever the intervals; a higher mean is a win only if the intervals do not meet.
    """
    if row.verdict:
        return row.outcome, row.verdict
    if not row.learned or rival is None or not math.isfinite(row.mean):
        return "", ""
    difference = abs(row.mean - rival.mean)
    amount = signed(difference).lstrip("+")
    apart = row.low > rival.high if row.higher_is_better else row.high < rival.low
    if row.better_than(rival):
        if apart:
            return "beats", f"beats {rival.features} by {amount}"
        return "level", f"ahead of {rival.features} by {amount}, intervals overlap"
    if row.mean == rival.mean:
        return "level", f"equals {rival.features}"
    behind = rival.low > row.high if row.higher_is_better else rival.high < row.low
    return "loses", f"loses to {rival.features} by {amount}" + ("" if behind else ", intervals overlap")


def plain(value: float) -> str:
    """A score as papers print it: three digits after the point below ten, fewer above; a true minus sign."""
    if not math.isfinite(value):
        return "–"
    digits = 3 if abs(value) < 10 else 1 if abs(value) < 1000 else 0
    text = f"{value:,.{digits}f}".replace(",", "\u2009")
    return "0" + text[2:] if float(f"{value:.{digits}f}") == 0 and text.startswith("-0") else text.replace("-", "−")


def signed(value: float) -> str:
    """The same with its sign."""
    return plain(value) if value < 0 else f"+{plain(value)}"
