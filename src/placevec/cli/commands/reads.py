"""The options by which a command line says what is read: places, and chips of a raster."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from placevec.tasks.inputs import Input

On = Annotated[str, typer.Option(help="cells (of --area), or a file: table, CSV, GeoJSON.")]
OnGrid = Annotated[
    str, typer.Option(help="cells (of --area), grid (its pixels, or those of --bbox), or a file: table, CSV, GeoJSON.")
]
Area = Annotated[Path | None, typer.Option(help="The folder of a study area.")]
Resolution = Annotated[
    str | None, typer.Option("--resolution", "-r", metavar="<int>", help="H3 resolution; by default the area's.")
]
GridResolution = Annotated[
    str | None,
    typer.Option(
        "--resolution",
        "-r",
        help="Of cells: H3, by default the area's. Of a grid: 1km, 500m, 0.01deg or 800x600; by default 1km.",
    ),
]
Lon = Annotated[str, typer.Option(help="The CSV's column of longitudes.")]
Lat = Annotated[str, typer.Option(help="The CSV's column of latitudes.")]
Id = Annotated[str | None, typer.Option(help="The column that names a row.")]
Limit = Annotated[int | None, typer.Option(min=1, help="Only the first so many places.")]
RasterName = Annotated[
    str | None, typer.Option("--raster", help="File, address or dataset:NAME (blue-marble, etopo20, earth-lights).")
]
Ground = Annotated[str | None, typer.Option(help="Side of a chip on the ground, such as 60km.")]
Pixels = Annotated[int | None, typer.Option(min=1, help="Side of a chip in pixels.")]


def cell_resolution(text: str | None) -> int | None:
    """The H3 resolution that a text says, 0 to 15; UsageError if it is none."""
    if text is None:
        return None
    from placevec.errors import UsageError

    if not text.strip().isdecimal() or int(text) > 15:
        raise UsageError(
            f"--resolution {text}: cells have an H3 resolution from 0 to 15; a length such as 1km is for --on grid"
        )
    return int(text)


def input_from(
    on: str,
    area: Path | None,
    resolution: str | None,
    lon: str,
    lat: str,
    id: str | None,
    limit: int | None,
    raster: str | None,
    ground: str | None,
    pixels: int | None,
    min_valid: float = 0.5,
) -> Input:
    """The Input that the options describe; UsageError if a raster lacks the size of its chips."""
    from placevec.errors import UsageError
    from placevec.geo.boxes import parse_near
    from placevec.tasks.inputs import Chips, Input

    chips = None
    if raster is not None:
        if ground is None or pixels is None:
            raise UsageError(
                "--raster needs --ground and --pixels: the side of a chip, such as --ground 60km --pixels 16"
            )
        chips = Chips(raster=raster, ground_m=parse_near(f"0,0,{ground}")[2], pixels=pixels, min_valid=min_valid)
    return Input(
        on=on,
        area=None if area is None else str(area),
        resolution=cell_resolution(resolution),
        lon=lon,
        lat=lat,
        id=id,
        limit=limit,
        chips=chips,
    )
