"""`placevec embed`."""

from __future__ import annotations

from typing import Annotated

import typer

from placevec.cli.commands import reads
from placevec.cli.commands.import_ import Storage
from placevec.cli.commands.options import Format, Out, Quiet, Seed


def command(
    encoder: Annotated[
        str, typer.Option("--encoder", "-e", help="Model folder, features:pixels, or hf:NAME.", show_default=False)
    ],
    out: Out,
    on: reads.On = "cells",
    area: reads.Area = None,
    resolution: reads.Resolution = None,
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
    """
    from placevec.cli.output import emit, note, progress
    from placevec.tasks.embed import embed
    from placevec.tasks.encoders import encoder_spec

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
