"""`evaluate evidence`: the mosaic benchmark of `explain_mosaics` on a set of captioned or labelled images."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from placevec.errors import UsageError
from placevec.measure.retrieval import refuse_seen
from placevec.sources.captions import read_captions
from placevec.tasks.class_words import caption_words, prompts, read_names
from placevec.tasks.evaluate_retrieval_inputs import ALL, from_captions, known_to, saw_of
from placevec.tasks.explain_mosaics import METHODS, Plan, Result, evaluate_evidence

if TYPE_CHECKING:
    from placevec.encoders.pair import PairModel


def evaluate_captions(
    captions: str | Path,
    model: str | PairModel,
    *,
    images: str | Path | None = None,
    split: str = "test",
    names: str | Path | None = None,
    methods: Sequence[str] | None = None,
    plan: Plan | None = None,
    progress: Callable[[int, int], None] | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> Result:
    """Measure methods of evidence on the tiles of one split.

    Args:
        captions: see `sources.captions.read_captions`; its images need labels.
        model: a pair of towers, its folder, or ``hf:NAME``.
        images: their folder.
        split: whose tiles are joined; "all", or "", for all.
        names: a file of the classes' words; by default labels are parted at words of the captions.
        methods: some of `explain_mosaics.METHODS`.
        plan: which mosaics.
        progress: told of the mosaics done, and of all.
        clock: see `explain_mosaics.evaluate_evidence`.

    Raises:
        LeakError: the model was fitted on, or chosen by, the captions of the split.
        UsageError: the images have no labels, or there is no such split or method.
    """
    unknown = sorted(set(methods or ()) - set(METHODS))
    if unknown:
        raise UsageError(f"there is no method {unknown[0]!r}: give {', '.join(METHODS)}")
    every = read_captions(captions, images=images)
    if every.labels is None:
        raise UsageError(f"{captions} has no labels: mosaics are made of images of known class")
    tested, some = from_captions(every, str(captions), split or ALL)
    labels = some.labels
    assert labels is not None
    given = None if names is None else read_names(names)
    words = prompts((str(one) for one in labels if one), given, caption_words(every.captions))
    rule = plan or Plan()
    if isinstance(model, str):
        from placevec.encoders.pair import open_pair

        model = open_pair(model)
    refuse_seen(model.card.name or "the model", saw_of(model), known_to(model, tested.known), tested.splits)
    chosen = {name: METHODS[name] for name in methods} if methods else None
    source = some.images(rule.tile)
    return evaluate_evidence(
        model, source, labels, words=words, plan=rule, methods=chosen, progress=progress, clock=clock
    )
