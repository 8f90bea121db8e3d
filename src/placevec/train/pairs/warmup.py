"""Self-supervision of the image tower on images without their captions, before those come."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from placevec.errors import UsageError
from placevec.train.checkpoint import digest_of
from placevec.train.data import Rows, digest
from placevec.train.loop import Report, fit
from placevec.train.pairs.config import PairTraining
from placevec.train.pairs.towers import OwnImage, Towers
from placevec.train.selfsup import ImageObjective


def warm_up(
    towers: Towers,
    images: Rows,
    val: NDArray[np.bool_],
    unlabelled: NDArray[Any] | None,
    config: PairTraining,
    folder: Path,
    progress: Report | None,
    restart: bool,
) -> list[str]:
    """Train the image tower by `train.selfsup`; its head goes on from there as well.

    Args:
        towers: whose image tower is trained.
        images: n images.
        val: (n,) bool, images that are not learned from.
        unlabelled: (m, bands, h, w) further images that are, or None.
        config: the settings, of which `warmup` says how.
        folder: of this run.
        progress: called as (step, total, metrics).
        restart: forget what is in the folder.

    Returns:
        a hash of the weights, on which the training that follows depends.
    """
    if not isinstance(towers.image, OwnImage):
        raise UsageError("warmup.epochs is for image towers of our own: set it to 0")
    training = config.warmup.training(config.image, config.loop)
    rows, held = images, np.asarray(val)
    if unlabelled is not None and len(unlabelled):
        rows = joined(images, unlabelled)
        held = np.concatenate([held, np.zeros(len(unlabelled), dtype=bool)])
    objective = ImageObjective(rows, held, training)

    def told(step: int, total: int, figures: Mapping[str, float]) -> None:
        if progress is not None:
            progress(step, total, {"warmup": 1, **figures})

    fit(objective, training.loop, folder, progress=told, restart=restart)
    towers.image.net.load_state_dict(objective.net.state_dict())
    return [digest_of(towers.image.net)]


def joined(images: Rows, more: NDArray[Any]) -> Rows:
    """Rows of `images`, and those of an array after them."""

    def read(rows: NDArray[np.int64]) -> NDArray[Any]:
        last = rows >= images.count
        first = images.read(rows[~last])
        out = np.empty((len(rows), *more.shape[1:]), dtype=more.dtype)
        if len(first):
            out[~last] = first
        out[last] = more[rows[last] - images.count]
        return out

    return Rows(images.count + len(more), read, digest(np.frombuffer(images.key.encode(), dtype=np.uint8), more))
