"""What every `evaluate` answers with: reports by target, mean ranks over targets, and what is kept to go on from."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from placevec.files import write_text

Report = Mapping[str, Any]


@dataclass(frozen=True)
class MeanRank:
    """The rank of a row of features over targets, 1 the best.

    Attributes:
        features: features and estimator.
        learned: whether they are learned.
        split: "random" or "block".
        rank: the mean over targets; ties share theirs.
        targets: over how many targets: all.
        first: on how many it is the best.
        loses: on how many it loses to the best baseline; 0 for baselines.
    """

    features: str
    learned: bool
    split: str
    rank: float
    targets: int
    first: int
    loses: int


@dataclass(frozen=True)
class Evaluation:
    """The reports of all targets.

    Attributes:
        targets: one JSON object for each target: `ProbeReport.to_json` with the target's `source` and `notes`.
        skipped: targets that were not evaluated, and why.
        notes: what a reader should know of all of them.
        about: the settings, as JSON.
        resumed: of the targets, how many were done before this run; no part of the outputs.
    """

    targets: tuple[Report, ...]
    skipped: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    about: Mapping[str, Any] = field(default_factory=dict)
    resumed: int = 0

    def rows(self) -> Iterable[tuple[Report, Mapping[str, Any]]]:
        """Each row with the report it stands in."""
        return ((report, row) for report in self.targets for row in report["rows"])

    def to_records(self) -> list[dict[str, Any]]:
        """One flat JSON object for each target, split and row of features."""
        keys = ("target", "split", "features", "learned", "metric", "mean", "sd", "low", "high", "outcome", "verdict")
        return [{**{key: row[key] for key in keys}, **row["scores"], "n": row["n"]} for _, row in self.rows()]

    def to_json(self) -> str:
        """Everything as JSON; equal runs, equal text."""
        ranks = [vars(rank) for split in self.splits for rank in self.mean_ranks(split)]
        whole = {
            "about": self.about,
            "notes": self.notes,
            "skipped": self.skipped,
            "mean_ranks": ranks,
            "targets": self.targets,
        }
        return json.dumps(whole, indent=1, ensure_ascii=False, allow_nan=False) + "\n"

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that were made, the lenient first."""
        made = {row["split"] for _, row in self.rows()}
        return tuple(split for split in ("random", "block") if split in made)

    def mean_ranks(self, split: str) -> list[MeanRank]:
        """The mean rank over targets of each row that stands in the reports of all targets, the best first.

        Only these rows are ranked against each other, so that a rank means the same for every target.
        """
        reports = [{row["features"]: row for row in r["rows"] if row["split"] == split} for r in self.targets]
        reports = [report for report in reports if report]
        if not reports:
            return []
        names = [name for name in reports[0] if all(name in report for report in reports)]
        means = np.array([[_worst_if_none(report[name]["mean"]) for name in names] for report in reports])
        # Both main metrics, R² and accuracy, are better where they are greater.
        ranks = np.stack([rankdata(-row) for row in means]) if names else np.zeros((len(reports), 0))
        found = [
            MeanRank(
                features=name,
                learned=bool(reports[0][name]["learned"]),
                split=split,
                rank=float(ranks[:, i].mean()),
                targets=len(reports),
                first=int((ranks[:, i] == ranks.min(axis=1)).sum()),
                loses=sum(report[name]["outcome"] == "loses" for report in reports),
            )
            for i, name in enumerate(names)
        ]
        return sorted(found, key=lambda one: one.rank)


class Finished:
    """The reports of finished targets, kept beside the output so that an interrupted run goes on from them.

    A report is taken up again only if everything it was made from is unchanged: the target's places and values, all
    features, and the settings.

    Args:
        folder: where they are kept.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def read(self, name: str, key: str) -> Report | None:
        """The report of a target, if it was made from what `key` is the digest of."""
        try:
            kept = json.loads(self._path(name).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        report = kept.get("report") if isinstance(kept, dict) and kept.get("key") == key else None
        return report if isinstance(report, dict) else None

    def write(self, name: str, key: str, report: Report) -> None:
        """Keep the report of a target."""
        write_text(self._path(name), json.dumps({"key": key, "report": report}, ensure_ascii=False) + "\n")

    def _path(self, name: str) -> Path:
        # A target may be called what no file can be.
        plain = "".join(letter if letter.isalnum() or letter in "-_" else "-" for letter in name)[:60]
        return self.folder / f"{plain}-{hashlib.sha256(name.encode()).hexdigest()[:8]}.json"


def digest_arrays(arrays: Sequence[NDArray[Any]]) -> str:
    """sha256 (hex) of the content of arrays, with their types and shapes."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype} {array.shape};".encode())
        if array.dtype.hasobject:
            digest.update(json.dumps([str(value) for value in array.tolist()]).encode())
        else:
            digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _worst_if_none(value: float | None) -> float:
    return -math.inf if value is None else value
