"""`placevec locate`."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from placevec.cli.commands import reads
from placevec.cli.commands.options import Format, Quiet

if TYPE_CHECKING:
    from placevec.encoders.locator import Locator
    from placevec.geo.sphere import LonLat
    from placevec.results import Guess
    from placevec.sources.base import Source


class Point(StrEnum):
    """Which point stands for the hypotheses."""

    mode = "mode"
    argmax = "argmax"
    median = "median"
    geoscore = "geoscore"
    flat = "flat"


On = Annotated[str | None, typer.Option(help="With --raster: places of which chips are located, a table or CSV.")]


def command(
    model: Annotated[Path, typer.Option("--model", "-m", help="The folder of a locator.", show_default=False)],
    what: Annotated[
        list[str] | None, typer.Argument(help="Photos, a folder of photos, or a photo list (.parquet).")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Write the guesses: .jsonl, .geojson, .parquet, .csv.")
    ] = None,
    raster: reads.RasterName = None,
    at: Annotated[list[str] | None, typer.Option(help="With --raster: LON,LAT of a chip; may be repeated.")] = None,
    on: On = None,
    ground: reads.Ground = None,
    pixels: Annotated[int | None, typer.Option(min=1, help="Side of a chip in pixels.")] = None,
    k: Annotated[int, typer.Option("-k", "--k", min=1, help="Hypotheses of a guess.")] = 10,
    evidence: Annotated[int, typer.Option(min=0, help="Training images shown with a guess.")] = 5,
    regions: Annotated[bool, typer.Option(help="Draw the credible regions.")] = True,
    point: Annotated[
        Point | None, typer.Option(help="The point that stands for the hypotheses; by default as trained.")
    ] = None,
    compare: Annotated[
        bool, typer.Option("--compare", help="Say how far off a guess is, where the image's place is known.")
    ] = False,
    limit: reads.Limit = None,
    batch: Annotated[int, typer.Option("--batch-size", min=1, help="Images read at once.")] = 32,
    device: Annotated[str, typer.Option(help="Where the model runs: cpu, cuda.")] = "cpu",
    quiet: Quiet = False,
    form: Format = None,
) -> None:
    """Say where photos or chips were taken: a point, how sure it is, credible regions, and similar training images.

    A position in a photo's EXIF data is never used to locate it; with --compare it is what a guess is held against.

    Example: placevec locate holiday.jpg --model models/locator

    Example: placevec locate photos/ --model models/locator -o guesses.geojson

    Example: placevec locate --raster dataset:blue-marble --at 73.05,33.68 --model models/locator --compare
    """
    import sys

    from placevec.cli.output import Form, emit, note, progress
    from placevec.tasks.locate import locate, open_locator
    from placevec.tasks.locate_forms import for_reading, form_of, text_sink

    # All that can be told before the model is loaded.
    _check(what or [], raster, at or [], on, ground)
    points = _points(at or [])
    if out is not None:
        form_of(out)
    locator = open_locator(model, point=None if point is None else point.value, device=device)
    from placevec.encoders.locator import Shown  # needs torch, which opening the locator has asked for

    source = _source(what or [], raster, points, on, ground, pixels, locator)
    chosen = form or (Form.table if out is None and sys.stdout.isatty() else Form.json)
    lines: list[dict[str, Any]] = []
    sink = text_sink(chosen.value, sys.stdout) if out is None and chosen is not Form.table else None

    def take(guess: Guess, more: Mapping[str, Any]) -> None:
        if sink is not None:
            sink.write(guess, more)
        elif out is None:
            lines.append(for_reading(guess, more))

    with progress("locate", quiet=quiet) as told:
        done = locate(
            source,
            locator,
            take,
            out=out,
            shown=Shown(k=k, evidence=evidence, regions=regions),
            batch=batch,
            compare=compare,
            limit=limit,
            on_skip=lambda one: note(f"{one.id}: {one.reason}"),
            progress=told,
        )
    if sink is not None:
        sink.close()
    elif out is None:
        emit(lines, chosen)
    if compare and done.median_error_km is not None:
        note(f"median error {done.median_error_km:,.1f} km over the images whose place is known")
    done.some_located()
    if out is not None:
        emit([done.to_record()], form)


def _check(what: list[str], raster: str | None, at: list[str], on: str | None, ground: str | None) -> None:
    """UsageError for options that do not go together, before a model is loaded."""
    from placevec.errors import UsageError

    if raster is None:
        odd = next((name for name, value in (("--at", at), ("--on", on), ("--ground", ground)) if value), None)
        if odd is not None:
            raise UsageError(f"{odd} goes with --raster, from which chips are cut")
        if not what:
            raise UsageError(
                "what is to be located? give photos, a folder of them, a photo list, or --raster with --at"
            )
        return
    if what:
        raise UsageError(f"{what[0]} and --raster: give photos, or the chips of a raster")
    if bool(at) == (on is not None):
        raise UsageError("--raster goes with --at LON,LAT, or with --on FILE of places: give one of them")


def _source(
    what: list[str],
    raster: str | None,
    points: LonLat | None,
    on: str | None,
    ground: str | None,
    pixels: int | None,
    locator: Locator,
) -> Source:
    """What is located: photos, or chips of a raster at points or at the places of a file."""
    from placevec.geo.boxes import parse_distance
    from placevec.tasks.inputs import Chips, Input
    from placevec.tasks.locate import chip_size, chips_at, photos

    if raster is None:
        return photos(what, locator)
    ground_m = None if ground is None else parse_distance(ground)
    if points is not None:
        return chips_at(points, raster, locator, ground_m=ground_m, pixels=pixels)
    ground_m, side = chip_size(locator, ground_m, pixels)
    return Input(on=on or "", chips=Chips(raster=raster, ground_m=ground_m, pixels=side)).source()


def _points(texts: list[str]) -> LonLat | None:
    import numpy as np

    from placevec.cli.commands.options import lonlat_from
    from placevec.geo.sphere import LonLat

    if not texts:
        return None
    pairs = np.array([lonlat_from(text) for text in texts], dtype=np.float64)
    return LonLat(pairs[:, 0], pairs[:, 1])
