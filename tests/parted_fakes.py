"""A source that is read by parts and an encoder with flags, importable by worker processes."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from embedding_fakes import FakeEncoder
from placevec.engine.work import Spec
from placevec.errors import FormatError
from placevec.geo.sphere import LonLat
from placevec.sources.base import ArraySource, Batch, Source
from placevec.table import Places, Skipped


@dataclass(frozen=True)
class Stretch:
    """A part of `PartedFake`."""

    name: str
    start: int
    stop: int
    key: str


class PartedFake:
    """`n` places in parts of uneven size, made when asked for; every 13th is skipped, every 29th cannot be read.

    Attributes:
        largest: the most places that were ever made at once.
    """

    def __init__(
        self, n: int = 1000, part_rows: int = 150, faults: bool = True, seed: int = 0, pause: float = 0.0
    ) -> None:
        self.args = {"n": n, "part_rows": part_rows, "faults": faults, "seed": seed, "pause": pause}
        self.pause = pause  # seconds a batch
        self.num_rows, self.part_rows, self.faults, self.seed = n, part_rows, faults, seed
        self.largest = 0

    def spec(self) -> Spec:
        return Spec("parted_fakes:PartedFake", self.args)

    def places(self) -> Places:
        raise AssertionError("all places were asked for at once")

    def parts(self) -> list[Stretch]:
        return list(self._stretches())

    def _stretches(self) -> Iterator[Stretch]:
        start, i = 0, 0
        while start < self.num_rows:
            stop = min(self.num_rows, start + self.part_rows + 7 * (i % 3))
            yield Stretch(f"part-{i}", start, stop, f"85{i:05x}")
            start, i = stop, i + 1

    def part(self, start: int, stop: int) -> Source:
        self.largest = max(self.largest, stop - start)
        return FakePart(self, start, stop)

    def template(self) -> Places:
        return made_places(0, 0)

    def fingerprint(self) -> str:
        return f"fake {self.num_rows} {self.part_rows} {self.faults} {self.seed}"

    def whole(self) -> ArraySource:
        """All of it in memory."""
        return ArraySource(made_places(0, self.num_rows), {"image": images(0, self.num_rows, self.seed)})


def made_places(start: int, stop: int) -> Places:
    rows = np.arange(start, stop)
    lonlat = LonLat(-9 + (rows * 37 % 1200) / 100, 36 + (rows * 91 % 700) / 100)
    return Places.create([f"c{row:07d}" for row in rows], lonlat, attributes={"elevation": rows * 1.5})


def images(start: int, stop: int, seed: int = 0) -> np.ndarray:
    return np.stack(
        [np.random.default_rng([seed, row]).integers(0, 255, (3, 4, 4), dtype=np.uint8) for row in range(start, stop)]
        or [np.empty((3, 4, 4), dtype=np.uint8)]
    )[: stop - start]


def ones(places: Places) -> ArraySource:
    return ArraySource(places, {"image": np.ones((len(places), 3, 4, 4), dtype=np.uint8)})


class FakePart:
    """Some rows of a `PartedFake`."""

    def __init__(self, whole: PartedFake, start: int, stop: int) -> None:
        self.whole, self.start, self.stop = whole, start, stop

    def places(self) -> Places:
        return made_places(self.start, self.stop)

    def read(self, rows: np.ndarray) -> Batch:
        if len(rows) > 8:
            time.sleep(self.whole.pause or float(os.environ.get("FAKE_PAUSE", "0")))
        at = rows + self.start
        if self.whole.faults and (at % 29 == 28).any():
            raise FormatError(f"chip {int(at[at % 29 == 28][0])} is cut short")
        bad = (at % 13 == 12) if self.whole.faults else np.zeros(len(at), dtype=bool)
        skipped = [Skipped(f"c{row:07d}", "chip", "outside the raster") for row in at[bad]]
        content = images(self.start, self.stop, self.whole.seed)
        return Batch(rows[~bad], {"image": content[rows[~bad]]}, skipped)


class FlagEncoder(FakeEncoder):
    """Flags images whose first pixel is below 64, and names the band of the largest mean."""

    flag_columns: ClassVar[dict[str, pa.DataType]] = {
        "homogeneous": pa.bool_(),
        "main_class": pa.string(),
        "main_share": pa.float32(),
    }

    def spec(self) -> Spec:
        return Spec("parted_fakes:FlagEncoder", self.args)

    def flags(self, data: Any) -> dict[str, Any]:
        image = data["image"]
        means = image.reshape(len(image), 3, -1).mean(axis=2)
        names = np.array(["red", "green", "blue"], dtype=object)
        return {
            "homogeneous": image[:, 0, 0, 0] < 64,
            "main_class": names[means.argmax(axis=1)],
            "main_share": means.max(axis=1) / np.maximum(1, means.sum(axis=1)),
        }
