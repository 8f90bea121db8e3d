"""`placevec data crawl`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from placevec.cli.commands.options import Bbox, Format, Out, Quiet

if TYPE_CHECKING:
    from placevec.cli.output import Form
    from placevec.sources.crawl import CrawlSummary

app = typer.Typer(no_args_is_help=True, help="Photos of a region from Flickr or Google Places, with their licences.")

Region = Annotated[Path | None, typer.Option("--area", help="A study area's folder, or a GeoJSON file with polygons.")]
Pixels = Annotated[int, typer.Option(min=1, help="Longer side of the photos wanted.")]
Tile = Annotated[
    str | None, typer.Option("--tile", help="Greatest side of the first tiles, such as 50km; by default one tile.")
]
PerTile = Annotated[
    int | None, typer.Option("--per-tile", min=1, help="Photos of such a tile at most: even cover of the region.")
]
Limit = Annotated[int | None, typer.Option(min=1, help="Photos in all at most.")]
Threads = Annotated[int, typer.Option("--threads", "-j", min=1, max=16, help="Photos fetched at once.")]
DownloadRate = Annotated[float, typer.Option("--download-rate", help="Photos fetched a second.")]
Tries = Annotated[int, typer.Option(min=1, help="How often a request is made that fails in a way that may pass.")]
Backoff = Annotated[float, typer.Option(min=0.0, help="Seconds to wait after a failure; doubled after each further.")]
Patience = Annotated[float, typer.Option(min=0.0, help="Where a server asks for a longer wait, stop; in seconds.")]
Count = Annotated[bool, typer.Option("--count", help="Only say how many photos there are, tile by tile.")]
Restart = Annotated[bool, typer.Option("--restart", help="Forget what the folder holds, photos included.")]


@app.command("flickr")
def flickr(
    out: Out,
    area: Region = None,
    bbox: Bbox = None,
    licences: Annotated[
        str,
        typer.Option(help="Those taken: reuse (with changes), open (for any purpose), all, or names: cc-by,cc0-1.0."),
    ] = "reuse",
    since: Annotated[str | None, typer.Option(help="First day of taking, such as 2015-01-01.")] = None,
    until: Annotated[str | None, typer.Option(help="Last day of taking.")] = None,
    query: Annotated[str | None, typer.Option(help="Words of title, description or tags.")] = None,
    accuracy: Annotated[int, typer.Option(min=1, max=16, help="Of positions: 16 a street, 11 a city.")] = 16,
    pixels: Pixels = 1024,
    tile: Tile = None,
    per_tile: PerTile = None,
    limit: Limit = None,
    threads: Threads = 4,
    rate: Annotated[float, typer.Option(help="Requests a second; Flickr allows 3,600 an hour.")] = 1.0,
    download_rate: DownloadRate = 10.0,
    tries: Tries = 6,
    backoff: Backoff = 1.0,
    patience: Patience = 300.0,
    count: Count = False,
    restart: Restart = False,
    endpoint: Annotated[
        str, typer.Option(help="Address of the API.")
    ] = "https://api.flickr.com/services/rest",  # sources.crawl.flickr.ENDPOINT
    quiet: Quiet = False,
    form: Format = None,
) -> None:
    """Fetch photos of Flickr with their positions, licences and authors. The key comes from FLICKR_API_KEY.

    Killed at any moment, the same command goes on where it stopped and asks for nothing twice.

    Example: placevec data crawl flickr --bbox 60.9,23.7,77.8,37.1 --tile 100km --per-tile 500 -o photos

    Example: placevec data crawl flickr --area pakistan --count -o photos
    """
    from placevec.cli.output import progress
    from placevec.tasks.crawl import crawl_flickr

    with progress("flickr", quiet=quiet) as told:
        made = crawl_flickr(
            out,
            area=area,
            bbox=bbox,
            licences=licences.split(","),
            since=since,
            until=until,
            query=query,
            accuracy=accuracy,
            pixels=pixels,
            endpoint=endpoint,
            per_second=rate,
            progress=told,
            **_work(tile, per_tile, limit, threads, download_rate, tries, backoff, patience, count, restart),
        )
    _say(made, count, form)


@app.command("google-places")
def google(
    out: Out,
    area: Region = None,
    bbox: Bbox = None,
    accept_terms: Annotated[
        bool, typer.Option("--accept-terms", help="Google's terms were read, and allow what is meant to be done.")
    ] = False,
    query: Annotated[str | None, typer.Option(help="Search in words; without them all places near by.")] = None,
    type: Annotated[
        list[str] | None, typer.Option(help="A type of place, such as tourist_attraction; may be repeated.")
    ] = None,
    per_place: Annotated[int, typer.Option("--per-place", min=1, help="Photos of a place at most.")] = 10,
    pixels: Pixels = 1024,
    tile: Tile = None,
    per_tile: PerTile = None,
    limit: Limit = None,
    threads: Threads = 4,
    rate: Annotated[float, typer.Option(help="Requests a second.")] = 5.0,
    download_rate: DownloadRate = 10.0,
    tries: Tries = 6,
    backoff: Backoff = 1.0,
    patience: Patience = 300.0,
    count: Count = False,
    restart: Restart = False,
    endpoint: Annotated[
        str, typer.Option(help="Address of the API.")
    ] = "https://places.googleapis.com",  # sources.crawl.google_places.ENDPOINT
    quiet: Quiet = False,
    form: Format = None,
) -> None:
    """Fetch photos of places from Google Places (New). The key comes from GOOGLE_MAPS_API_KEY.

    Google's terms limit what may be stored, and for how long: --accept-terms says that you have read them. Positions
    are those of the places. Killed at any moment, the same command goes on where it stopped.

    Example: placevec data crawl google-places --area lahore --type park --limit 500 --accept-terms -o places
    """
    from placevec.cli.output import note, progress
    from placevec.sources.crawl.google_places import TERMS
    from placevec.tasks.crawl import crawl_google_places

    if accept_terms:
        note(TERMS)
    with progress("google-places", quiet=quiet) as told:
        made = crawl_google_places(
            out,
            area=area,
            bbox=bbox,
            accept_terms=accept_terms,
            query=query,
            types=type or (),
            per_place=per_place,
            pixels=pixels,
            endpoint=endpoint,
            per_second=rate,
            progress=told,
            **_work(tile, per_tile, limit, threads, download_rate, tries, backoff, patience, count, restart),
        )
    _say(made, count, form)


def _work(
    tile: str | None,
    per_tile: int | None,
    limit: int | None,
    threads: int,
    download_rate: float,
    tries: int,
    backoff: float,
    patience: float,
    count: bool,
    restart: bool,
) -> dict[str, Any]:
    """What the two commands have in common."""
    from placevec.geo.boxes import parse_distance

    return {
        "side_m": None if tile is None else parse_distance(tile),
        "per_tile": per_tile,
        "limit": limit,
        "threads": threads,
        "downloads_per_second": download_rate,
        "tries": tries,
        "backoff_s": backoff,
        "patience_s": patience,
        "count": count,
        "restart": restart,
    }


def _say(made: CrawlSummary, count: bool, form: Form | None) -> None:
    from placevec.cli.output import emit, note

    if count:
        photos = sum(each["photos"] for each in made.counts)
        note(f"{photos:,} photos in {len(made.counts):,} tiles, {made.requests:,} requests")
        emit(made.counts, form)
        return
    for reason, times in made.skipped.items():
        note(f"{times:,} photos skipped: {reason}")
    for reason, times in made.failed.items():
        note(f"{times:,} photos failed: {reason}; run the same again")
    if made.cut:
        note(f"{made.cut:,} tiles of the least size hold more than the service gives")
    emit([made.to_record()], form)
