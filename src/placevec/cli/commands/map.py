"""`placevec map`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from placevec.cli.commands.options import Bbox, Near, Out, Where, Within


class Scheme(StrEnum):
    """How principal components become colours."""

    rgb = "rgb"
    opponent = "opponent"


class Scale(StrEnum):
    """How values are spread over the colours."""

    linear = "linear"
    log = "log"


class Projection(StrEnum):
    """What the figure is drawn in."""

    equal_area = "equal-area"
    lonlat = "lonlat"
    mercator = "mercator"


def command(
    tables: Annotated[
        list[Path],
        typer.Argument(help="Tables, and grids (.tif); for pca they share one basis.", show_default=False),
    ],
    out: Out,
    by: Annotated[
        str | None,
        typer.Option(
            help="pca, similarity, or the name of a column (of a grid: a component); by default pca, or "
            "similarity where an example is given."
        ),
    ] = None,
    like: Annotated[
        list[str] | None,
        typer.Option(
            help="Id whose likeness is shown, or several: ID,ID or repeated; of a grid ROW,COLUMN of a pixel."
        ),
    ] = None,
    unlike: Annotated[list[str] | None, typer.Option(help="Id of a bad example, or several.")] = None,
    at: Annotated[str | None, typer.Option(help="LON,LAT: like the nearest row or pixel.")] = None,
    coverage: Annotated[
        float | None,
        typer.Option(help="Show the best-matching share of the area alone, such as 0.1; cells count by their area."),
    ] = None,
    bbox: Bbox = None,
    near: Near = None,
    within: Within = None,
    where: Where = None,
    area: Annotated[
        Path | None, typer.Option(help="A study area whose boundary is drawn; of similarity the region too.")
    ] = None,
    title: Annotated[str | None, typer.Option(help="Title of the map.")] = None,
    units: Annotated[str, typer.Option(help="Units of the column; by default what its name ends in (bank_m).")] = "",
    scale: Annotated[Scale, typer.Option(help="log shows skewed values, such as a support.")] = Scale.linear,
    scheme: Annotated[Scheme, typer.Option(help="opponent is readable with any colour vision.")] = Scheme.rgb,
    projection: Annotated[Projection, typer.Option(help="Of the figure.")] = Projection.equal_area,
    basis: Annotated[
        Path | None,
        typer.Option(
            help="JSON of a colour basis to use; written if absent. One of another model is what the new colours are "
            "turned towards."
        ),
    ] = None,
    align: Annotated[
        Path | None,
        typer.Option(help="A table or grid of an older model: the new colours are turned towards its colours."),
    ] = None,
    geotiff: Annotated[bool, typer.Option(help="Write a GeoTIFF beside the PNG.")] = True,
    layer: Annotated[
        Path | None,
        typer.Option(help="Of similarity: write the scores too, as .geojson, .parquet, .pmtiles, .gpkg, .fgb or .csv."),
    ] = None,
    width: Annotated[int, typer.Option(min=100, max=20_000, help="Pixels of the longer side.")] = 1600,
) -> None:
    """Draw tables and grids: their vectors as colours, a column, or the likeness to places.

    --bbox, --near, --within and --where say which part of a table is drawn; the examples may lie elsewhere.

    Example: placevec map demo/iberia/tables/image.parquet demo/iberia/tables/location.parquet -o map.png

    Example: placevec map cells.parquet -o like.png --at=-3.7,40.4 --near=-3.7,40.4,200km --coverage 0.1
    """
    from placevec.cli.commands.options import filter_from, lonlat_from
    from placevec.cli.output import note
    from placevec.tasks.map import map_tables

    drawn = map_tables(
        tables,
        out,
        by=by or ("similarity" if like or unlike or at or coverage is not None else "pca"),
        like=like,
        unlike=unlike,
        at=lonlat_from(at),
        filter=filter_from(bbox, near, within, where),
        coverage=coverage,
        area=area,
        title=title,
        units=units,
        scale=scale.value,
        scheme=scheme.value,
        projection=projection.value,
        basis=basis,
        align=align,
        geotiff=geotiff,
        layer=layer,
        width=width,
    )
    for one in drawn:
        hidden = f"; {one.hidden:,} are smaller than a pixel" if one.hidden else ""
        left_out = f"; {one.unlocated:,} rows without a place of their own" if one.unlocated else ""
        note(f"{one.png}: {one.rows:,} {one.noun}{left_out}{hidden}")
        for remark in one.said:
            note(f"  {remark}")
