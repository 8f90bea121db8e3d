"""What `evaluate geolocation` answers: figures of all methods with intervals, the law, confidence, regions."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from placevec.atlas.score_tables import SIGNS
from placevec.atlas.scores import Outcome
from placevec.measure.geolocation import POINT_FIGURES, MethodRow
from placevec.measure.neighbour_report import Against
from placevec.results import Score, Scores, jsonable
from placevec.tasks.evaluate_geolocation_rivals import CHANCE, NEAREST, PRIOR
from placevec.tasks.evaluate_tables import aligned_table

OUTCOMES: Mapping[str, Outcome] = {"beats": "beats", "ties": "level", "loses": "loses"}
WORDS = {
    "median_km": "median error, km",
    "mean_km": "mean error, km",
    "p90_km": "90 % error, km",
    "acc_1": "within 1 km",
    "acc_25": "within 25 km",
    "acc_200": "within 200 km",
    "acc_750": "within 750 km",
    "acc_2500": "within 2500 km",
    "geoscore": "geoscore",
    "region": "right region",
    "cell": "right cell",
    "nll": "NLL, nats per km²",
    "coverage_50": "50 % region covers",
    "coverage_80": "80 % region covers",
    "coverage_95": "95 % region covers",
}
"""What each figure is called in tables."""


@dataclass(frozen=True)
class GeolocationEvaluation:
    """What was measured.

    Attributes:
        methods: the locator first, then its other decoders, untrained networks, baselines, and the diagnostic.
        classes: by who names them, accuracies of regions and cells, micro and macro.
        laws: by whose law it is, NLL, coverage and areas.
        confidence: calibration error, Brier score, reliability and risk-coverage curve; empty without a confidence.
        regions: one record for each region.
        notes: what a reader should know.
        about: the settings, as JSON.
    """

    methods: tuple[MethodRow, ...]
    classes: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    laws: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    confidence: Mapping[str, Any] = field(default_factory=dict)
    regions: tuple[Mapping[str, Any], ...] = ()
    notes: tuple[str, ...] = ()
    about: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.methods:
            raise ValueError("an evaluation holds at least one method")

    @property
    def own(self) -> MethodRow:
        """The row of what is measured."""
        return next((row for row in self.methods if row.role == "learned"), self.methods[0])

    def row(self, name: str) -> MethodRow | None:
        """The row called `name`, or the first that begins so; None where there is none."""
        exact = (row for row in self.methods if row.name == name)
        return next(exact, next((row for row in self.methods if row.name.startswith(name)), None))

    def strongest(self, prefix: str) -> MethodRow | None:
        """The row with the smallest median error of those whose names begin so."""
        found = [row for row in self.methods if row.name.startswith(prefix)]
        return min(found, key=lambda row: row.values["median_km"]) if found else None

    @property
    def scores(self) -> Scores:
        """Every figure of every method as `results.Scores`."""
        split = "block" if self.about.get("cells") else str(self.about.get("split", "as given"))
        n = int(self.about.get("photos", 0))
        rows = [
            Score(
                "location",
                row.name,
                split,
                WORDS.get(figure, figure),
                value,
                row.low.get(figure, math.nan),
                row.high.get(figure, math.nan),
                n=n,
                learned=row.role == "learned",
            )
            for row in self.methods
            for figure, value in row.values.items()
        ]
        return Scores(tuple(rows), self.about)

    def to_records(self) -> list[dict[str, Any]]:
        """One flat JSON object for each method: its figures, and what it comes to."""
        records = []
        for row in self.methods:
            best = row.against.get("median_km", ())[:1]
            verdict = {"outcome": best[0].outcome, "verdict": words(best[0], "median_km")} if best else {}
            records.append(
                {"method": row.name, "role": row.role, **jsonable(row.values), "outcome": "", "verdict": "", **verdict}
            )
        return records

    def to_json(self) -> str:
        """Everything as JSON; equal runs, equal text."""
        whole = {
            "about": self.about,
            "notes": self.notes,
            "methods": [
                {
                    "name": row.name,
                    "role": row.role,
                    "about": row.about,
                    "figures": {
                        figure: {"value": value, "low": row.low.get(figure), "high": row.high.get(figure)}
                        for figure, value in row.values.items()
                    },
                    "against": {
                        figure: [asdict(one) | {"words": words(one, figure)} for one in found]
                        for figure, found in row.against.items()
                    },
                }
                for row in self.methods
            ],
            "classes": self.classes,
            "laws": self.laws,
            "confidence": self.confidence,
            "regions": self.regions,
            "scores": self.scores.to_records(),
        }
        return json.dumps(jsonable(whole), indent=1, ensure_ascii=False, allow_nan=False) + "\n"

    def headline(self) -> list[str]:
        """What came out, in a few lines; a loss is said to be one."""
        own = self.own
        ends = f" ({plain(own.low['median_km'])} to {plain(own.high['median_km'])})" if "median_km" in own.low else ""
        said = [f"median error {plain(own.values['median_km'])} km{ends}"]
        for name, row in (
            ("nearest image", self.strongest(NEAREST)),
            (PRIOR, self.row(PRIOR)),
            (CHANCE, self.row(CHANCE)),
        ):
            if row is not None:
                said.append(f"{name} {plain(row.values['median_km'])}")
        lines = ["; ".join(said)]
        versus = own.against.get("median_km", ())
        if versus:
            lines.append(f"{own.name} {words(versus[0], 'median_km')}")
            lost = [one for one in versus[1:] if one.outcome == "loses"]
            if lost:
                others = "; ".join(f"{one.baseline} by {plain(-one.difference)} km" for one in lost)
                lines.append(f"it loses to {others}" if versus[0].outcome != "loses" else f"it also loses to {others}")
        law = self.laws.get(own.name, {})
        if law:
            covers = ", ".join(
                f"{level} % region covers {100 * law[f'coverage_{level}']:.0f} %"
                for level in ("50", "80", "95")
                if f"coverage_{level}" in law
            )
            lines.append(f"{covers}; NLL {law['nll']:.2f} nats per km²")
        return lines

    def table(self) -> str:
        """All methods by all figures, in Markdown."""
        figures = [*POINT_FIGURES, *(name for name in ("region", "cell") if name in self.own.values)]
        rows = []
        for row in self.methods:
            cells = [f"**{row.name}**" if row.role == "learned" else label(row)]
            for figure in figures:
                value = row.values.get(figure, math.nan)
                cells.append(shown(value, figure) + sign(row, figure))
            rows.append(cells)
        return aligned_table(["", *(WORDS[figure] for figure in figures)], rows)


def words(against: Against, figure: str) -> str:
    """Such as "beats train prior by 312 km (290 to 340)"."""
    word = {"beats": "beats", "ties": "ties with", "loses": "loses to"}[against.outcome]
    gap, low, high = against.difference, against.low, against.high
    if against.outcome == "loses":
        gap, low, high = -gap, -high, -low
    if figure.endswith("_km"):
        ends = f" ({plain(low)} to {plain(high)})" if math.isfinite(low) else ""
        return f"{word} {against.baseline} by {plain(gap)} km{ends}"
    if figure.startswith("acc_") or figure in ("region", "cell"):
        ends = f" ({100 * low:.1f} to {100 * high:.1f})" if math.isfinite(low) else ""
        return f"{word} {against.baseline} by {100 * gap:.1f} points{ends}".replace("-", "−")
    return f"{word} {against.baseline} by {gap:.2f} ({low:.2f} to {high:.2f})".replace("-", "−")


def label(row: MethodRow) -> str:
    """The name of a row, with a mark on what competes with none."""
    return f"{row.name} (diagnostic, told the true cell)" if row.role == "diagnostic" else row.name


def shown(value: float, figure: str) -> str:
    """A figure as tables show it: kilometres, percent, points or nats."""
    if not math.isfinite(value):
        return "–"
    if figure.startswith(("acc_", "coverage_")) or figure in ("region", "cell"):
        return f"{100 * value:.1f}\u00a0%"
    if figure.endswith(("_km", "_km2")):
        return plain(value)
    return f"{value:.0f}" if figure == "geoscore" else f"{value:.3f}"


def sign(row: MethodRow, figure: str) -> str:
    """▲, ≈ or ▼ of a learned row against the strongest baseline of that figure, or of a decoder."""
    versus = row.against.get(figure)
    return f"\u00a0{SIGNS[OUTCOMES[versus[0].outcome]]}" if versus else ""


def plain(value: float) -> str:
    """Kilometres with as many digits as mean something."""
    if not math.isfinite(value):
        return "–"
    text = f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
    return text.replace("-", "−").replace(",", "\u202f")
