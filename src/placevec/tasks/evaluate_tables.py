"""The tables of an evaluation in Markdown, columns aligned, so that they read well as text too."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

from placevec.atlas.score_tables import SIGNS
from placevec.atlas.scores import SPLIT_NOTES, SPLIT_WORDS, ScoreRow, plain, verdict
from placevec.tasks.evaluate import Evaluation, Report
from placevec.tasks.evaluate_peers import PUBLISHED
from placevec.tasks.evaluate_words import (
    METHOD,
    OTHERS,
    PICKED,
    SPLIT_HEADS,
    SPLIT_SHORT,
    best_of_each,
    headline,
    provenance,
    setting,
    split_records,
)

DETAILS = {
    "regression": ("R²", "MAE", "Spearman", "Moran's I of residuals"),
    "classification": ("accuracy", "macro-F1", "Moran's I of residuals"),
}
READING = (
    "Mean ± sd over shuffles of the folds, and the 95 % bootstrap interval over places in brackets. ▲: a learned row "
    "beats the best compulsory baseline; ≈: it ties with it; ▼: it loses to it. Bold names are learned, bold figures "
    "the best of their column."
)


def markdown(found: Evaluation) -> str:
    """The whole evaluation in Markdown: what stands in the documentation."""
    parts = ["# Location embeddings: scores", *headline(found), _matches(found), PICKED, READING]
    if len(found.targets) > 1:
        parts += ["## Ranks over all targets", "The mean rank is over targets, of rows that all of them have."]
        for split in reversed(found.splits):
            parts += [f"### {SPLIT_WORDS[split]} ({SPLIT_NOTES[split]})", _ranks(found, split)]
    for report in found.targets:
        parts += [
            f"## {report['target']}",
            f"{report['source']}; {setting(report)}.",
            _scores(report),
            _details(report),
        ]
    rows = [[str(record[key]) for key in SPLIT_HEADS] for record in split_records(found)]
    parts += ["## How it was measured", METHOD, aligned_table(list(SPLIT_HEADS.values()), rows)]
    parts += ["## Published figures of others", OTHERS]
    for table in PUBLISHED:
        rows = [[name, *(f"{value:g}" for value in row)] for name, row in table.rows.items()]
        parts += [f"{table.source}; {table.protocol}.", aligned_table(["method", *table.columns], rows)]
    if found.notes or found.skipped:
        lines = [*found.notes, *(f"{name} was skipped: {why}" for name, why in found.skipped.items())]
        parts += ["## Notes", "\n".join(f"- {line}" for line in lines)]
    parts += ["## Provenance", "\n".join(f"- {name}: {value}" for name, value in provenance(found).items())]
    return "\n\n".join(part for part in parts if part) + "\n"


def detail_rows(report: Report) -> tuple[dict[str, str], list[dict[str, Any]]]:
    """All metrics but the main one: columns (key to heading, split after a line break) and records, the best first."""
    metrics = [name for name in DETAILS[report["kind"]] if any(name in row["scores"] for row in report["rows"])]
    splits = [split["kind"] for split in reversed(report["splits"])]
    columns = {"features": "features"}
    for metric in metrics:
        if metric != report["metric"]:
            columns |= {f"{metric}, {one}": f"{metric}\n{SPLIT_SHORT.get(one, one)}" for one in splits}
    records: dict[str, dict[str, Any]] = {}
    for row in report["rows"]:
        record = records.setdefault(row["features"], {"features": row["features"], "learned": row["learned"]})
        record |= {f"{metric}, {row['split']}": row["scores"].get(metric) for metric in metrics}
    main = f"{report['metric']}, {splits[0]}"
    return columns, sorted(records.values(), key=lambda record: -_or_worst(record.get(main)))


def _matches(found: Evaluation) -> str:
    rows = []
    for match in best_of_each(found):
        outcome, words = verdict(match.learned, match.baseline)
        rows.append(
            [
                f"{match.target}, {match.metric}",
                SPLIT_SHORT.get(match.split, match.split),
                f"{match.learned.features}: {_full(match.learned)}",
                f"{match.baseline.features}: {_full(match.baseline)}",
                f"{SIGNS.get(outcome, '')} {words}".strip(),
            ]
        )
    return aligned_table(["target", "split", "best learned", "best baseline", "difference"], rows) if rows else ""


def _ranks(found: Evaluation, split: str) -> str:
    """Rows are features, columns targets, as far as they were measured under a split."""
    reports = [r for r in found.targets if any(row["split"] == split for row in r["rows"])]
    cells = [{row["features"]: row for row in r["rows"] if row["split"] == split} for r in reports]
    ranks = {one.features: one.rank for one in found.mean_ranks(split)}
    names = list(dict.fromkeys(name for report in cells for name in report))
    names.sort(key=lambda name: ranks.get(name, math.inf))
    best = [_best(report.values()) for report in cells]
    rows = []
    for name in names:
        known = next(report[name] for report in cells if name in report)
        line = [_label(known), f"{ranks[name]:.1f}" if name in ranks else "–"]
        for report, top in zip(cells, best, strict=True):
            row = report.get(name)
            line.append("–" if row is None else f"{_mean(row, top)} {SIGNS.get(row['outcome'], '')}".strip())
        rows.append(line)
    return aligned_table(["features", "mean rank", *(f"{r['target']}, {r['metric']}" for r in reports)], rows)


def _scores(report: Report) -> str:
    """Random and blocks side by side, each learned row with what it comes to under the strictest split."""
    splits = [split["kind"] for split in report["splits"]]
    by_name: dict[str, dict[str, Mapping[str, Any]]] = {}
    for row in report["rows"]:
        by_name.setdefault(row["features"], {})[row["split"]] = row
    best = {split: _best(row for row in report["rows"] if row["split"] == split) for split in splits}
    strictest = splits[-1]
    rows = []
    for own in sorted(by_name.values(), key=lambda own: -_or_worst(own[strictest]["mean"])):
        row = own[strictest]
        said = f"{SIGNS.get(row['outcome'], '')} {row['verdict']}".strip()
        rows.append([_label(row), *(_cell(own[split], best[split]) for split in splits), said])
    heads = [f"{report['metric']}, {SPLIT_WORDS[split].lower()}" for split in splits]
    return aligned_table(["features", *heads, f"against the best baseline, {SPLIT_WORDS[strictest].lower()}"], rows)


def _details(report: Report) -> str:
    columns, records = detail_rows(report)
    rows = [[record["features"], *(_value(record.get(key)) for key in list(columns)[1:])] for record in records]
    return aligned_table([heading.replace("\n", ", ") for heading in columns.values()], rows)


def _label(row: Mapping[str, Any]) -> str:
    return f"**{row['features']}**" if row["learned"] else str(row["features"])


def _full(row: ScoreRow) -> str:
    return plain(row.mean) + (f" [{plain(row.low)}, {plain(row.high)}]" if math.isfinite(row.low) else "")


def _mean(row: Mapping[str, Any], top: float) -> str:
    return f"**{_value(row['mean'])}**" if row["mean"] == top else _value(row["mean"])


def _cell(row: Mapping[str, Any], top: float) -> str:
    if row["mean"] is None:
        return "–"
    spread = f" ± {_value(row['sd'])}" if row["sd"] is not None else ""
    interval = f" [{_value(row['low'])}, {_value(row['high'])}]" if row["low"] is not None else ""
    return f"{_mean(row, top)}{spread}{interval}"


def aligned_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table whose columns stand below each other in letters of one width."""
    cells = [[_escaped(cell) for cell in line] for line in (heads, *rows)]
    widths = [max(3, *(_width(line[column]) for line in cells)) for column in range(len(heads))]
    ruler = ["-" * width for width in widths]
    lines = [[cell + " " * (width - _width(cell)) for cell, width in zip(line, widths, strict=True)] for line in cells]
    return "\n".join("| " + " | ".join(line) + " |" for line in (lines[0], ruler, *lines[1:]))


def _width(text: str) -> int:
    """Columns that a text takes in letters of one width: East Asian ones take two, accents of their own none."""
    return sum(
        0 if unicodedata.combining(letter) else 2 if unicodedata.east_asian_width(letter) in "WF" else 1
        for letter in text
    )


def _escaped(text: str) -> str:
    return str(text).replace("|", "\\|").replace("\n", " ")


def _value(value: float | None) -> str:
    return "–" if value is None else plain(value)


def _best(rows: Any) -> float:
    return max((row["mean"] for row in rows if row["mean"] is not None), default=math.nan)


def _or_worst(value: float | None) -> float:
    return -math.inf if value is None else value
