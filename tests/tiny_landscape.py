"""Tiny runs of landscape learning, as a script that can be killed: python tiny_landscape.py FOLDER [PAUSE] [JSON].

PAUSE: seconds after each step. JSON: settings of each run by the name of its folder in FOLDER.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

import landscape_fakes as fakes
from placevec.sources.classes import ClassTable
from placevec.tasks.train_landscape import split_pairs
from placevec.train.landscape import LandscapeTraining, Pairs, TrainedLandscape, train_landscape
from placevec.train.loop import Report

TABLE = ClassTable("made-up", (1, 2, 3, 4, 5), fakes.CLASSES, ("#000000", "#111111", "#222222", "#333333", "#444444"))
LAYERS = (SimpleNamespace(name="cover", classes=TABLE), SimpleNamespace(name="elevation", classes=None))
NAMES = ("cover", "elevation")
SETTINGS: dict[str, Any] = {
    "dims": 6,
    "stem": 2,
    "widths": [4, 6],
    "hidden": 8,
    "loop": {"epochs": 3, "batch_size": 32, "checkpoint_every": 2, "log_every": 1, "accelerator": "cpu", "seed": 7},
}


def source(n: int = 120, seed: int = 1) -> fakes.Patches:
    """n pairs with tables of classes."""
    found = fakes.pairs(n, seed=seed)
    found.layers = LAYERS
    return found


def training(**settings: Any) -> LandscapeTraining:
    """`SETTINGS`, changed."""
    loop = {**SETTINGS["loop"], **settings.pop("loop", {})}
    return LandscapeTraining.from_json({**SETTINGS, **settings, "loop": loop})


def masks(patches: Any) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """The validation pairs, and those that are used at all."""
    pairs = Pairs.of(patches, NAMES)
    parts = split_pairs(pairs.lonlat, pairs.other, "grid:0.1", 5, 1200.0, 0)
    return parts.val, parts.learn | parts.val


def run(
    folder: Path, patches: Any = None, progress: Report | None = None, held: bool = True, **settings: Any
) -> TrainedLandscape:
    """Train; `held`: whether there are validation pairs."""
    patches = source() if patches is None else patches
    val, keep = masks(patches)
    if not held:
        val, keep = np.zeros_like(val), np.ones_like(keep)
    return train_landscape(patches, val, keep, training(**settings), folder, progress=progress)


if __name__ == "__main__":
    pause = float(sys.argv[2]) if len(sys.argv) > 2 else 0.0

    def slowly(step: int, total: int, metrics: Mapping[str, float]) -> None:
        time.sleep(pause)

    runs = json.loads(sys.argv[3]) if len(sys.argv) > 3 else {"": {}}
    for name, settings in runs.items():
        run(Path(sys.argv[1]) / name, progress=slowly, **settings)
