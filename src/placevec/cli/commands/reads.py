"""The options by which a command line says what is read: places, and chips of a raster."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from placevec.tasks.inputs import Input

On = Annotated[str, typer.Option(help="cells (of --area), or a file: table, CSV, GeoJSON.")]
Area = Annotated[Path | None, typer.Option(help="The folder of a study area.")]
Resolution = Annotated[int | None, typer.Option("--resolution", "-r", help="H3 resolution; by default the area's.")]
Lon = Annotated[str, typer.Option(help="The CSV's column of longitudes.")]
Lat = Annotated[str, typer.Option(help="The CSV's column of latitudes.")]
Id = Annotated[str | None, typer.Option(help="The column that names a row.")]
Limit = Annotated[int | None, typer.Option(min=1, help="Only the first so many places.")]
RasterName = Annotated[
    str | None, typer.Option("--raster", help="File, address or dataset:NAME (blue-marble, etopo20, earth-lights).")
]
Ground = Annotated[str | None, typer.Option(help="Side of a chip on the ground, such as 60km.")]
Pixels = Annotated[int | None, typer.Option(min=1, help="Side of a chip in pixels.")]


def input_from(
    on: str,
    area: Path | None,
    resolution: int | None,
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
        resolution=resolution,
        lon=lon,
        lat=lat,
        id=id,
        limit=limit,
        chips=chips,
    )
