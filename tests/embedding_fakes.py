"""A source and an encoder without files or weights, importable by worker processes; some of their places fail."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from placevec.engine.work import Spec
from placevec.errors import FormatError
from placevec.geo.sphere import LonLat
from placevec.provenance import Saw, Space
from placevec.sources.base import Batch
from placevec.table import Places, Skipped


class FakeSource:
    """`n` places of Iberia with small random images; every 13th is skipped, every 29th cannot be read."""

    def __init__(self, n: int = 500, seed: int = 0, faults: bool = True) -> None:
        self.args = {"n": n, "seed": seed, "faults": faults}
        rng = np.random.default_rng(seed)
        lonlat = LonLat(rng.uniform(-9, 3, n), rng.uniform(36, 43, n))
        self._places = Places.create(
            [f"p{i:05d}" for i in range(n)], lonlat, attributes={"elevation": rng.uniform(0, 3000, n)}
        )
        self.images = rng.integers(0, 255, (n, 3, 4, 4), dtype=np.uint8)
        self.faults = faults

    def spec(self) -> Spec:
        return Spec("embedding_fakes:FakeSource", self.args)

    def places(self) -> Places:
        return self._places

    def read(self, rows: np.ndarray) -> Batch:
        if len(rows) > 8:  # neither the driver's sample nor rows one by one
            time.sleep(float(os.environ.get("FAKE_PAUSE", "0")))
        if self.faults and (rows % 29 == 28).any():
            raise FormatError(f"chip {int(rows[rows % 29 == 28][0])} is cut short")
        bad = (rows % 13 == 12) if self.faults else np.zeros(len(rows), dtype=bool)
        skipped = [Skipped(f"p{row:05d}", "chip", "outside the raster") for row in rows[bad]]
        return Batch(rows[~bad], {"image": self.images[rows[~bad]]}, skipped)


class FakeEncoder:
    """A fixed random projection of the image; an image whose first pixel is 7 gives NaN."""

    tower = "image"
    inputs = ("image",)

    def __init__(self, dims: int = 16, seed: int = 1, space: str = "fake", scale: float = 1.0) -> None:
        self.args = {"dims": dims, "seed": seed, "space": space, "scale": scale}
        self.space = Space.asserted(space, dims)
        self.dims = dims
        self.scale = scale
        self.weights = np.random.default_rng(seed).standard_normal((48, dims)).astype(np.float32)
        self.card = SimpleNamespace(name="fake", weights_sha256=f"{seed:064d}", saw=(Saw("t", "elevation"),))

    def spec(self) -> Spec:
        return Spec("embedding_fakes:FakeEncoder", self.args)

    def encode(self, data: Any) -> np.ndarray:
        flat = data["image"].reshape(len(data["image"]), -1).astype(np.float32) - 128
        vectors = flat @ self.weights
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True) / self.scale
        vectors[data["image"][:, 0, 0, 0] == 7] = np.nan
        return vectors.astype(np.float32)


class Deadly(FakeSource):
    """Kills its own process when it reads row `at`, as often as `marker` has fewer than `times` lines."""

    def __init__(self, marker: str, at: int = 100, times: int = 1, n: int = 300) -> None:
        super().__init__(n)
        self.marker, self.at, self.times = Path(marker), at, times

    def spec(self) -> Spec:
        return Spec(
            "embedding_fakes:Deadly",
            {"marker": str(self.marker), "at": self.at, "times": self.times, "n": len(self.places())},
        )

    def read(self, rows: np.ndarray) -> Batch:
        if self.at in rows and len(rows) > 8:  # the driver's own sample is smaller
            deaths = self.marker.read_text().count("x") if self.marker.exists() else 0
            if deaths < self.times:
                with self.marker.open("a") as handle:
                    handle.write("x")
                os.kill(os.getpid(), signal.SIGKILL)
        return super().read(rows)


class Broken(FakeSource):
    """Raises what is no fault of a place."""

    def spec(self) -> Spec:
        return Spec("embedding_fakes:Broken", self.args)

    def read(self, rows: np.ndarray) -> Batch:
        if len(rows) > 8:
            raise ZeroDivisionError("a defect")
        return super().read(rows)
