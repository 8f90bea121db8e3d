"""What a report of fusions says in words: verdicts with their spread, headlines, and where it all comes from."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from placevec.atlas.scores import plain, signed
from placevec.measure.intervals import Comparison
from placevec.measure.probe_report import ProbeReport
from placevec.tasks.evaluate import Evaluation, Report

UNDER = {"block": "under spatial blocks", "random": "under random splits"}
METHOD = (
    "All rows of a target are measured on the same cells and the same folds, so that their differences are paired. "
    "Ridge chooses its penalty and the scaling of columns inside the training folds; where a row says so, the number "
    "of rings or the fusion itself is chosen there too. Training rows within the buffer of a test row are left out. "
    "Fusions without parameters see no label and are made of all cells. A learned row beats a baseline only if the "
    "interval of the paired difference lies above 0 and the difference is more than its standard deviation over "
    "shuffles; it loses if it is worse in one of the two senses; else the two tie. Untrained networks are baselines."
)
REFERENCE = (
    "The reference protocol: ln(1 + y), a ridge with the penalty 30 on standardised columns, kNN of 5 places, 5 random "
    "folds, and 5 folds of blocks two resolutions coarser without a buffer. Columns are standardised by the training "
    "rows alone: one that lies in one district is blown up where that is tested, and can throw a whole row below 0. "
    "It is here to compare with figures that "
    "others made in this way. A learned row beats a baseline if their mean difference over the shuffles is more than "
    "its standard deviation. Verdicts that count are those of the nested, buffered protocol."
)
FILLED = (
    "Columns are standardised over the cells that a modality knows; of a cell that it does not know they are 0, the "
    'mean, and a column "present" says which these are. Ring means (rings:K) are the mean of ring 0 to ring K, each '
    "ring counting alike; ring stacks (ring-stack:K) lay x, Wx … W^K x side by side, W the mean over a cell and its "
    "neighbours; +rbf puts 150 radial bases of the coordinates beside."
)
PICKED = (
    "The best baseline was picked by these very scores, which flatters it a little; rows that were chosen inside the "
    "training folds are not picked so."
)


def verdict_words(rival: str, against: Comparison) -> str:
    """A comparison in words: "beats ring-stack:1 by 0.021 ± 0.004 (0.006 to 0.035)"."""
    gap, low, high, sd, outcome = against
    spread = f" ± {signed(sd).lstrip('+')}" if np.isfinite(sd) else ""
    if outcome == "ties":
        interval = f"; {signed(low)} to {signed(high)}" if np.isfinite(low) else ""
        return f"ties with {rival} ({signed(gap)}{spread}{interval})"
    if outcome == "loses":
        gap, low, high = -gap, -high, -low
    interval = f" ({signed(low).lstrip('+')} to {signed(high).lstrip('+')})" if np.isfinite(low) else ""
    return f"{'loses to' if outcome == 'loses' else 'beats'} {rival} by {signed(gap).lstrip('+')}{spread}{interval}"


def with_words(probed: ProbeReport) -> dict[str, Any]:
    """A report as JSON, verdicts with their spread over shuffles."""
    report: dict[str, Any] = json.loads(probed.to_json())
    for record, row in zip(report["rows"], probed.rows, strict=True):
        if row.against is not None:
            record["verdict"] = verdict_words(row.rival, row.against)
            record["difference"], record["difference_sd"] = row.against.difference, _finite(row.against.sd)
            for name, against in row.versus.items():
                record["versus"][name]["verdict"] = verdict_words(name, against)
    return report


def headline(found: Evaluation) -> list[str]:
    """One sentence for each target and split (blocks first): the best baseline, and what each learned row comes to."""
    said = []
    for report in found.targets:
        for split in reversed([one["kind"] for one in report["splits"]]):
            rows = [row for row in report["rows"] if row["split"] == split and row["mean"] is not None]
            baselines = [row for row in rows if not row["learned"]]
            best = max(baselines, key=lambda row: float(row["mean"]))
            text = f"{report['target']}, {UNDER[split]}: the best baseline is {best['features']} ({scored(best)})"
            learned = sorted((row for row in rows if row["learned"]), key=lambda row: -float(row["mean"]))
            verdicts = [f"{row['features']} ({scored(row)}) {row['verdict']}" for row in learned[:2]]
            alone = [row for row in learned[2:] if " + " not in row["features"]]
            verdicts += [f"{row['features']} ({scored(row)}) {row['verdict']}" for row in alone]
            said.append("; ".join([text, *verdicts]) + ".")
    return said


def scored(row: Report) -> str:
    """A score with its spread over shuffles."""
    if row["mean"] is None:
        return "–"
    return plain(row["mean"]) + (f" ± {plain(row['sd'])}" if row["sd"] is not None else "")


def setting(report: Report) -> str:
    """One line on how a target was measured."""
    words = [report["source"], *([f"{report['transform']} of the target"] if report["transform"] else [])]
    first = report["splits"][0]
    words.append(f"{first['k']} folds, {first['shuffles']} shuffle{'s' if first['shuffles'] > 1 else ''}")
    for split in report["splits"]:
        if split["kind"] == "block":
            words.append(
                f"blocks {split['block']}, buffer {split['buffer_m']:.0f} m, {split['n_train']:.0f} cells left "
                f"to train on and {split['n_buffered']:.0f} in the buffer (means over folds)"
            )
    return "; ".join(words)


def provenance(found: Evaluation) -> dict[str, Any]:
    """Versions, tables by their fingerprints, targets and settings."""
    about = found.about
    rules = about["protocol"]
    return {
        "placevec": about["placevec"],
        "Cells": f"{about['cells']:,} of H3 resolution {about['resolution']}",
        "Modalities (columns)": ", ".join(f"{name} ({count})" for name, count in about["modalities"].items()),
        "Tables (fingerprint)": ", ".join(f"{name} ({print_[:24]})" for name, print_ in about["tables"].items()),
        "Targets": ", ".join(about["targets"]),
        "Protocol": f"{rules['protocol']}; blocks {rules['block']}; buffer {rules['buffer_m']:.0f} m; "
        f"intervals resample {rules['resample']}; seed {rules['seed']}",
    }


def is_reference(found: Evaluation) -> bool:
    """Whether the reference protocol was used."""
    return bool(found.about["protocol"]["protocol"] == "reference")


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None
