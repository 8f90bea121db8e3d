"""`placevec import`."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from placevec.cli.commands.options import Bbox, Format, Out, Quiet


class Storage(StrEnum):
    """How a component is stored."""

    float32 = "float32"
    float16 = "float16"
    int8 = "int8"


class Order(StrEnum):
    """The order of rows in the table written."""

    auto = "auto"
    hilbert = "hilbert"
    keep = "keep"


def command(
    files: Annotated[list[str], typer.Argument(help="Files or patterns.", show_default=False)],
    out: Out,
    crs: Annotated[str | None, typer.Option(help="Of the coordinates, such as EPSG:25830.")] = None,
    space: Annotated[str | None, typer.Option(help="Name of the Space; you vouch that it is one.")] = None,
    id: Annotated[str | None, typer.Option(help="Column of ids.")] = None,
    lon: Annotated[str | None, typer.Option(help="Column of longitudes (or x in --crs).")] = None,
    lat: Annotated[str | None, typer.Option(help="Column of latitudes (or y in --crs).")] = None,
    geometry: Annotated[str | None, typer.Option(help="Column of geometries.")] = None,
    vector: Annotated[str | None, typer.Option(help="Column of vectors (Parquet).")] = None,
    prefix: Annotated[str, typer.Option(help="What names of component columns begin with (CSV).")] = "dim_",
    dtype: Annotated[Storage | None, typer.Option(help="How vectors are stored.")] = None,
    cells: Annotated[str | None, typer.Option(help="Rasters: take the mean of each cell, such as h3:9.")] = None,
    bbox: Bbox = None,
    order: Annotated[Order, typer.Option(help="Of rows; keep needs little memory.")] = Order.auto,
    quiet: Quiet = False,
    form: Format = None,
) -> None:
    """Bring foreign tables in as one table: CSV with dim_0 … dim_n, GeoParquet 1.0 to 2.0, AlphaEarth rasters.

    The table is written whole or not at all; what was found, dropped or mended is said on stderr.

    Example: placevec import 'runs/*.csv' --crs EPSG:25830 -o spain.parquet
    """
    from placevec.cli.output import emit, note, progress
    from placevec.geo.boxes import parse_bbox
    from placevec.geo.cells import parse_cells
    from placevec.tasks.import_ import import_tables

    with progress("import", quiet=quiet) as told:
        summary = import_tables(
            files,
            out,
            order=order.value,
            progress=lambda done, total: told(done, total, {}),
            crs=crs,
            space=space,
            id=id,
            lon=lon,
            lat=lat,
            geometry=geometry,
            vector=vector,
            prefix=prefix,
            dtype=None if dtype is None else dtype.value,
            cells=None if cells is None else parse_cells(cells),
            bbox=None if bbox is None else parse_bbox(bbox),
        )
    for text in summary.pop("notes"):
        note(text)
    emit([summary], form)
