"""Google Places (New): Nearby Search in circles or Text Search in boxes, and the photos of the places found.

Of the documentation: developers.google.com/maps/documentation/places/web-service, pages nearby-search, text-search and
place-photos. Nearby Search gives up to 20 places and has no pages; Text Search up to 60 on three pages. A place has up
to ten photos, and their position is that of the place, not of the camera.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from placevec.errors import FormatError, UsageError
from placevec.geo.boxes import Box
from placevec.sources.crawl.base import SEARCH, Found, Gone, Lapsed, Page
from placevec.sources.crawl.checks import place_of
from placevec.sources.crawl.client import Client, endpoint_of, refused, texts
from placevec.sources.crawl.tiles import Tile, root_tiles
from placevec.table.skipped import Skipped

KEY = "GOOGLE_MAPS_API_KEY"
ENDPOINT = "https://places.googleapis.com"
PER_SECOND = 5.0
"""A default well below the quota of a minute that new projects have."""

TERMS = (
    "Google's terms allow keeping place ids; photos, names and coordinates only as its service terms say (coordinates "
    "for 30 days, photos not at all beyond what your contract allows), always with the attribution of their authors"
)
LICENCE = "Google-Maps-Platform-terms"

MOST_NEARBY = 20
MOST_TEXT = 60
MOST_RADIUS_M = 50_000.0
MOST_PIXELS = 4800

_FIELDS = ("id", "displayName", "location", "types", "photos")
_TERMS_URL = "https://cloud.google.com/maps-platform/terms/maps-service-terms"


class GooglePlaces:
    """Photos of places, by the kind of place or by words.

    Args:
        client: asks the API.
        key: Google's key; it is sent in a header, never in an address.
        query: words: Text Search; without them Nearby Search.
        types: kinds of places, such as tourist_attraction (Nearby Search alone, one with words); none for any.
        per_place: photos of a place at most.
        pixels: greatest width and height of a photo.
        endpoint: address of the API.

    Raises:
        UsageError: options do not go together, or a value is out of range.
    """

    name = "Google Places"

    def __init__(
        self,
        client: Client,
        key: str,
        *,
        query: str | None = None,
        types: Sequence[str] = (),
        per_place: int = 10,
        pixels: int = 1024,
        endpoint: str = ENDPOINT,
    ) -> None:
        if not 1 <= pixels <= MOST_PIXELS:
            raise UsageError(f"photos of {pixels} pixels cannot be had; choose 1 to {MOST_PIXELS}")
        if per_place < 1:
            raise UsageError(f"{per_place} photos of a place are none; choose at least 1")
        if query is not None and len(types) > 1:
            raise UsageError("a search in words takes one type of place; leave out the query, or all types but one")
        odd = next((one for one in types if not re.fullmatch(r"[a-z0-9_]+", one)), None)
        if odd is not None:
            raise UsageError(f"{odd!r} is no type of place; types are written like tourist_attraction")
        self._client, self._key = client, key
        self._query, self._types = query, tuple(sorted(set(types)))
        self._per_place, self._pixels = per_place, pixels
        self._endpoint = endpoint_of(endpoint)

    @property
    def requests(self) -> int:
        """See `Service`."""
        return self._client.requests

    def settings(self) -> dict[str, Any]:
        """See `Service`."""
        return {
            "service": "google-places",
            "query": self._query,
            "types": list(self._types),
            "per_place": self._per_place,
            "pixels": self._pixels,
        }

    def prepare(self, kept: Mapping[str, Any]) -> dict[str, Any]:
        """Nothing to ask: see `Service`."""
        return dict(kept)

    def roots(self, box: Box, side_m: float | None) -> tuple[Tile, ...]:
        """See `Service`."""
        return root_tiles(box, side_m=side_m)

    def page(self, tile: Tile, at: str) -> Page | None:
        """See `Service`; `at` is the token of the page, of Text Search."""
        fields = ",".join(f"places.{name}" for name in _FIELDS)
        if self._query is None:
            lon, lat, radius = tile.circle
            if radius > MOST_RADIUS_M:
                return None
            centre = {"latitude": lat, "longitude": lon}
            body: dict[str, Any] = {
                "maxResultCount": MOST_NEARBY,
                "rankPreference": "DISTANCE",
                "locationRestriction": {"circle": {"center": centre, "radius": radius}},
            }
            if self._types:
                body["includedTypes"] = list(self._types)
            answer = self._ask("POST", "/v1/places:searchNearby", fields, body)
            return self._page(answer, "", MOST_NEARBY, 0)
        west, south, east, north = tile.box
        corners = {"low": {"latitude": south, "longitude": west}, "high": {"latitude": north, "longitude": east}}
        body = {"textQuery": self._query, "pageSize": MOST_NEARBY, "locationRestriction": {"rectangle": corners}}
        if self._types:
            body |= {"includedType": self._types[0], "strictTypeFiltering": True}
        # A token alone does not say which page it leads to.
        before, _, token = at.partition(":")
        if token:
            body["pageToken"] = token
        answer = self._ask("POST", "/v1/places:searchText", f"{fields},nextPageToken", body, token=bool(token))
        after = answer.get("nextPageToken")
        return self._page(answer, after if isinstance(after, str) else "", MOST_TEXT, int(before or 0))

    def stop(self) -> None:
        """See `Service`."""
        self._client.stop()

    def image(self, photo: Found) -> bytes:
        """See `Service`: the address where the photo lies for a while, then its bytes."""
        size = f"maxWidthPx={self._pixels}&maxHeightPx={self._pixels}&skipHttpRedirect=true"
        answer = self._ask("GET", f"/v1/{photo.address}/media?{size}", "", None, photo=True)
        address = answer.get("photoUri")
        if not isinstance(address, str):
            raise Gone("the service gives no address of the photo")
        return self._client.download(address)

    def _ask(
        self, method: str, path: str, fields: str, body: Any, *, token: bool = False, photo: bool = False
    ) -> dict[str, Any]:
        def judge(status: int, value: Any) -> None:
            if status < 300:
                if not isinstance(value, dict):
                    raise refused(value)
                return
            error = value.get("error") if isinstance(value, dict) else None
            error = error if isinstance(error, dict) else {}
            said = self._client.clean(str(error.get("message", f"HTTP {status}")))
            if status in (401, 403) or "API_KEY_INVALID" in str(error.get("details")) or "API key" in said:
                raise UsageError(f"Google refuses the key ({said}): set the environment variable {KEY} to a valid one")
            if photo and status in (400, 404):
                raise Gone("the service does not know the photo any more")
            if token and status == 400:
                raise Lapsed("the page is no longer known")
            raise FormatError(f"Google refuses the search (HTTP {status}: {said}); change what is asked for")

        headers = {"X-Goog-Api-Key": self._key}
        if fields:
            headers["X-Goog-FieldMask"] = fields
        answer: dict[str, Any] = self._client.ask(method, self._endpoint + path, judge, body=body, headers=headers)
        return answer

    def _page(self, answer: Mapping[str, Any], token: str, most: int, before: int) -> Page:
        rows = answer.get("places", [])  # a search without finds answers with {}
        if not isinstance(rows, list):
            raise refused(answer)
        photos: list[Found] = []
        skipped: list[Skipped] = []
        for row in rows:
            self._read(row, photos, skipped)
        seen = before + len(rows)
        return Page(
            photos=tuple(photos),
            skipped=tuple(skipped),
            total=seen,
            next=f"{seen}:{token}" if token and rows and seen < most else "",
            full=seen >= most,
            reach=len(photos),
        )

    def _read(self, row: Any, photos: list[Found], skipped: list[Skipped]) -> None:
        """Add the photos of a place to the one list or the other."""
        place = str(row.get("id") or "") if isinstance(row, dict) else ""
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,255}", place):
            skipped.append(Skipped(f"google-{place[:40]}", SEARCH, "the place has no id"))
            return
        where = row.get("location") if isinstance(row.get("location"), dict) else {}
        at = place_of(where.get("longitude"), where.get("latitude"))
        if isinstance(at, str):
            skipped.append(Skipped(f"google-{place}", SEARCH, at))
            return
        listed = row.get("photos") if isinstance(row.get("photos"), list) else []
        if not listed:
            skipped.append(Skipped(f"google-{place}", SEARCH, "the place has no photo"))
        names = row.get("displayName")
        for each in listed[: self._per_place]:
            address = str(each.get("name", "")) if isinstance(each, dict) else ""
            if not re.fullmatch(r"places/[A-Za-z0-9_-]+/photos/[A-Za-z0-9_-]+", address):
                skipped.append(Skipped(f"google-{place}", SEARCH, "a photo has no name"))
                continue
            # Names of photos are long, and do not last.
            name = f"google-{hashlib.sha256(address.encode()).hexdigest()[:20]}"
            authors = [one for one in each.get("authorAttributions") or [] if isinstance(one, dict)]
            photos.append(
                Found(
                    name,
                    place,
                    *at,
                    address,
                    group=place,
                    attributes={
                        "tags": ",".join(texts(row.get("types") or [])),
                        "title": str(names.get("text", "")) if isinstance(names, dict) else "",
                        "licence": LICENCE,
                        "licence_url": _TERMS_URL,
                        "author": ", ".join(texts([one.get("displayName") for one in authors])),
                        "author_url": " ".join(texts([one.get("uri") for one in authors])),
                        "source_url": str(
                            each.get("googleMapsUri") or f"https://www.google.com/maps/place/?q=place_id:{place}"
                        ),
                    },
                )
            )
