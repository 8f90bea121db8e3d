"""`placevec export`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from placevec.cli.commands.options import Bbox, Format, Near, Out, Quiet, TablePath, Where, Within


class Geometry(StrEnum):
    """What stands for a place."""

    stored = "stored"
    point = "point"
    cell = "cell"


class Projection(StrEnum):
    """What a raster is in."""

    lonlat = "lonlat"
    mercator = "mercator"
    equal_area = "equal-area"


def command(
    table: TablePath,
    out: Out,
    to: Annotated[
        str | None,
        typer.Option(
            help="parquet, lance, csv, geojson, stac, flatgeobuf, geopackage, cog, pmtiles, mvt, npy, safetensors, "
            "torch; by default from the name."
        ),
    ] = None,
    geometry: Annotated[Geometry, typer.Option(help="cell makes outlines of H3 cells.")] = Geometry.stored,
    vectors: Annotated[bool | None, typer.Option(help="Write vectors; by default in CSV, not in GeoJSON.")] = None,
    column: Annotated[
        list[str] | None,
        typer.Option("--column", "--columns", help="An attribute to write, or several: A,B; all by default."),
    ] = None,
    pixel: Annotated[
        str | None, typer.Option(help="Of a raster: side of a pixel, such as 100m; by default a third of a cell.")
    ] = None,
    projection: Annotated[Projection, typer.Option(help="Of a raster.")] = Projection.lonlat,
    layer: Annotated[str | None, typer.Option(help="Of tiles: name of the layer; by default that of the file.")] = None,
    bbox: Bbox = None,
    near: Near = None,
    within: Within = None,
    where: Where = None,
    form: Format = None,
    quiet: Quiet = False,
) -> None:
    """Hand a table on to other programs: GeoParquet, CSV, GeoJSON, Lance, STAC, rasters, web map tiles, arrays.

    A name ending in .tif makes a Cloud Optimized GeoTIFF of the attributes, .pmtiles one file of vector tiles, .mvt a
    folder of them: the cells where they are large enough to be seen, their H3 parents further out.

    The arrays npy, safetensors and torch hold vectors, ids and coordinates; a grid (.tif) goes to npy alone.

    Example: placevec export demo/iberia/tables/image.parquet -o image.geojson --geometry cell

    Example: placevec export change.parquet -o change.pmtiles --columns change,changed
    """
    from placevec.cli.commands.options import filter_from
    from placevec.cli.output import emit, progress
    from placevec.geo.boxes import parse_distance
    from placevec.tasks.export import export_table

    with progress("export", quiet=quiet) as told:
        summary = export_table(
            table,
            Path(out),
            form=to,
            geometry=geometry.value,
            vectors=vectors,
            filter=filter_from(bbox, near, within, where),
            columns=[name.strip() for part in column for name in part.split(",")] if column else None,
            pixel_m=None if pixel is None else parse_distance(pixel),
            projection=projection.value,
            layer=layer,
            progress=told,
        )
    emit([summary], form)
