"""`placevec area patches`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from placevec.cli.commands import reads
from placevec.cli.commands.options import Format, Out, Quiet, Seed


def command(
    out: Out,
    folder: Annotated[
        Path | None,
        typer.Argument(
            help="The folder of a study area; for pairs also land, or a file of polygons.",
            show_default=False,
            metavar="[AREA|land|FILE]",
        ),
    ] = None,
    layer: reads.Layers = None,
    ground: reads.Ground = None,
    pixels: reads.Pixels = None,
    on: Annotated[str, typer.Option(help="cells (of AREA), or a file: table, CSV, GeoJSON, stencil.")] = "cells",
    resolution: reads.Resolution = None,
    lon: reads.Lon = "lon",
    lat: reads.Lat = "lat",
    id: reads.Id = None,
    samples: Annotated[
        int | None,
        typer.Option(min=1, help="Draw so many pairs at random in AREA instead; without AREA, on the rasters."),
    ] = None,
    inner: Annotated[
        str | None, typer.Option(help="Least distance of a pair, such as 2km; by default the ground.")
    ] = None,
    outer: Annotated[
        str | None, typer.Option(help="Greatest distance of a pair; by default four times the least.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first so many places, or pairs.")] = None,
    per_file: Annotated[int, typer.Option("--per-file", min=1, help="Places of one file.")] = 4096,
    workers: Annotated[int, typer.Option("--workers", "-j", min=1, help="Threads.")] = 1,
    min_valid: Annotated[
        float, typer.Option(min=0, max=1, help="Skip a place of which a layer has a smaller share of valid pixels.")
    ] = 0.5,
    restart: Annotated[bool, typer.Option("--restart", help="Forget what an earlier run has written.")] = False,
    refresh: reads.Refresh = False,
    seed: Seed = 0,
    quiet: Quiet = False,
    form: Format = None,
) -> None:
    """Write patches: several rasters over the same square of the ground around each place, as files to learn from.

    Killed at any moment, the same command goes on where it stopped. Every place has a patch or a reason why not.

    Example: placevec area patches zion --layer cover=nlcd2011.tif,classes=nlcd --ground 2km --pixels 32 -o cells

    Example: placevec area patches --layer elevation=srtm.tif --ground 2km --pixels 32 --samples 20000 -o pairs
    """
    from placevec.cli.output import emit, note, progress
    from placevec.errors import UsageError
    from placevec.geo.boxes import parse_distance
    from placevec.tasks.patches import area_patches

    if not layer:
        raise UsageError("patches of which rasters? give --layer NAME=RASTER, such as cover=nlcd2011.tif,classes=nlcd")
    read = reads.patches_from(layer, ground, pixels, min_valid)

    def metres(text: str | None) -> float | None:
        return None if text is None else parse_distance(text)

    with progress("patches", quiet=quiet) as told:
        made = area_patches(
            out,
            read.layers,
            ground_m=read.ground_m,
            pixels=read.pixels,
            area=folder,
            on=on,
            resolution=reads.cell_resolution(resolution),
            lon=lon,
            lat=lat,
            id=id,
            samples=samples,
            inner_m=metres(inner),
            outer_m=metres(outer),
            seed=seed,
            limit=limit,
            samples_per_file=per_file,
            workers=workers,
            min_valid=min_valid,
            restart=restart,
            refresh=refresh,
            progress=told,
        )
    for reason, count in made.written.reasons.items():
        note(f"{count:,} places skipped: {reason}")
    emit([made.to_record()], form)
