"""Training a fusion network on an area, and what comes of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from placevec.encoders.fuser import Fuser, ModalityShape, fuser_card
from placevec.encoders.network import seeded
from placevec.errors import DataError, UsageError
from placevec.nn.fusion import FusionConfig, FusionNet, ModalityConfig, Tokens
from placevec.train.checkpoint import minted_space
from placevec.train.fuse.config import FuseTraining
from placevec.train.fuse.data import FuseArea, Labels, Mask
from placevec.train.fuse.objective import FuseObjective
from placevec.train.loop import Report, TrainResult, fit

QUANTILE_ROWS = 1_000_000  # rows of a modality from which the tokens are taken, at most


@dataclass(frozen=True)
class TrainedFuser:
    """A fuser with its Space, the same network before its first step, and the run that made it."""

    fuser: Fuser
    untrained: Fuser
    result: TrainResult


def train_fuser(
    area: FuseArea,
    shapes: Sequence[ModalityShape],
    held: Mask,
    config: FuseTraining,
    folder: str | Path,
    *,
    labels: Labels | None = None,
    progress: Report | None = None,
    restart: bool = False,
    recipe: Mapping[str, Any] | None = None,
    **card: Any,
) -> TrainedFuser:
    """Train a fusion network on an area.

    Args:
        area: the cells and what the modalities say of them.
        shapes: of the modalities, in the order of the area's.
        held: (n,) bool, cells of the spatial validation, by whose loss the best weights are chosen; in the order of
            ``area.levels.cells[0]``.
        config: the settings.
        folder: of the run; the same call goes on with a run that was killed.
        labels: targets that supervise; the caller leaves out (NaN) what must not be seen, and says so in `saw`.
        progress: called as (step, total, metrics).
        restart: forget what is in the folder.
        recipe: further facts for the card.
        card: fields of the ModelCard (licence, sources, parents, saw ...).

    Returns:
        the fuser, in a Space of its own (origin `trained`) whose id comes from the weights.

    Raises:
        UsageError: settings that do not fit the area.
        DataError: a modality that no cell has, or of which no column varies.
        CheckpointError: see `train.loop.fit`.
    """
    tokens = []
    for number, shape in enumerate(shapes):
        rows = area.modality(number)
        step = -(-len(rows) // QUANTILE_ROWS) or 1
        try:
            tokens.append(Tokens.fit(rows[::step], shape.form, config.bins))
        except DataError as error:
            raise DataError(f"{shape.name}: {error}") from None
    step_cells = len(area.x) if config.cone_resolution is None else 0
    unet = config.unet.made(len(area.levels), config.width, step_cells)
    if config.cone_resolution is None and config.halo is not None:
        raise UsageError("halo is for cones: give cone_resolution as well")
    net_config = FusionConfig(
        tuple(
            ModalityConfig(shape.name, shape.columns, code.count, shape.form)
            for shape, code in zip(shapes, tokens, strict=True)
        ),
        area.levels.resolutions,
        config.width,
        config.part,
        config.own,
        unet,
    )
    facts = {"recipe": {**config.to_json(), **dict(recipe or {})}, **card}
    seed = config.loop.seed

    def made(net: FusionNet, name: str, **more: Any) -> Fuser:
        space = minted_space(net, net_config.dims, name)
        return Fuser(
            net_config, tuple(shapes), net, fuser_card(net_config, shapes, space, name=name, seed=seed, **more)
        )

    def fresh() -> FusionNet:
        return seeded(lambda: FusionNet(net_config, [_copied(code) for code in tokens]), seed).eval()

    untrained = made(fresh(), "untrained fusion of modalities", **facts)
    net = fresh()
    scaled, scale = _standardised(labels)
    objective = FuseObjective(area, net, config, held, scaled)
    result = fit(objective, config.loop, folder, progress=progress, restart=restart)
    if scale is not None:
        facts["recipe"] = {**facts["recipe"], "labels": scale}
    return TrainedFuser(made(net, "fusion of modalities", scores=result.metrics, **facts), untrained, result)


def _copied(code: Tokens) -> Tokens:
    own = Tokens(code.columns, code.count, code.form)
    own.load_state_dict(code.state_dict())
    return own


def _standardised(labels: Labels | None) -> tuple[Labels | None, dict[str, Any] | None]:
    """Targets of mean 0 and spread 1 over the cells that are learned from."""
    if labels is None:
        return None, None
    if np.isnan(labels.values).all(axis=0).any():
        raise DataError("a target that supervises has no value at any training cell: leave it out")
    mean, spread = np.nanmean(labels.values, axis=0), np.nanstd(labels.values, axis=0)
    values = (labels.values - mean) / np.where(spread > 0, spread, 1.0)
    return Labels(labels.names, values.astype(np.float32)), {"names": list(labels.names)}
