"""A crawl: tiles are asked for, split where they hold too much, and their photos fetched; a kill costs nothing."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from shapely.geometry import MultiPolygon, Polygon

from placevec.errors import FormatError
from placevec.geo.boxes import Box, in_polygon
from placevec.sources.crawl.base import DOWNLOAD, SEARCH, Found, Gone, Lapsed, Page, Service
from placevec.sources.crawl.download import drop, fetch
from placevec.sources.crawl.journal import DONE, SPLIT, Journal
from placevec.sources.crawl.listing import write_listing
from placevec.sources.crawl.tiles import Tile
from placevec.sources.remote.http import Unreachable
from placevec.table.skipped import Skipped, skipped_counts

Progress = Callable[[int, int, Mapping[str, Any]], None]

_SAVE_EVERY_S = 60.0
_SAVE_SHARE = 20  # the list is written so seldom that it takes no more than this part of the time
_TURNS = 2  # the pages of a tile are read once more if the number of its photos has changed meanwhile


@dataclass(frozen=True)
class CrawlSummary:
    """What a crawl has."""

    out: Path  # its folder
    tiles: int = 0  # asked for or known from before, split ones included
    split: int = 0  # of these
    cut: int = 0  # tiles of least size that hold more than the service gives
    requests: int = 0  # made by this run, downloads and tries included
    photos: int = 0  # in the list
    new: int = 0  # fetched by this run
    bytes: int = 0  # sent for them
    repeated: int = 0  # finds of this run that another tile had before
    failed: Mapping[str, int] = field(default_factory=dict)  # photos that the next run tries again, by reason
    skipped: Mapping[str, int] = field(default_factory=dict)  # photos that are not wanted or not to be had, by reason
    finished: bool = False  # all tiles are done
    counts: tuple[Mapping[str, Any], ...] = ()  # of a run that counts: a record for each tile

    def to_record(self) -> dict[str, Any]:
        """A JSON object."""
        record = {name: value for name, value in vars(self).items() if name != "counts"}
        return {**record, "out": str(self.out), "failed": dict(self.failed), "skipped": dict(self.skipped)}


class Crawl:
    """The photos of an area that a service has, in a folder.

    Args:
        service: asked.
        journal: of the folder.
        folder: gets `photos/`, `photos.parquet` and `photos.skipped.parquet`.
        box: west, south, east, north of the area in degrees.
        area: photos outside are skipped, tiles outside are not asked for.
        side_m: greatest side of the first tiles in metres; by default there is one tile.
        per_tile: photos of a first tile at most.
        limit: photos in all at most.
        threads: so many photos are fetched at once.
        settings: for the footer of the list.
        progress: told of tiles done, tiles known, and counts.
    """

    def __init__(
        self,
        service: Service,
        journal: Journal,
        folder: Path,
        *,
        box: Box,
        area: Polygon | MultiPolygon,
        side_m: float | None = None,
        per_tile: int | None = None,
        limit: int | None = None,
        threads: int = 4,
        settings: Mapping[str, Any] | None = None,
        progress: Progress | None = None,
    ) -> None:
        self.service, self.journal, self.folder = service, journal, folder
        self._box, self._area, self._side = box, area, side_m
        self._per_tile, self._limit, self._threads = per_tile, limit, threads
        self._settings, self._progress = dict(settings or {}), progress
        self._of_root = Counter(str(facts["tile"]).partition(".")[0] for facts in journal.kept.values())
        self._count: Counter[str] = Counter()
        self._failed: dict[str, str] = {}
        self._saved, self._save_s = time.monotonic(), 0.0

    def run(self) -> CrawlSummary:
        """Fetch all that is not there yet; the list is written however this ends, short of a kill.

        Raises:
            UsageError: the service refuses the key or a setting.
            Unreachable: the service does not answer; the same again goes on from there.
            KeyboardInterrupt: likewise.
        """
        roots = self._roots()
        try:
            with ThreadPoolExecutor(self._threads) as pool:
                try:
                    finished = self._walk(roots, pool)
                except BaseException:
                    self.service.stop()
                    pool.shutdown(wait=False, cancel_futures=True)
                    raise
        except KeyboardInterrupt:
            raise KeyboardInterrupt(
                f"stopped with {len(self.journal.kept):,} photos; the same command goes on from there"
            ) from None
        finally:
            self._save()
        return self._summary(finished and not self._failed)

    def count(self) -> CrawlSummary:
        """Ask how many photos each tile has, and fetch none; a later `run` does not ask the same again."""
        counts: list[dict[str, Any]] = []
        stack = list(reversed(self._roots()))
        while stack:
            tile = stack.pop()
            if not self._visit(tile, len(stack)):
                continue
            photos, whole = 0, True
            for page in self._pages(tile):
                if page is None or (page.full and not self._enough(page)):
                    whole = not self._split(tile, stack)
                    break
                photos += page.total if page.counted else sum(not self._elsewhere(each, tile) for each in page.photos)
                if page.counted:
                    break
            if whole or photos:
                west, south, east, north = tile.box
                counts.append(
                    {
                        "tile": tile.path,
                        "lon": (west + east) / 2.0,
                        "lat": (south + north) / 2.0,
                        "west": west,
                        "south": south,
                        "east": east,
                        "north": north,
                        "photos": photos,
                    }
                )
        return replace(self._summary(True), counts=tuple(counts))

    def _roots(self) -> Sequence[Tile]:
        self.journal.keep_about(self.service.prepare(self.journal.about))
        return self.service.roots(self._box, self._side)

    def _walk(self, roots: Sequence[Tile], pool: ThreadPoolExecutor) -> bool:
        stack = list(reversed(roots))
        while stack:
            tile = stack.pop()
            if self._limited():
                return False
            if self._room(tile) <= 0:
                continue
            if not self._visit(tile, len(stack)):
                continue
            end = self.journal.tiles.get(tile.path)
            if end == SPLIT:
                self._split(tile, stack)
            elif end is None:
                self._read(tile, stack, pool)
        return not self._limited()

    def _limited(self) -> bool:
        return self._limit is not None and len(self.journal.kept) >= self._limit

    def _visit(self, tile: Tile, left: int) -> bool:
        """Count a tile and tell of it; False for one outside the area."""
        if not tile.touches(self._area):
            return False
        self._count["tiles"] += 1
        self._tell(left)
        return True

    def _read(self, tile: Tile, stack: list[Tile], pool: ThreadPoolExecutor) -> None:
        settled = True
        for page in self._pages(tile):
            if page is None or (page.full and not self._enough(page)):
                if self._split(tile, stack):
                    return
                self._count["cut"] += page is not None and not page.next
            if page is not None:
                settled &= self._settle(tile, page, pool, len(stack))
            if self._room(tile) <= 0:
                return
        if settled:
            self.journal.keep_tile(tile.path, DONE)

    def _split(self, tile: Tile, stack: list[Tile]) -> bool:
        parts = tile.split()
        if parts:
            if tile.path not in self.journal.tiles:
                self.journal.keep_tile(tile.path, SPLIT)
            self._count["split"] += 1
            stack.extend(reversed(parts))
        return bool(parts)

    def _enough(self, page: Page) -> bool:
        """Whether the pages of a full tile have as many photos as are wanted of it."""
        return self._per_tile is not None and page.reach >= self._per_tile

    def _pages(self, tile: Tile) -> Iterator[Page | None]:
        lapses = 0
        for turn in range(_TURNS):
            at, totals = "", set()
            while True:
                try:
                    page = self._page(tile, turn, at)
                except Lapsed:
                    lapses += 1
                    if lapses > 1 or not at:
                        raise FormatError(f"{self.service.name} forgets its pages; run the same again") from None
                    self.journal.forget_pages(tile.path)
                    at = ""
                    continue
                yield page
                if page is None:
                    return
                totals.add(page.total)
                if not page.next:
                    break
                at = page.next
            if not page.counted or len(totals) < 2:
                return

    def _page(self, tile: Tile, turn: int, at: str) -> Page | None:
        """A page as the journal has it, or asked for now."""
        known = self.journal.pages.get((tile.path, turn, at))
        if known is not None:
            return known
        page = self.service.page(tile, at)
        if page is None:
            return None
        if page.full and not self._enough(page) and tile.split():
            # Its parts will find the same again.
            page = replace(page, photos=(), skipped=())
        lon, lat = (np.array([getattr(each, name) for each in page.photos]) for name in ("lon", "lat"))
        inside = in_polygon(lon, lat, self._area) if len(page.photos) else np.empty(0, bool)
        outside = [
            Skipped(each.id, SEARCH, "outside the area") for each, ok in zip(page.photos, inside, strict=True) if not ok
        ]
        page = replace(
            page,
            photos=tuple(each for each, ok in zip(page.photos, inside, strict=True) if ok),
            skipped=(*page.skipped, *outside),
        )
        self.journal.keep_page(tile.path, turn, at, page)
        return page

    def _elsewhere(self, photo: Found, tile: Tile) -> bool:
        """Whether a find belongs to another tile."""
        if photo.group:
            return self.journal.groups[photo.group] != tile.path
        kept = self.journal.kept.get(photo.id)
        return kept is not None and kept["tile"] != tile.path

    def _settle(self, tile: Tile, page: Page, pool: ThreadPoolExecutor, left: int) -> bool:
        """Fetch the photos of a page that are not there, while there is room; False if one is to be tried again."""
        todo = []
        for photo in {each.id: each for each in page.photos}.values():
            if self._elsewhere(photo, tile):
                self._count["repeated"] += 1
            elif photo.id not in self.journal.kept and photo.id not in self.journal.skipped:
                todo.append(photo)
        settled = True
        while todo and (room := self._room(tile)) > 0:
            size = int(min(2 * self._threads, room))
            window, todo = todo[:size], todo[size:]
            settled &= self._fetch(tile, window, pool)
            self._tell(left)
            if time.monotonic() - self._saved > max(_SAVE_EVERY_S, _SAVE_SHARE * self._save_s):
                self._save()
        return settled

    def _fetch(self, tile: Tile, photos: Sequence[Found], pool: ThreadPoolExecutor) -> bool:
        jobs = [(photo, pool.submit(fetch, self.service, photo, self.folder)) for photo in photos]
        failures = []
        for photo, job in jobs:  # in order, so that of equal files the same one is kept every time
            try:
                got = job.result()
            except Gone as error:
                self.journal.keep_skip(Skipped(photo.id, DOWNLOAD, str(error)))
                continue
            except Unreachable as error:
                failures.append(error)
                self._failed[photo.id] = "the server did not answer"
                continue
            self._failed.pop(photo.id, None)
            if got.sha256 in self.journal.hashes:
                drop(got, self.folder)
                self.journal.keep_skip(Skipped(photo.id, DOWNLOAD, "the same file as another photo"))
                continue
            own = {"place": photo.place, "lon": photo.lon, "lat": photo.lat, "file": got.file, "sha256": got.sha256}
            self.journal.keep_photo(photo.id, {**got.facts, **own, "tile": tile.path})
            self._of_root[tile.root] += 1
            self._count["new"] += 1
            self._count["bytes"] += got.bytes
        if len(failures) == len(photos):  # it is not the photos
            raise failures[-1]
        return not failures

    def _room(self, tile: Tile) -> float:
        """How many photos are still wanted of a tile."""
        own = np.inf if self._per_tile is None else self._per_tile - self._of_root[tile.root]
        return float(min(own, np.inf if self._limit is None else self._limit - len(self.journal.kept)))

    def _save(self) -> None:
        begun = time.monotonic()
        write_listing(self.folder, self.journal, self.service.name, self._settings)
        self._saved = time.monotonic()
        self._save_s = self._saved - begun

    def _tell(self, left: int) -> None:
        if self._progress is not None:
            counts = {"photos": len(self.journal.kept), "requests": self.service.requests}
            self._progress(self._count["tiles"] - 1, self._count["tiles"] + left, counts)

    def _summary(self, finished: bool) -> CrawlSummary:
        return CrawlSummary(
            out=self.folder,
            tiles=self._count["tiles"],
            split=self._count["split"],
            cut=self._count["cut"],
            new=self._count["new"],
            bytes=self._count["bytes"],
            repeated=self._count["repeated"],
            requests=self.service.requests,
            photos=len(self.journal.kept),
            failed=dict(Counter(self._failed.values())),
            skipped=skipped_counts(self.journal.skipped.values()),
            finished=finished,
        )
