"""`placevec embed`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from placevec.cli.commands import reads
from placevec.cli.commands.import_ import Storage
from placevec.cli.commands.options import Bbox, Format, Out, Quiet, Seed

GRID = "grid"


class Engine(StrEnum):
    """Who does the shards of a job."""

    local = "local"
    ray = "ray"


def command(
    encoder: Annotated[
        str,
        typer.Option(
            "--encoder", "-e", help="Folder of a model or a pair, hf:NAME, or features:pixels.", show_default=False
        ),
    ],
    out: Out,
    on: reads.OnGrid = "cells",
    area: reads.Area = None,
    bbox: Bbox = None,
    resolution: reads.GridResolution = None,
    table: Annotated[Path | None, typer.Option(help="With --on grid: also a table of the pixels.")] = None,
    mask: Annotated[bool, typer.Option(help="With --on grid: leave out pixels outside the area.")] = True,
    lon: reads.Lon = "lon",
    lat: reads.Lat = "lat",
    id: reads.Id = None,
    limit: reads.Limit = None,
    raster: reads.RasterName = None,
    layer: reads.Layers = None,
    mask_centre: Annotated[
        int, typer.Option(min=0, help="Show nothing in a square of so many pixels in the middle of patches.")
    ] = 0,
    ground: reads.Ground = None,
    pixels: reads.SidePixels = None,
    images: reads.Images = None,
    captions: reads.Captions = None,
    split: reads.Split = None,
    content: Annotated[
        reads.Content, typer.Option("--reads", help="With --captions: one row an image, or one row a caption.")
    ] = reads.Content.image,
    bands: reads.Bands = None,
    stretch: reads.StretchText = "auto",
    dtype: Annotated[Storage, typer.Option(help="How vectors are stored.")] = Storage.float32,
    batch: Annotated[int, typer.Option(min=1, help="Places encoded at once.")] = 256,
    workers: Annotated[int, typer.Option("--workers", "-j", min=1, help="Processes.")] = 1,
    engine: Annotated[Engine, typer.Option(help="Who does the work: this machine, or a Ray cluster.")] = Engine.local,
    restart: Annotated[bool, typer.Option("--restart", help="Forget what an unfinished job has done.")] = False,
    refresh: reads.Refresh = False,
    seed: Seed = 0,
    quiet: Quiet = False,
    form: Format = None,
) -> None:
    """Apply an encoder to places, images or captions, and write the table; a killed job goes on where it stopped.

    Example: placevec embed -e models/location --area demo/iberia --resolution 6 -o location.parquet

    Raster: placevec embed -e models/location --on grid --area demo/iberia --resolution 5km -o location.tif

    Patches: placevec embed -e models/zion --on patches -o zion.parquet

    Images: placevec embed -e models/ucm --captions dataset:ucm --split test -o images.parquet

    Captions: placevec embed -e models/ucm --captions dataset:ucm --split test --reads text -o captions.parquet
    """
    from placevec.cli.output import emit, note, progress
    from placevec.errors import UsageError
    from placevec.tasks.embed import embed
    from placevec.tasks.input_files import prepared
    from placevec.tasks.inputs import refresh as forget_kept

    if on == GRID:
        from placevec.geo.boxes import parse_bbox
        from placevec.tasks.embed_grid import embed_grid
        from placevec.tasks.encoders import build_encoder

        other = {"--raster": raster, "--layer": layer, "--limit": limit, "--images": images, "--captions": captions}
        for name, value in other.items():
            if value is not None:
                raise UsageError(f"--on grid takes no {name}: it gives coordinates")
        if refresh:
            raise UsageError("--on grid takes no --refresh: no raster is read")
        with progress("embed", quiet=quiet) as told:
            made = embed_grid(
                build_encoder(encoder),
                out,
                area=area,
                bbox=None if bbox is None else parse_bbox(bbox),
                resolution=resolution or "1km",
                dtype=dtype.value,
                table=table,
                mask=mask,
                seed=seed,
                progress=told,
            )
        for text in made.notes:
            note(text)
        emit([made.to_record()], form)
        return
    if bbox is not None or table is not None:
        raise UsageError(f"{'--bbox' if bbox is not None else '--table'} goes with --on grid")
    words = reads.input_from(
        on,
        area,
        resolution,
        lon,
        lat,
        id,
        limit,
        raster,
        ground,
        pixels,
        images=images,
        captions=captions,
        split=split,
        content=content,
        bands=bands,
        stretch=stretch,
        layers=layer,
        mask_centre=mask_centre,
    )
    if refresh:
        forget_kept(words.rasters())
    given, spec = prepared(words, encoder)
    with progress("embed", quiet=quiet) as told:
        summary = embed(
            given.source(),
            spec,
            out,
            batch=batch,
            workers=workers,
            engine=engine.value,
            dtype=dtype.value,
            restart=restart,
            seed=seed,
            sources=given.sources(),
            chip_layout=given.layout(),
            progress=told,
        )
    for text in summary.notes:
        note(text)
    summary.some_rows()
    emit([summary.to_record()], form)
