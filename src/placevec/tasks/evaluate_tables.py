"""The tables of an evaluation in Markdown: scores by split and target, their details, mean ranks, published figures."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from placevec.atlas.scores import SPLIT_NOTES, SPLIT_WORDS, plain
from placevec.tasks.evaluate import Evaluation, MeanRank, Report
from placevec.tasks.evaluate_peers import PUBLISHED

DETAILS = {
    "regression": ("R²", "MAE", "Spearman", "Moran's I of residuals"),
    "classification": ("accuracy", "macro-F1", "Moran's I of residuals"),
}


def markdown(found: Evaluation) -> str:
    """The whole evaluation in Markdown: what stands in the documentation."""
    parts = ["# Location embeddings: scores", _how(found)]
    for split in found.splits:
        parts += [f"## {SPLIT_WORDS[split]} ({SPLIT_NOTES[split]})", _matrix(found, split)]
    parts += ["## By target", *(_details(report) for report in found.targets)]
    parts += [
        "## Published figures of others",
        "Measured by their authors, on other places, splits and targets: not to be compared digit by digit.",
    ]
    for table in PUBLISHED:
        rows = [[name, *(f"{value:g}" for value in row)] for name, row in table.rows.items()]
        parts += [f"{table.source}; {table.protocol}.", _table(["method", *table.columns], rows)]
    if found.notes or found.skipped:
        lines = [*found.notes, *(f"{name} was skipped: {why}" for name, why in found.skipped.items())]
        parts += ["## Notes", "\n".join(f"- {line}" for line in lines)]
    return "\n\n".join(parts) + "\n"


def setting(report: Report) -> str:
    """One line on how a target was measured."""
    words = [f"{report['n']:,} places"]
    if report["n_missing"]:
        words.append(f"{report['n_missing']:,} without a value left out")
    if report["classes"]:
        words.append(f"{len(report['classes'])} classes")
    if report["transform"]:
        words.append(f"{report['transform']} of the target")
    first = report["splits"][0]
    words.append(f"{first['k']} folds, {first['shuffles']} shuffle{'s' if first['shuffles'] > 1 else ''}")
    for split in report["splits"]:
        if split["kind"] == "block":
            words.append(f"blocks {split['block']}, buffer {split['buffer_m'] / 1000:g} km")
            if split["range_m"]:
                words.append(f"range of the variogram {split['range_m'] / 1000:,.0f} km")
    return "; ".join(words)


def rank_rows(ranks: Iterable[MeanRank]) -> list[dict[str, Any]]:
    """The records of a table of mean ranks."""
    return [
        {
            "features": one.features,
            "learned": one.learned,
            "rank": f"{one.rank:.1f}",
            "first": f"{one.first} of {one.targets}",
            "below": f"{one.loses} of {one.targets}" if one.learned else "",
        }
        for one in ranks
    ]


def mark(row: Mapping[str, Any]) -> str:
    """What a learned row comes to beside the best baseline; empty for baselines."""
    if row["outcome"] == "loses":
        return f"▼ below {row['rival']}"
    return {"beats": "▲", "level": "≈"}.get(row["outcome"], "")


def detail_rows(report: Report) -> tuple[list[str], list[dict[str, Any]]]:
    """The columns and records of all metrics of a target."""
    metrics = [name for name in DETAILS[report["kind"]] if any(name in row["scores"] for row in report["rows"])]
    records = [
        {
            "split": row["split"],
            "features": row["features"],
            **{name: _value(row["scores"].get(name)) for name in metrics},
            "against the best baseline": row["verdict"],
        }
        for row in report["rows"]
    ]
    return ["split", "features", *metrics, "against the best baseline"], records


def _how(found: Evaluation) -> str:
    text = (
        "Mean ± sd over shuffles of the folds, and the 95 % bootstrap interval over places. Settings were chosen "
        "inside the training folds. ▲: a learned row beats the best compulsory baseline; ≈: it ties with it; ▼: it "
        "loses to the one named. Bold: the best of a column. The mean rank is over targets, of rows that all of "
        "them have."
    )
    lines = [f"- {report['target']}: {report['source']}; {setting(report)}" for report in found.targets]
    return text + "\n\n" + "\n".join(lines)


def _matrix(found: Evaluation, split: str) -> str:
    """Rows are features, columns targets, as far as they were measured under a split."""
    reports = [r for r in found.targets if any(row["split"] == split for row in r["rows"])]
    cells = [{row["features"]: row for row in r["rows"] if row["split"] == split} for r in reports]
    ranks = {one.features: one.rank for one in found.mean_ranks(split)}
    names = list(dict.fromkeys(name for report in cells for name in report))
    names.sort(key=lambda name: ranks.get(name, math.inf))
    best = [max((row["mean"] for row in report.values() if row["mean"] is not None), default=None) for report in cells]
    rows = []
    for name in names:
        known = next(report[name] for report in cells if name in report)
        line = [f"**{name}**" if known["learned"] else name, f"{ranks[name]:.1f}" if name in ranks else "–"]
        for report, top in zip(cells, best, strict=True):
            line.append(_cell(report[name], top) if name in report else "–")
        rows.append(line)
    heads = [f"{r['target']}, {r['metric']}" for r in reports]
    return _table(["features", "mean rank", *heads], rows)


def _cell(row: Mapping[str, Any], top: float | None) -> str:
    if row["mean"] is None:
        return "–"
    mean = _value(row["mean"])
    text = f"**{mean}**" if row["mean"] == top else mean
    if row["sd"] is not None:
        text += f" ± {_value(row['sd'])}"
    if row["low"] is not None:
        text += f" [{_value(row['low'])}, {_value(row['high'])}]"
    return f"{text} {mark(row)}".strip()


def _details(report: Report) -> str:
    columns, records = detail_rows(report)
    return f"### {report['target']}\n\n" + _table(columns, [[record[name] for name in columns] for record in records])


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(_escaped(cell) for cell in line) + " |" for line in lines)


def _escaped(text: str) -> str:
    return str(text).replace("|", "\\|").replace("\n", " ")


def _value(value: float | None) -> str:
    return "–" if value is None else plain(value)
