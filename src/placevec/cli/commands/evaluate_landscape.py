"""`placevec evaluate landscape`, which the group of `evaluate` registers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from placevec.cli.commands.options import Format, Probes, Quiet, Seed, estimators_of


def command(
    tables: Annotated[
        list[str] | None, typer.Argument(help="Tables of the same patches; NAME= may stand before.", show_default=False)
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="A JSON file; .md beside it.")] = None,
    patches: Annotated[
        Path | None, typer.Option(help="Patch set: signatures are counted and targets measured on it.")
    ] = None,
    untrained: Annotated[list[str] | None, typer.Option(help="NAME=TABLE of an untrained network.")] = None,
    masked: Annotated[
        list[str] | None, typer.Option(help="NAME=TABLE of a model on patches with masked centres.")
    ] = None,
    untrained_masked: Annotated[list[str] | None, typer.Option(help="The same of an untrained network.")] = None,
    target: Annotated[
        list[str] | None,
        typer.Option("--target", "-t", help="LAYER:mean, :sd, :range or :centre, or a column; may be repeated."),
    ] = None,
    signature: Annotated[
        list[str] | None, typer.Option(help="Layer that signatures count; by default all of classes.")
    ] = None,
    neighbours: Annotated[int, typer.Option(help="Of a pixel in co-occurrence: 4 or 8.")] = 4,
    mask: Annotated[int | None, typer.Option(min=1, help="Side of the masked centre, in pixels.")] = None,
    block: Annotated[
        str | None, typer.Option(help="Blocks such as h3:6; by default from the footprint's diagonal.")
    ] = None,
    buffer: Annotated[
        str | None, typer.Option(help="Around test rows, such as 4km; by default the footprint's diagonal.")
    ] = None,
    exclude: Annotated[
        str | None,
        typer.Option(help="Candidates nearer to an anchor are left out; by default the footprint's diagonal."),
    ] = None,
    where: Annotated[str | None, typer.Option(help="Which anchors are tested, such as \"split == 'test'\".")] = None,
    unseen: Annotated[bool, typer.Option("--unseen", help="Only pairs that nothing was trained on.")] = False,
    pairs: Annotated[int, typer.Option(min=2, help="At most so many pairs, at random.")] = 5000,
    limit: Annotated[int, typer.Option(min=15, help="At most so many rows are probed, at random.")] = 3000,
    probes: Probes = None,
    k: Annotated[int, typer.Option("-k", min=3, help="Folds.")] = 5,
    shuffles: Annotated[int, typer.Option(min=1, help="Repetitions with other folds.")] = 3,
    seed: Seed = 0,
    quiet: Quiet = False,
    form: Format = None,
) -> None:
    """Measure representations of landscape: neighbours found, and probes of what the input does not hold.

    Class fractions and co-occurrence signatures are counted on the patches, as baselines that learn nothing.

    Example: placevec evaluate landscape ours=tables/pairs.parquet --untrained ours=tables/untrained.parquet
    --patches zion.patches --block h3:6 -o results/landscape.json
    """
    from placevec.cli.output import emit, note, progress
    from placevec.geo.boxes import parse_distance
    from placevec.tasks.evaluate_landscape import LandscapeRules, evaluate_landscape

    def metres(text: str | None) -> float | None:
        return None if text is None else parse_distance(text)

    rules = LandscapeRules(
        block=block,
        buffer_m=metres(buffer),
        exclude_m=metres(exclude),
        where=where,
        unseen=unseen,
        pairs=pairs,
        limit=limit,
        estimators=estimators_of(probes),
        k=k,
        shuffles=shuffles,
        seed=seed,
    )
    with progress("landscape", quiet=quiet) as told:
        found = evaluate_landscape(
            tables or (),
            untrained=untrained or (),
            masked=masked or (),
            untrained_masked=untrained_masked or (),
            patches=patches,
            targets=target or None,
            signature_layers=signature or None,
            neighbours=neighbours,
            mask_pixels=mask,
            rules=rules,
            out=out,
            progress=lambda label, done, total: told(done, total, {"": label}),
        )
    for line in (*found.notes, *found.headline()):
        note(line)
    if out is not None:
        note(f"{out}, {out.with_suffix('.md')}")
    emit(found.to_records(), form)
