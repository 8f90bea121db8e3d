"""`placevec evaluate geolocation`, which the group of `evaluate` registers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from placevec.cli.commands import reads
from placevec.cli.commands.options import Format, Quiet, Seed


def command(
    model: Annotated[
        Path | None, typer.Option("--model", "-m", help="The folder of a locator.", show_default=False)
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="A JSON file; .md, .html, figures and photos beside it.")
    ] = None,
    on: Annotated[
        str, typer.Option(help="As of training: photos (a list), cells (of --area), or a file of places with --raster.")
    ] = "cells",
    area: reads.Area = None,
    resolution: reads.Resolution = None,
    lon: reads.Lon = "lon",
    lat: reads.Lat = "lat",
    id: reads.Id = None,
    raster: reads.RasterName = None,
    ground: reads.Ground = None,
    pixels: reads.SidePixels = None,
    untrained: Annotated[
        Path | None, typer.Option(help="A locator of the same shape before its first step: a baseline.")
    ] = None,
    predictions: Annotated[
        Path | None,
        typer.Option(help="Points that anybody has given, .parquet, .csv or .jsonl, instead of a model."),
    ] = None,
    truth: Annotated[
        str,
        typer.Option(help="With --predictions: their columns of the true places; without them --on has those, by id."),
    ] = "true_lon,true_lat",
    where: Annotated[str | None, typer.Option(help="Which rows are tested; by default all that were not seen.")] = None,
    unseen: Annotated[
        bool, typer.Option("--unseen", help="Leave out rows that were seen or lie near, instead of an error.")
    ] = False,
    buffer: Annotated[
        str | None, typer.Option(help="Around training rows, such as 60km; by default that of the split.")
    ] = None,
    block: Annotated[
        str | None, typer.Option(help="Blocks that intervals draw, such as h3:3; by default those of the split.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many tested photos, at random.")] = None,
    areas: Annotated[
        int, typer.Option(min=0, help="Measure the areas of the regions of at most so many photos.")
    ] = 200,
    backbones: Annotated[bool, typer.Option(help="Also the nearest image by the features of each backbone.")] = True,
    html: Annotated[bool, typer.Option(help="Write the page and the figures, which needs matplotlib.")] = True,
    seed: Seed = 0,
    quiet: Quiet = False,
    form: Format = None,
) -> None:
    """Measure how far off a locator is, end to end, on photos that it has not seen; or points that anybody has given.

    Beside it stand all baselines: a random training place, the middle of them, the nearest image, the mean of the k
    nearest. A tested row that the model has seen, or that lies near one, is refused.

    Example: placevec evaluate geolocation -m models/locator --on chips.parquet --raster dataset:blue-marble
    --ground 120km --pixels 32 -o results/geolocation.json

    Example: placevec evaluate geolocation -m models/locator --on photos.parquet -o results/photos.json

    Example: placevec evaluate geolocation --predictions peer.csv --truth true_lon,true_lat -o results/peer.json
    """
    import sys

    from placevec.cli.output import emit, note, progress
    from placevec.errors import UsageError
    from placevec.geo.boxes import parse_distance
    from placevec.tasks.evaluate_geolocation import GeolocationRules, evaluate_geolocation, headlines
    from placevec.tasks.evaluate_geolocation_given import read_predictions
    from placevec.tasks.inputs import CELLS, Input

    rules = GeolocationRules(
        where=where,
        unseen=unseen,
        buffer_m=None if buffer is None else parse_distance(buffer),
        block=block,
        limit=limit,
        areas=areas,
        backbones=backbones,
        seed=seed,
    )
    read: Input | None = None
    if raster is None and Path(on).is_dir():
        raise UsageError(f"--on {on} is a folder: list its photos by `placevec data photos`, and give the list")
    if model is not None and predictions is None and raster is None and on == CELLS:
        raise UsageError("on which photos? give --on LIST, as in the training, or --raster with the places of chips")
    if predictions is None or on != CELLS or area is not None:
        read = reads.input_from(on, area, resolution, lon, lat, id, None, raster, ground, pixels)
    given = None
    if predictions is not None:
        names = tuple(part.strip() for part in truth.split(","))
        if len(names) != 2:
            raise UsageError(f"--truth {truth}: name two columns, such as true_lon,true_lat")
        places = None if read is None else read.places()
        given = read_predictions(predictions, places, columns=(lon, lat), true_columns=(names[0], names[1]))
    with progress("geolocation", quiet=quiet) as told:
        found = evaluate_geolocation(
            model,
            None if predictions is not None else read,
            untrained=untrained,
            predictions=given,
            rules=rules,
            out=out,
            html=html,
            progress=lambda label, done, total: told(done, total, {"": label}),
        )
    for line in headlines(found):
        note(line)
    if out is not None:
        endings = (".md", ".photos.parquet", *([".html"] if html else []))
        note(", ".join([str(out), *(str(out.with_suffix(ending)) for ending in endings)]))
    records = found.to_records()
    if form is None and sys.stdout.isatty():
        shown = ("method", "median_km", "mean_km", "p90_km", "acc_25", "acc_200", "geoscore", "verdict")
        records = [{name: record[name] for name in shown} for record in records]
    emit(records, form)
