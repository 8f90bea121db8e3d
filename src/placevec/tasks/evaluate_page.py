"""The HTML report of an evaluation: one page that needs nothing else."""

from __future__ import annotations

import tempfile
from pathlib import Path

from placevec import __version__
from placevec.atlas.charts import bar_figure
from placevec.atlas.report import Report as Page
from placevec.atlas.scores import SPLIT_WORDS, score_rows
from placevec.tasks.evaluate import Evaluation, Report
from placevec.tasks.evaluate_peers import PUBLISHED
from placevec.tasks.evaluate_tables import detail_rows
from placevec.tasks.evaluate_words import (
    METHOD,
    OTHERS,
    PICKED,
    SPLIT_HEADS,
    best_of_each,
    headline,
    provenance,
    setting,
    split_records,
)

SIGNS = "▲ beats the best compulsory baseline, ≈ ties with it, ▼ loses to it"


def html_report(found: Evaluation, title: str = "Location embeddings") -> Page:
    """The page of an evaluation; figures stand in it.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    splits = " and ".join({"block": "spatial blocks", "random": "random splits"}[one] for one in reversed(found.splits))
    many = f"{len(found.targets)} targets" if len(found.targets) > 1 else str(found.targets[0]["target"])
    page = Page(title, f"{many} under {splits}, beside every compulsory baseline", footer=f"placevec {__version__}")
    _headline(page, found)
    if len(found.targets) > 1:
        _ranks(page, found)
    with tempfile.TemporaryDirectory() as folder:
        for place, report in enumerate(found.targets):
            _target(page, report, Path(folder) / f"{place}")
    page.section("How it was measured", METHOD)
    page.table(
        split_records(found),
        SPLIT_HEADS,
        "Splits. Rows trained on and rows in the buffer (left out) are means over folds and shuffles",
    )
    page.section(
        "Further metrics",
        "What the tables above leave out; means over shuffles. MAE is in the unit of the target. Moran's I of the "
        "residuals is 0 where nothing is left in space.",
    )
    for report in found.targets:
        columns, records = detail_rows(report)
        page.table(
            records, columns | {"features": "Features"}, _name(report), highlight=lambda row: bool(row["learned"])
        )
    page.section("Published figures of others", OTHERS)
    for table in PUBLISHED:
        page.table(
            table.records(),
            {"method": "Method"} | {c: c for c in table.columns},
            f"{table.source}. Protocol: {table.protocol}",
        )
    page.section(
        "Provenance",
        "The JSON file of the same name holds every score with its interval, and what each fold has chosen.",
    )
    page.facts(provenance(found))
    return page


def _headline(page: Page, found: Evaluation) -> None:
    page.section("What came out", "\n\n".join(headline(found)))
    matched = best_of_each(found)
    if matched:
        page.matches(
            [row for _, row in found.rows()],
            "The best learned row of each target (blue) against its best compulsory baseline (grey). The lines reach "
            "from 0 to 1 and show 95 % bootstrap intervals over places; differences are paired.",
        )
        page.text(PICKED)
    for note in found.notes:
        page.note(note)
    for name, why in found.skipped.items():
        page.note(f"The target {name} was skipped: {why}.", "warning")


def _ranks(page: Page, found: Evaluation) -> None:
    page.section(
        "Ranks over all targets",
        "The mean rank is over targets, 1 being the best, and only of rows that all targets have.",
    )
    for split in reversed(found.splits):
        ranks = {one.features: one.rank for one in found.mean_ranks(split)}
        rows = [row for _, row in found.rows() if row["split"] == split]
        page.ranking(rows, ranks, f"{SPLIT_WORDS[split]}. {SIGNS}; bold is the best of a column")


def _target(page: Page, report: Report, figure: Path) -> None:
    name = _name(report)
    page.section(name, f"{report['source']}; {setting(report)}.")
    if report["absent_baselines"]:
        page.note(f"Compulsory baselines that could not be made: {', '.join(report['absent_baselines'])}.", "warning")
    drawn = []
    for layout in ("wide", "narrow"):
        drawn.append(
            bar_figure(
                figure.with_name(f"{figure.name}-{layout}.png"),
                score_rows(report["rows"]),
                title=f"{name}: {report['metric']} of all features",
                subtitle="settings chosen inside the training folds; 95 % bootstrap intervals over places",
                layout="narrow" if layout == "narrow" else "wide",
            )
        )
    page.figure(
        drawn[0].read_bytes(),
        f"{name}: learned rows (blue) and baselines (grey), in the order of the strictest split.",
        f"Scores of each set of features for {report['target']}, with their intervals; the next table has the figures",
        narrow=drawn[1].read_bytes(),
    )
    page.scores(
        report["rows"],
        f"{name}: mean ± sd over shuffles, [95 % bootstrap interval over places], and each learned row against the "
        "best compulsory baseline of its split (paired difference with its interval)",
    )


def _name(report: Report) -> str:
    name = str(report["target"])
    return name[:1].upper() + name[1:]
