"""`placevec augment`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from placevec.cli.commands.options import Format, Out, Quiet, TablePath


class How(StrEnum):
    """How the bank is looked up."""

    concat = "concat"
    top1 = "top1"
    topm = "topm"
    soft = "soft"
    range_plus = "range+"
    geo = "geo"
    multiscale = "multiscale"


class By(StrEnum):
    """How keys are searched."""

    auto = "auto"
    exact = "exact"
    faiss = "faiss"


class Floats(StrEnum):
    """How vectors are stored."""

    float32 = "float32"
    float16 = "float16"


def command(
    table: TablePath,
    bank: Annotated[list[Path], typer.Option(help="The table that is looked up; may be repeated.", show_default=False)],
    out: Out,
    keys: Annotated[
        list[Path] | None,
        typer.Option(
            help="The bank's places by the encoder of the queries, if the bank is not by it; one for all banks or one "
            "for each, - for none."
        ),
    ] = None,
    mode: Annotated[How, typer.Option(help="What is looked up; geo and concat need no keys.")] = How.multiscale,
    own: Annotated[
        bool, typer.Option("--own/--no-own", help="Add each bank's own row of the place as a block.")
    ] = False,
    context: Annotated[
        bool, typer.Option("--context", help="Kernel means include the place itself and its buffer; with --own.")
    ] = False,
    buffer: Annotated[
        str | None, typer.Option(help="Bank rows this near do not count, such as 60km.", show_default=False)
    ] = None,
    max_distance: Annotated[
        str | None, typer.Option(help="Bank rows farther than this do not count.", show_default=False)
    ] = None,
    folds: Annotated[
        int, typer.Option(min=0, help="Answer places of the bank from its other folds; 0: leave out each alone.")
    ] = 0,
    top: Annotated[
        int | None, typer.Option("-k", min=1, help="Rows most like a place that count [256; topm: 8].")
    ] = None,
    tau: Annotated[float | None, typer.Option(help="Inverse temperature of the softmax [15].")] = None,
    width: Annotated[
        list[str] | None, typer.Option(help="Of a geographic kernel, such as 25km; repeated. Learned if absent.")
    ] = None,
    degrees: Annotated[int | None, typer.Option(min=0, help="Of the harmonics; 0: none [12].")] = None,
    index: Annotated[By, typer.Option(help="How keys are searched; auto: exact up to 100,000 rows.")] = By.auto,
    dtype: Annotated[Floats, typer.Option(help="How vectors are stored.")] = Floats.float32,
    quiet: Quiet = False,
    form: Format = None,
) -> None:
    """Look every place up in one or several banks of vectors and put the answers beside its own vector.

    Also written: how much bank stands behind each answer (support), how far its nearest row is (bank_m).

    A place never finds itself, but --own adds its row; places without an answer are listed in NAME.skipped.parquet.

    Example: placevec augment location.parquet --bank image.parquet --mode geo --buffer 20km -o augmented.parquet
    """
    from placevec.cli.output import emit, note, progress
    from placevec.geo.boxes import parse_distance
    from placevec.tasks.augment import augment

    settings: dict[str, Any] = {}
    if top is not None:
        settings["m" if mode is How.topm else "k"] = top
    if tau is not None:
        settings["tau"] = tau
    if width:
        settings["widths_m"] = [parse_distance(one) for one in width]
    if degrees is not None:
        settings["degrees"] = degrees
    apart = None if max_distance is None else parse_distance(max_distance)
    if mode is How.concat and apart is not None:
        settings["max_m"], apart = apart, None
    with progress("augment", quiet=quiet) as told:
        summary = augment(
            table,
            bank,
            out,
            keys=[None if str(one) == "-" else one for one in keys] if keys else None,
            mode=mode.value,
            settings=settings,
            own=own,
            context=context,
            buffer_m=0.0 if buffer is None else parse_distance(buffer),
            max_m=apart,
            folds=folds,
            index=index.value,
            dtype=dtype.value,
            progress=told,
        )
    for text in summary.notes:
        note(text)
    emit([summary.to_record()], form)
