"""`placevec evaluate evidence`, which the group of `evaluate` registers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from placevec.cli.commands.options import Format, Quiet, Seed


def command(
    captions: Annotated[str, typer.Argument(help="Images with classes: a caption file or folder, or dataset:ucm.")],
    model: Annotated[str, typer.Option(help="Folder of a pair of towers, or hf:NAME.", show_default=False)],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="A JSON file.")] = None,
    images: Annotated[Path | None, typer.Option(help="Folder of the images, where it is not beside the file.")] = None,
    split: Annotated[str, typer.Option(help="The split whose tiles are joined.")] = "test",
    names: Annotated[Path | None, typer.Option(help="Words of the classes: LABEL,WORDS lines, or JSON.")] = None,
    method: Annotated[
        list[str] | None, typer.Option("--method", help="dense, dense-parts, dense-shrunk, crops, grid, grid-4x4.")
    ] = None,
    side: Annotated[
        list[int] | None, typer.Option("--side", min=2, help="Cells on a side; by default 2, 3, 4.")
    ] = None,
    count: Annotated[int, typer.Option(min=1, help="Mosaics of each side.")] = 30,
    tile: Annotated[int, typer.Option(min=8, help="Pixels on the side of a cell.")] = 256,
    cut: Annotated[
        float, typer.Option(min=0, max=0.99, help="Share of a cell cut away at the edges, so that no grid fits.")
    ] = 0.5,
    seed: Seed = 0,
    quiet: Quiet = False,
    form: Format = None,
) -> None:
    """Measure which evidence points at the right place, by mosaics of tiles of known class.

    Chance is one in as many as a mosaic has cells; intervals are bootstrapped over mosaics.

    Example: placevec evaluate evidence dataset:ucm --model models/ucm -o results/evidence.json
    """
    import json
    import sys

    from placevec.cli.output import emit, note, progress
    from placevec.files import write_text
    from placevec.tasks.evaluate_evidence import evaluate_captions
    from placevec.tasks.explain_mosaics import Plan

    plan = Plan(sides=tuple(side or (2, 3, 4)), count=count, tile=tile, cut=cut, seed=seed)
    with progress("evidence", quiet=quiet) as told:
        found = evaluate_captions(
            captions,
            model,
            images=images,
            split=split,
            names=names,
            methods=method or None,
            plan=plan,
            progress=lambda done, total: told(done, total, {}),
        )
    for line in found.notes:
        note(line)
    if out is not None:
        write_text(out, json.dumps(found.to_json(), indent=1, allow_nan=False) + "\n")
        note(str(out))
    records: list[dict[str, object]] = list(found.records)
    if form is None and sys.stdout.isatty():
        shown = ("side", "method", "pointing", "pointing_low", "pointing_high", "chance", "pixel_ap", "time_ratio")
        records = [{**{name: one[name] for name in shown}, "outcome": one.get("outcome")} for one in records]
    emit(records, form)
