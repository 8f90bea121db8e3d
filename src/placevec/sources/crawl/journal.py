"""The journal of a crawl: what was asked, found and fetched, one JSON object a line, added to and never rewritten.

A line is written by one call, so that a kill leaves at most its last line unfinished; that one is cut off when the
journal is read again. No key ever stands in it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

from placevec.errors import FormatError, UsageError
from placevec.sources.crawl.base import Page
from placevec.table.skipped import Skipped

NAME = "crawl.jsonl"
SPLIT = "split"
DONE = "done"
_VERSION = 1


class Journal:
    """What is known of a crawl, in memory and in a file.

    Args:
        folder: the crawl's.
        settings: what it is of; a journal of other settings is refused.

    Attributes:
        about: what the service wants to be given again.
        tiles: how a tile ended, by its path: SPLIT or DONE.
        pages: pages by tile, turn and what they were asked for by, in the order in which they came.
        kept: what is known of each photo that was fetched, by its id, in order.
        skipped: photos that are not wanted or cannot be had, by id.
        hashes: the id of the photo that has a content.
        groups: the tile on whose pages a group of photos was first.

    Raises:
        UsageError: the folder holds another crawl.
        FormatError: the journal is damaged.
    """

    def __init__(self, folder: str | Path, settings: Mapping[str, Any]) -> None:
        self.path = Path(folder) / NAME
        self.about: dict[str, Any] = {}
        self.tiles: dict[str, str] = {}
        self.pages: dict[tuple[str, int, str], Page] = {}
        self.kept: dict[str, dict[str, Any]] = {}
        self.skipped: dict[str, Skipped] = {}
        self.hashes: dict[str, str] = {}
        self.groups: dict[str, str] = {}
        self._of_tile: dict[str, list[tuple[str, int, str]]] = {}  # keys of pages
        self.path.parent.mkdir(parents=True, exist_ok=True)
        begun = self._read(json.loads(json.dumps(settings)))
        self._file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        if not begun:
            self._write({"is": "crawl", "version": _VERSION, "settings": settings}, sync=True)

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._file)

    def keep_about(self, value: Mapping[str, Any]) -> None:
        """What the service is to be given when the crawl goes on."""
        if dict(value) != self.about:
            self._add({"is": "about", "value": dict(value)}, sync=True)

    def keep_page(self, tile: str, turn: int, at: str, page: Page) -> None:
        """A page that was read."""
        self._add({"is": "page", "tile": tile, "turn": turn, "at": at, "page": page.to_json()}, sync=True)

    def keep_tile(self, tile: str, end: str) -> None:
        """How a tile has ended: SPLIT or DONE."""
        self._add({"is": "tile", "tile": tile, "end": end}, sync=True)

    def forget_pages(self, tile: str) -> None:
        """The pages of a tile are of no use any more: it will be read from its first page."""
        self._add({"is": "forget", "tile": tile}, sync=True)

    def keep_photo(self, id: str, facts: Mapping[str, Any]) -> None:
        """A photo whose file stands; of its facts "sha256" tells equal contents."""
        self._add({"is": "photo", "id": id, "facts": dict(facts)})

    def keep_skip(self, row: Skipped) -> None:
        """A photo that will not be had."""
        self._add({"is": "skip", "id": row.id, "stage": row.stage, "reason": row.reason})

    def _add(self, record: dict[str, Any], *, sync: bool = False) -> None:
        self._write(record, sync=sync)
        self._take(record)

    def _write(self, record: Mapping[str, Any], *, sync: bool) -> None:
        line = json.dumps(record, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode() + b"\n"
        sent = os.write(self._file, line)
        while sent < len(line):  # only where a disk is full, which then raises
            sent += os.write(self._file, line[sent:])
        if sync:
            os.fsync(self._file)

    def _take(self, record: Mapping[str, Any]) -> None:
        kind = record["is"]
        if kind == "about":
            self.about = record["value"]
        elif kind == "page":
            page = Page.from_json(record["page"])
            key = record["tile"], int(record["turn"]), record["at"]
            self.pages[key] = page
            self._of_tile.setdefault(record["tile"], []).append(key)
            self.skipped.update((row.id, row) for row in page.skipped if row.id not in self.kept)
            for photo in page.photos:
                if photo.group:
                    self.groups.setdefault(photo.group, record["tile"])
        elif kind == "tile":
            self.tiles[record["tile"]] = record["end"]
            self._lighten(record["tile"])
        elif kind == "forget":
            for key in self._of_tile.pop(record["tile"], ()):
                del self.pages[key]
        elif kind == "photo":
            self.kept[record["id"]] = record["facts"]
            self.skipped.pop(record["id"], None)
            self.hashes[record["facts"]["sha256"]] = record["id"]
        elif kind == "skip":
            self.skipped[record["id"]] = Skipped(record["id"], record["stage"], record["reason"])
        else:
            raise ValueError(f"{kind!r} is no kind of record")

    def _lighten(self, tile: str) -> None:
        """Forget in memory what photos of an ended tile are like: who counts them needs their names alone."""
        for key in self._of_tile.pop(tile, ()):
            page = self.pages[key]
            self.pages[key] = replace(
                page, photos=tuple(replace(each, address="", attributes={}) for each in page.photos), skipped=()
            )

    def _read(self, settings: Mapping[str, Any]) -> bool:
        """Read what is there; False where nothing is."""
        if not self.path.exists():
            return False
        whole = 0
        with self.path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if not line.endswith(b"\n"):
                    break  # a kill has cut it short
                try:
                    record = json.loads(line)
                    if number == 1:
                        self._begin(record, settings)
                    else:
                        self._take(record)
                except (ValueError, KeyError, TypeError) as error:
                    raise FormatError(
                        f"{self.path}: line {number} is damaged ({error}); give --restart to crawl anew"
                    ) from None
                whole += len(line)
        if whole < self.path.stat().st_size:
            os.truncate(self.path, whole)
        return whole > 0

    def _begin(self, record: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
        if record["is"] != "crawl" or record["version"] != _VERSION:
            raise ValueError("it is no journal of this version")
        before = record["settings"]
        if before == settings:
            return
        odd = [name for name in dict.fromkeys([*before, *settings]) if before.get(name) != settings.get(name)]
        raise UsageError(
            f"{self.path.parent} holds a crawl with another {' and '.join(odd[:3])}: choose another folder, or give "
            "--restart to begin anew"
        )
