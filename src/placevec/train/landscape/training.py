"""Training a landscape encoder, and what comes of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from placevec.encoders.landscape import LandscapeEncoder, landscape_card
from placevec.encoders.network import seeded
from placevec.errors import UsageError
from placevec.nn.landscape import LandscapeConfig, LandscapeNet, PlaneConfig
from placevec.sources.base import Source
from placevec.train.checkpoint import minted_space
from placevec.train.landscape.config import LandscapeTraining
from placevec.train.landscape.objective import LandscapeObjective
from placevec.train.landscape.pairs import Pairs, layer_facts
from placevec.train.landscape.start import SAMPLE, robust_scales, set_start
from placevec.train.loop import Report, TrainResult, fit


@dataclass(frozen=True)
class TrainedLandscape:
    """A landscape encoder with its Space, the same network before its first step, and the run that made it."""

    encoder: LandscapeEncoder
    untrained: LandscapeEncoder
    result: TrainResult


def train_landscape(
    source: Source,
    val: NDArray[np.bool_],
    keep: NDArray[np.bool_],
    config: LandscapeTraining,
    folder: str | Path,
    *,
    progress: Report | None = None,
    restart: bool = False,
    **card: Any,
) -> TrainedLandscape:
    """Train a landscape encoder on pairs of neighbouring patches.

    Args:
        source: patches with `layers` and `pixels`, as `sources.patches` gives them; rows that share a `place` are an
            anchor and its neighbour.
        val: (pairs,) bool, the pairs of the spatial validation split, by whose loss the best weights are
            chosen; in the order of `Pairs.of`.
        keep: (pairs,) bool, which pairs are used at all.
        config: the settings.
        folder: of the run; the same call goes on with a run that was killed.
        progress: called as (step, total, metrics).
        restart: forget what is in the folder.
        card: fields of the ModelCard (licence, sources, parents ...).

    Returns:
        the encoder, in a Space of its own (origin `trained`) whose id comes from the weights.

    Raises:
        UsageError: the source has no such layer, no pairs, or too few of them.
        CheckpointError: see `train.loop.fit`.
    """
    known = {layer.name: layer for layer in getattr(source, "layers", ())}
    names = config.layers or tuple(known)
    odd = next((name for name in names if name not in known), None)
    if odd is not None or not names:
        raise UsageError(f"the patches have no layer {odd!r}; they have {', '.join(known) or 'none'}")
    pairs = Pairs.of(source, names)
    train, held = (pairs.take(np.flatnonzero(keep & ~val)), pairs.take(np.flatnonzero(keep & val)))
    if len(train) < 2:
        raise UsageError(f"{len(train)} pairs are left for training: hold out fewer, or cut more patches")
    sample = np.unique(np.linspace(0, len(train) - 1, min(SAMPLE, len(train))).astype(np.int64))
    anchors, neighbours = train.read(sample)
    planes = tuple(
        robust_scales(name, np.concatenate([anchors[name], neighbours[name]]))
        if known[name].classes is None
        else PlaneConfig(name, len(known[name].classes))
        for name in names
    )
    shape = LandscapeConfig(
        layers=planes,
        pixels=int(getattr(source, "pixels", 0)),
        dims=config.dims,
        stem=config.stem,
        widths=config.widths,
        depth=config.depth,
        statistics=config.statistics,
        hidden=config.hidden,
        dropout=config.dropout,
    )
    facts = {
        "classes": layer_facts({name: known[name] for name in names}),
        "ground_m": float(getattr(source, "ground_m", 0.0)),
    }
    about = {"recipe": {**config.to_json(), **facts}, **card}
    seed = config.loop.seed
    random = seeded(lambda: LandscapeNet(shape), seed).eval()
    set_start(random, anchors, neighbours, None)
    untrained = LandscapeEncoder(
        shape,
        random,
        landscape_card(
            shape,
            minted_space(random, shape.dims, "an untrained landscape encoder"),
            seed=seed,
            name="untrained landscape encoder",
            **about,
        ),
    )
    net = seeded(lambda: LandscapeNet(shape), seed).eval()
    closed = (config.own, config.shrink) if config.start == "closed-form" else None
    set_start(net, anchors, neighbours, closed, seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed + 1)
        objective = LandscapeObjective(train, held, net, config)
    result = fit(objective, config.loop, folder, progress=progress, restart=restart)
    space = minted_space(net, shape.dims, "a landscape encoder, trained on neighbours")
    named = landscape_card(
        shape, space, name="landscape encoder, trained on neighbours", seed=seed, scores=result.metrics, **about
    )
    return TrainedLandscape(LandscapeEncoder(shape, net, replace(named)), untrained, result)
