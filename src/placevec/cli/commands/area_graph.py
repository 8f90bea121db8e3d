"""`placevec area graph`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from placevec.cli.commands import reads
from placevec.cli.commands.options import Format, Quiet


class Mode(StrEnum):
    """How one moves."""

    walk = "walk"
    bike = "bike"
    drive = "drive"


def command(
    area: Annotated[Path, typer.Argument(help="The folder of a study area.", show_default=False, metavar="AREA")],
    osm: Annotated[Path, typer.Option(help="An OpenStreetMap file: .osm.pbf, .osm, .osm.gz.")],
    mode: Annotated[Mode, typer.Option(help="How one moves.")] = Mode.walk,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="A Parquet file; by default graphs/MODE.parquet of the area.")
    ] = None,
    resolution: reads.Resolution = None,
    mass: Annotated[
        Path | None, typer.Option(help="What waits in a cell: a file of places (table, CSV, GeoJSON); by default 1.")
    ] = None,
    mass_column: Annotated[
        str | None, typer.Option(help="The column of --mass that is summed; without it places are counted.")
    ] = None,
    lon: reads.Lon = "lon",
    lat: reads.Lat = "lat",
    beta: Annotated[
        float | None,
        typer.Option(min=0, help="How fast weights fall, per second; .002 on foot, .0012 by bike, .0008 by car."),
    ] = None,
    quiet: Quiet = False,
    form: Format = None,
) -> None:
    """Write the accessibility graph of an area: edges between neighbouring cells that a road joins.

    An edge takes the distance of the centres at the speed of the fastest road that crosses the border, and has the
    weight exp(-beta seconds) times what waits at its end. Cells that no road joins stay, without an edge.

    Example: placevec area graph porto-alegre --osm poa_osm.pbf --mode walk

    Example: placevec area graph porto-alegre --osm poa_osm.pbf --mode bike --mass jobs.csv --mass-column jobs -o
    bike.parquet
    """
    from placevec.cli.output import emit, note, progress
    from placevec.tasks.area_graph import area_graph

    with progress("graph", quiet=quiet) as told:
        made = area_graph(
            area,
            osm,
            mode=mode.value,
            out=out,
            resolution=reads.cell_resolution(resolution),
            mass=mass,
            mass_column=mass_column,
            lon=lon,
            lat=lat,
            beta=beta,
            told=lambda what, done, total: told(done, total, {"": what}),
        )
    for line in made.notes:
        note(line)
    emit([made.to_record()], form)
