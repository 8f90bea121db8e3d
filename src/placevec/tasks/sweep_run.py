"""One run of a sweep: its folder, what came of it, and how its model becomes that of the sweep."""

from __future__ import annotations

import json
import math
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from placevec import files
from placevec.config import Scalar
from placevec.errors import CheckpointError, DataError, UsageError
from placevec.provenance import digest_json, sha256_file
from placevec.tasks.ranking import RankedRun
from placevec.tasks.settings import full_settings
from placevec.tasks.train import Objective, train

Report = Callable[[int, int, Mapping[str, Any]], None]

RECORD = "run.json"
MODEL = "model"
UNTRAINED = "untrained"
HEARTBEAT = 5.0  # seconds between notes of the time a run has taken, so that a kill loses no more of it


class SweepRun:
    """One combination: its folder, its settings, and its record, which says how far it has come.

    Args:
        folder: of the run.
        objective: what is learned.
        swept: the swept values by the path of the setting.
        settings: all settings given, the swept ones among them.
        options: the further arguments of `tasks.train.train`.
        about: JSON that tells the data and the split; with the settings it makes the key of the run.
        untrained: whether the untrained network is written too.
    """

    def __init__(
        self,
        folder: Path,
        objective: Objective,
        swept: Mapping[str, Scalar],
        settings: Mapping[str, Any],
        options: Mapping[str, Any],
        about: Any,
        untrained: bool,
    ) -> None:
        from placevec.train.config import LoopConfig

        self.folder, self.objective, self.swept, self.settings = folder, objective, swept, settings
        self.options, self.untrained = options, untrained
        full = full_settings(objective, settings)
        # A locator has a loop for each of its phases.
        for part in [full] if "loop" in full else [one for one in full.values() if isinstance(one, dict)]:
            if "loop" in part:
                part["loop"] = LoopConfig(**part["loop"]).identity()  # how often a log is written does not count
        self.key = digest_json([objective, full, about])
        self.record = self._read()

    def check(self) -> None:
        """CheckpointError if the folder holds another run."""
        if self.record.get("key", self.key) != self.key:
            raise CheckpointError(
                f"{self.folder} holds a run with other settings or data: use another --out, or --restart to discard it"
            )

    def complete(self) -> bool:
        """Whether nothing is left to do."""
        made = [MODEL, UNTRAINED] if self.untrained else [MODEL]
        return self.record.get("state") == "done" and all(_is_sound(self.folder / name) for name in made)

    def go(self, number: str, progress: Report | None) -> None:
        """Train, or go on with it; the record follows."""
        spent = float(self.record.get("seconds", 0.0))
        began = beat = time.monotonic()

        def told(done: int, total: int, figures: Mapping[str, float]) -> None:
            nonlocal beat
            if time.monotonic() - beat >= HEARTBEAT:
                beat = time.monotonic()
                self._write(state="running", seconds=spent + beat - began)
            if progress is not None:
                progress(done, total, {"run": number, **figures})

        self._write(state="running", seconds=spent)
        try:
            made = train(
                self.objective,
                self.folder / MODEL,
                config=self.settings,
                untrained=self.folder / UNTRAINED if self.untrained else None,
                progress=told,
                **self.options,
            )
        except DataError as error:
            # A learning rate that is too high ends one run, not the sweep.
            self._write(state="failed", seconds=spent + time.monotonic() - began, reason=str(error))
            return
        except (UsageError, CheckpointError) as error:
            error.args = (f"run {self.folder.name}: {error}",)
            raise
        except KeyboardInterrupt:
            self._write(state="running", seconds=spent + time.monotonic() - began)
            raise
        self._write(
            state="done",
            seconds=round(spent + time.monotonic() - began, 3),
            figures=dict(made.scores),
            parameters=_parameters(made.out),
            rows=made.rows,
            validation=made.validation,
            space=made.space,
            dims=made.dims,
        )

    def outcome(self, figure: str) -> str:
        """What came of it, for people."""
        if self.record["state"] == "failed":
            return f"failed: {self.record['reason']}"
        value = self.record["figures"].get(figure, math.nan)
        return f"{figure} {value:.4g} in {self.record['seconds']:.1f} s"

    def must_give(self, figure: str) -> None:
        """UsageError if the run has no such figure."""
        figures = self.record.get("figures", {})
        if self.record["state"] != "done" or figure in figures:
            return
        if not figures:
            raise UsageError("no validation rows, so nothing ranks the runs: smaller blocks (block), or fewer folds")
        raise UsageError(f"the runs have no figure {figure!r} to rank by; they have: {', '.join(figures)}")

    def ranked(self) -> RankedRun:
        """The run as it stands in the ranking, not ranked yet."""
        known = self.record
        return RankedRun(
            name=self.folder.name,
            settings=self.swept,
            state=known["state"],
            figures=known.get("figures", {}),
            parameters=known.get("parameters", 0),
            seconds=round(known["seconds"], 3),
            space=known.get("space", ""),
            reason=known.get("reason", ""),
        )

    def promote(self, out: Path, chosen: Mapping[str, Any], untrained: str | Path | None) -> None:
        """Make the run's models those of `out`, with the sweep in their cards."""
        for model in sorted(self.folder.glob(f"{MODEL}*")):
            if model.suffix != ".run" and model.is_dir():
                _copy_model(model, out.with_name(out.name + model.name.removeprefix(MODEL)), chosen)
        if untrained is not None:
            _copy_model(self.folder / UNTRAINED, Path(untrained), None)

    def _read(self) -> dict[str, Any]:
        path = self.folder / RECORD
        try:
            found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            if not isinstance(found["key"], str) or not isinstance(found["seconds"], int | float):
                raise TypeError(path)
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, KeyError, TypeError):
            return {}  # damaged: the training is asked again, and answers from its checkpoint
        return found

    def _write(self, **facts: Any) -> None:
        self.record = {"key": self.key, "settings": dict(self.swept), **facts}
        files.write_text(self.folder / RECORD, json.dumps(self.record, indent=1) + "\n")


def _is_sound(model: Path) -> bool:
    from placevec.encoders.model import WEIGHTS, load_encoder, read_card

    try:
        card = read_card(model)
        if not card.weights_sha256:  # a pair, whose weights lie in the folders of its towers
            load_encoder(model)
            return True
        return sha256_file(model / WEIGHTS) == card.weights_sha256
    except (OSError, CheckpointError):
        return False


def _parameters(model: Path) -> int:
    """How many numbers a model has learned."""
    from placevec.encoders.model import load_encoder
    from placevec.encoders.pair import PairModel

    encoder = load_encoder(model)
    nets: list[Any] = encoder.modules() if isinstance(encoder, PairModel) else [getattr(encoder, "net", None)]
    return sum(value.numel() for net in nets if net is not None for value in net.parameters())


def _copy_model(model: Path, out: Path, chosen: Mapping[str, Any] | None) -> None:
    from placevec.encoders.model import CARD, read_card

    card = read_card(model)
    if chosen is not None:
        card = replace(card, recipe={**card.recipe, "sweep": dict(chosen)})
    with files.whole(out) as part:
        shutil.copytree(model, part)
        (part / CARD).write_text(card.text(), encoding="utf-8")
