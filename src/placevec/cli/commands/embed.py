"""`placevec embed`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from placevec.cli.commands import reads
from placevec.cli.commands.import_ import Storage
from placevec.cli.commands.options import Bbox, Format, Out, Quiet, Seed

GRID = "grid"


def command(
    encoder: Annotated[
        str, typer.Option("--encoder", "-e", help="Model folder, features:pixels, or hf:NAME.", show_default=False)
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
    ground: reads.Ground = None,
    pixels: reads.Pixels = None,
    dtype: Annotated[Storage, typer.Option(help="How vectors are stored.")] = Storage.float32,
    batch: Annotated[int, typer.Option(min=1, help="Places encoded at once.")] = 256,
    workers: Annotated[int, typer.Option("--workers", "-j", min=1, help="Processes.")] = 1,
    restart: Annotated[bool, typer.Option("--restart", help="Forget what an unfinished job has done.")] = False,
    seed: Seed = 0,
    quiet: Quiet = False,
    form: Format = None,
) -> None:
    """Apply an encoder to places and write the table; a job that was killed goes on where it stopped.

    Example: placevec embed -e models/location --area demo/iberia --resolution 6 -o location.parquet

    Raster: placevec embed -e models/location --on grid --area demo/iberia --resolution 5km -o location.tif
    """
    from placevec.cli.output import emit, note, progress
    from placevec.errors import UsageError
    from placevec.tasks.embed import embed
    from placevec.tasks.encoders import build_encoder, encoder_spec

    if on == GRID:
        from placevec.geo.boxes import parse_bbox
        from placevec.tasks.embed_grid import embed_grid

        if raster is not None or limit is not None:
            raise UsageError(
                f"--on grid takes no {'--raster' if raster is not None else '--limit'}: it gives coordinates"
            )
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
    given = reads.input_from(on, area, resolution, lon, lat, id, limit, raster, ground, pixels)
    with progress("embed", quiet=quiet) as told:
        summary = embed(
            given.source(),
            encoder_spec(encoder, bands=given.bands()),
            out,
            batch=batch,
            workers=workers,
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
