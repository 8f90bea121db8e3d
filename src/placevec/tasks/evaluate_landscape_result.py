"""What `evaluate landscape` answers with: one table, all details, as JSON and as Markdown."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from placevec.atlas.score_tables import SIGNS
from placevec.measure.metrics import METRIC_NAMES
from placevec.measure.neighbour_report import LOWER, MEASURES, Against, NeighbourRow
from placevec.measure.probe_report import ProbeReport, ProbeRow, comparison_words
from placevec.tasks.evaluate_tables import aligned_table

EXACT, COSINE = " · Jensen-Shannon", " · Bhattacharyya"
OUTCOMES = {"beats": "beats", "ties": "level", "level": "level", "loses": "loses"}
READING = (
    "▲: a learned row beats the best baseline of the column; ≈: it ties with it; ▼: it loses to it. Baselines are all "
    "rows that are not bold; of signatures the row shows the exact Jensen-Shannon distance, and the cosine of their "
    "roots (Bhattacharyya) is a baseline too. Recalls in percent; MRR from 0 to 1; of the median rank less is better."
)
RETRIEVAL = (
    "For each anchor the neighbours of all tested anchors are ranked, but those nearer than the exclusion, which share "
    "pixels with it. Equal scores count by the mean over their orders. Brackets: 95 % bootstrap intervals over blocks "
    "of anchors; differences are paired by the same resamples."
)
PROBES = (
    "Nested ridge and kNN on the same folds for all rows; mean ± sd over shuffles of the blocks, brackets: 95 % "
    "bootstrap intervals over blocks. The table above shows the better of both estimators of each row, for all alike."
)


@dataclass(frozen=True)
class LandscapeEvaluation:
    """What was measured."""

    retrieval: tuple[NeighbourRow, ...]  # neighbour retrieval, baselines first; () without pairs
    probes: tuple[ProbeReport, ...]  # one for each target
    notes: tuple[str, ...] = ()  # what a reader should know
    about: Mapping[str, Any] = field(default_factory=dict)  # the settings, as JSON

    def to_records(self) -> list[dict[str, Any]]:
        """One flat JSON object for each representation and measure."""
        keys = ("task", "measure", "representation", "value", "low", "high", "outcome", "verdict")
        found = [{"task": "neighbours", **row} for one in self.retrieval for row in one.to_records()]
        for report in self.probes:
            for record in report.to_records():
                if record["split"] == self._split(report):
                    renamed = {
                        "task": report.target,
                        "measure": record["metric"],
                        "representation": record["features"],
                        "value": record["mean"],
                        "outcome": {"level": "ties"}.get(record["outcome"], record["outcome"]),
                    }
                    found.append({**record, **renamed})
        return [{key: one[key] for key in keys} for one in found]

    def to_json(self) -> str:
        """Everything as JSON; equal runs, equal text."""
        whole = {
            "about": self.about,
            "notes": self.notes,
            "retrieval": [record for row in self.retrieval for record in row.to_records()],
            "probes": [json.loads(report.to_json()) for report in self.probes],
        }
        return json.dumps(whole, indent=1, ensure_ascii=False, allow_nan=False) + "\n"

    def markdown(self) -> str:
        """The evaluation in Markdown: what stands in the documentation."""
        parts = ["# Landscape: neighbours, and what the input does not hold", *self.headline(), READING, self.table()]
        if self.retrieval:
            about = self.about.get("retrieval", {})
            size = (
                f"{about.get('pairs', 0):,} pairs, {about.get('candidates', 0):,} candidates, "
                f"{about.get('blocks', 0)} blocks; {about.get('exclude_m', 0):g} m are left out around an anchor."
            )
            parts += ["## Neighbour retrieval", RETRIEVAL, size, self._retrieval_table()]
        for report in self.probes:
            parts += [f"## {report.target}", self._setting(report), self._probe_table(report)]
        if self.probes:
            parts.append(PROBES)
        if self.notes:
            parts += ["## Notes", "\n".join(f"- {line}" for line in self.notes)]
        return "\n\n".join(part for part in parts if part) + "\n"

    def headline(self) -> list[str]:
        """What each learned representation beats and loses to, in sentences: the best baseline of each measure."""
        said = [
            f"Neighbours, {measure}: {row.name} {row.against[measure][0].words}."
            for row in self.retrieval
            if row.against
            for measure in ("R@10", "MRR")
        ]
        for report in self.probes:
            for row in self._best(report).values():
                if not row.learned:
                    continue
                # The nearest rival of those that know the content, and the best of all, which may be coordinates.
                named = sorted(row.versus.items(), key=lambda one: one[1].difference)[:1]
                words = [comparison_words(name, against) for name, against in named if name != row.rival]
                said.append(f"{report.target}: {row.features} {'; '.join([*words, row.verdict])}.")
        return said

    def table(self) -> str:
        """All representations by all measures."""
        names = list(dict.fromkeys([*self._ranked, *(name for report in self.probes for name in self._best(report))]))
        learned = {row.name for row in self.retrieval if row.role == "learned"}
        learned |= {row.feature_set for report in self.probes for row in report if row.learned}
        lines = []
        for name in (*(one for one in names if one in learned), *(one for one in names if one not in learned)):
            cells = [f"**{name}**" if name in learned else name]
            found = self._ranked.get(name)
            for measure in MEASURES if self.retrieval else ():
                cells.append("–" if found is None else _figure(found, measure) + _sign(found.against.get(measure)))
            for report in self.probes:
                row = self._best(report).get(name)
                sign = "" if row is None or row.against is None else f" {SIGNS[row.outcome]}"
                cells.append("–" if row is None else f"{_digits(row.scores[report.metric].mean)}{sign}")
            lines.append(cells)
        heads = ["", *(MEASURES if self.retrieval else ())]
        heads += [f"{report.target}, {METRIC_NAMES[report.metric]}" for report in self.probes]
        return aligned_table(heads, lines)

    @property
    def _ranked(self) -> dict[str, NeighbourRow]:
        """Rows of retrieval by the name of the representation: of signatures by the exact distance."""
        return {row.name.removesuffix(EXACT): row for row in self.retrieval if not row.name.endswith(COSINE)}

    @staticmethod
    def _split(report: ProbeReport) -> str:
        kinds = [split.kind for split in report.splits]
        return "block" if "block" in kinds else kinds[0]

    def _best(self, report: ProbeReport) -> dict[str, ProbeRow]:
        """The better estimator of each set of features, under the strictest split."""
        found: dict[str, ProbeRow] = {}
        for row in report:
            if row.split != self._split(report):
                continue
            known = found.get(row.feature_set)
            if known is None or row.scores[report.metric].mean > known.scores[report.metric].mean:
                found[row.feature_set] = row
        return found

    def _retrieval_table(self) -> str:
        lines = []
        for row in self.retrieval:
            cells = [f"**{row.name}**" if row.role == "learned" else row.name]
            for measure in MEASURES:
                ends = f"[{_shown(row.low[measure], measure)}, {_shown(row.high[measure], measure)}]"
                cells.append(f"{_figure(row, measure)} {ends}{_sign(row.against.get(measure))}")
            lines.append(cells)
        return aligned_table(["", *MEASURES], lines)

    def _probe_table(self, report: ProbeReport) -> str:
        lines = []
        for row in report:
            score = row.scores[report.metric]
            spread = f" ± {_digits(score.sd)}" if score.sd == score.sd else ""
            lines.append(
                [
                    f"**{row.features}**" if row.learned else row.features,
                    row.split,
                    f"{_digits(score.mean)}{spread}",
                    f"[{_digits(score.low)}, {_digits(score.high)}]",
                    f"{SIGNS[row.outcome]} {row.verdict}" if row.against is not None else "",
                ]
            )
        heads = ["", "split", METRIC_NAMES[report.metric], "interval", "against the best baseline"]
        return aligned_table(heads, lines)

    @staticmethod
    def _setting(report: ProbeReport) -> str:
        strict = report.splits[-1]
        blocks = f" of {strict.block}, buffer {strict.buffer_m:g} m" if strict.block else ""
        classes = f", {len(report.classes)} classes" if report.classes else ""
        return f"{report.n:,} rows{classes}; {strict.k} folds{blocks}, {strict.shuffles} shuffles."


def _figure(row: NeighbourRow, measure: str) -> str:
    return _shown(row.values[measure], measure)


def _shown(value: float, measure: str) -> str:
    if measure in LOWER:
        return f"{value:.0f}" if value >= 10 else f"{value:.1f}"
    return _digits(value) if measure == "MRR" else f"{100 * value:.1f}"


def _sign(against: tuple[Against, ...] | None) -> str:
    return f" {SIGNS[OUTCOMES[against[0].outcome]]}" if against else ""


def _digits(value: float) -> str:
    return f"{value:.3f}".replace("-", "−")
