"""`placevec demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from placevec.cli.commands.options import Quiet


def command(
    area: Annotated[
        str, typer.Argument(help="iberia, a country of Natural Earth, arcadia (generated), or porto-alegre, a city.")
    ] = "iberia",
    out: Annotated[Path | None, typer.Option("--out", "-o", help="The folder; by default demo/AREA.")] = None,
    resolution: Annotated[
        int | None, typer.Option("--resolution", "-r", help="H3; by default about 2,500 cells.")
    ] = None,
    smoke: Annotated[bool, typer.Option("--smoke", help="Small settings, for a trial.")] = False,
    quiet: Quiet = False,
) -> None:
    """Make a region from imagery to a report: chips, encoders, tables, search, probes, clusters, maps.

    porto-alegre is a city instead: streets, timetables, terrain and services, fused into one vector for each hexagon.

    Without the real data (PLACEVEC_DATA) it runs on a generated country, and says so. Run again, it goes on where it
    stopped and skips what is complete.

    Example: placevec demo kenya

    Example: placevec demo porto-alegre
    """
    from placevec.cli.output import note, progress
    from placevec.tasks.demo import demo

    with progress("demo", quiet=quiet) as told:
        made = demo(
            area,
            out,
            resolution=resolution,
            smoke=smoke,
            progress=lambda step, done, total, facts: told(done, total, {"step": step, **facts}),
            note=None if quiet else note,
        )
    note("")
    note(f"The report: {made.report}")
    note("Look further:")
    for line in made.further:
        note(f"  {line}")
