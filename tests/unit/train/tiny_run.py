"""A tiny run for tests, as a script that can be killed: python tiny_run.py KIND FOLDER [SECONDS_PER_STEP]."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from placevec.encoders.image import ImageConfig
from placevec.encoders.location import LocationConfig
from placevec.geo.sphere import LonLat
from placevec.nn.position import Harmonics
from placevec.nn.siren import SirenConfig
from placevec.nn.vision import SmallCNNConfig
from placevec.train.config import LoopConfig
from placevec.train.contrastive import LocationTraining, TrainedLocation, train_location
from placevec.train.loop import Report
from placevec.train.selfsup import ImageTraining, TrainedImage, train_image

LOOP = LoopConfig(
    epochs=5, batch_size=16, learning_rate=3e-3, checkpoint_every=3, log_every=2, accelerator="cpu", seed=7
)


def image_training(**loop: object) -> ImageTraining:
    return ImageTraining(
        encoder=ImageConfig(net=SmallCNNConfig(width=4, stages=2, dims=6)),
        projector=8,
        loop=LoopConfig(**{**LOOP.__dict__, **loop}),
    )


def location_training(dims: int = 6, projection: str = "auto", **loop: object) -> LocationTraining:
    return LocationTraining(
        encoder=LocationConfig(Harmonics(6), SirenConfig(capacity=12, dropout=0.2), dims=dims),
        projection=projection,
        loop=LoopConfig(**{**LOOP.__dict__, **loop}),
    )


def chips(n: int = 80) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (n, 3, 8, 8), dtype=np.uint8)


def places(n: int = 80) -> LonLat:
    rng = np.random.default_rng(1)
    return LonLat(rng.uniform(-9, 3, n), rng.uniform(36, 43, n))


def vectors(n: int = 80, d: int = 6) -> np.ndarray:
    p = places(n)
    waves = np.outer(p.lon, np.arange(1, d + 1)) / 3 + p.lat[:, None]
    return np.sin(waves).astype(np.float32)


def held(n: int = 80) -> np.ndarray:
    return np.arange(n) % 5 == 0


def run(kind: str, folder: Path, progress: Report | None = None, **loop: object) -> TrainedImage | TrainedLocation:
    if kind == "image":
        return train_image(chips(), held(), image_training(**loop), folder, progress=progress)
    return train_location(places(), vectors(), held(), location_training(**loop), folder, progress=progress)


if __name__ == "__main__":
    pause = float(sys.argv[3]) if len(sys.argv) > 3 else 0.0

    def slowly(step: int, total: int, metrics: Mapping[str, float]) -> None:
        time.sleep(pause)

    run(sys.argv[1], Path(sys.argv[2]), slowly)
