"""`placevec classify`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from placevec.cli.commands.options import Format, Out, Seed, TablePath, Where
from placevec.cli.commands.search import Model


def command(
    table: TablePath,
    out: Out,
    classes: Annotated[
        str | None, typer.Option(help="Names, such as forest,river,tenniscourt=tennis court|tennis courts.")
    ] = None,
    classes_file: Annotated[Path | None, typer.Option(help="Names in a text file, one a line.")] = None,
    template: Annotated[
        list[str] | None, typer.Option(help="A prompt, such as 'a satellite image of {}'; may be repeated.")
    ] = None,
    model: Model = None,
    truth: Annotated[str | None, typer.Option(help="The column of true classes: scores are printed.")] = None,
    where: Where = None,
    seed: Seed = 0,
    form: Format = None,
) -> None:
    """Give places the class whose words are nearest, without training; writes the table with the class of each row.

    The columns are `predicted`, `predicted_score` (softmax over the classes) and `predicted_margin`. With --truth,
    accuracy and macro-F1 are printed beside chance and the majority class, else how many rows each class got.

    Example: placevec classify ucm.parquet --classes "forest,river,harbor" -o classes.parquet

    Example: placevec classify ucm.parquet --truth label --where "split == 'test'" -o classes.parquet
    """
    from placevec.cli.commands.options import filter_from
    from placevec.cli.output import emit, note
    from placevec.errors import UsageError
    from placevec.results import jsonable
    from placevec.tasks.classify import classify, parse_classes, read_classes

    if classes is not None and classes_file is not None:
        raise UsageError("--classes and --classes-file say the same: give one of them")
    given = None if classes is None else [one for one in classes.split(",") if one.strip()]
    if classes_file is not None:
        given = read_classes(classes_file)
    found = classify(
        table,
        None if given is None else parse_classes(given),
        templates=template or (),
        model=model,
        out=out,
        truth=truth,
        filter=filter_from(None, None, None, where),
        seed=seed,
    )
    for line in found.notes:
        note(line)
    if found.scores is not None:
        shown = ("features", "metric", "mean", "low", "high", "n")
        emit([{name: record[name] for name in shown} for record in found.scores.to_records()], form)
        return
    rows = zip(found.classes, found.counts, found.mean_scores, strict=True)
    emit([{"class": name, "rows": int(count), "mean_score": jsonable(mean)} for name, count, mean in rows], form)
