"""`placevec area stencil`."""

from __future__ import annotations

from typing import Annotated

import typer

from placevec.cli.commands import reads
from placevec.cli.commands.options import Format, Out, Quiet


def command(
    out: Out,
    target: Annotated[
        str, typer.Argument(help="The folder of a study area, land, or a file of polygons.", metavar="[AREA|land|FILE]")
    ] = "land",
    resolution: reads.Resolution = None,
    quiet: Quiet = False,
    form: Format = None,
) -> None:
    """Write the H3 cells of an area, of all land or of a file of polygons, as a file of places in parts.

    Every cell that shares any point with it is there, so that the smallest island is; the column land says whether a
    cell lies in it as a whole or in part. No more than a part is in memory, whatever the resolution.

    Example: placevec area stencil land --resolution 5 -o land-r5.parquet

    Example: placevec area stencil demo/iberia --resolution 8 -o iberia-r8.parquet
    """
    from placevec.cli.output import emit, progress
    from placevec.tasks.stencil import make_stencil

    with progress("stencil", quiet=quiet) as told:
        made = make_stencil(target, out, resolution=reads.cell_resolution(resolution), progress=told)
    emit([made.to_record()], form)
