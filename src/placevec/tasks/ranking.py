"""The ranking of a sweep: which run is the best, and the table that tells it."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from placevec import files
from placevec.config import Scalar

VERSION = 1
SHOWN = (
    "loss",
    "mean_recall",
    "recall_at_1",
    "mrr",
    "view_recall_at_1",
)  # the figures of the short table, where there are such


@dataclass(frozen=True)
class RankedRun:
    """One run of a sweep.

    Attributes:
        name: of its folder.
        settings: the swept values by the path of the setting.
        state: "done" or "failed".
        figures: on the validation rows.
        parameters: numbers that the model has learned.
        seconds: that it took, those before a kill included.
        space: id of the Space of its vectors.
        reason: why it failed.
        rank: 1 is the best; 0 before ranking.
    """

    name: str
    settings: Mapping[str, Scalar]
    state: str
    figures: Mapping[str, float] = field(default_factory=dict)
    parameters: int = 0
    seconds: float = 0.0
    space: str = ""
    reason: str = ""
    rank: int = 0

    def row(self, figures: Sequence[str]) -> dict[str, Any]:
        """The run as a row of the table, with these figures."""
        values = {name: self.figures.get(name) for name in figures}
        return {
            "rank": self.rank,
            **self.settings,
            **values,
            "parameters": self.parameters,
            "seconds": round(self.seconds, 1),
            "state": self.state,
        }


def default_figure(objective: str) -> str:
    """The figure that ranks where none is asked for.

    A retrieval figure compares runs of any shape; a contrastive loss also depends on the temperature.
    """
    return {"location": "mrr", "landscape": "mrr", "image-text": "mean_recall", "locate": "energy_km"}.get(
        objective, "loss"
    )


def less_is_better(figure: str) -> bool:
    """Whether a figure is a loss, or another that falls as models improve."""
    return any(word in figure for word in ("loss", "error", "rmse", "rank", "_km"))


def rank(runs: Sequence[RankedRun], figure: str) -> tuple[RankedRun, ...]:
    """The runs, the best first.

    Of equal figures the run with fewer parameters goes first, then the one that was named first; runs that failed, or
    whose figure is not a number, stand last.
    """
    sign = 1.0 if less_is_better(figure) else -1.0

    def order(item: tuple[int, RankedRun]) -> tuple[Any, ...]:
        number, run = item
        value = run.figures.get(figure, math.nan)
        known = run.state == "done" and not math.isnan(value)
        return run.state != "done", not known, sign * value if known else 0.0, run.parameters, number

    ordered = sorted(enumerate(runs), key=order)
    return tuple(replace(run, rank=place) for place, (_, run) in enumerate(ordered, start=1))


def shown_figures(runs: Sequence[RankedRun], figure: str) -> list[str]:
    """The figures of the short table: the one that ranks first."""
    there = {name for run in runs for name in run.figures}
    return [figure, *(name for name in SHOWN if name in there and name != figure)]


def write_ranking(folder: Path, about: Mapping[str, Any], runs: Sequence[RankedRun]) -> Path:
    """Write ``ranking.json``, ``ranking.csv`` and ``ranking.md``.

    Args:
        folder: of the sweep.
        about: what the sweep is; `rank_by` among it.
        runs: ranked.

    Returns:
        the path of ranking.json.
    """
    figure = str(about["rank_by"])
    every = list(dict.fromkeys([figure, *(name for run in runs for name in run.figures)]))
    files.write_text(folder / "ranking.csv", _csv([{**run.row(every), "run": run.name} for run in runs]))
    short = [run.row(shown_figures(runs, figure)) for run in runs]
    files.write_text(folder / "ranking.md", _markdown(short, about, runs[0].figures.get(f"chance_{figure}")))
    path = folder / "ranking.json"
    better = "less" if less_is_better(figure) else "more"
    facts = {"version": VERSION, **about, "better": better, "runs": [_finite(asdict(run)) for run in runs]}
    files.write_text(path, json.dumps(facts, indent=1, allow_nan=False, default=str) + "\n")
    return path


def _finite(record: dict[str, Any]) -> dict[str, Any]:
    """JSON has no word for NaN: None stands for it."""
    figures = {name: value if math.isfinite(value) else None for name, value in record["figures"].items()}
    return {**record, "figures": figures}


def _csv(rows: Sequence[Mapping[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _markdown(rows: Sequence[Mapping[str, Any]], about: Mapping[str, Any], chance: float | None) -> str:
    split = about["split"]
    by = about["rank_by"] if chance is None else f"{about['rank_by']} (chance: {chance:.4g})"
    head = list(rows[0])
    first = (
        f"Ranked by {by} on {split['validation']:,} validation rows (blocks {split['block']}), "
        f"trained on {split['rows']:,}. The best figure of several is too good by the choice itself."
    )
    lines = [
        first,
        "",
        f"| {' | '.join(head)} |",
        f"|{'|'.join('---:' if _numeric(rows, name) else '---' for name in head)}|",
    ]
    lines += [f"| {' | '.join(_cell(row[name]) for name in head)} |" for row in rows]
    return "\n".join(lines) + "\n"


def _numeric(rows: Sequence[Mapping[str, Any]], name: str) -> bool:
    return all(row[name] is None or (isinstance(row[name], int | float)) for row in rows)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) else str(value).replace("|", "\\|")
