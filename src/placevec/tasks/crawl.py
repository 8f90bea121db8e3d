"""`data crawl`: the photos of an area from Flickr or Google Places, as files and a photo list."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import shapely

from placevec.area import StudyArea
from placevec.engine.locks import Lock
from placevec.errors import UsageError
from placevec.files import remove
from placevec.geo.boxes import parse_bbox
from placevec.sources.crawl import (
    Client,
    Crawl,
    CrawlSummary,
    Flickr,
    GooglePlaces,
    Journal,
    Pace,
    Service,
    flickr,
    google_places,
)
from placevec.sources.crawl.client import key_from
from placevec.sources.crawl.download import FOLDER
from placevec.sources.crawl.journal import NAME
from placevec.sources.crawl.licences import REUSE
from placevec.sources.crawl.listing import LIST
from placevec.sources.crawl.run import Progress
from placevec.table.skipped import skipped_path

DOWNLOADS_PER_SECOND = 10.0
"""Of photos, from the servers where they lie."""


def crawl_flickr(
    out: str | Path,
    *,
    area: str | Path | None = None,
    bbox: str | None = None,
    licences: Sequence[str] = (REUSE,),
    since: str | None = None,
    until: str | None = None,
    query: str | None = None,
    accuracy: int = 16,
    pixels: int = 1024,
    endpoint: str = flickr.ENDPOINT,
    per_second: float = flickr.PER_SECOND,
    **options: Any,
) -> CrawlSummary:
    """Fetch photos of Flickr, going on where an earlier run of the same stopped.

    The key is read from the environment variable FLICKR_API_KEY.

    Args:
        out: the folder of the crawl.
        area: folder of a study area, or a GeoJSON file with polygons.
        bbox: "west,south,east,north" in degrees instead.
        licences: see `sources.crawl.licences.chosen`.
        since: first day or moment of taking, ISO 8601.
        until: last one.
        query: words of the title, the description or the tags.
        accuracy: least accuracy of positions, 1 (world) to 16 (street).
        pixels: longer side wanted.
        endpoint: address of the API.
        per_second: requests a second.
        options: see `crawl`.

    Raises:
        UsageError: there is no key, options do not go together, or the folder holds another crawl.
        Unreachable: Flickr does not answer; the same again goes on from there.
    """
    key = key_from(os.environ, flickr.KEY, "Flickr")

    def service(client: Client) -> Service:
        return Flickr(
            client,
            key,
            licences=licences,
            since=since,
            until=until,
            query=query,
            accuracy=accuracy,
            pixels=pixels,
            endpoint=endpoint,
        )

    return crawl(out, service, key, area=area, bbox=bbox, per_second=per_second, **options)


def crawl_google_places(
    out: str | Path,
    *,
    area: str | Path | None = None,
    bbox: str | None = None,
    accept_terms: bool = False,
    query: str | None = None,
    types: Sequence[str] = (),
    per_place: int = 10,
    pixels: int = 1024,
    endpoint: str = google_places.ENDPOINT,
    per_second: float = google_places.PER_SECOND,
    **options: Any,
) -> CrawlSummary:
    """Fetch photos of Google Places, going on where an earlier run of the same stopped.

    The key is read from the environment variable GOOGLE_MAPS_API_KEY.

    Args:
        out: the folder of the crawl.
        area: folder of a study area, or a GeoJSON file with polygons.
        bbox: "west,south,east,north" in degrees instead.
        accept_terms: the terms of Google have been read, and allow what is meant to be done.
        query: words: Text Search; without them Nearby Search.
        types: kinds of places, such as tourist_attraction.
        per_place: photos of a place at most.
        pixels: greatest width and height.
        endpoint: address of the API.
        per_second: requests a second.
        options: see `crawl`.

    Raises:
        UsageError: the terms are not accepted, there is no key, or options do not go together.
        Unreachable: Google does not answer; the same again goes on from there.
    """
    if not accept_terms:
        raise UsageError(f"{google_places.TERMS}: read them, and give --accept-terms if they allow what you do")
    key = key_from(os.environ, google_places.KEY, "Google Places")

    def service(client: Client) -> Service:
        return GooglePlaces(
            client, key, query=query, types=types, per_place=per_place, pixels=pixels, endpoint=endpoint
        )

    return crawl(out, service, key, area=area, bbox=bbox, per_second=per_second, **options)


def crawl(
    out: str | Path,
    service: Callable[[Client], Service],
    key: str,
    *,
    area: str | Path | None = None,
    bbox: str | None = None,
    side_m: float | None = None,
    per_tile: int | None = None,
    limit: int | None = None,
    threads: int = 4,
    per_second: float = 1.0,
    downloads_per_second: float = DOWNLOADS_PER_SECOND,
    tries: int = 6,
    backoff_s: float = 1.0,
    patience_s: float = 300.0,
    count: bool = False,
    restart: bool = False,
    progress: Progress | None = None,
) -> CrawlSummary:
    """Fetch the photos of an area that a service has.

    Args:
        out: the folder; it is locked meanwhile.
        service: made of a client.
        key: the key of the service, so that no message tells it.
        area: folder of a study area, or a GeoJSON file with polygons.
        bbox: "west,south,east,north" in degrees instead.
        side_m: greatest side of the first tiles in metres; by default there is one tile.
        per_tile: photos of a first tile at most.
        limit: photos in all at most.
        threads: photos fetched at once.
        per_second: requests a second.
        downloads_per_second: photos fetched a second.
        tries: how often a request is made that fails in a way that may pass.
        backoff_s: the wait after the first failure in seconds; it doubles.
        patience_s: where the server asks for a longer wait, the crawl ends.
        count: ask how many photos there are, and fetch none.
        restart: forget what the folder holds.
        progress: told of tiles done, tiles known, and counts.

    Raises:
        UsageError: neither or both of area and bbox are given, or the folder holds another crawl.
        JobError: another process works in the folder.
        Unreachable: the service does not answer; the same again goes on from there.
    """
    region = _region(area, bbox)
    folder = Path(out)
    client = Client(
        key,
        Pace(per_second),
        Pace(downloads_per_second),
        tries=tries,
        backoff_s=backoff_s,
        patience_s=patience_s,
    )
    asked = service(client)
    # Not among the settings: how much is wanted, which may grow from run to run.
    settings = {
        **asked.settings(),
        "area": [*region.bbox, hashlib.sha256(shapely.to_wkb(region.boundary)).hexdigest()[:16]],
        "tile_m": side_m,
        "per_tile": per_tile,
    }
    with Lock(folder / "crawl.lock", "this crawl"):
        if restart:
            for name in (NAME, FOLDER, LIST):
                remove(folder / name)
            remove(str(skipped_path(folder / LIST)))
        with Journal(folder, settings) as journal:
            work = Crawl(
                asked,
                journal,
                folder,
                box=region.bbox,
                area=region.boundary,
                side_m=side_m,
                per_tile=per_tile,
                limit=limit,
                threads=threads,
                settings=settings,
                progress=progress,
            )
            return work.count() if count else work.run()


def _region(area: str | Path | None, bbox: str | None) -> StudyArea:
    if (area is None) == (bbox is None):
        raise UsageError("crawl where? give either --area or --bbox, such as --bbox 60.9,23.7,77.8,37.1")
    if bbox is not None:
        return StudyArea.from_bbox(parse_bbox(bbox))
    assert area is not None
    return StudyArea.from_geojson(area) if Path(area).is_file() else StudyArea.open(area)
