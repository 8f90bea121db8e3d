"""The Markdown and the HTML page of an evaluation of fusions."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from placevec import __version__
from placevec.atlas.charts import bar_figure
from placevec.atlas.report import Report as Page
from placevec.atlas.score_tables import SIGNS
from placevec.atlas.scores import SPLIT_WORDS, plain, score_rows
from placevec.files import write_text
from placevec.tasks.evaluate import Evaluation, Report
from placevec.tasks.evaluate_fusion_words import (
    FILLED,
    METHOD,
    PICKED,
    REFERENCE,
    headline,
    is_reference,
    provenance,
    scored,
    setting,
)
from placevec.tasks.evaluate_tables import aligned_table, detail_rows

READING = (
    "Mean ± sd over shuffles of the folds, the 95 % bootstrap interval in brackets. ▲: a learned row beats the best "
    "baseline of the split; ≈: it ties with it; ▼: it loses to it. Bold names are learned."
)
DROPPED = {
    "split": "split",
    "modality": "modality",
    "columns": "columns",
    "all": "all",
    "without": "without it",
    "alone": "alone",
    "words": "what it adds",
}


def write_fusions(found: Evaluation, out: str | Path, *, html: bool = True) -> list[Path]:
    """Write the JSON file, and the Markdown and HTML page of the same name beside it; returns what was written.

    Raises:
        MissingExtra: the HTML page draws figures, and matplotlib is not installed.
    """
    goal = Path(out)
    write_text(goal, found.to_json())
    write_text(goal.with_suffix(".md"), fusion_markdown(found))
    if not html:
        return [goal, goal.with_suffix(".md")]
    return [goal, goal.with_suffix(".md"), fusion_page(found).write(goal.with_suffix(".html"))]


def fusion_markdown(found: Evaluation) -> str:
    """The whole evaluation in Markdown."""
    parts = ["# Urban fusion: scores", *headline(found), *([] if is_reference(found) else [PICKED]), READING]
    for report in found.targets:
        parts += [f"## {report['target']}", f"{setting(report)}.", *report["said"], _scores(report), _versus(report)]
        if report["drop_one"]:
            rows = [[_shown(record[key]) for key in DROPPED] for record in report["drop_one"]]
            parts += [
                f"What each modality adds to the others, {report['metric']}:",
                aligned_table([*DROPPED.values()], rows),
            ]
        columns, records = detail_rows(report)
        rows = [[record["features"], *(_shown(record.get(key)) for key in list(columns)[1:])] for record in records]
        parts.append(aligned_table([heading.replace("\n", ", ") for heading in columns.values()], rows))
    parts += ["## How it was measured", REFERENCE if is_reference(found) else METHOD, FILLED]
    lines = [*found.notes, *(f"{name} was skipped: {why}" for name, why in found.skipped.items())]
    parts += ["\n".join(f"- {line}" for line in lines)] if lines else []
    parts += ["## Provenance", "\n".join(f"- {name}: {value}" for name, value in provenance(found).items())]
    return "\n\n".join(part for part in parts if part) + "\n"


def fusion_page(found: Evaluation, title: str = "Urban fusion") -> Page:
    """The page of an evaluation; figures stand in it.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    names = ", ".join(str(report["target"]) for report in found.targets)
    page = Page(title, f"{names}: fused vectors beside all that costs nothing", footer=f"placevec {__version__}")
    page.section("What came out", "\n\n".join(headline(found)))
    if not is_reference(found):
        page.text(PICKED)
    for note in found.notes:
        page.note(note)
    for name, why in found.skipped.items():
        page.note(f"The target {name} was skipped: {why}.", "warning")
    with tempfile.TemporaryDirectory() as folder:
        for place, report in enumerate(found.targets):
            _target(page, report, Path(folder) / f"{place}", reference=is_reference(found))
    page.section("How it was measured", REFERENCE if is_reference(found) else METHOD)
    page.text(FILLED)
    page.section("Further metrics", "Means over shuffles. Moran's I of residuals is 0 where nothing is left in space.")
    for report in found.targets:
        columns, records = detail_rows(report)
        page.table(
            records,
            columns | {"features": "Features"},
            str(report["target"]),
            highlight=lambda row: bool(row["learned"]),
        )
    page.section("Provenance", "The JSON file of the same name holds every score, and what each fold has chosen.")
    page.facts(provenance(found))
    return page


def _target(page: Page, report: Report, figure: Path, *, reference: bool) -> None:
    name = str(report["target"])
    page.section(name[:1].upper() + name[1:], f"{setting(report)}.")
    for line in report["said"]:
        page.note(line, "warning")
    spread = "mean over shuffles" if reference else f"95 % intervals, resampling {report['about']['resample']}"
    drawn = [
        bar_figure(
            figure.with_name(f"{figure.name}-{layout}.png"),
            score_rows(report["rows"]),
            title=f"{name}: {report['metric']} of every fusion",
            subtitle=f"ridge; {spread}",
            layout="narrow" if layout == "narrow" else "wide",
        )
        for layout in ("wide", "narrow")
    ]
    page.figure(
        drawn[0].read_bytes(),
        f"{name}: learned rows (blue) and baselines (grey), in the order of the strictest split.",
        f"Scores of each set of features for {name}, with their intervals; the next table has the figures",
        narrow=drawn[1].read_bytes(),
    )
    page.scores(
        report["rows"],
        f"{name}: mean ± sd over shuffles, [95 % interval], each learned row against the best baseline of its split",
    )
    if report["drop_one"]:
        page.table(
            [{key: _shown(record[key]) for key in DROPPED} for record in report["drop_one"]],
            DROPPED,
            f"{name}: what each modality adds to the others ({report['metric']})",
        )


def _scores(report: Report) -> str:
    splits = [split["kind"] for split in report["splits"]]
    strictest = splits[-1]
    by_name: dict[str, dict[str, Any]] = {}
    for row in report["rows"]:
        by_name.setdefault(row["features"], {})[row["split"]] = row
    lines = []
    for own in sorted(by_name.values(), key=lambda own: -_mean(own.get(strictest))):
        row = own.get(strictest) or next(iter(own.values()))
        verdict = f"{SIGNS.get(row['outcome'], '')} {row['verdict']}".strip() if row["split"] == strictest else ""
        name = f"**{row['features']}**" if row["learned"] else row["features"]
        lines.append([name, *(_cell(own.get(split)) for split in splits), verdict])
    heads = [f"{report['metric']}, {SPLIT_WORDS[split].lower()}" for split in splits]
    return aligned_table(["features", *heads, f"against the best baseline, {SPLIT_WORDS[strictest].lower()}"], lines)


def _versus(report: Report) -> str:
    """Learned rows against the plain fusions that matter, under the strictest split."""
    strictest = report["splits"][-1]["kind"]
    rows = [row for row in report["rows"] if row["split"] == strictest and row.get("versus")]
    if not rows:
        return ""
    lines = [f"- {row['features']} {'; '.join(one['verdict'] for one in row['versus'].values())}" for row in rows]
    return f"Against each, {SPLIT_WORDS[strictest].lower()}:\n\n" + "\n".join(lines)


def _cell(row: Report | None) -> str:
    if row is None:
        return "–"
    interval = f" [{plain(row['low'])}, {plain(row['high'])}]" if row["low"] is not None else ""
    return scored(row) + interval


def _mean(row: Report | None) -> float:
    return float("-inf") if row is None or row["mean"] is None else float(row["mean"])


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return plain(value)
    return "–" if value is None else str(value)
