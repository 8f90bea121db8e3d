"""How the targets of an evaluation are measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from placevec.errors import UsageError


@dataclass(frozen=True)
class Protocol:
    """How all targets are measured.

    Attributes:
        splits: "both", or one alone where the other cannot be made.
        k: folds.
        shuffles: how often folds are drawn anew; 3 or more for a spread.
        block: blocks of the spatial split, such as "h3:3", for all targets or by their names; others go by the range
            of their variogram.
        buffer_m: metres around test rows without training rows; by default the widest ground a table has seen.
        estimators: of "ridge", "ols", "knn" and "gp", run on all features.
        log1p: names of the targets of which ln(1 + y) is predicted.
        classes: names of the targets whose numbers are classes.
        min_places: targets with a value at fewer places are skipped.
        limit: at most so many places of a target, drawn by the seed; 0 for all.
        seed: of everything random.
    """

    splits: Literal["both", "random", "block"] = "both"
    k: int = 5
    shuffles: int = 3
    block: str | Mapping[str, str] | None = None
    buffer_m: float | None = None
    estimators: tuple[str, ...] = ("ridge", "knn")
    log1p: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    min_places: int = 100
    limit: int = 0
    seed: int = 0

    def check_names(self, targets: Sequence[str]) -> None:
        """Refuse settings of targets that are not there: a setting that meets nothing is a slip of the pen.

        Raises:
            UsageError: one is not.
        """
        named = {"log1p": self.log1p, "class": self.classes}
        named["block"] = tuple(self.block) if isinstance(self.block, Mapping) else ()
        for option, names in named.items():
            for name in names:
                if name not in targets:
                    raise UsageError(f"--{option} {name}: no target is called so; there are {', '.join(targets)}")

    def settings_of(self, name: str) -> dict[str, Any]:
        """What `measure.probes.probe` is told for a target."""
        block = self.block.get(name) if isinstance(self.block, Mapping) else self.block
        return {
            "splits": ("random", "block") if self.splits == "both" else (self.splits,),
            "k": self.k,
            "shuffles": self.shuffles,
            "block": block,
            "estimators": self.estimators,
            "transform": "log1p" if name in self.log1p else "",
            "kind": "classification" if name in self.classes else "auto",
            "seed": self.seed,
        }
