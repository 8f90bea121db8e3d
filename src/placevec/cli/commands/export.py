"""`placevec export`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from placevec.cli.commands.options import Bbox, Format, Near, Out, TablePath, Where, Within


class Geometry(StrEnum):
    """What stands for a place."""

    stored = "stored"
    point = "point"
    cell = "cell"


def command(
    table: TablePath,
    out: Out,
    to: Annotated[
        str | None,
        typer.Option(
            help="parquet, lance, csv, geojson, stac, flatgeobuf, geopackage, npy, safetensors, torch; by default from "
            "the name."
        ),
    ] = None,
    geometry: Annotated[Geometry, typer.Option(help="cell makes outlines of H3 cells.")] = Geometry.stored,
    vectors: Annotated[bool | None, typer.Option(help="Write vectors; by default in CSV, not in GeoJSON.")] = None,
    column: Annotated[list[str] | None, typer.Option(help="An attribute to write; all by default.")] = None,
    bbox: Bbox = None,
    near: Near = None,
    within: Within = None,
    where: Where = None,
    form: Format = None,
) -> None:
    """Hand a table on to other programs: GeoParquet, CSV, GeoJSON, Lance, STAC, FlatGeobuf, GeoPackage, arrays.

    The arrays npy, safetensors and torch hold vectors, ids and coordinates; a grid (.tif) goes to npy alone.

    Example: placevec export demo/iberia/tables/image.parquet -o image.geojson --geometry cell
    """
    from placevec.cli.commands.options import filter_from
    from placevec.cli.output import emit
    from placevec.tasks.export import export_table

    summary = export_table(
        table,
        Path(out),
        form=to,
        geometry=geometry.value,
        vectors=vectors,
        filter=filter_from(bbox, near, within, where),
        columns=column or None,
    )
    emit([summary], form)
