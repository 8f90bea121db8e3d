"""`placevec evaluate transfer`, which the group of `evaluate` registers."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from placevec.cli.commands.options import Format, Quiet, Seed
from placevec.cli.commands.probe import Transform


def command(
    train: Annotated[Path, typer.Option(help="Table of the city that is learned from.", show_default=False)],
    test: Annotated[
        Path, typer.Option(help="Table of the city that is judged, of the same Space.", show_default=False)
    ],
    target: Annotated[
        list[str], typer.Option("--target", "-t", help="A column, or NAME=RASTER; may be repeated.", show_default=False)
    ],
    train_labels: Annotated[
        Path | None, typer.Option(help="Table or CSV with the targets of the first, by id.")
    ] = None,
    test_labels: Annotated[
        Path | None, typer.Option(help="Table or CSV with the targets of the second, by id.")
    ] = None,
    labels: Annotated[
        list[int] | None, typer.Option(help="Labelled places of the second; may be repeated; else 0, 10, 50, 200.")
    ] = None,
    block: Annotated[str | None, typer.Option(help="Blocks such as h3:7; by default from the variogram.")] = None,
    buffer: Annotated[
        str | None, typer.Option(help="Around test rows, such as 1km; by default the ground that a row has seen.")
    ] = None,
    transform: Annotated[Transform, typer.Option(help="Predict log(1 + target).")] = Transform.none,
    k: Annotated[int, typer.Option("-k", min=3, help="Folds.")] = 5,
    shuffles: Annotated[int, typer.Option(min=1, help="Repetitions with other folds and labels.")] = 3,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="JSON file; a figure stands beside it.")] = None,
    figure: Annotated[bool, typer.Option(help="Draw the figure, which needs matplotlib.")] = True,
    seed: Seed = 0,
    quiet: Quiet = False,
    form: Format = None,
) -> None:
    """Judge in one city what was learned in another: with none of its labels, with a few, and against all of them.

    Every row predicts the same spatial blocks of the second city; intervals come from resampling its blocks.

    Example: placevec evaluate transfer --train a/tables/fused.parquet --test b/tables/fused.parquet -t population
    --transform log1p -o results/transfer.json
    """
    from placevec.cli.output import emit, note, progress
    from placevec.geo.boxes import parse_distance
    from placevec.measure.transfer import LABELS
    from placevec.tasks.transfer import evaluate_transfer

    with progress("transfer", quiet=quiet) as told:
        found = evaluate_transfer(
            train,
            test,
            target,
            train_labels=train_labels,
            test_labels=test_labels,
            labels=tuple(labels) if labels else LABELS,
            block=block,
            buffer_m=None if buffer is None else parse_distance(buffer),
            transform=transform.value,
            k=k,
            shuffles=shuffles,
            seed=seed,
            out=out,
            figure=figure,
            said=note,
            progress=lambda name, done, total: told(done, total, {"": name}),
        )
    for one in found:
        note(
            f"{one.target}: {one.n_source:,} places of {one.source} train, {one.n_goal:,} of {one.goal} are judged in "
            f"{one.n_blocks} blocks of {one.blocks[1]}, buffer {one.about['buffer_m'] / 1000:g} km"
        )
    records = [record for one in found for record in one.to_records()]
    if form is None and sys.stdout.isatty():
        shown = ("target", "row", "r2", "low", "high", "sd", "spearman", "gain", "outcome")
        records = [{name: record[name] for name in shown} for record in records]
    emit(records, form)
