"""Flickr: `flickr.photos.search` in boxes (https://www.flickr.com/services/api/flickr.photos.search.html)."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from math import ceil
from typing import Any

from placevec.errors import FormatError, UsageError
from placevec.geo.boxes import Box
from placevec.sources.crawl.base import SEARCH, Found, Page
from placevec.sources.crawl.checks import place_of
from placevec.sources.crawl.client import Again, Client, endpoint_of, refused
from placevec.sources.crawl.licences import REUSE, Licence, chosen, read_licences
from placevec.sources.crawl.tiles import Tile, root_tiles
from placevec.table.skipped import Skipped

KEY = "FLICKR_API_KEY"
ENDPOINT = "https://api.flickr.com/services/rest"
PER_SECOND = 1.0
"""Flickr's limit is 3,600 requests an hour."""

MOST = 4000
"""Photos that one query gives at most; pages beyond repeat earlier ones."""

PER_PAGE = 250
"""Of queries by place; others have up to 500."""

_FOUNDED = 1072915200  # 1 January 2004: there is no older upload
_SIZES = ("n", "m", "z", "c", "l", "h", "k", "o")  # longer sides of 320, 500, 640, 800, 1024, 1600, 2048, as uploaded
_EXTRAS = "geo,date_taken,license,owner_name,tags," + ",".join(f"url_{size}" for size in _SIZES)
_BAD_KEY = (100,)
_PASSING = (0, 10, 105, 106)  # search is not available, service unavailable, operation failed


class Flickr:
    """Photos with positions, by the box, licence and time in which they lie.

    Args:
        client: asks the API.
        key: Flickr's key; it is sent in the body of each request, never in an address.
        licences: see `licences.chosen`.
        since: first day or moment at which photos were taken, ISO 8601; None for any.
        until: last one.
        query: words that the title, the description or the tags hold.
        accuracy: least accuracy of the position: 16 a street, 11 a city, 6 a region, 3 a country, 1 the world.
        pixels: the smallest size whose longer side has as many is taken, else the largest that there is.
        endpoint: address of the API.

    Raises:
        UsageError: the accuracy, a time or the endpoint is none.
    """

    name = "Flickr"

    def __init__(
        self,
        client: Client,
        key: str,
        *,
        licences: Sequence[str] = (REUSE,),
        since: str | None = None,
        until: str | None = None,
        query: str | None = None,
        accuracy: int = 16,
        pixels: int = 1024,
        endpoint: str = ENDPOINT,
    ) -> None:
        if not 1 <= accuracy <= 16:
            raise UsageError(f"an accuracy of {accuracy} does not exist; Flickr's go from 1 (world) to 16 (street)")
        self._client, self._key = client, key
        self._wanted = tuple(sorted({word.strip().casefold() for word in licences}))
        self._since, self._until = moment(since), moment(until, end=True)
        if self._since and self._until and self._since > self._until:
            raise UsageError(f"no photo was taken since {since} and until {until}; exchange the two")
        self._query, self._accuracy, self._pixels = query, accuracy, pixels
        self._endpoint = endpoint_of(endpoint)
        self._licences: dict[str, Licence] = {}
        self._stop = 0

    @property
    def requests(self) -> int:
        """See `Service`."""
        return self._client.requests

    def settings(self) -> dict[str, Any]:
        """See `Service`."""
        return {
            "service": "flickr",
            "licences": list(self._wanted),
            "since": self._since,
            "until": self._until,
            "query": self._query,
            "accuracy": self._accuracy,
            "pixels": self._pixels,
        }

    def prepare(self, kept: Mapping[str, Any]) -> dict[str, Any]:
        """Ask once which licences there are, and fix the moment after which uploads do not count.

        Raises:
            UsageError: the key is refused, or a licence does not exist.
        """
        if kept:
            rows = [Licence.of(*row) for row in kept["licences"]]
        else:
            answer = self._ask({"method": "flickr.photos.licenses.getInfo"})
            try:
                rows = list(read_licences(answer))
            except ValueError:
                raise refused(answer) from None
        self._licences = {one.id: one for one in chosen(rows, self._wanted)}
        # Pages shift when photos are added; none is added to the past.
        self._stop = int(kept.get("stop") or time.time())
        return {"licences": [[one.id, one.name, one.url] for one in rows], "stop": self._stop}

    def roots(self, box: Box, side_m: float | None) -> tuple[Tile, ...]:
        """See `Service`: the tiles have the span of time from Flickr's beginning to that of the crawl."""
        return root_tiles(box, side_m=side_m, start=_FOUNDED, stop=self._stop)

    def page(self, tile: Tile, at: str) -> Page | None:
        """See `Service`; `at` is the number of the page."""
        number = int(at or 1)
        fields = {
            "method": "flickr.photos.search",
            "bbox": ",".join(f"{value:.6f}" for value in tile.box),
            "has_geo": "1",
            "media": "photos",
            "content_type": "1",  # no screenshots
            "safe_search": "1",
            "accuracy": str(self._accuracy),
            "license": ",".join(self._licences),
            # Without such a limit a query by place gives no more than the uploads of the last 12 hours.
            "min_upload_date": str(tile.start),
            "max_upload_date": str(tile.stop),
            "sort": "date-posted-asc",
            "per_page": str(PER_PAGE),
            "page": str(number),
            "extras": _EXTRAS,
        }
        optional = {"min_taken_date": self._since, "max_taken_date": self._until, "text": self._query}
        answer = self._ask({**fields, **{name: value for name, value in optional.items() if value}})
        try:
            listed = answer["photos"]
            rows, total, pages = list(listed["photo"]), int(listed["total"]), int(listed["pages"])
        except (KeyError, TypeError, ValueError, OverflowError):
            raise refused(answer) from None
        read = [self._found(row) for row in rows]
        last = not rows or number >= min(pages, ceil(MOST / PER_PAGE))
        return Page(
            photos=tuple(each for each in read if isinstance(each, Found)),
            skipped=tuple(each for each in read if isinstance(each, Skipped)),
            total=total,
            next="" if last else str(number + 1),
            full=total > MOST,
            reach=min(total, MOST),
            counted=True,
        )

    def stop(self) -> None:
        """See `Service`."""
        self._client.stop()

    def image(self, photo: Found) -> bytes:
        """See `Service`."""
        return self._client.download(photo.address)

    def _ask(self, fields: Mapping[str, str]) -> Any:
        own = {"api_key": self._key, "format": "json", "nojsoncallback": "1"}
        return self._client.ask("POST", self._endpoint, self._judge, fields={**fields, **own})

    def _judge(self, status: int, value: Any) -> None:
        if status < 300 and isinstance(value, dict) and value.get("stat") == "ok":
            return
        if not isinstance(value, dict) or "stat" not in value:
            raise FormatError(f"Flickr answers with HTTP {status} and nothing to read; check the endpoint")
        code = _number(value.get("code"))
        said = self._client.clean(str(value.get("message", "")))
        if code in _BAD_KEY:
            raise UsageError(f"Flickr refuses the key ({said}): set the environment variable {KEY} to a valid one")
        if code in _PASSING:
            raise Again(f"Flickr says {code}: {said}")
        raise FormatError(f"Flickr refuses the search ({code}: {said}); change what is asked for")

    def _found(self, row: Any) -> Found | Skipped:
        number = str(row.get("id", "")) if isinstance(row, dict) else ""
        if not re.fullmatch(r"\d{1,20}", number):
            return Skipped(f"flickr-{number[:40]}", SEARCH, "it has no id")
        name = f"flickr-{number}"
        at = place_of(row.get("longitude"), row.get("latitude"))
        if isinstance(at, str):
            return Skipped(name, SEARCH, at)
        licence = self._licences.get(str(row.get("license")))
        if licence is None:
            return Skipped(name, SEARCH, f"licence {str(row.get('license'))[:20]} is not among those taken")
        accuracy = _number(row.get("accuracy"))
        if accuracy is not None and accuracy < self._accuracy:
            return Skipped(name, SEARCH, f"its position has the accuracy {accuracy}")
        address = self._address(row)
        if not address:
            return Skipped(name, SEARCH, "its owner gives no size of it")
        owner = str(row.get("owner", ""))
        return Found(
            name,
            name,
            *at,
            address,
            attributes={
                **taken(row),
                "tags": ",".join(str(row.get("tags") or "").split()),
                "title": str(row.get("title") or ""),
                "licence": licence.code,
                "licence_url": licence.url,
                "author": str(row.get("ownername") or owner),
                "author_url": f"https://www.flickr.com/people/{owner}",
                "source_url": f"https://www.flickr.com/photos/{owner}/{number}",
                "accuracy": accuracy,
            },
        )

    def _address(self, row: Mapping[str, Any]) -> str:
        sizes = []
        for size in _SIZES:
            address = row.get(f"url_{size}")
            if isinstance(address, str) and address:
                side = max(_number(row.get(f"width_{size}")) or 0, _number(row.get(f"height_{size}")) or 0)
                sizes.append((side, address))
        enough = [each for each in sizes if each[0] >= self._pixels]
        return min(enough)[1] if enough else max(sizes, default=(0, ""))[1]


def taken(row: Mapping[str, Any]) -> dict[str, Any]:
    """When a photo was taken by the camera's clock: ISO time, hour and month; None where Flickr does not know."""
    nothing = {"taken": None, "hour": None, "month": None}
    try:
        when = datetime.strptime(str(row["datetaken"]), "%Y-%m-%d %H:%M:%S")
    except (KeyError, ValueError):
        return nothing
    exact = str(row.get("datetakengranularity", "0")) == "0"  # 4: the month is known, 6: the year, 8: about
    if not exact or str(row.get("datetakenunknown", "0")) == "1":
        return nothing
    return {"taken": when.isoformat(), "hour": when.hour + when.minute / 60.0, "month": when.month}


def moment(text: str | None, *, end: bool = False) -> str | None:
    """A day or a moment as Flickr writes it; of a day the first second, or at the `end` the last.

    Raises:
        UsageError: it is neither.
    """
    if text is None:
        return None
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{text!r} is no date; write it like 2015-06-30 or 2015-06-30T12:00") from None
    if end and re.fullmatch(r"\d{4}-?\d{2}-?\d{2}", text):
        when = when.replace(hour=23, minute=59, second=59)
    return when.strftime("%Y-%m-%d %H:%M:%S")


def _number(value: Any) -> int | None:
    return int(value) if re.fullmatch(r"[0-9]{1,9}", str(value)) else None
