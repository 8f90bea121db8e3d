"""`placevec map`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from placevec.cli.commands.options import Out


class Scheme(StrEnum):
    """How principal components become colours."""

    rgb = "rgb"
    opponent = "opponent"


def command(
    tables: Annotated[list[Path], typer.Argument(help="Tables; for pca they share one basis.", show_default=False)],
    out: Out,
    by: Annotated[str, typer.Option(help="pca, similarity, or the name of a column.")] = "pca",
    like: Annotated[str | None, typer.Option(help="With --by similarity: the id whose likeness is shown.")] = None,
    area: Annotated[Path | None, typer.Option(help="A study area whose boundary is drawn.")] = None,
    title: Annotated[str | None, typer.Option(help="Title of the map.")] = None,
    units: Annotated[str, typer.Option(help="Units of the column.")] = "",
    scheme: Annotated[Scheme, typer.Option(help="opponent is readable with any colour vision.")] = Scheme.rgb,
    basis: Annotated[Path | None, typer.Option(help="JSON of a colour basis to use; written if absent.")] = None,
    geotiff: Annotated[bool, typer.Option(help="Write a GeoTIFF beside the PNG.")] = True,
    width: Annotated[int, typer.Option(min=100, max=20_000, help="Pixels of the longer side.")] = 1600,
) -> None:
    """Draw a table: its vectors as colours, a column, or the likeness to one place.

    Example: placevec map demo/iberia/tables/image.parquet demo/iberia/tables/location.parquet -o map.png
    """
    from placevec.cli.output import note
    from placevec.tasks.map import map_tables

    drawn = map_tables(
        tables,
        out,
        by=by,
        like=like,
        area=area,
        title=title,
        units=units,
        scheme=scheme.value,
        basis=basis,
        geotiff=geotiff,
        width=width,
    )
    for one in drawn:
        hidden = f"; {one.hidden:,} are smaller than a pixel" if one.hidden else ""
        left_out = f"; {one.unlocated:,} rows without a place of their own" if one.unlocated else ""
        note(f"{one.png}: {one.rows:,} places{left_out}{hidden}")
