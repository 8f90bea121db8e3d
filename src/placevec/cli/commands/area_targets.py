"""`placevec area targets`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from placevec.cli.commands import reads
from placevec.cli.commands.options import Format


class RowKind(StrEnum):
    """What the rows of a file are about."""

    h3 = "h3"
    points = "points"
    polygons = "polygons"


class Spread(StrEnum):
    """Over which cells a sum of a coarser cell is spread."""

    children = "children"
    area = "area"


def command(
    file: Annotated[
        Path, typer.Argument(help="CSV, Parquet, GeoJSON, GeoPackage, Shapefile, FlatGeobuf.", show_default=False)
    ],
    area: Annotated[Path | None, typer.Option(help="The study area; by default the cells of the file.")] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="A .parquet; by default tables/targets.parquet of the area.")
    ] = None,
    resolution: reads.Resolution = None,
    kind: Annotated[RowKind | None, typer.Option(help="What rows are about; found out if not said.")] = None,
    key: Annotated[str | None, typer.Option(help="The column of H3 cells.")] = None,
    lon: Annotated[str | None, typer.Option(help="The column of longitudes, or of x.")] = None,
    lat: Annotated[str | None, typer.Option(help="The column of latitudes, or of y.")] = None,
    geometry: Annotated[str | None, typer.Option(help="The column of geometries.")] = None,
    crs: Annotated[str | None, typer.Option(help="Where the file does not say it, such as EPSG:28992.")] = None,
    column: Annotated[list[str] | None, typer.Option("--column", "-t", help="Only these; may be repeated.")] = None,
    how: Annotated[
        list[str] | None, typer.Option(help="sum or mean for all columns, or COLUMN=sum; may be repeated.")
    ] = None,
    land: Annotated[
        Spread, typer.Option(help="Sums of coarser cells go to all their children, or to those that the area has.")
    ] = Spread.children,
    zeros: Annotated[bool, typer.Option("--zeros", help="Of points: a cell without any has 0, not nothing.")] = False,
    min_cover: Annotated[
        float, typer.Option(min=0, max=1, help="Of polygons: the least share of a cell that they cover.")
    ] = 0.0,
    complete: Annotated[
        bool, typer.Option("--complete", help="Only cells of which every column of the file is known.")
    ] = False,
    form: Format = None,
) -> None:
    """Bring values of H3 cells, of points or of polygons to the cells of an area, as targets to be probed.

    Columns of other cells are summed or averaged up and spread down; points are counted, summed and averaged in their
    cells; polygons are split or averaged by the area that they share with a cell. Cells of which nothing is known have
    no row, and rows that cannot be read are counted.

    Example: placevec area targets poa_hexgrid.csv --area porto-alegre

    Example: placevec area targets leefbaarometer.gpkg --area netherlands -t lbm -t afw --how mean
    """
    from placevec.cli.output import emit, note
    from placevec.tasks.targets import import_targets, parse_how

    made = import_targets(
        file,
        out,
        area=area,
        resolution=reads.cell_resolution(resolution),
        kind=None if kind is None else kind.value,
        key=key,
        lon=lon,
        lat=lat,
        geometry=geometry,
        crs=crs,
        columns=column or (),
        how=parse_how(how or []),
        land=land.value,
        zeros=zeros,
        min_cover=min_cover,
        complete=complete,
    )
    for text in made.notes:
        note(text)
    emit([{name: value for name, value in made.to_record().items() if name != "notes"}], form)
