"""A sweep: the same training with every combination of some settings, each run kept, all ranked on one split.

::

    NAME                       the model of the best run
    NAME.sweep/
        ranking.json           every run: settings, figures, parameters, seconds
        ranking.csv, ranking.md
        nn.capacity=512/       one run:
            run.json               what it is and what came of it
            model                  its model folder, and what stands beside it (model-image, ...)
            model.run/             checkpoints and logs

A run that is complete is not done again, one that was killed goes on from its checkpoint. All runs hold out the same
blocks, for the split depends on places and seed 0 alone.
"""

from __future__ import annotations

import itertools
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from placevec import files
from placevec.config import Scalar
from placevec.engine.locks import Lock
from placevec.errors import DataError, UsageError
from placevec.provenance import digest_json, sha256_file
from placevec.registry import need
from placevec.tasks.digests import Digests
from placevec.tasks.ranking import RankedRun, default_figure, rank, shown_figures, write_ranking
from placevec.tasks.settings import find, full_settings, scalars, short_name, with_settings
from placevec.tasks.sweep_run import Report, SweepRun
from placevec.tasks.train import Objective

Note = Callable[[str], None]

MOST_RUNS = 10_000  # more is a slip of the keyboard
LONGEST_NAME = 150  # characters of a run's folder; file systems allow 255 bytes


@dataclass(frozen=True)
class SweepSummary:
    """What a sweep has made.

    Attributes:
        out: the model folder of the best run.
        folder: of the sweep.
        objective: what was learned.
        rank_by: the validation figure that ranks.
        runs: all runs, the best first; those that failed stand last.
        space: id of the Space of the best model.
        dims: components of its vectors.
        rows: rows trained on.
        validation: rows of the spatial validation split.
    """

    out: Path
    folder: Path
    objective: str
    rank_by: str
    runs: tuple[RankedRun, ...]
    space: str
    dims: int
    rows: int
    validation: int

    def records(self) -> list[dict[str, Any]]:
        """The short table, a row for each run, the best first."""
        return [run.row(shown_figures(self.runs, self.rank_by)) for run in self.runs]

    def to_record(self) -> dict[str, Any]:
        """A JSON object."""
        best = self.runs[0]
        return {
            "out": str(self.out),
            "objective": self.objective,
            "space": self.space,
            "dims": self.dims,
            "rows": self.rows,
            "validation": self.validation,
            "scores": dict(best.figures),
            "sweep": {"rank_by": self.rank_by, "runs": len(self.runs), "best": dict(best.settings)},
        }


def sweep(
    objective: Objective,
    out: str | Path,
    values: Mapping[str, Sequence[Scalar]],
    *,
    config: Mapping[str, Any] | None = None,
    rank_by: str | None = None,
    untrained: str | Path | None = None,
    restart: bool = False,
    progress: Report | None = None,
    note: Note | None = None,
    block: str = "h3:3",
    folds: int = 10,
    buffer_m: float | None = None,
    **inputs: Any,
) -> SweepSummary:
    """Train with every combination of `values`; the best model becomes `out`.

    The rank is by a figure on the validation rows, by which each run has chosen its weights as well: the best figure
    of many is too good by the choice itself. Judge the model on other rows (`probe`, `evaluate`).

    Args:
        objective: see `tasks.train.train`.
        out: the model folder; the runs stand beside it in ``NAME.sweep``.
        values: values by the path of a setting, such as {"nn.capacity": [512, 1024], "loop.seed": [0, 1]}.
        config: the settings that all runs share, the seed among them.
        rank_by: the figure; by default mrr for "location" and loss for "image". A loss ranks from the lowest.
        untrained: where to write the untrained network of the best run.
        restart: forget earlier runs.
        progress: called with steps done and all steps of the present run, and its number and figures.
        note: takes a line for people.
        block: blocks of the validation split.
        folds: one of so many folds of blocks is held out.
        buffer_m: metres around validation rows without training rows.
        inputs: `input` or `table` of `tasks.train.train`.

    Raises:
        UsageError: a setting that does not exist, a value that is not allowed, no values; nothing was run then. Or a
            figure that the runs do not give.
        CheckpointError: the folder holds a run of that name with other settings or data.
        DataError: every run failed, such as by a loss that is not finite.
        JobError: another process works on this sweep.
    """
    need("torch", extra="torch", purpose="training a model")
    combinations = _combinations(objective, values, config or {})
    rule = {"block": block, "folds": folds, "buffer_m": buffer_m}
    goal = Path(out)
    folder = sweep_folder(goal)
    figure = rank_by or default_figure(objective)
    say = note or (lambda text: None)
    with Lock(folder / ".lock", f"the sweep {folder}"):
        if restart:
            for old in folder.iterdir():
                if old.name != ".lock":
                    files.remove(old)
        data = _identity(inputs)
        runs = [
            SweepRun(folder / name, objective, swept, settings, {**rule, **inputs}, [rule, data], untrained is not None)
            for name, swept, settings in combinations
        ]
        for run in runs:
            run.check()
        for number, run in enumerate(runs, start=1):
            label = f"run {number} of {len(runs)} ({run.folder.name})"
            if run.complete():
                say(f"{label}: complete already")
            else:
                run.go(f"{number}/{len(runs)}", progress)
                say(f"{label}: {run.outcome(figure)}")
            run.must_give(figure)
        ranked = rank([run.ranked() for run in runs], figure)
        if ranked[0].state == "failed":
            raise DataError(f"every run of {folder} failed; the first: {ranked[0].reason}")
        best = next(run for run in runs if run.folder.name == ranked[0].name)
        about = {
            "objective": objective,
            "rank_by": figure,
            "split": {**rule, "rows": best.record["rows"], "validation": best.record["validation"]},
            "settings": {path: list(listed) for path, listed in values.items()},
            "data": data,
        }
        written = write_ranking(folder, about, ranked)
        chosen = {**about, "runs": len(runs), "rank": 1, "run": ranked[0].name, "ranking_sha256": sha256_file(written)}
        best.promote(goal, chosen, untrained)
    facts = (best.record["space"], best.record["dims"], best.record["rows"], best.record["validation"])
    return SweepSummary(goal, folder, objective, figure, ranked, *facts)


def sweep_folder(out: str | Path) -> Path:
    """Where the runs of the sweep for a model stand."""
    path = Path(out)
    return path.with_name(f"{path.name}.sweep")


def _combinations(
    objective: str, values: Mapping[str, Sequence[Scalar]], config: Mapping[str, Any]
) -> list[tuple[str, dict[str, Scalar], dict[str, Any]]]:
    """The name, the swept values and all given settings of each run; the last setting changes fastest."""
    if not values:
        raise UsageError("a sweep without settings: give at least one, such as nn.capacity=512,1024,2048")
    for path, listed in values.items():
        scalars(path, listed)
    if math.prod(len(listed) for listed in values.values()) > MOST_RUNS:
        raise UsageError(f"the sweep has more than {MOST_RUNS:,} runs: give fewer values")
    found: list[tuple[str, dict[str, Scalar], dict[str, Any]]] = []
    for combination in itertools.product(*values.values()):
        given = dict(zip(values, combination, strict=True))
        settings = with_settings(objective, config, given)
        full = full_settings(objective, settings)
        swept = {short_name(find(full, path)): value for path, value in given.items()}
        if len(swept) < len(given):
            raise UsageError(f"the sweep names one setting twice: {', '.join(given)}")
        found.append((run_name(swept), swept, settings))
    return found


def run_name(swept: Mapping[str, Scalar]) -> str:
    """The folder of a run: its settings, as far as they can stand in the name of a file on every system."""
    text = ",".join(f"{path}={value if isinstance(value, str) else json.dumps(value)}" for path, value in swept.items())
    safe = re.sub(r"[^\w.,=+-]", "_", text, flags=re.ASCII)
    if safe == text and len(text) <= LONGEST_NAME and not text.endswith("."):
        return text
    return f"{safe[:LONGEST_NAME]}-{digest_json(dict(swept))[:8]}"


def _identity(inputs: Mapping[str, Any]) -> Any:
    """What tells the data of runs apart: the digests of tables and files, and the settings of an input."""
    digests = Digests()

    def of(value: Any) -> Any:
        if isinstance(value, list | tuple):
            return [of(item) for item in value]
        if hasattr(value, "fingerprint"):
            return value.fingerprint()
        if isinstance(value, BaseModel):
            return {name: of(item) for name, item in value}
        if not isinstance(value, str | Path):
            return value
        # Of a study area its definition counts, for the runs themselves may stand in its folder.
        definition = Path(value) / "area.toml"
        return digests.of(definition if definition.is_file() else Path(value)) or str(value)

    return {name: of(value) for name, value in inputs.items() if value is not None}
