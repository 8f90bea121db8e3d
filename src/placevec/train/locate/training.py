"""Training one phase of a locator, and what comes of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from placevec.encoders.backbones import Backbone, open_backbone
from placevec.encoders.locator import Locator, locator_card
from placevec.encoders.locator.locator import PHASE
from placevec.encoders.locator.net import LocatorNet
from placevec.encoders.network import seeded
from placevec.errors import UsageError
from placevec.geo.cells import parse_cells
from placevec.geo.geocells import GeoCells, build_geocells
from placevec.geo.regions import Regions
from placevec.nn.locator import LocatorHead
from placevec.sources.base import Source
from placevec.train.checkpoint import copy_of, digest_of, minted_space
from placevec.train.locate.cache import turns
from placevec.train.locate.config import PHASES, LocateTraining, Phase
from placevec.train.locate.data import Examples, LocateData, Parts, gather
from placevec.train.locate.finish import Finished, finish, outputs_of, with_gallery
from placevec.train.locate.frozen import device_of, frozen_features
from placevec.train.locate.objective import LocateObjective
from placevec.train.locate.thawing import random_weights, rates, thaw
from placevec.train.loop import TrainResult, fit
from placevec.train.objectives import first_process

Told = Callable[[str, int, int, Mapping[str, float]], None]

NOTE = "the fused vectors of a locator"  # of the Space
SAMPLE = 4096  # training images from which backbones take what is known without labels
FIRST = ("backbones", "head", "geocells", "reach", "least_reach_km", "seed")
"""Settings that count in the first phase alone: what a locator is made of, and its first weights."""


@dataclass(frozen=True, eq=False)
class TrainedLocator:
    """A locator after one phase, the run that made it, and what was found on the rows held out."""

    locator: Locator
    result: TrainResult
    data: LocateData
    finished: Finished


def train_locator(
    source: Source,
    parts: Parts,
    regions: Regions,
    config: LocateTraining,
    phase: Phase,
    folder: str | Path,
    *,
    start: Locator | None = None,
    block: str = "h3:3",
    facts: Mapping[str, Any] | None = None,
    untrained: Path | None = None,
    progress: Told | None = None,
    restart: bool = False,
    **card: Any,
) -> TrainedLocator:
    """Train one phase.

    Args:
        source: images with places.
        parts: which of its rows serve for what.
        regions: the provinces; the first phase makes geocells within them, and later ones want the same.
        config: the settings. Backbones, head and geocells count only where there is no `start`.
        phase: "province", "geography" or "tuning".
        folder: of the run; the same call goes on with a run that was killed. What is read of the source is kept in its
            parent, for the phases to share.
        start: what the phase before ended with; its network is trained further, so that it is of no use afterwards.
        block: of the split: calibration images of one block are not independent of one another.
        facts: what the card's recipe says of the images besides the settings, such as the ground of chips in metres.
        untrained: where to write a new locator before its first step: a compulsory baseline.
        progress: called as (label, done, all, figures).
        restart: forget what is in the folder.
        card: fields of the ModelCard (licence, sources, saw ...).

    Raises:
        UsageError: settings that contradict the data or the start.
        CheckpointError: see `train.loop.fit`.
    """
    run, settings = Path(folder), config.phase(phase)
    content, device = run.parent / "content", device_of(settings.loop.accelerator)
    if start is not None:
        _check_regions(regions, start)
    head = config.head if start is None else start.head.config
    counted = None if progress is None else (lambda what, done, total: progress(what, done, total, {}))
    with turns(content):
        data = gather(
            source,
            parts,
            (regions if start is None else start.geocells.regions).assign,
            content,
            extras=tuple(branch.kind for branch in head.branches),
            cache_gb=config.cache_gb,
            progress=counted,
        )
    recipe = {
        **config.to_json(),
        **({} if start is None else _kept(start, phase)),
        "pixels": int(data.train.images(np.zeros(1, dtype=np.int64)).shape[-1]),
        **(facts or {}),
    }
    before = None
    if start is None:
        net, geocells = build(data, regions, config)
        if untrained is not None and first_process():
            _untrained(net, geocells, data, config, {**card, "recipe": recipe}).save(untrained)
    else:
        net, geocells = LocatorNet(start.backbones, start.head), start.geocells
        _check_cells(data.train, geocells)
        if phase == "tuning" and len(data.val):
            before = start.decode(outputs_of(start, data.val))
        net.cpu()
    fresh = random_weights(config.backbones) if start is None else [False] * len(net.each())
    thawed = thaw(net, settings.thaw, phase, fresh)
    features = None
    if not any(thawed):
        with turns(content):
            features = frozen_features(net, data, content, device, counted)
    objective = LocateObjective(
        data,
        net,
        geocells,
        settings,
        features=features,
        rates=rates(net, thawed, fresh, rate=settings.rate, decay=settings.decay),
        identity={"name": phase, "thaw": thawed, "begins": _beginning(net, config, start)},
    )
    told = None if progress is None else (lambda done, total, figures: progress(phase, done, total, figures))
    first = copy_of(net)
    result = fit(objective, settings.loop, run, progress=told, restart=restart)
    kept = phase == "tuning" and not _better(result, objective.monitor)
    if kept:
        # Unfreezing that only learned the training blocks by heart is no gain: the phase before stays.
        net.load_state_dict(first)
    net.cpu()
    for backbone in net.each():
        backbone.thaw(0)
    about: dict[str, Any] = {
        "seed": config.seed,
        "name": "locator",
        "scores": {} if start is None else dict(start.card.scores),
        **card,
        "recipe": {**recipe, PHASE: PHASES.index(phase)},
    }
    made = Locator(
        net.each(),
        net.head,
        geocells,
        locator_card(net.head.config, space=minted_space(net, net.head.config.dims, NOTE), **about),
        decoding=replace(config.decoding, region_shift=_shift(data, geocells, config, phase, start, kept)),
        device=str(device),
    )
    finished = finish(
        made,
        data,
        phase,
        result,
        before,
        groups=parse_cells(block).assign(data.calibration.lonlat),
        choose=config.choose_point,
        features=features,
        kept=kept,
    )
    return TrainedLocator(finished.locator, result, data, finished)


def _check_regions(regions: Regions, start: Locator) -> None:
    """UsageError unless these are the regions that the phases before have learned."""
    own = start.geocells.regions
    same = regions.names == own.names and np.allclose(regions.areas_m2, own.areas_m2, rtol=1e-6)
    if not same:
        raise UsageError(
            f"the start has learned the {len(own)} regions {', '.join(own.names[:3])}..., and these are {len(regions)} "
            f"({', '.join(regions.names[:3])}...) or have other borders: give the same file, or begin anew"
        )


def _check_cells(train: Examples, geocells: GeoCells) -> None:
    """UsageError if images lie in a region in which the start had none to make cells of."""
    empty = np.diff(geocells.starts) == 0
    lost = empty[train.region]
    if lost.any():
        name = geocells.regions.names[int(train.region[lost][0])]
        raise UsageError(
            f"{int(lost.sum())} training images lie in regions in which the start has no geocells, such as {name}: "
            "train from the first phase, or leave them out"
        )


def _untrained(
    net: LocatorNet, geocells: GeoCells, data: LocateData, config: LocateTraining, card: dict[str, Any]
) -> Locator:
    """The locator before its first step."""
    note = "untrained locator"
    space = minted_space(net, net.head.config.dims, note)
    fresh = locator_card(net.head.config, **{**card, "space": space, "name": note, "seed": config.seed})
    return with_gallery(Locator(net.each(), net.head, geocells, fresh, decoding=config.decoding), data.train)


def _beginning(net: LocatorNet, config: LocateTraining, start: Locator | None) -> dict[str, Any]:
    """What the weights of a run depend on besides the settings of its phase and its data, for its identity."""
    if start is not None:
        # Of the weights themselves, so that a start in memory and the same one from its folder are one.
        return {"weights": digest_of(net)}
    told = config.to_json()
    return {name: told[name] for name in FIRST}


def _better(result: TrainResult, monitor: str) -> bool:
    """Whether a run ended better than it began; True where nothing is validated."""
    return not monitor or result.metrics[monitor] < result.initial[monitor]


def build(data: LocateData, regions: Regions, config: LocateTraining) -> tuple[LocatorNet, GeoCells]:
    """A new network, and the cells that it is made for, from the training rows alone."""
    train = data.train
    geocells = build_geocells(train.lonlat, regions, config.geocells, region=train.region)
    count = min(SAMPLE, len(train))
    sample = train.images(np.unique(np.linspace(0, len(train) - 1, count).astype(np.int64)))
    backbones: list[Backbone] = []
    for number, one in enumerate(config.backbones):
        backbone = open_backbone(one, seed=config.seed + number)
        backbone.learn_statistics(sample, config.seed + number)
        backbones.append(backbone)
    reach = np.maximum(config.reach * geocells.radius_m, 1000.0 * config.least_reach_km)
    middle = train.lonlat.unit().mean(axis=0)
    shape = config.head.fitted(train.lonlat.lon, train.lonlat.lat)
    head = seeded(
        lambda: LocatorHead(
            shape,
            [backbone.width for backbone in backbones],
            np.diff(geocells.starts).tolist(),
            torch.from_numpy(reach),
            torch.from_numpy(middle / np.linalg.norm(middle)).float(),
        ),
        config.seed,
    )
    return LocatorNet(backbones, head), geocells


def _shift(
    data: LocateData, geocells: GeoCells, config: LocateTraining, phase: Phase, start: Locator | None, kept: bool
) -> tuple[float, ...]:
    """What undoes the remedy for rare regions, of the last phase that trained the head of regions."""
    loss = config.phase(phase).loss
    if kept or not (loss.region or loss.cell):
        return () if start is None else start.decoding.region_shift
    counts = np.bincount(data.train.region, minlength=len(geocells.regions))
    shift = loss.balance.adjustment(counts)
    return tuple(float(value) for value in shift) if bool(shift.any()) else ()


def _kept(start: Locator, phase: Phase) -> dict[str, Any]:
    """Settings of the phases before, which those of this one do not change."""
    names = (*FIRST, *PHASES[: PHASES.index(phase)])
    return {name: start.card.recipe[name] for name in names if name in start.card.recipe}
