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
from placevec.tasks.evaluate_tables import detail_rows, rank_rows, setting


def html_report(found: Evaluation, title: str = "Location embeddings") -> Page:
    """The page of an evaluation; figures stand in it.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    page = Page(
        title,
        f"{len(found.targets)} target{'s' if len(found.targets) > 1 else ''}, random and spatial-block splits, "
        "beside every compulsory baseline",
        footer=f"placevec {__version__}",
    )
    page.section(
        "Over all targets",
        "Rows that every target has, by their mean rank; 1 is the best. A learned row that loses to the best "
        "compulsory baseline is counted as below it.",
    )
    heads = {"features": "Features", "learned": "Learned", "rank": "Mean rank", "first": "First", "below": "Below"}
    for split in reversed(found.splits):
        page.table(
            rank_rows(found.mean_ranks(split)), heads, SPLIT_WORDS[split], highlight=lambda row: bool(row["learned"])
        )
    for note in found.notes:
        page.note(note)
    for name, why in found.skipped.items():
        page.note(f"The target {name} was skipped: {why}.", "warning")
    with tempfile.TemporaryDirectory() as folder:
        for place, report in enumerate(found.targets):
            _target(page, report, Path(folder) / f"{place}")
    _protocol(page, found)
    page.section(
        "Published figures of others",
        "Measured by their authors, on other places, splits and targets. They stand here for orientation, and not in "
        "one table with ours.",
    )
    for table in PUBLISHED:
        page.table(table.records(), ["method", *table.columns], f"{table.source}: {table.protocol}")
    return page


def _target(page: Page, report: Report, figure: Path) -> None:
    name = str(report["target"])
    page.section(name[:1].upper() + name[1:], f"{report['source']}; {setting(report)}.")
    if report["absent_baselines"]:
        page.note(f"Compulsory baselines that could not be made: {', '.join(report['absent_baselines'])}.", "warning")
    page.scores(report["rows"], f"{name}: mean ± sd over shuffles, 95 % bootstrap interval over places")
    drawn = []
    for layout in ("wide", "narrow"):
        goal = figure.with_name(f"{figure.name}-{layout}.png")
        drawn.append(
            bar_figure(
                goal,
                score_rows(report["rows"]),
                title=f"{name[:1].upper()}{name[1:]} from places",
                subtitle="nested selection; intervals are 95 % bootstrap over places",
                layout="narrow" if layout == "narrow" else "wide",
            )
        )
    page.figure(
        drawn[0].read_bytes(),
        f"{name}: learned rows against the baselines.",
        f"Scores of each set of features for {name}, with their intervals",
        narrow=drawn[1].read_bytes(),
    )
    columns, records = detail_rows(report)
    page.table(records, columns, f"{name}: all metrics; Moran's I of residuals is 0 where nothing is left in space")


def _protocol(page: Page, found: Evaluation) -> None:
    page.section(
        "How it was measured",
        "Random splits flatter: a test place has its neighbours in the training set. Under spatial blocks whole "
        "regions are held out, with a buffer around them. Ridge chooses its penalty and the scaling of columns, kNN "
        "its number of neighbours, inside the training folds; a bank made of training rows holds no row of a test "
        "fold. A learned row beats a baseline only if the interval of their paired difference lies above 0 and the "
        "difference is larger than its spread over shuffles; it loses if it is worse in one of the two senses.",
    )
    rules = found.about.get("protocol", {})
    page.facts(
        {
            "Targets": "; ".join(str(one) for one in found.about.get("targets", ())),
            "Encoders": ", ".join(found.about.get("encoders", ())) or "none",
            "Tables": "; ".join(f"{name} ({print_[:12]})" for name, print_ in found.about.get("tables", {}).items())
            or "none",
            "Folds and shuffles": f"{rules.get('k')} folds, {rules.get('shuffles')} shuffles",
            "Buffer": f"{rules.get('buffer_m', 0.0) / 1000:g} km",
            "Seed": rules.get("seed"),
        }
    )
