"""`placevec evaluate fusion`, which the group of `evaluate` registers."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from placevec.cli.commands.options import Format, Quiet, Seed


class FusionProtocols(StrEnum):
    """How fusions are measured."""

    nested = "nested"
    reference = "reference"


class FusionSplits(StrEnum):
    """Which splits are made."""

    both = "both"
    random = "random"
    block = "block"


class Resampled(StrEnum):
    """What the bootstrap draws."""

    blocks = "blocks"
    places = "places"


def command(
    modality: Annotated[
        list[str],
        typer.Option(
            "--modality", "-m", help="Table of cells of one modality; NAME= may stand before.", show_default=False
        ),
    ],
    targets: Annotated[
        Path, typer.Option(help="Targets by H3 cell: Parquet, or CSV with id, lon and lat.", show_default=False)
    ],
    target: Annotated[
        list[str], typer.Option("--target", "-t", help="A column of them; may be repeated.", show_default=False)
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="A JSON file; .md and .html beside it.", show_default=False)],
    fused: Annotated[
        list[str] | None,
        typer.Option("--fused", "-f", help="Learned table, or folder of fold-0.parquet …; NAME= may stand before."),
    ] = None,
    untrained: Annotated[list[str] | None, typer.Option(help="Table of an untrained network.")] = None,
    protocol: Annotated[
        FusionProtocols, typer.Option(help="Nested and buffered; or as others have measured.")
    ] = FusionProtocols.nested,
    splits: Annotated[FusionSplits, typer.Option(help="Random and spatial blocks, or one alone.")] = FusionSplits.both,
    block: Annotated[
        str | None, typer.Option(help="Blocks such as h3:7; by default two resolutions coarser than the cells.")
    ] = None,
    buffer: Annotated[
        str | None, typer.Option(help="Around test cells, such as 1km; by default two spacings of the cells.")
    ] = None,
    log1p: Annotated[list[str] | None, typer.Option(help="A target of which log(1 + y) is predicted.")] = None,
    rings: Annotated[int, typer.Option(min=1, help="Means over 1 to so many rings.")] = 10,
    knn: Annotated[bool, typer.Option("--knn", help="Also kNN on fused vectors and the concatenation.")] = False,
    drop_one: Annotated[bool, typer.Option("--drop-one", help="Also what each modality adds to the others.")] = False,
    resample: Annotated[Resampled, typer.Option(help="What the bootstrap draws.")] = Resampled.blocks,
    min_cells: Annotated[int, typer.Option(min=9, help="Skip targets with a value at fewer cells.")] = 100,
    limit: Annotated[int, typer.Option(min=0, help="At most so many cells of a target, at random; 0: all.")] = 0,
    k: Annotated[int, typer.Option("-k", min=3, help="Folds.")] = 5,
    shuffles: Annotated[int, typer.Option(min=1, help="Repetitions with other folds.")] = 3,
    html: Annotated[bool, typer.Option(help="Write the HTML page, which needs matplotlib.")] = True,
    restart: Annotated[bool, typer.Option("--restart", help="Forget finished targets.")] = False,
    seed: Seed = 0,
    quiet: Quiet = False,
    form: Format = None,
) -> None:
    """Measure fused vectors of cells beside each modality, every fusion that learns nothing, and what coordinates tell.

    All rows stand in one table for each target. Finished targets are kept: the same command goes on from there.

    Example: placevec evaluate fusion -m tables/roads.parquet -m tables/transit.parquet -m tables/terrain.parquet
    --fused tables/fused.parquet --untrained unet=tables/untrained.parquet --targets targets.parquet -t population
    -t jobs --log1p population --log1p jobs -o results/fusion.json
    """
    import sys

    from placevec.cli.output import emit, note, progress
    from placevec.geo.boxes import parse_distance
    from placevec.tasks.evaluate_fusion import evaluate_fusion
    from placevec.tasks.evaluate_fusion_rules import FusionProtocol
    from placevec.tasks.evaluate_fusion_words import headline

    rules = FusionProtocol(
        protocol=protocol.value,
        splits=splits.value,
        block=block,
        buffer_m=None if buffer is None else parse_distance(buffer),
        k=k,
        shuffles=shuffles,
        log1p=tuple(log1p or ()),
        rings=rings,
        knn=knn,
        drop_one=drop_one,
        resample=resample.value,
        min_cells=min_cells,
        limit=limit,
        seed=seed,
    )
    with progress("fusion", quiet=quiet) as told:
        found = evaluate_fusion(
            modality,
            targets,
            target,
            fused=fused or (),
            untrained=untrained or (),
            rules=rules,
            out=out,
            html=html,
            restart=restart,
            progress=lambda name, label, done, total: told(done, total, {"": f"{name}, {label}"}),
        )
    if found.resumed:
        note(f"{found.resumed} of {len(found.targets)} targets were done before and are unchanged")
    for name, why in found.skipped.items():
        note(f"{name} was skipped: {why}")
    for line in (*found.notes, *(line for report in found.targets for line in report["said"]), *headline(found)):
        note(line)
    note(", ".join(str(path) for path in (out, out.with_suffix(".md"), *([out.with_suffix(".html")] if html else []))))
    records = found.to_records()
    if form is None and sys.stdout.isatty():
        shown = ("target", "split", "features", "metric", "mean", "sd", "low", "high", "verdict")
        records = [{name: record[name] for name in shown} for record in records]
    emit(records, form)
