"""`placevec evaluate retrieval`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from placevec.cli.commands.options import Format, Quiet, Seed


class ProtocolName(StrEnum):
    """By which protocol is measured."""

    official = "official"
    augmented_captions = "augmented-captions"


class TiesName(StrEnum):
    """Where items of equal score stand."""

    expected = "expected"
    pessimistic = "pessimistic"
    optimistic = "optimistic"


def retrieval(
    model: Annotated[
        list[str] | None,
        typer.Argument(
            help="A pair of towers (folder, hf:NAME), or two tables: IMAGES CAPTIONS; by default the one in */models.",
            show_default=False,
        ),
    ] = None,
    on: Annotated[
        str | None,
        typer.Option(help="Captions: JSON, JSONL, CSV, folder, dataset:ucm; by default those of the model's training."),
    ] = None,
    images: Annotated[Path | None, typer.Option(help="Folder of the images, where it is elsewhere.")] = None,
    split: Annotated[str, typer.Option(help="The split that is tested, or all.")] = "test",
    baseline: Annotated[
        list[str] | None,
        typer.Option(help="A model to beat, or two tables IMAGES,CAPTIONS; NAME= may stand before; may be repeated."),
    ] = None,
    protocol: Annotated[
        ProtocolName, typer.Option(help="augmented-captions: every caption row asks for its image, nothing else.")
    ] = ProtocolName.official,
    ties: Annotated[
        TiesName, typer.Option(help="Where items of equal score stand: the mean over their orders, last, first.")
    ] = TiesName.expected,
    pixels: Annotated[
        int | None, typer.Option(min=8, help="Side to which images are read; by default what the model was made for.")
    ] = None,
    duplicates: Annotated[
        int, typer.Option(min=-1, max=16, help="Bits by which near-duplicates of other splits differ; -1: do not look.")
    ] = 6,
    turned: Annotated[
        bool, typer.Option("--turned", help="Turned and mirrored images are near-duplicates too.")
    ] = False,
    draws: Annotated[int, typer.Option(min=1, help="Resamples of the images, for intervals.")] = 1000,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="A JSON file; .md and .html beside it.", show_default=False)
    ] = None,
    seed: Seed = 0,
    quiet: Quiet = False,
    form: Format = None,
) -> None:
    """Measure how well images and captions find each other, beside chance, ceiling and baselines.

    Without a model the one that was trained in models/, */models/ or */*/models/ below here is taken.

    Example: placevec evaluate retrieval models/ucm --on dataset:ucm --baseline untrained=models/ucm.untrained
    -o results/ucm.json
    """
    import sys

    from placevec.cli.output import Form, emit, note, progress
    from placevec.errors import UsageError
    from placevec.tasks.evaluate_retrieval import evaluate_retrieval
    from placevec.tasks.evaluate_retrieval_page import duplicate_words, headline, short_rows, tie_words

    if not model:
        from placevec.tasks.trained_pairs import trained_pair

        model = [str(trained_pair(named=on is None))]
        note(f"the model {model[0]}")
    if len(model) > 2:
        raise UsageError(f"{len(model)} models: give one pair of towers, or two tables; others are --baseline")
    with progress("evaluate", quiet=quiet) as told:
        found = evaluate_retrieval(
            model[0] if len(model) == 1 else tuple(model),
            captions=on,
            images=images,
            split=split,
            baselines=baseline or (),
            protocol=protocol.value,
            ties=ties.value,
            pixels=pixels,
            duplicates=None if duplicates < 0 else duplicates,
            turned=turned,
            draws=draws,
            seed=seed,
            out=out,
            progress=lambda what, done, total: told(done, total, {"": what}),
        )
    for line in found.notes:
        note(line)
    if found.ties:
        note(tie_words(found))
    if found.duplicates is not None and not found.duplicates["count"]:
        note(duplicate_words(found))
    for line in headline(found):
        note(line)
    if out is not None:
        note(f"{out}, {out.with_suffix('.md')}, {out.with_suffix('.html')}")
    if form is Form.table or (form is None and sys.stdout.isatty()):
        for definition in dict.fromkeys(one.definition for one in found.figures):
            emit(short_rows(found, definition), Form.table, title=definition)
    else:
        emit(found.to_records(), form)
