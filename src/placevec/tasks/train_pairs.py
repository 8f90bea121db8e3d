"""`train image-text`: an image tower and a text tower learn from images with captions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from placevec.errors import DataError, UsageError
from placevec.geo.sphere import LonLat
from placevec.measure.retrieval.seen import COLUMN, saw_captions
from placevec.measure.splits import block_split, holdout, random_split
from placevec.provenance import digest_json, inherit_saw
from placevec.sources.captions import CaptionSet, read_captions
from placevec.tasks.reading import read_images
from placevec.tasks.settings import laid_over

if TYPE_CHECKING:
    from placevec.encoders.pair import PairModel
    from placevec.tasks.train import Report, TrainSummary
    from placevec.train.pairs import PairTraining

BANK = 512  # training images that relevance is calibrated against, at most
CASES = ("new", "further")  # settings for new towers alone, and for a model that is trained further alone


@dataclass(frozen=True, eq=False)
class Chosen:
    """Which images are learned from.

    Attributes:
        rows: of the caption set.
        val: (len(rows),) bool, which of them are for validation.
        splits: the names of the splits that they are; none where the set has none, so that it is all of it.
        buffered: images of these splits that are left out, being too near to validation images.
    """

    rows: NDArray[np.int64]
    val: NDArray[np.bool_]
    splits: tuple[str, ...]
    buffered: int = 0


def train_image_text(
    captions: str | Path | CaptionSet,
    out: Path,
    settings: Mapping[str, Any],
    run: Path,
    *,
    images: str | Path | None = None,
    model: str | Path | None = None,
    rule: tuple[str, int, float | None] = ("h3:3", 10, None),
    untrained: str | Path | None = None,
    restart: bool = False,
    progress: Report | None = None,
) -> TrainSummary:
    """Learn a pair of towers and write its folder; `tasks.train.train` calls it.

    Args:
        captions: a caption set, or what `sources.captions.read_captions` reads.
        out: the model folder.
        settings: of `train.pairs.PairTraining`, as JSON. What its tables `new` and `further` hold counts for new towers
            alone, and for a `model` that is trained further alone, so that one recipe is good for both.
        run: folder of checkpoints and logs.
        images: folder of the images, where it does not follow from the captions.
        model: a pair that is trained further: a folder, or hf:NAME.
        rule: blocks, folds and buffer (metres) of a validation split, where the set has none.
        untrained: where to write a pair of the same shape with the weights it began with.
        restart: forget an earlier run.
        progress: called with the steps done, all steps and the figures of the moment.
    """
    from placevec.tasks.train import TrainSummary
    from placevec.train.objectives import first_process
    from placevec.train.pairs import train_pairs, untrained_pair

    whole = captions if isinstance(captions, CaptionSet) else read_captions(captions, images=images)
    given, wordless = with_words(whole)
    start = None if model is None else _open(str(model))
    settings = of_case(settings, further=start is not None)
    training = _settings(settings, start)
    chosen = choose(given, rule)
    source = given.take(chosen.rows).images(training.pixels, fit=_fit(start))
    read = read_images(source, "set fewer pixels")
    training = _for_bands(training, settings, read.images.shape[1], start)
    texts, val = [given.captions[row] for row in chosen.rows[read.rows]], chosen.val[read.rows]
    if untrained is not None and start is not None:
        raise UsageError(f"an untrained pair is made of new towers: leave it out with model {model}")
    made = train_pairs(
        read.images,
        texts,
        val,
        training,
        run,
        model=start,
        progress=None if progress is None else _shown(progress),
        restart=restart,
        recipe=_recipe(training, captions, images, model),
        saw=inherit_saw((saw_captions(set_identity(whole), chosen.splits),), () if start is None else start.card.saw),
        sources=tuple(dict.fromkeys((*given.refs, *(() if start is None else start.card.sources)))),
        parents=_parents(start),
        licence="" if start is None else start.card.licence,
    )
    said: list[str] = []
    if first_process():
        pair, said = with_relevance(made.pair, read.images, texts, val, training.loop.seed)
        pair.save(out)
        if untrained is not None:
            untrained_pair(read.images, texts, val, training).save(untrained)
    return TrainSummary(
        out=out,
        objective="image-text",
        space=made.pair.space.id,
        dims=made.pair.dims,
        rows=int((~val).sum()),
        validation=int(val.sum()),
        buffered=chosen.buffered,
        scores=dict(made.result.metrics),
        skipped=len(read.skipped),
        notes=(*whole.notes, *wordless, *read.notes(), *said),
    )


def of_case(settings: Mapping[str, Any], *, further: bool) -> dict[str, Any]:
    """The settings that count: those of the one case laid over those of both, see `CASES`; UsageError for no tables."""
    for case in CASES:
        if not isinstance(settings.get(case, {}), Mapping):
            raise UsageError(f"{case} = {settings[case]!r}: it is a table of settings, such as {case}.loop.epochs = 10")
    both = {name: value for name, value in settings.items() if name not in CASES}
    return laid_over(both, settings.get(CASES[further], {}))


def with_words(given: CaptionSet) -> tuple[CaptionSet, list[str]]:
    """A set without captions that have no word, such as "...", and what was left out."""
    from placevec.nn.text import words

    kept = [tuple(text for text in own if words(text)) for own in given.captions]
    lost = sum(len(own) for own in given.captions) - sum(len(own) for own in kept)
    if not lost:
        return given, []
    rows = [row for row, own in enumerate(kept) if own]
    found = replace(given, captions=tuple(own or given.captions[row] for row, own in enumerate(kept))).take(rows)
    return found, [f"{lost:,} captions without a word left out, and {len(given) - len(rows):,} images without another"]


def choose(given: CaptionSet, rule: tuple[str, int, float | None]) -> Chosen:
    """The training and validation images of a set: by its splits where it has them; no other split is touched.

    Without a split of its own for validation, one of `folds` is held out: of spatial blocks where all images have
    coordinates, else of images at random.

    Args:
        given: the set.
        rule: blocks, folds and buffer (metres).

    Raises:
        UsageError: the set has splits, and none of them is "train".
        DataError: fewer blocks than folds.
    """
    named = given.splits.astype(str)
    rows: NDArray[np.int64] = np.arange(len(given))
    splits: tuple[str, ...] = ()
    if any(named):
        rows = np.flatnonzero(named == "train").astype(np.int64)
        if not len(rows):
            given.split("train")  # says which there are
        if "val" in named:
            rows = np.flatnonzero((named == "train") | (named == "val")).astype(np.int64)
            return Chosen(rows, named[rows] == "val", ("train", "val"))
        splits = ("train",)
    block, folds, buffer_m = rule
    at = None if given.lonlat is None else given.lonlat[rows]
    if at is not None and np.isfinite(at).all():
        split = block_split(LonLat(at[:, 0], at[:, 1]), block, folds, 0, buffer_m or 0.0)
    else:
        split = random_split(given.ids[rows], folds, 0)
    learn, held = holdout(split)
    used = learn | held
    return Chosen(rows[used], held[used], splits, int((~used).sum()))


def set_identity(given: CaptionSet) -> str:
    """What tells a caption set from others, wherever its files lie: a hash of images' names and captions."""
    return digest_json([[str(name), list(own)] for name, own in zip(given.ids, given.captions, strict=True)])


def with_relevance(
    pair: PairModel, images: NDArray[Any], texts: Sequence[Sequence[str]], val: NDArray[np.bool_], seed: int
) -> tuple[PairModel, list[str]]:
    """The pair with a relevance that is fitted on the validation images, and what there is to say about it.

    Args:
        pair: the trained pair.
        images: (n, bands, h, w).
        texts: the captions of each image.
        val: (n,) bool, the validation images.
        seed: of folds, and of what is drawn.
    """
    from placevec.encoders.pair import PairModel
    from placevec.tasks.relevance import fit_relevance

    held, learned = np.flatnonzero(val).tolist(), np.flatnonzero(~val)
    bank = learned[:: -(-len(learned) // BANK)]
    own = np.repeat(np.arange(len(held)), [len(texts[row]) for row in held])
    try:
        if not len(held):
            raise DataError("there are no validation images")
        fitted = fit_relevance(
            pair,
            pair.image.encode({"image": images[held]}),
            None,
            own,
            [text for row in held for text in texts[row]],
            bank=pair.image.encode({"image": images[bank]}),
            seed=seed,
        )
    except DataError as error:
        return pair, [f"scores of this pair are bare cosines, no relevance was fitted: {error}"]
    return PairModel(pair.image, pair.text, pair.card, fitted.to_json()), []


def _shown(progress: Report) -> Report:
    """Of the many figures those that tell how it goes."""
    names = ("warmup", "described", "epoch", "loss", "mean_recall")
    return lambda step, total, figures: progress(
        step, total, {name: figures[name] for name in names if name in figures}
    )


def _open(model: str) -> PairModel:
    from placevec.encoders.pair import open_pair

    return open_pair(model)


def _settings(settings: Mapping[str, Any], start: PairModel | None) -> PairTraining:
    """The settings over the defaults; of a pair that is trained further the shape is its own."""
    from placevec.train.pairs import PairTraining
    from placevec.train.pairs.pretrained import image_side

    defaults = PairTraining().to_json()
    if start is None:
        return PairTraining.from_json(laid_over(defaults, settings))
    own = {"dims": start.dims, "pixels": image_side(start) or defaults["pixels"]}
    for name in ("image", "text", "warmup", "dims"):
        if name in settings and settings[name] != own.get(name):
            raise UsageError(f"{name} = {settings[name]!r} is for new towers: the model has its own")
    training = PairTraining.from_json(laid_over({**defaults, **own}, settings))
    side = image_side(start)
    if side and training.pixels != side:
        raise UsageError(f"pixels = {training.pixels}, and the model reads images of {side} pixels: leave it out")
    return training


def _for_bands(
    training: PairTraining, settings: Mapping[str, Any], bands: int, start: PairModel | None
) -> PairTraining:
    """The settings with as many bands as the images have; a number that was asked for stays and is checked later."""
    if start is not None or "bands" in settings.get("image", {}):
        return training
    network: Any = training.image
    return replace(training, image=replace(network, bands=bands))


def _fit(start: PairModel | None) -> str:
    """How images become squares: as the image processor of a model does it, else squashed."""
    processor = getattr(getattr(start, "image", None), "processor", None)
    return "crop" if getattr(processor, "do_center_crop", False) else "squash"


def _recipe(
    training: PairTraining, captions: str | Path | CaptionSet, images: str | Path | None, model: str | Path | None
) -> dict[str, Any]:
    recipe = training.to_json()
    if model is not None:
        for name in ("image", "text", "temperature", "warmup"):  # the model has its own
            del recipe[name]
        recipe["model"] = str(model)
    recipe[COLUMN] = "" if isinstance(captions, CaptionSet) else str(captions)
    recipe["images"] = "" if images is None else str(images)
    return recipe


def _parents(start: PairModel | None) -> tuple[str, ...]:
    if start is None:
        return ()
    return tuple(dict.fromkeys(tower.card.weights_sha256 for tower in (start.image, start.text)))
