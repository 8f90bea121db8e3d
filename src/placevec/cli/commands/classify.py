"""`placevec classify`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from placevec.cli.commands.options import Format, Out, Seed, TablePath, Where, filter_from
from placevec.cli.commands.search import Model
from placevec.cli.output import Form


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
    examples: Annotated[
        Path | None,
        typer.Option(help="Labels of a few rows (CSV, Parquet, GeoJSON by id, h3 or lon,lat): a head is fitted."),
    ] = None,
    label: Annotated[str, typer.Option(help="With --examples: the column of the classes.")] = "class",
    ask: Annotated[int, typer.Option(min=0, help="With --examples: how many rows to ask about next.")] = 10,
    map: Annotated[Path | None, typer.Option("--map", help="With --examples: a PNG of the classes.")] = None,
    block: Annotated[
        str | None, typer.Option(help="With --examples: blocks of the accuracy, such as h3:6; by default found.")
    ] = None,
    buffer: Annotated[
        str | None, typer.Option(help="With --examples: around tested labels, such as 4km; by default the footprint.")
    ] = None,
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
    from placevec.cli.output import emit, note
    from placevec.errors import UsageError
    from placevec.results import jsonable
    from placevec.tasks.classify import classify, parse_classes, read_classes

    if examples is not None:
        if classes is not None or classes_file is not None or template or model is not None or truth is not None:
            raise UsageError("--examples says what the classes are: leave out the words, the model and --truth")
        _by_example(table, examples, label, out, map, ask, block, buffer, where, seed, form)
        return
    if map is not None or block is not None or buffer is not None:
        raise UsageError("--map, --block and --buffer go with --examples FILE")
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


def _by_example(
    table: Path,
    examples: Path,
    label: str,
    out: Path,
    map_out: Path | None,
    ask: int,
    block: str | None,
    buffer: str | None,
    where: str | None,
    seed: int,
    form: Form | None,
) -> None:
    from placevec.cli.output import emit, note
    from placevec.geo.boxes import parse_distance
    from placevec.results import jsonable
    from placevec.tasks.classify_examples import classify_by_example

    found = classify_by_example(
        table,
        examples,
        label=label,
        out=out,
        map_out=map_out,
        ask=ask,
        block=block,
        buffer_m=None if buffer is None else parse_distance(buffer),
        filter=filter_from(None, None, None, where),
        seed=seed,
    )
    for line in found.notes:
        note(line)
    if found.scores is not None:
        note(f"accuracy under blocks: {found.verdict}")
        for record in found.scores.to_records():
            ends = "" if record["low"] is None else f" [{record['low']:.3f}, {record['high']:.3f}]"
            note(f"  {record['features']}, {record['metric']}: {record['mean']:.3f}{ends}")
    if len(found.ask):
        note(f"ask about next: {', '.join(str(one) for one in found.table.ids[found.ask])}")
    rows = zip(found.classes, found.labelled, found.counts, found.mean_scores, strict=True)
    emit(
        [
            {"class": name, "labels": int(given), "rows": int(count), "mean_score": jsonable(mean)}
            for name, given, count, mean in rows
        ],
        form,
    )
