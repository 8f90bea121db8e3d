"""`train landscape`: an encoder of patches learns from anchors and their neighbours on the ground."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from placevec.errors import DataError, UsageError
from placevec.geo.sphere import LonLat, chord_of
from placevec.measure.splits import block_split
from placevec.provenance import Saw
from placevec.tasks.inputs import Input
from placevec.tasks.settings import laid_over

if TYPE_CHECKING:
    from placevec.tasks.train import Report, TrainSummary

PLACE = "place"
"""What a pair is known by: the label that the encoder learns from, as `evaluate landscape` knows it."""


def train_landscape(
    input: Input,
    out: Path,
    settings: Mapping[str, Any],
    run: Path,
    *,
    rule: tuple[str, int, float | None] = ("h3:6", 10, None),
    test_folds: int = 0,
    untrained: str | Path | None = None,
    restart: bool = False,
    progress: Report | None = None,
) -> TrainSummary:
    """Train a landscape encoder on a patch set of pairs and write its folder.

    Args:
        input: patches of which two of one place are an anchor and its neighbour, see `placevec area patches`.
        out: the model folder.
        settings: of `train.landscape.LandscapeTraining`, as JSON.
        run: folder of the run.
        rule: blocks, folds and buffer in metres of the validation split; the buffer is by default the diagonal of a
            patch, up to which two patches share ground.
        test_folds: folds that are kept for a test: no pair of theirs is learned from, nor chooses the weights.
        untrained: where to write the same network before its first step.
        restart: forget an earlier run.
        progress: called with the steps done, all steps and the figures of the moment.

    Raises:
        UsageError: what is read are no patches or holds no pairs, or a setting is not known.
        CheckpointError: the run folder belongs to a run with other settings.
    """
    from placevec.tasks.train import TrainSummary
    from placevec.train.landscape import LandscapeTraining, Pairs
    from placevec.train.landscape import train_landscape as learn
    from placevec.train.objectives import first_process

    training = LandscapeTraining.from_json(laid_over(LandscapeTraining().to_json(), dict(settings)))
    source = input.source()
    known = tuple(layer.name for layer in getattr(source, "layers", ()))
    if not known:
        raise UsageError(
            "a landscape is learned from patches: give the folder of a patch set of pairs (--on), which "
            "`placevec area patches --samples N` writes"
        )
    pairs = Pairs.of(source, training.layers or known)
    block, folds, buffer_m = rule
    ground = float(getattr(source, "ground_m", 0.0))
    # Squares share ground up to the distance of their diagonal, not of their side.
    buffer_m = math.sqrt(2.0) * ground if buffer_m is None else buffer_m
    parts = split_pairs(pairs.lonlat, pairs.other, block, folds, buffer_m, test_folds)
    keep = parts.learn | parts.val
    made = learn(
        source,
        parts.val,
        keep,
        training,
        run,
        progress=progress,
        restart=restart,
        saw=(Saw("", PLACE, parts.spec, parts.seen),),
        sources=tuple(dict.fromkeys((*getattr(source, "refs", ()), *input.sources()))),
    )
    if first_process():
        made.encoder.save(out)
        if untrained is not None:
            made.untrained.save(untrained)
    return TrainSummary(
        out,
        "landscape",
        made.encoder.space.id,
        made.encoder.dims,
        int(parts.learn.sum()),
        int(parts.val.sum()),
        int((~keep).sum()),
        dict(made.result.metrics),
    )


@dataclass(frozen=True, eq=False)
class Parts:
    """Which pairs are learned from."""

    learn: NDArray[np.bool_]  # (n,) the training pairs
    val: NDArray[np.bool_]  # (n,) those by which the best weights are chosen
    spec: Mapping[str, Any]  # of the split
    seen: tuple[int, ...]  # its folds that the model will have seen


def split_pairs(anchors: LonLat, neighbours: LonLat, block: str, folds: int, buffer_m: float, test_folds: int) -> Parts:
    """The first fold of blocks is for validation, the next `test_folds` are kept for a test, the others are learned.

    A pair belongs where both its ends lie; a training pair keeps the buffer from all that is held out.

    Raises:
        UsageError: no fold would be left.
        DataError: there are too few blocks, or no pair is left to learn from.
    """
    if not 0 <= test_folds <= folds - 2:
        raise UsageError(f"{test_folds} of {folds} folds for a test and one for validation leave none to learn from")
    n = len(anchors)
    both = LonLat(np.concatenate([anchors.lon, neighbours.lon]), np.concatenate([anchors.lat, neighbours.lat]))
    split = block_split(both, block, folds, 0)
    held = split.fold <= test_folds
    free = ~held
    if buffer_m > 0 and held.any() and free.any():
        xyz = both.unit()
        gap, _ = cKDTree(xyz[held]).query(xyz[free], k=1)
        free[free] = gap > float(chord_of(buffer_m))
    learn = np.asarray(free.reshape(2, n).all(axis=0))
    if not learn.any():
        raise DataError(
            f"a buffer of {buffer_m:g} m around the held-out blocks of {block} leaves no pair to learn from: "
            "give larger blocks, fewer test folds, or a smaller buffer"
        )
    val = np.asarray((split.fold == 0).reshape(2, n).all(axis=0))
    seen = (0, *range(test_folds + 1, folds))
    return Parts(learn, val, split.spec, seen)
