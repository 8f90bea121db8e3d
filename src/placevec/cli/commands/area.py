"""`placevec area`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from placevec.cli.commands.options import Format

app = typer.Typer(no_args_is_help=True, help="Make a study area: a region with its own folder.")


@app.command("new")
def new(
    name: Annotated[str, typer.Argument(help="What it is called.", show_default=False)],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Its folder; by default its name.")] = None,
    boundary: Annotated[Path | None, typer.Option(help="A GeoJSON file with a polygon (lon, lat).")] = None,
    country: Annotated[str | None, typer.Option(help="A country of Natural Earth, or several: Spain+Portugal.")] = None,
    bbox: Annotated[str | None, typer.Option(help="WEST,SOUTH,EAST,NORTH in degrees.")] = None,
    resolution: Annotated[list[int] | None, typer.Option("--resolution", "-r", help="H3; by default 6.")] = None,
) -> None:
    """Make a study area from a boundary, a country or a box.

    Without any of them NAME is looked up among the countries.

    Example: placevec area new iberia --country Spain+Portugal --resolution 5
    """
    from placevec.cli.output import note
    from placevec.tasks.area import new_area

    area = new_area(
        name, out or Path(name), boundary=boundary, country=country, bbox=bbox, resolutions=resolution or [6]
    )
    note(f"{area.folder}: {area.area_km2:,.0f} km², {len(area.cells()):,} cells of resolution {area.resolution}")


@app.command("info")
def info(
    folder: Annotated[Path, typer.Argument(help="The folder of a study area.", show_default=False)],
    form: Format = None,
) -> None:
    """Say what a study area is and what its folder holds.

    Example: placevec area info demo/iberia
    """
    from placevec.cli.commands.info import command

    command([folder], form)
