"""`placevec fuse`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from placevec.cli.commands import reads
from placevec.cli.commands.options import Format, Out, Quiet, Seed


def command(
    out: Out,
    model: Annotated[
        Path | None, typer.Argument(help="A fuser that `placevec train fuse` wrote.", show_default=False)
    ] = None,
    modality: reads.Modalities = None,
    method: Annotated[
        str | None,
        typer.Option(help="Without a model: concat, pca:DIMS, rings:K, ring-stack:K, each also with +rbf."),
    ] = None,
    graph: reads.Graphs = None,
    cones: Annotated[
        int | None,
        typer.Option(min=0, max=15, help="H3 resolution: go cone by cone below its cells, in little memory."),
    ] = None,
    halo: Annotated[
        int | None,
        typer.Option(min=0, help="Rings of coarse cells around a cone; by default all that it depends on."),
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda or mps.")] = "cpu",
    restart: Annotated[bool, typer.Option("--restart", help="Forget the cones that are done.")] = False,
    seed: Seed = 0,
    quiet: Quiet = False,
    form: Format = None,
) -> None:
    """Fuse tables of modalities on the same hexagons into one vector for each hexagon.

    A cell that lacks a modality is fused from the others. Killed with --cones, the same command goes on.

    Example: placevec fuse models/fuser -m roads=roads.parquet -m transit=transit.parquet -o fused.parquet

    Example: placevec fuse --method ring-stack:1 -m roads=roads.parquet -m poi=poi.parquet -o plain.parquet
    """
    from placevec.cli.output import emit, note, progress
    from placevec.tasks.fuse import fuse

    with progress("fuse", quiet=quiet) as told:
        made = fuse(
            reads.modalities_from(modality),
            out,
            model=model,
            method=method,
            graphs=graph or [],
            cone_resolution=cones,
            halo=halo,
            device=device,
            restart=restart,
            seed=seed,
            told=lambda what, done, total: told(done, total, {"of": what}),
        )
    for name, count in made.absent.items():
        note(f"no {name} in {count:,} of {made.rows:,} cells, fused from the rest")
    emit([made.to_record()], form)
