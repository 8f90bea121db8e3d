"""What `evaluate retrieval` answers with: every figure with its baselines, as records and as JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from placevec.errors import UsageError
from placevec.measure.retrieval import Definition, Figure
from placevec.measure.retrieval.recalls import MRR
from placevec.tasks.evaluate_retrieval_published import published_for


@dataclass(frozen=True)
class Against:
    """A figure against that of a baseline, by the same resamples of the images.

    Attributes:
        baseline: its name.
        value: its figure.
        difference: how much better the model is, whatever the measure's direction.
        low: lower end of the 95 % interval of the difference.
        high: upper end.
        outcome: "beats", "ties" or "loses".
    """

    baseline: str
    value: float
    difference: float
    low: float
    high: float
    outcome: str


@dataclass(frozen=True)
class RetrievalEvaluation:
    """What was measured.

    Attributes:
        figures: those of the model; see `measure.retrieval.Figure` for units.
        against: by `Figure.key`, the comparison with each baseline, the best first.
        classes: recalls of each class of images, the worst first; empty without labels.
        ties: the mean recall (percent) as ties are counted one way or another.
        about: model, data and settings, as JSON.
        duplicates: near-duplicates between splits; None where they were not looked for.
        notes: what a reader should know.
    """

    figures: tuple[Figure, ...]
    against: Mapping[tuple[str, str, str], tuple[Against, ...]]
    classes: tuple[Mapping[str, Any], ...]
    ties: Mapping[str, float]
    about: Mapping[str, Any]
    duplicates: Mapping[str, Any] | None = None
    notes: tuple[str, ...] = field(default=())

    def figure(self, measure: str, direction: str = "both", definition: Definition = "official") -> Figure:
        """One figure; UsageError if it was not measured."""
        for one in self.figures:
            if one.key == (definition, direction, measure):
                return one
        raise UsageError(f"{measure} ({direction}, {definition}) was not measured")

    def to_records(self) -> list[dict[str, Any]]:
        """One flat JSON object for each figure, with the best of the baselines."""
        records = []
        for one in self.figures:
            best = next(iter(self.against.get(one.key, ())), None)
            record = {
                name: getattr(one, name)
                for name in ("definition", "direction", "measure", "value", "low", "high", "chance", "ceiling")
            }
            record["baseline"] = None if best is None else best.value
            record["verdict"] = "" if best is None else verdict(one, best)
            records.append({name: _finite(value) for name, value in record.items()})
        return records

    def to_json(self) -> str:
        """Everything as JSON; equal runs, equal text."""
        rows = []
        for record, one in zip(self.to_records(), self.figures, strict=True):
            rivals = [{name: _finite(value) for name, value in vars(x).items()} for x in self.against.get(one.key, ())]
            rows.append({**record, "baselines": rivals})
        published = published_for(self.about["images"], self.about["captions"])
        whole = {
            "about": self.about,
            "notes": self.notes,
            "figures": rows,
            "mean_recall_by_ties": self.ties,
            "classes": self.classes,
            "near_duplicates": self.duplicates,
            "published": None
            if published is None
            else {"name": published.name, "source": published.source, "rows": published.records()},
        }
        return json.dumps(whole, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def verdict(figure: Figure, rival: Against) -> str:
    """A figure against a baseline, in words."""
    words = {"beats": "beats", "ties": "ties with", "loses": "loses to"}[rival.outcome]
    size = f"{abs(rival.difference):.3f}" if figure.measure == MRR else f"{abs(rival.difference):.1f}"
    way = "ahead by" if rival.difference > 0 else "behind by"
    low, high = (f"{value:.3f}" if figure.measure == MRR else f"{value:.1f}" for value in (rival.low, rival.high))
    return f"{words} {rival.baseline}, {way} {size} [{low}, {high}]".replace("-", "−")


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
