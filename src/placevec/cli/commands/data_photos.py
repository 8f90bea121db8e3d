"""`placevec data photos`, which the group of `data` registers."""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from placevec.cli.commands import reads
from placevec.cli.commands.options import Format, Out, Quiet

if TYPE_CHECKING:
    from placevec.tasks.inputs import Input


class Layout(StrEnum):
    """How a public collection writes its metadata."""

    flickr = "flickr"
    gldv2 = "gldv2"
    osv5m = "osv5m"


class PlacesBy(StrEnum):
    """What makes photos share a place."""

    near = "near"
    h3 = "h3"


def command(
    where: Annotated[
        str,
        typer.Argument(
            help="A folder of photos, a list of them (.csv, .parquet, .geojson, .jsonl), a collection's metadata; with "
            "--raster cells, or a file of places.",
            show_default=False,
            metavar="[FOLDER|FILE|cells]",
        ),
    ],
    out: Out,
    layout: Annotated[Layout | None, typer.Option(help="Of a public collection's metadata.")] = None,
    lon: Annotated[str, typer.Option(help="The list's column of longitudes.")] = "lon",
    lat: Annotated[str, typer.Option(help="The list's column of latitudes.")] = "lat",
    file: Annotated[str | None, typer.Option(help="The list's column of files; by default file or asset.")] = None,
    id: Annotated[str | None, typer.Option(help="The column that names a photo; by default id, else the file.")] = None,
    images: Annotated[Path | None, typer.Option(help="The folder of the files; by default the list's.")] = None,
    landmarks: Annotated[
        Path | None, typer.Option(help="Of gldv2: a CSV of landmark_id, longitude and latitude.")
    ] = None,
    regions: Annotated[
        str | None,
        typer.Option(help="The area: a GeoJSON of regions such as provinces, dataset:NAME, or a study area's folder."),
    ] = None,
    region_column: Annotated[str | None, typer.Option(help="The property that names a region.")] = None,
    rename: Annotated[
        list[str] | None, typer.Option(help="OLD=NEW: call a region otherwise; may be repeated.", show_default=False)
    ] = None,
    raster: reads.RasterName = None,
    ground: reads.Ground = None,
    pixels: reads.Pixels = None,
    area: reads.Area = None,
    resolution: reads.Resolution = None,
    near: Annotated[str, typer.Option("--near", help="Photos so near to each other share a place.")] = "25m",
    place_by: Annotated[PlacesBy, typer.Option(help="Places by that distance, or by cells of H3 12.")] = PlacesBy.near,
    together: Annotated[
        list[str] | None,
        typer.Option(
            help="COLUMN,COLUMN: photos that agree in these share a place; of times the day counts, such as "
            "user,taken. May be repeated.",
            show_default=False,
        ),
    ] = None,
    min_side: Annotated[int | None, typer.Option(min=0, help="Pixels of the shorter side.")] = None,
    max_pixels: Annotated[int | None, typer.Option(min=1, help="Pixels of an image at most.")] = None,
    min_sharpness: Annotated[
        float | None, typer.Option(min=0, help="Variance of the Laplacian, in grey levels squared.")
    ] = None,
    min_mean: Annotated[float | None, typer.Option(min=0, max=255, help="Mean grey level.")] = None,
    max_mean: Annotated[float | None, typer.Option(min=0, max=255, help="Mean grey level.")] = None,
    max_clipped: Annotated[
        float | None, typer.Option(min=0, max=1, help="Share of pixels that are black or white.")
    ] = None,
    alike: Annotated[
        int | None,
        typer.Option(min=-1, max=16, help="Bits of 64 in which photos that look alike differ; -1: not compared."),
    ] = None,
    repeats: Annotated[bool, typer.Option("--repeats", help="Keep files of the same bytes.")] = False,
    indoor: Annotated[
        str | None, typer.Option(help="Column that says how surely a photo was taken indoors, 0 to 1.")
    ] = None,
    scenes: Annotated[Path | None, typer.Option(help="A Places365 model: skip what was taken indoors.")] = None,
    max_indoor: Annotated[float | None, typer.Option(min=0, max=1, help="Above it a photo is skipped.")] = None,
    report: Annotated[Path | None, typer.Option(help="A JSON file of the report; .md beside.")] = None,
    threads: Annotated[int | None, typer.Option("--threads", "-j", min=1, help="Images decoded at once.")] = None,
    quiet: Quiet = False,
    form: Format = None,
) -> None:
    """Check photos and list those that can be used to learn where photos are taken; every other one has a reason.

    Example: placevec data photos holiday/ --regions provinces.geojson --region-column shapeName -o photos.parquet

    List: placevec data photos list.csv --lon x --lat y --file path --together user,taken -o photos.parquet

    Collection: placevec data photos train.csv --layout osv5m --images images/train -o photos.parquet

    Chips: placevec data photos cells --area pakistan --raster dataset:blue-marble --ground 120km --pixels 32
    -o chips.parquet
    """
    from placevec.cli.output import emit, note, progress
    from placevec.errors import UsageError
    from placevec.geo.boxes import parse_distance
    from placevec.sources.photos import Columns
    from placevec.tasks.photos import default_rules, photos
    from placevec.tasks.regions import open_regions, parse_renames

    given: dict[str, Any] = {
        "min_side": min_side,
        "max_pixels": max_pixels,
        "min_sharpness": min_sharpness,
        "min_mean": min_mean,
        "max_mean": max_mean,
        "max_clipped": max_clipped,
        "max_indoor": max_indoor,
    }
    read: str | Input = where
    if raster is not None:
        read = reads.input_from(where, area, resolution, lon, lat, id, None, raster, ground, pixels)
    rules = replace(default_rules(read), exact=not repeats, indoor=indoor)
    rules = replace(rules, **{name: value for name, value in given.items() if value is not None})
    if alike is not None:
        rules = replace(rules, near_bits=alike if alike >= 0 else None)
    sets = [tuple(name.strip() for name in text.split(",")) for text in together or []]
    if not all(name for names in sets for name in names):
        raise UsageError(f"--together {' --together '.join(together or [])}: write COLUMN,COLUMN, such as user,taken")
    if regions is None and (region_column is not None or rename):
        raise UsageError("names of which regions? give --regions, a GeoJSON")
    with progress("photos", quiet=quiet) as told:
        made = photos(
            read,
            out,
            layout=None if layout is None else layout.value,
            columns=Columns(lon=lon, lat=lat, file=file, id=id),
            images=images,
            landmarks=landmarks,
            regions=None
            if regions is None
            else open_regions(regions, column=region_column, rename=parse_renames(rename or [])),
            rules=rules,
            metres=parse_distance(near),
            by=place_by.value,
            together=sets,
            scenes=scenes,
            report=report,
            threads=threads,
            progress=told,
        )
    for text in made.notes:
        note(text)
    if report is not None:
        note(f"{report}, {report.with_suffix('.md')}")
    emit(made.report.to_records(), form)
