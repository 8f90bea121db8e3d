"""The report of the demo of a city: what was read, what the fused vectors know, and how the city looks in them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from placevec import __version__
from placevec.area import StudyArea
from placevec.atlas.report import Report
from placevec.config import Recipe
from placevec.provenance import digest_json
from placevec.table import open_table, read_skipped, skipped_counts

MODALITIES = {
    "roads": "OpenStreetMap: metres by class, intersections, dead ends, how streets connect",
    "transit": "timetables: stops, departures by part of the day, routes, modes",
    "terrain": "elevation: height, slope, aspect, ruggedness",
    "services": "schools and healthcare",
}
SHOWN = ("ring-stack:1", "concat", "coordinates · kNN", "ring-stack:1+rbf", "mean")
"""Baselines that the short table of a target shows, beside the best of them and what was learned."""


def write_city_report(area: StudyArea, recipe: Recipe, *, generated: bool) -> Path:
    """Write ``report.html`` into the folder of the area from what the recipe has made there; returns its path."""
    assert area.folder is not None
    folder = area.folder
    found = json.loads((folder / "results/fusion.json").read_text())
    note = str(recipe.vars["note"])
    report = Report(
        f"{area.name.replace('-', ' ').title()}: one vector for each hexagon",
        "Streets, timetables, terrain and services, fused without labels, and measured",
        footer=f"placevec {__version__} · recipe {recipe.name!r}, seed {recipe.seed} · {note}",
    )
    if generated:
        report.note(
            "This city does not exist: it was generated, because the files of Porto Alegre are not on this machine. "
            "Set PLACEVEC_DATA to their folder, or fetch them with placevec data fetch porto-alegre, and run it again.",
            "warning",
        )
    _made(report, area)
    for one in found["targets"]:
        _target(report, one)
    _figures(report, folder, [str(one["target"]) for one in found["targets"]])
    _where_from(report, folder, found, recipe)
    return report.write(folder / "report.html")


def _made(report: Report, area: StudyArea) -> None:
    assert area.folder is not None
    report.section(
        "What was made",
        f"The city is {len(area.cells()):,} H3 cells of resolution {area.resolution}. Each modality became a table of "
        "its own, with a row for each cell that it knows anything of. A U-Net over three resolutions then learned to "
        "tell each modality from all the others and from what lies around, without any label. A fused vector holds "
        "what is there, what lies around, and what all the rest tells of each modality.",
    )
    rows = []
    for name, words in MODALITIES.items():
        path = area.folder / f"tables/{name}.parquet"
        table = open_table(path)
        skipped = read_skipped(path)
        why = "; ".join(f"{count}: {reason}" for reason, count in skipped_counts(skipped).items())
        rows.append({"name": name, "what": words, "columns": table.dims, "rows": len(table), "absent": why or "none"})
    heads = {"name": "Modality", "what": "What it says", "columns": "Columns", "rows": "Cells", "absent": "Absent"}
    report.table(rows, heads, "Stage 1: one table for each modality")
    fused = open_table(area.folder / "tables/fused.parquet").meta
    gates = fused.recipe.get("gates", {})
    report.facts(
        {
            "Fused vector": f"{fused.space.dims} components",
            "Share of each modality in what is read": ", ".join(f"{k} {v:.0%}" for k, v in gates.items()),
        }
    )


def _target(report: Report, found: dict[str, Any]) -> None:
    name = str(found["target"])
    strict = found["splits"][-1]["kind"]
    rows = [row for row in found["rows"] if row["split"] == strict]
    learned = [row for row in rows if row["learned"]]
    idle = [row for row in rows if not row["learned"]]
    best = max(idle, key=lambda row: row["mean"])
    kept = {row["features"] for row in [*learned, best]} | set(SHOWN)
    kept |= {row["features"] for row in idle if row["features"].startswith("untrained")}
    report.section(
        f"{name.capitalize()}, told from the vectors",
        "Ridge regression with nested selection, under spatial blocks with a buffer; no modality holds the target. "
        "Rows that lose to a baseline say so. results/fusion.html has every row, and random splits, which flatter.",
    )
    split = found["splits"][-1]
    report.scores(
        [row for row in rows if row["features"] in kept],
        f"{name}: R² of ln(1 + {name}), mean ± sd over {split['shuffles']} shuffles of blocks {split['block']}, "
        f"buffer {split['buffer_m']:.0f} m",
    )
    dropped = [one for one in found["drop_one"] or () if one["split"] == strict]
    if dropped:
        rows = [{"modality": one["modality"], "alone": f"{one['alone']:.3f}", "words": one["words"]} for one in dropped]
        heads = {"modality": "Modality", "alone": "R² alone", "words": "What it adds to the others"}
        report.table(rows, heads, f"{name}: the modalities, each left out")


def _figures(report: Report, folder: Path, targets: list[str]) -> None:
    levels = json.loads((folder / "tables/landscapes.profiles.json").read_text())
    report.section(
        "Landscapes",
        "The fused vectors in groups of neighbouring cells, at three resolutions, each described by the columns in "
        "which it differs most from the city.",
    )
    for file, words in (
        ("landscapes.png", "Landscapes at three resolutions"),
        ("landscapes-profiles.png", "In what each landscape differs from the city"),
    ):
        if (folder / "figures" / file).exists():
            report.figure(folder / "figures" / file, f"{words}.", words)
    finest = max(levels, key=lambda level: level["resolution"])
    described = [{"cluster": one["cluster"], "rows": one["rows"], "words": one["words"]} for one in finest["clusters"]]
    heads = {"cluster": "Cluster", "rows": "Cells", "words": "In words"}
    report.table(described, heads, "The finest landscapes in words")
    report.section("The city in its vectors", "Cells of like colour have like vectors.")
    report.figure(
        folder / "figures/fused.png",
        "First three principal components of the fused vectors.",
        "A map of the city in which colours stand for the first three principal components",
    )
    report.section(
        "What stands behind the targets",
        "Coefficients are of standardised columns of all modalities together, with intervals over blocks and shuffles. "
        "Residuals are out of fold: where they cluster, something is missing.",
    )
    for name in targets:
        for file, words in (
            (f"coefficients-{name}-all-tables.png", "the columns that count most"),
            (f"coefficients-{name}-rgb.png", "the three columns that count most, as red, green and blue"),
            (f"residuals-{name}.png", "where the probe errs"),
        ):
            path = folder / "results" / file
            if path.exists():
                report.figure(path, f"{name.capitalize()}: {words}.", f"{name}: {words}")


def _where_from(report: Report, folder: Path, found: dict[str, Any], recipe: Recipe) -> None:
    table = open_table(folder / "tables/fused.parquet")
    sources = {
        source.href: source.attribution or source.licence or "as its folder says" for source in table.meta.sources
    }
    held, targets = {one.column for one in table.meta.saw}, {str(one["target"]) for one in found["targets"]}
    report.section("Provenance", "The footer of each table holds its sources, settings and what its maker has seen.")
    report.facts(
        {
            **sources,
            "Targets among what was read": ", ".join(sorted(held & targets)) or "none",
            "Evaluation": digest_json(found["about"])[:12],
            "Recipe": recipe.name,
        }
    )
