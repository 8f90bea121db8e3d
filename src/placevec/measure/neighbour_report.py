"""What neighbour retrieval answers: recall, reciprocal and median rank, with intervals over blocks, and verdicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from placevec.measure.intervals import DRAWS, group_codes, percentile_interval, resample_counts
from placevec.measure.retrieval.chances import Floats
from placevec.measure.retrieval.ranks import Standing

Role = Literal["learned", "untrained", "fixed", "chance"]
MEASURES = ("R@1", "R@10", "MRR", "median rank")
LOWER = ("median rank",)
_DRAWS_AT_ONCE = 100


@dataclass(frozen=True)
class Against:
    """A representation against a baseline, by the same resamples of blocks; positive means that it is better."""

    baseline: str  # its name
    difference: float
    low: float
    high: float
    outcome: Literal["beats", "ties", "loses"]  # beats: the interval lies above 0; loses: the figure is worse

    @property
    def words(self) -> str:
        """Such as "loses to class fractions by 0.031 (0.012 to 0.050)"."""
        word = {"beats": "beats", "ties": "ties with", "loses": "loses to"}[self.outcome]
        gap, low, high = self.difference, self.low, self.high
        if self.outcome == "loses":
            gap, low, high = -gap, -high, -low
        size = f"{gap:.3f} ({low:.3f} to {high:.3f})".replace("-", "−")
        return f"{word} {self.baseline} by {size}"


@dataclass(frozen=True)
class NeighbourRow:
    """One representation."""

    name: str
    role: Role
    values: Mapping[str, float]  # by measure: recalls and MRR from 0 to 1, the median rank from 1
    low: Mapping[str, float]  # lower ends of the 95 % intervals over blocks
    high: Mapping[str, float]  # upper ends
    against: Mapping[str, tuple[Against, ...]]  # by measure: a learned one against each baseline, the best first

    def to_records(self) -> list[dict[str, Any]]:
        """One flat JSON object for each measure."""
        return [
            {
                "representation": self.name,
                "role": self.role,
                "measure": measure,
                "value": self.values[measure],
                "low": _finite(self.low[measure]),
                "high": _finite(self.high[measure]),
                "outcome": self.against[measure][0].outcome if self.against else "",
                "verdict": self.against[measure][0].words if self.against else "",
                "against": [{**vars(one), "low": _finite(one.low), "high": _finite(one.high)} for one in versus]
                if (versus := self.against.get(measure))
                else [],
            }
            for measure in MEASURES
        ]


def neighbour_rows(
    standings: Mapping[str, Standing],
    roles: Mapping[str, Role],
    blocks: NDArray[Any],
    *,
    draws: int = DRAWS,
    seed: int = 0,
) -> tuple[NeighbourRow, ...]:
    """The figures of each representation, baselines first, and each learned one against every baseline.

    Intervals are bootstrapped over blocks: all anchors of a block are drawn together, and the candidates stay whole.
    Equal scores count by the mean over their orders.

    Args:
        standings: by name, of the same queries; see `measure.neighbours.rank_neighbours`.
        roles: by name.
        blocks: (p,) the block of each query.
        draws: resamples of the blocks.
        seed: of the resamples.
    """
    codes = group_codes(blocks, len(blocks))
    counts = resample_counts(int(codes.max()) + 1, draws, seed)
    drawn = {name: _draws(one, codes, counts) for name, one in standings.items()}
    values = {name: _values(one) for name, one in standings.items()}
    baselines = [name for name in standings if roles[name] != "learned"]
    rows = []
    for name in (*baselines, *(one for one in standings if roles[one] == "learned")):
        against = {}
        if roles[name] == "learned" and baselines:
            for measure in MEASURES:
                against[measure] = _against(measure, name, baselines, values, drawn)
        ends = {measure: percentile_interval(drawn[name][measure]) for measure in MEASURES}
        rows.append(
            NeighbourRow(
                name,
                roles[name],
                values[name],
                {measure: low for measure, (low, _) in ends.items()},
                {measure: high for measure, (_, high) in ends.items()},
                against,
            )
        )
    return tuple(rows)


def _against(
    measure: str,
    name: str,
    baselines: Sequence[str],
    values: Mapping[str, Mapping[str, float]],
    drawn: Mapping[str, Mapping[str, Floats]],
) -> tuple[Against, ...]:
    sign = -1.0 if measure in LOWER else 1.0
    found = []
    for other in baselines:
        difference = sign * (values[name][measure] - values[other][measure])
        low, high = percentile_interval(sign * (drawn[name][measure] - drawn[other][measure]))
        outcome: Literal["beats", "ties", "loses"] = "ties"
        # A win has to be earned, a loss is admitted at once.
        if difference > 0 and low > 0:
            outcome = "beats"
        elif difference < 0:
            outcome = "loses"
        found.append(Against(other, difference, low, high, outcome))
    return tuple(sorted(found, key=lambda one: one.difference))


def _per_query(standing: Standing) -> dict[str, Floats]:
    return {"R@1": standing.found(1), "R@10": standing.found(10), "MRR": standing.reciprocals()}


def _values(standing: Standing) -> dict[str, float]:
    means = {name: float(values.mean()) for name, values in _per_query(standing).items()}
    return {**means, "median rank": float(np.median(standing.ranks()))}


def _draws(standing: Standing, codes: NDArray[np.int64], counts: NDArray[np.uint8]) -> dict[str, Floats]:
    """Each measure (draws,) of the resamples of blocks."""
    blocks = counts.shape[1]
    sizes = counts.astype(np.float64) @ np.bincount(codes, minlength=blocks)
    out = {
        name: np.asarray(counts.astype(np.float64) @ np.bincount(codes, weights=values, minlength=blocks) / sizes)
        for name, values in _per_query(standing).items()
    }
    ranks = standing.ranks()
    order = np.argsort(ranks, kind="stable")
    medians = []
    for at in range(0, len(counts), _DRAWS_AT_ONCE):
        running = np.cumsum(counts[at : at + _DRAWS_AT_ONCE][:, codes[order]], axis=1, dtype=np.int64)
        total = running[:, -1:]
        # Of an even number the median is the mean of the middle two, as in numpy.
        middle = (running >= (total + 1) // 2).argmax(axis=1), (running >= total // 2 + 1).argmax(axis=1)
        medians.append((ranks[order][middle[0]] + ranks[order][middle[1]]) / 2.0)
    return {**out, "median rank": np.concatenate(medians)}


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None
