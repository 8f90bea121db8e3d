"""Training one phase of a locator, and what comes of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from placevec.encoders.backbones import Backbone, open_backbone
from placevec.encoders.locator import Locator, locator_card
from placevec.encoders.locator.net import LocatorNet
from placevec.encoders.network import fixed_batches, seeded
from placevec.errors import UsageError
from placevec.geo.cells import parse_cells
from placevec.geo.geocells import GeoCells, build_geocells
from placevec.geo.regions import Regions
from placevec.nn.locator import LocatorHead
from placevec.sources.base import Source
from placevec.train.checkpoint import copy_of, minted_space
from placevec.train.locate.cache import cached
from placevec.train.locate.config import PHASES, LocateTraining, Phase
from placevec.train.locate.data import Examples, LocateData, Parts, gather
from placevec.train.locate.finish import Finished, finish, with_gallery
from placevec.train.locate.objective import LocateObjective
from placevec.train.loop import TrainResult, fit
from placevec.train.objectives import first_process

Told = Callable[[str, int, int, Mapping[str, float]], None]

NOTE = "the fused vectors of a locator"  # of the Space
SAMPLE = 4096  # training images from which backbones take what is known without labels
_FEATURES = 64  # images of which features are made at once


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
        regions: the provinces; the first phase makes geocells within them.
        config: the settings. Backbones, head and geocells count only where there is no `start`.
        phase: "province", "geography" or "tuning".
        folder: of the run; the same call goes on with a run that was killed. What is read of the source is kept in its
            parent, for the phases to share.
        start: what the phase before ended with; it is changed.
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
    run = Path(folder)
    extras = tuple(branch.kind for branch in (config.head if start is None else start.head.config).branches)
    counted = None if progress is None else (lambda what, done, total: progress(what, done, total, {}))
    data = gather(
        source,
        parts,
        regions.assign if start is None else start.geocells.regions.assign,
        run.parent / "content",
        extras=extras,
        cache_gb=config.cache_gb,
        progress=counted,
    )
    settings = config.phase(phase)
    net, geocells = (LocatorNet(start.backbones, start.head), start.geocells) if start else build(data, regions, config)
    if untrained is not None and start is None and first_process():
        note = "untrained locator"
        space = minted_space(net, net.head.config.dims, note)
        fresh = locator_card(net.head.config, space=space, name=note, seed=config.seed, **card)
        plain = Locator(net.each(), net.head, geocells, fresh, decoding=config.decoding)
        with_gallery(plain, data.train).save(untrained)
    thawed = _thaw(net, settings.thaw, phase, learned=start is not None, config=config)
    rates = _rates(net, thawed, settings.rate if start is not None else 1.0, settings.decay)
    features = None if any(thawed) else _features(net, data, run.parent, counted)
    before = None
    if phase == "tuning" and start is not None and len(data.val):
        before = start.predict(data.val.batch(np.arange(len(data.val))))
    objective = LocateObjective(
        data,
        net,
        geocells,
        settings,
        features=features,
        rates=rates,
        identity={"name": phase, "thaw": thawed, "start": "" if start is None else start.card.weights_sha256},
    )
    told = None if progress is None else (lambda done, total, figures: progress(phase, done, total, figures))
    first = copy_of(net)
    result = fit(objective, settings.loop, run, progress=told, restart=restart)
    kept = start is not None and phase == "tuning" and not _better(result, objective.monitor)
    if kept:
        # Unfreezing that only learned the training blocks by heart is no gain: the phase before stays.
        net.load_state_dict(first)
    for backbone in net.each():
        backbone.thaw(0)
    about = {
        "recipe": {
            **config.to_json(),
            **({} if start is None else _kept(start)),
            **(facts or {}),
            "phase": PHASES.index(phase),
            "pixels": int(data.train.images(np.zeros(1, dtype=np.int64)).shape[-1]),
        },
        "seed": config.seed,
        "name": "locator",
        **card,
    }
    made = Locator(
        net.each(),
        net.head,
        geocells,
        locator_card(net.head.config, space=minted_space(net, net.head.config.dims, NOTE), **about),
        decoding=replace(config.decoding, region_shift=_shift(data, geocells, config, phase, start)),
    )
    finished = finish(
        made,
        data,
        phase,
        result,
        before,
        groups=_blocks(data.calibration, block),
        choose=config.choose_point,
        features=features,
        kept=kept,
    )
    return TrainedLocator(finished.locator, result, data, finished)


def _better(result: TrainResult, monitor: str) -> bool:
    """Whether a run ended better than it began; True where nothing is validated."""
    return not monitor or result.metrics[monitor] < result.initial[monitor]


def _blocks(examples: Examples, block: str) -> NDArray[np.uint64]:
    """The block (n,) of each image."""
    return parse_cells(block).assign(examples.lonlat)


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


def _thaw(net: LocatorNet, given: Sequence[int], phase: Phase, *, learned: bool, config: LocateTraining) -> list[int]:
    """Let parts of the backbones learn; how many of each."""
    backbones = net.each()
    if len(given) not in (0, 1, len(backbones)):
        raise UsageError(f"thaw = {list(given)} for {len(backbones)} backbones: give one number, or one for each")
    out = []
    for number, backbone in enumerate(backbones):
        if given:
            last = given[number if len(given) > 1 else 0]
        elif phase == "province":
            # Random weights have to learn before anything can stand on them; others know enough to begin with.
            last = len(backbone.parts()) if backbone.kind == "net" and not learned else 0
        else:
            last = 1 if phase == "tuning" else 0
        last = min(last, len(backbone.parts()))
        backbone.thaw(last)
        out.append(last if any(value.requires_grad for value in backbone.parameters()) else 0)
    return out


def _rates(net: LocatorNet, thawed: Sequence[int], rate: float, decay: float) -> dict[str, float]:
    """The learning rate's factor of each thawed part: `rate` for the last, `decay` times that for the one before."""
    rates: dict[str, float] = {}
    for number, (backbone, last) in enumerate(zip(net.each(), thawed, strict=True)):
        for back, part in enumerate(reversed(backbone.parts()[len(backbone.parts()) - last :] if last else ())):
            # What begins with random weights learns at one rate everywhere.
            factor = rate * (decay**back if rate < 1.0 else 1.0)
            rates |= {f"backbones.{number}.{prefix}": factor for prefix in part}
    return rates


def _features(
    net: LocatorNet, data: LocateData, folder: Path, progress: Callable[[str, int, int], None] | None
) -> list[NDArray[np.float32]]:
    """The features of all rows of the store by each backbone, computed once and kept."""
    store = data.store
    out = []
    for number, backbone in enumerate(net.each()):
        backbone.eval()

        def compute(start: int, stop: int, backbone: Backbone = backbone) -> NDArray[np.float32]:
            at = np.arange(start, stop)
            found = np.zeros((len(at), backbone.width), dtype=np.float32)
            good = store.readable[at]
            if good.any():
                images = torch.from_numpy(store.read(at[good]))
                found[good] = np.concatenate(list(fixed_batches(backbone, images, _FEATURES, torch.device("cpu"))))
            return found

        label = f"features {number + 1} of {len(net.backbones)}"
        told = None if progress is None else (lambda done, total, label=label: progress(label, done, total))
        shape = (len(store.rows), backbone.width)
        path = folder / "content" / f"features-{number}.npy"
        key = f"{data.key} {backbone.cache_key()}"
        out.append(cached(path, key, shape, np.float32, compute, step=_FEATURES * 4, progress=told))
    return out


def _shift(
    data: LocateData, geocells: GeoCells, config: LocateTraining, phase: Phase, start: Locator | None
) -> tuple[float, ...]:
    """What undoes the remedy for rare regions, of the last phase that trained the head of regions."""
    loss = config.phase(phase).loss
    if not loss.region and not loss.cell:
        return () if start is None else start.decoding.region_shift
    counts = np.bincount(data.train.region, minlength=len(geocells.regions))
    shift = loss.balance.adjustment(counts)
    return tuple(float(value) for value in shift) if bool(shift.any()) else ()


def _kept(start: Locator) -> dict[str, Any]:
    """Settings of the first phase, which those of later phases do not change."""
    return {name: start.card.recipe[name] for name in ("backbones", "head", "geocells") if name in start.card.recipe}
