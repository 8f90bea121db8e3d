"""Training an image tower and a text tower on images with captions, and what comes of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from placevec.encoders.pair import PairModel
from placevec.errors import DataError
from placevec.provenance import Space
from placevec.train.checkpoint import minted_space
from placevec.train.data import Rows, parts
from placevec.train.loop import Report, TrainResult, fit
from placevec.train.objectives import first_process
from placevec.train.pairs.config import PairTraining
from placevec.train.pairs.fresh import fresh_towers, sample_rows
from placevec.train.pairs.objective import PairObjective
from placevec.train.pairs.pretrained import tuned_towers
from placevec.train.pairs.towers import Towers
from placevec.train.pairs.views import forget_views
from placevec.train.pairs.warmup import warm_up
from placevec.train.selfsup import SAMPLE


@dataclass(frozen=True)
class TrainedPair:
    """An image and a text tower in one Space, and the run that made them."""

    pair: PairModel
    result: TrainResult


def train_pairs(
    images: NDArray[Any] | Rows,
    captions: Sequence[Sequence[str]],
    val: NDArray[np.bool_],
    config: PairTraining,
    folder: str | Path,
    *,
    model: PairModel | None = None,
    unlabelled: NDArray[Any] | None = None,
    progress: Report | None = None,
    restart: bool = False,
    **card: Any,
) -> TrainedPair:
    """Train two towers by symmetric InfoNCE between images and their captions, or train a pair further.

    Args:
        images: n images (bands, h, w) uint8, or Rows that read them.
        captions: for each image its texts, at least one.
        val: (n,) bool, the images of the validation split, by whose mean recall the best weights are chosen.
        config: the settings; those of the networks count only where a new pair is made.
        folder: of the run; the same call goes on with a run that was killed. A warm-up has the folder `warmup` in it.
        model: the pair that is trained further, as `config.tune` says; it is changed. None: a new one.
        unlabelled: (m, bands, h, w) further images, for the warm-up alone.
        progress: called as (step, total, metrics).
        restart: forget what is in the folder.
        card: fields of the ModelCards (licence, sources, parents, saw ...).

    Returns:
        the pair, in a Space of its own (origin `trained`) whose id comes from the weights.

    Raises:
        DataError: images without captions, captions without words, or lengths that differ.
        UsageError: settings that contradict the model.
        CheckpointError: see `train.loop.fit`.
    """
    rows = Rows.of(images)
    towers = _towers(rows, captions, val, config, model)
    more = []
    if config.warmup.epochs and model is None:
        more = warm_up(towers, rows, val, unlabelled, config, Path(folder) / "warmup", progress, restart)
    objective = PairObjective(rows, captions, val, towers, config, more, Path(folder), progress)
    result = fit(objective, config.loop, folder, progress=progress, restart=restart)
    if first_process():
        forget_views(Path(folder))
    note = "an image tower and a text tower, trained on images with captions"
    about: dict[str, Any] = {
        "name": "image and text towers, contrastive",
        "recipe": config.to_json(),
        "seed": config.loop.seed,
        "scores": result.metrics,
        **card,
    }
    space = minted_space(objective.module, towers.dims, note)
    # As the loss uses it: clipped after the last update too.
    scale = round(float(objective.net.temperature().detach()), 6)
    return TrainedPair(towers.finish(space, scale, about), result)


def untrained_pair(
    images: NDArray[Any] | Rows,
    captions: Sequence[Sequence[str]],
    val: NDArray[np.bool_],
    config: PairTraining,
) -> PairModel:
    """A new pair with the weights it starts from: the baseline that shows what training adds; see `train_pairs`."""
    towers = _towers(Rows.of(images), captions, val, config, None)
    space = Space.mint(config.dims, note="untrained image and text towers")
    about = {"name": "untrained image and text towers", "seed": config.loop.seed}
    return towers.finish(space, round(1.0 / config.temperature, 6), about)


def _towers(
    images: Rows,
    captions: Sequence[Sequence[str]],
    val: NDArray[np.bool_],
    config: PairTraining,
    model: PairModel | None,
) -> Towers:
    if len(captions) != images.count:
        raise DataError(f"{images.count} images and the captions of {len(captions)}: give a list for each image")
    if model is not None:
        return tuned_towers(model, config)
    train, _ = parts(val, images.count)
    sample = images.read(sample_rows(train, SAMPLE))
    return fresh_towers(config, sample, [captions[row] for row in train])
