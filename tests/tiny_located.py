"""A training of a locator on the made-up country of `tiny_locator`, in a second or so."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import tiny_locator as tiny
from placevec.geo.regions import Regions
from placevec.sources.base import ArraySource, Batch
from placevec.table import Places, Skipped
from placevec.train.locate import LocateTraining, Parts, TrainedLocator, train_locator

LOOP = {"epochs": 3, "batch_size": 16, "learning_rate": 5e-3, "checkpoint_every": 2, "accelerator": "cpu", "seed": 7}
METADATA = {"kind": "metadata", "hidden": 8}
TAGS = {"kind": "tags", "hidden": 8, "net": {"buckets": 64, "capacity": 8, "max_tokens": 8}}


def places(n: int = 96, seed: int = 0) -> Places:
    """The images as places, with the addresses of their pixels."""
    made = tiny.country(n, seed)
    return Places.create(list(made.ids), made.lonlat, asset=[f"{one}.png" for one in made.ids])


def source(n: int = 96, seed: int = 0, **columns: NDArray[Any]) -> ArraySource:
    """The images in memory, with further columns."""
    return ArraySource(places(n, seed), {"image": tiny.country(n, seed).images, **columns})


def metadata(n: int = 96, seed: int = 0) -> NDArray[np.float32]:
    """What cameras say (n, 6): half of it unknown."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(n, 6))
    return np.where(rng.uniform(size=(n, 6)) < 0.5, values, np.nan).astype(np.float32)


def tags(n: int = 96) -> NDArray[np.object_]:
    """Words, of each third image none."""
    return np.array([None if row % 3 == 0 else f"coast harbour{row}" for row in range(n)], dtype=object)


def parts(n: int = 96) -> Parts:
    """Every eighth row validates, every eighth calibrates, and every eighth is in no part."""
    rows = np.arange(n)
    turn = rows % 8
    return Parts(rows[turn > 2], rows[turn == 0], rows[turn == 1])


def regions() -> Regions:
    """West and east."""
    return tiny.country().regions


def training(**settings: Any) -> LocateTraining:
    """Settings of a tiny training; those given are laid over them."""
    phase: dict[str, Any] = {"loop": dict(LOOP)}
    own: dict[str, Any] = {
        "backbones": [tiny.BACKBONE],
        "head": dict(tiny.HEAD),
        "geocells": {"min_points": 6, "min_samples": 2, "dense_km": 25.0, "sparse_km": 60.0, "levels_km": []},
        "province": {**phase, "loss": {"cell": 0.0, "offset": 0.0, "spread": 0.0}},
        "geography": dict(phase),
        "tuning": {**phase, "mixture": 0.1},
    }
    return LocateTraining.from_json(laid(own, settings))


def laid(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Settings over others, table by table."""
    found = dict(under)
    for name, value in over.items():
        old = found.get(name)
        found[name] = laid(old, value) if isinstance(value, Mapping) and isinstance(old, Mapping) else value
    return found


def run(folder: Path, phase: Any = "province", config: LocateTraining | None = None, **words: Any) -> TrainedLocator:
    """One phase on the country."""
    n = words.pop("n", 96)
    given = words.pop("source", None) or source(n)
    split = words.pop("parts", None) or parts(n)
    return train_locator(
        given, split, words.pop("regions", None) or regions(), config or training(), phase, folder / phase, **words
    )


class Live:
    """A source that counts what is read of it, cannot read some rows, and says what it is.

    Args:
        under: whose rows.
        bad: ids of rows that cannot be read, by their reason.
        name: its fingerprint; "" says nothing.
    """

    def __init__(self, under: ArraySource, bad: Mapping[str, str] | None = None, name: str = "live") -> None:
        self.under, self.bad, self.name = under, dict(bad or {}), name
        self.read_rows: list[int] = []
        self.break_after: int | None = None

    def places(self) -> Places:
        """Of the source under it."""
        return self.under.places()

    def fingerprint(self) -> str:
        """Its name."""
        return self.name

    def read(self, rows: NDArray[np.int64]) -> Batch:
        """Those rows that can be read; an interruption where it was told to break."""
        if self.break_after is not None and len(self.read_rows) >= self.break_after:
            raise KeyboardInterrupt
        self.read_rows += rows.tolist()
        ids = self.under.places().ids
        good = np.array([str(ids[row]) not in self.bad for row in rows], dtype=bool)
        skipped = [Skipped(str(ids[row]), "image", self.bad[str(ids[row])]) for row in rows[~good]]
        return Batch(rows[good], self.under.read(rows[good]).data, skipped)
