"""Training a locator from images with places: splits, regions, phases, and the model folder."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from placevec.errors import CheckpointError, DataError, UsageError
from placevec.files import write_text
from placevec.geo.regions import Regions
from placevec.geo.sphere import LonLat, chord_of
from placevec.measure.splits import block_split
from placevec.provenance import Saw
from placevec.tasks.inputs import Input
from placevec.tasks.photo_inputs import photos_of
from placevec.tasks.regions import open_regions
from placevec.tasks.settings import laid_over

if TYPE_CHECKING:
    from placevec.tasks.train import TrainSummary

Rows = NDArray[np.int64]
Mask = NDArray[np.bool_]
Told = Callable[[int, int, Mapping[str, Any]], None]

PLACE = "place"


@dataclass(frozen=True)
class SplitRule:
    """How images are dealt by spatial blocks: folds 0 and on validate, calibrate, are kept for a test; others learn."""

    block: str = "h3:3"  # the blocks
    folds: int = 10  # into which they are dealt
    buffer_m: float = 0.0  # what is learned from keeps so far from all that is held out, and that from the test
    calibration_folds: int = 1
    test_folds: int = 1
    seed: int = 0  # of the shuffle of blocks

    def __post_init__(self) -> None:
        held = 1 + self.calibration_folds + self.test_folds
        if min(self.calibration_folds, self.test_folds) < 0 or held >= self.folds:
            raise UsageError(
                f"{self.folds} folds, of which one validates, {self.calibration_folds} calibrate and "
                f"{self.test_folds} are for a test, leave none to learn from: give more folds"
            )


@dataclass(frozen=True, eq=False)
class Dealt:
    """Rows by what they serve for, and the rule that dealt them."""

    train: Rows
    val: Rows
    calibration: Rows
    test: Rows
    spec: Mapping[str, Any]
    seen: tuple[int, ...]  # folds that the model will have seen


def deal(lonlat: LonLat, keys: NDArray[Any], rule: SplitRule) -> Dealt:
    """Deal located rows into training, validation, calibration and test.

    Images of one place stay together. Training rows nearer than the buffer to any row held out are in no part;
    neither are validation and calibration rows that near to a test row.

    Args:
        lonlat: (n) where they were taken.
        keys: (n,) the place of each.
        rule: see `SplitRule`.

    Raises:
        DataError: there are too few blocks, or nothing is left to learn from.
    """
    split = block_split(lonlat, rule.block, rule.folds, rule.seed, rule.buffer_m, groups=keys, strays="drop")
    fold = split.fold
    first_test = 1 + rule.calibration_folds
    first_train = first_test + rule.test_folds
    held = (fold >= 0) & (fold < first_train)
    test = held & (fold >= first_test)
    near_held = _within(lonlat, held, rule.buffer_m)
    near_test = _within(lonlat, test, rule.buffer_m)
    train = (fold >= first_train) & ~near_held
    if not train.any():
        raise DataError(
            f"a buffer of {rule.buffer_m:g} m around the held-out blocks of {rule.block} leaves no image to learn "
            "from: give larger blocks, more folds, or a smaller buffer"
        )
    val = (fold == 0) & ~near_test
    calibration = (fold >= 1) & (fold < first_test) & ~near_test
    seen = (*range(first_test), *range(first_train, rule.folds))
    rows = [np.flatnonzero(mask).astype(np.int64) for mask in (train, val, calibration, test)]
    return Dealt(rows[0], rows[1], rows[2], rows[3], split.spec, seen)


def _within(lonlat: LonLat, held: Mask, buffer_m: float) -> Mask:
    """Which rows (n,) lie within the buffer of a row of `held`; those themselves too."""
    if buffer_m <= 0 or not held.any():
        return held.copy()
    xyz = lonlat.unit()
    gap, _ = cKDTree(xyz[held]).query(xyz, k=1)
    return np.asarray(gap <= float(chord_of(buffer_m)))


def train_locate(
    input: Input,
    out: Path,
    settings: Mapping[str, Any],
    run: Path,
    *,
    regions: Regions | str | Path,
    region_column: str | None = None,
    phases: Sequence[str] = (),
    start: str | Path | None = None,
    rule: SplitRule | None = None,
    untrained: str | Path | None = None,
    restart: bool = False,
    progress: Told | None = None,
) -> TrainSummary:
    """Train a locator, one phase or several one after the other.

    Args:
        input: photos, or chips at places.
        out: the model folder.
        settings: of `train.locate.LocateTraining`, as JSON.
        run: folder of the runs, one for each phase in it.
        regions: the provinces, or their file, or dataset:NAME.
        region_column: the property of the file that names them.
        phases: "province", "geography", "tuning"; by default all three, or those that come after `start`'s.
        start: the model folder that the phase before has written.
        rule: the split.
        untrained: where to write the locator before its first step: a compulsory baseline.
        restart: forget earlier runs.
        progress: called with what is done, all of it, and the figures of the moment.

    Raises:
        UsageError: a phase without the one before it, a setting that is not known, or what contradicts `start`.
        DataError: no image has coordinates, or nothing is left to learn from.
        CheckpointError: a run folder belongs to a run with other settings, or `start` is no locator.
    """
    from placevec.tasks.train import TrainSummary
    from placevec.train.locate import PHASES, LocateTraining, Parts
    from placevec.train.locate import train_locator as learn
    from placevec.train.objectives import first_process

    begun = None if start is None else _open(start)
    if begun is not None and untrained is not None:
        raise UsageError(
            f"{start} is trained already, so that there is no untrained network to write: give --untrained to the "
            "first phase"
        )
    wanted = _phases(phases, None if begun is None else begun.phase, PHASES)
    training = LocateTraining.from_json(laid_over(LocateTraining().to_json(), dict(settings)))
    found = regions if isinstance(regions, Regions) else open_regions(str(regions), column=region_column)
    source = photos_of(input).source()
    places = source.places()
    located = np.flatnonzero(np.isfinite(places.lon) & np.isfinite(places.lat))
    if not len(located):
        raise DataError("no image has coordinates: a locator learns from images whose place is known")
    rule = rule or SplitRule()
    # The first phases and the last one have to see the same rows: a split is made anew from its rule, the same always.
    dealt = deal(places.lonlat(located), places.keys[located], rule)
    parts = Parts(*(located[rows] for rows in (dealt.train, dealt.val, dealt.calibration)))
    saw = (Saw("", PLACE, dealt.spec, dealt.seen),)
    refs = tuple(dict.fromkeys((*getattr(source, "refs", ()), *input.sources())))
    facts = {} if input.chips is None else {"ground_m": input.chips.ground_m, "raster": input.chips.raster}
    made = None
    for phase in wanted:
        made = learn(
            source,
            parts,
            found,
            training,
            phase,
            run / phase,
            start=begun,
            block=rule.block,
            facts=facts,
            untrained=None if untrained is None else Path(untrained),
            progress=None if progress is None else _labelled(progress),
            restart=restart,
            saw=saw,
            sources=refs,
        )
        begun = made.locator
        if first_process():
            begun = made.locator.save(out)
            write_text(run / phase / "evaluation.json", json.dumps(made.finished.evaluation, indent=1) + "\n")
    assert made is not None  # there is a phase to train, see `_phases`
    data = made.data
    used = sum(len(rows) for rows in (dealt.train, dealt.val, dealt.calibration, dealt.test))
    return TrainSummary(
        out,
        "locate",
        made.locator.space.id,
        made.locator.dims,
        len(data.train),
        len(data.val),
        len(located) - used,
        # Of the last phase, under the names that all phases have.
        {name.removeprefix(f"{wanted[-1]}/"): value for name, value in made.finished.scores.items()},
        skipped=data.skipped,
        notes=(
            *_notes(len(places) - len(located), data.outside, data.store.lost),
            *_uncalibrated(wanted[-1], len(data.calibration)),
            *made.locator.geocells.regions.warnings(),
        ),
    )


def _labelled(progress: Told) -> Callable[[str, int, int, Mapping[str, float]], None]:
    """Progress that names the phase, or what is computed for it, before the figures."""
    return lambda label, done, total, figures: progress(done, total, {"": label, **figures})


def _notes(unlocated: int, outside: int, lost: Mapping[str, int]) -> tuple[str, ...]:
    """What was left out, in words."""
    notes = [f"{unlocated:,} images have no coordinates"] if unlocated else []
    notes += [f"{outside:,} images lie outside of all regions"] if outside else []
    return (*notes, *(f"{count:,} images: {reason}" for reason, count in lost.items()))


def _uncalibrated(phase: str, rows: int) -> tuple[str, ...]:
    """That the network is believed as it is, where too few images were held out to calibrate it on."""
    from placevec.train.locate.finish import FEWEST

    if phase == "province" or rows >= FEWEST:
        return ()
    few = f"{rows} images are held out for calibration, fewer than {FEWEST}"
    return (f"{few}: confidence and regions are uncalibrated, the network's own; give more calibration folds",)


def _open(folder: str | Path) -> Any:
    from placevec.encoders.locator import Locator

    locator = Locator.load(folder)
    if locator.phase is None:
        raise CheckpointError(f"{folder} does not say which phase it has gone through: train it again")
    return locator


def _phases(given: Sequence[str], done: int | None, known: Sequence[str]) -> list[Any]:
    """The phases to train, in order; UsageError where one is unknown or its predecessor is missing."""
    odd = next((name for name in given if name not in known), None)
    if odd is not None:
        raise UsageError(f"no phase is called {odd!r}; known: {', '.join(known)}")
    after = 0 if done is None else done + 1
    wanted = [known.index(name) for name in given] or list(range(after, len(known)))
    if not wanted:
        raise UsageError("the start has gone through all phases: name one to train again")
    if wanted != sorted(set(wanted)):
        raise UsageError(f"the phases {', '.join(given)}: name each once, in the order {', '.join(known)}")
    if wanted[0] < after - 1:
        raise UsageError(
            f"the start has gone through {known[after - 1]} already, and {known[wanted[0]]} would undo that: give the "
            "model folder of an earlier phase as start, or none"
        )
    for number, before in zip(wanted, [after - 1, *wanted[:-1]], strict=True):
        # Backbones that know enough need no phase of their own before the geography.
        if number > before + 1 and not (done is None and number == 1 and before == -1):
            raise UsageError(
                f"the phase {known[number]} comes after {known[number - 1]}: train that first, or give its model "
                "folder as start"
            )
    return [known[number] for number in wanted]
