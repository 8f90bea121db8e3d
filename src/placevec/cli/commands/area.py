"""`placevec area`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from placevec.cli.commands import (
    area_features,
    area_geocells,
    area_graph,
    area_patches,
    area_stencil,
    area_targets,
    reads,
)
from placevec.cli.commands.options import Format, Quiet, Seed

app = typer.Typer(no_args_is_help=True, help="Make a study area: a region with its own folder, and words for it.")
app.command("stencil")(area_stencil.command)
app.command("patches")(area_patches.command)
app.command("geocells")(area_geocells.command)
app.command("graph")(area_graph.command)
app.add_typer(area_features.app, name="features")
app.command("targets")(area_targets.command)


@app.command("new")
def new(
    name: Annotated[str, typer.Argument(help="What it is called.", show_default=False)],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Its folder; by default its name.")] = None,
    boundary: Annotated[Path | None, typer.Option(help="A GeoJSON file with a polygon (lon, lat).")] = None,
    country: Annotated[str | None, typer.Option(help="A country of Natural Earth, or several: Spain+Portugal.")] = None,
    bbox: Annotated[str | None, typer.Option(help="WEST,SOUTH,EAST,NORTH in degrees.")] = None,
    cells: Annotated[
        Path | None, typer.Option(help="A CSV or Parquet with a column of H3 cells: the area is those.")
    ] = None,
    resolution: Annotated[
        list[int] | None,
        typer.Option("--resolution", "-r", help="H3; by default 6, or that of --cells; several: the main one first."),
    ] = None,
) -> None:
    """Make a study area from a boundary, a country, a box or a list of cells.

    Without any of them NAME is looked up among the countries.

    Example: placevec area new iberia --country Spain+Portugal --resolution 5

    Example: placevec area new porto-alegre --cells poa_hexgrid.csv -r 9 -r 8 -r 7
    """
    from placevec.cli.output import note
    from placevec.tasks.area import new_area

    area = new_area(
        name, out or Path(name), boundary=boundary, country=country, bbox=bbox, cells=cells, resolutions=resolution
    )
    size = f"{area.area_km2:,.0f}" if area.area_km2 >= 10 else f"{area.area_km2:.3g}"
    count = len(area.cells())
    cell = "cell" if count == 1 else "cells"
    note(f"{area.folder}: {size} km², {count:,} {cell} of resolution {area.resolution}")


@app.command("info")
def info(
    folder: Annotated[Path, typer.Argument(help="The folder of a study area.", show_default=False)],
    form: Format = None,
) -> None:
    """Say what a study area is, how far it is, what is stale, and which command comes next.

    Example: placevec area info demo/iberia
    """
    import sys

    from placevec.cli.output import Form, emit, note
    from placevec.tasks.area_status import STAGES, area_status
    from placevec.tasks.info import info

    facts, items = info(folder), [item.to_record() for item in area_status(folder)]
    if form not in (None, Form.table) or (form is None and not sys.stdout.isatty()):
        emit([{**facts, "stages": items}], form)
        return
    told = [{"what": name, "is": value} for name, value in facts.items() if name not in STAGES and name != "tables"]
    emit(told, Form.table, title=facts["path"])
    emit(
        [{name: item[name] for name in ("stage", "name", "state", "rows", "absent", "why")} for item in items],
        Form.table,
    )
    for item in items:
        if item["next"]:
            note(f"next, {item['stage']}: {item['next']}")


@app.command("captions")
def captions(
    folder: Annotated[
        Path | None, typer.Argument(help="The folder of a study area: its cells are the tiles.", show_default=False)
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="A Parquet file; with --raster a folder. By default in the area's folder."),
    ] = None,
    osm: Annotated[Path | None, typer.Option(help="An OpenStreetMap file: .osm.pbf, .osm, .osm.gz.")] = None,
    cover: Annotated[str | None, typer.Option(help="A raster of land-cover classes.")] = None,
    classes: Annotated[
        str | None, typer.Option(help="What its values stand for: nlcd, worldcover, or a JSON file.")
    ] = None,
    ground: Annotated[
        str | None, typer.Option(help="Side of a tile, such as 500m; by default tiles are the cells themselves.")
    ] = None,
    raster: Annotated[
        str | None, typer.Option(help="File, address or dataset:NAME: pictures are cut from it, ready for training.")
    ] = None,
    pixels: Annotated[int | None, typer.Option(min=8, help="Side of a picture; 64.")] = None,
    bands: Annotated[
        str | None, typer.Option(help="Bands of --raster that are red, green and blue, such as 4,3,2.")
    ] = None,
    stretch: Annotated[
        str, typer.Option(help="How more than 8 bits become 8: auto, joint, bands, none, or LOW,HIGH.")
    ] = "auto",
    on: Annotated[str, typer.Option(help="cells, or a file of places: table, CSV, GeoJSON.")] = "cells",
    resolution: reads.Resolution = None,
    lon: reads.Lon = "lon",
    lat: reads.Lat = "lat",
    id: reads.Id = None,
    limit: reads.Limit = None,
    count: Annotated[int, typer.Option(min=1, help="Captions of a tile; fewer where little is known.")] = 5,
    seed: Seed = 0,
    quiet: Quiet = False,
    form: Format = None,
) -> None:
    """Describe the tiles of a region in sentences, from OpenStreetMap and land cover.

    With --raster the pictures stand beside the captions, ready for `placevec train image-text --captions FOLDER`.

    Example: placevec area captions demo/zion --cover nlcd2011.tif --classes nlcd --ground 2km -o captions.parquet

    Example: placevec area captions poa --osm poa.osm.pbf --raster s2.tif --ground 500m -o poa/captions
    """
    from placevec.cli.output import emit, note, progress
    from placevec.errors import UsageError
    from placevec.geo.boxes import parse_distance
    from placevec.tasks.area_captions import area_captions

    if out is None and folder is None:
        raise UsageError("where shall the captions go? give --out, or the folder of a study area")
    goal = out or (folder or Path()) / ("captions" if raster is not None else "captions.parquet")
    with progress("captions", quiet=quiet) as told:
        made = area_captions(
            goal,
            area=folder,
            on=on,
            resolution=reads.cell_resolution(resolution),
            lon=lon,
            lat=lat,
            id=id,
            limit=limit,
            osm=osm,
            cover=cover,
            classes=classes,
            ground_m=None if ground is None else parse_distance(ground),
            raster=raster,
            pixels=pixels,
            bands=reads.bands_from(bands),
            stretch=reads.stretch_from(stretch),
            count=count,
            seed=seed,
            progress=told,
        )
    for reason, times in made.skipped_because.items():
        note(f"{times:,} tiles without captions: {reason}")
    emit([made.to_record()], form)
