"""Flickr's and Google's APIs as far as a crawl asks them, on this machine, with quotas and faults."""

from __future__ import annotations

import io
import json
import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
from PIL import Image

KEY = "k3y+of/tests=0123"
LICENCES = [
    (0, "All Rights Reserved", ""),
    (1, "Attribution-NonCommercial-ShareAlike License", "https://creativecommons.org/licenses/by-nc-sa/2.0/"),
    (2, "Attribution-NonCommercial License", "https://creativecommons.org/licenses/by-nc/2.0/"),
    (3, "Attribution-NonCommercial-NoDerivs License", "https://creativecommons.org/licenses/by-nc-nd/2.0/"),
    (4, "Attribution License", "https://creativecommons.org/licenses/by/2.0/"),
    (5, "Attribution-ShareAlike License", "https://creativecommons.org/licenses/by-sa/2.0/"),
    (6, "Attribution-NoDerivs License", "https://creativecommons.org/licenses/by-nd/2.0/"),
    (7, "No known copyright restrictions", "https://www.flickr.com/commons/usage/"),
    (8, "United States Government Work", "http://www.usa.gov/copyright.shtml"),
    (9, "Public Domain Dedication (CC0)", "https://creativecommons.org/publicdomain/zero/1.0/"),
    (10, "Public Domain Mark", "https://creativecommons.org/publicdomain/mark/1.0/"),
]


def jpeg(seed: int, size: tuple[int, int] = (24, 18)) -> bytes:
    """A small picture of its own for each seed."""
    pixels = np.random.default_rng(seed).integers(0, 255, (3, 4, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).resize(size).save(file, "JPEG", quality=80)
    return file.getvalue()


@dataclass
class Shot:
    """A photo of Flickr.

    Attributes:
        more: replaces what the API would say.
    """

    number: int
    lon: float
    lat: float
    licence: int = 4
    uploaded: int = 1_400_000_000
    accuracy: int = 16
    data: bytes = b""
    more: dict[str, Any] = field(default_factory=dict)


@dataclass
class Spot:
    """A place of Google, with so many photos."""

    name: str
    lon: float
    lat: float
    photos: int = 1
    types: tuple[str, ...] = ("park",)
    more: dict[str, Any] = field(default_factory=dict)


@dataclass
class Fault:
    """What befalls some requests: `kind` is search, licences, media or image, or "" for any.

    Attributes:
        times: so many requests.
        status: answered instead of 200.
        retry_after: sent with it.
        body: sent instead of the answer.
        cut: the answer ends half-way.
        drop: the connection is closed without an answer.
        wait: seconds before the answer.
    """

    kind: str = ""
    times: int = 1
    status: int = 0
    retry_after: str = ""
    body: bytes | None = None
    cut: bool = False
    drop: bool = False
    wait: float = 0.0


@dataclass
class Served:
    """What the server has, how it behaves, and what it was asked.

    Attributes:
        key: the one key that it takes.
        shots: of Flickr.
        spots: of Google.
        images: bytes of photos by name, where they are not made up.
        faults: the first that fits befalls a request.
        quota: after so many requests to the API 429 is answered.
        before: called before each search is answered, with the number of searches so far.
        asked: kind and detail of each request, failures included.
        keys_seen: addresses and headers, to look for the key in.
        address: of the server.
    """

    key: str = KEY
    shots: list[Shot] = field(default_factory=list)
    spots: list[Spot] = field(default_factory=list)
    images: dict[str, bytes] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    quota: int | None = None
    before: Callable[[int], None] | None = None
    most: int = 4000
    asked: list[tuple[str, str]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    address: str = ""

    def count(self, kind: str) -> int:
        """Requests of a kind."""
        return sum(one == kind for one, _ in self.asked)

    @property
    def flickr(self) -> str:
        """The endpoint of Flickr."""
        return f"{self.address}/services/rest"

    def search_flickr(self, asked: dict[str, str]) -> dict[str, Any]:
        """The answer of flickr.photos.search."""
        west, south, east, north = (float(value) for value in asked["bbox"].split(","))
        taken = asked["license"].split(",")
        found = [
            shot
            for shot in self.shots
            if west <= shot.lon <= east
            and south <= shot.lat <= north
            and str(shot.licence) in taken
            and shot.accuracy >= int(asked["accuracy"])
            and int(asked["min_upload_date"]) <= shot.uploaded <= int(asked["max_upload_date"])
        ]
        found.sort(key=lambda shot: (shot.uploaded, shot.number))
        size, page = min(250, int(asked["per_page"])), int(asked["page"])
        pages = math.ceil(len(found) / size)
        start = (page - 1) * size % max(1, self.most)  # what lies beyond is a repetition
        rows = [self._row(shot) for shot in found[start : start + size]] if page <= pages else []
        listed = {"page": page, "pages": pages, "perpage": size, "total": str(len(found)), "photo": rows}
        return {"photos": listed, "stat": "ok"}

    def _row(self, shot: Shot) -> dict[str, Any]:
        row: dict[str, Any] = {
            "id": str(shot.number),
            "owner": f"{shot.number % 3}@N01",
            "ownername": f"Ana {shot.number % 3}",
            "title": f"photo {shot.number}",
            "license": str(shot.licence),
            "latitude": str(shot.lat),
            "longitude": str(shot.lon),
            "accuracy": str(shot.accuracy),
            "tags": "river bridge",
            "datetaken": "2014-07-05 13:30:00",
            "datetakengranularity": 0,
            "datetakenunknown": "0",
            "url_n": f"{self.address}/live/{shot.number}_n.jpg",
            "width_n": "320",
            "height_n": 240,
            "url_l": f"{self.address}/live/{shot.number}_l.jpg",
            "width_l": 1024,
            "height_l": "768",
            "url_o": f"{self.address}/live/{shot.number}_o.jpg",
            "width_o": 4000,
            "height_o": 3000,
        }
        return {**row, **shot.more}

    def near(self, body: dict[str, Any]) -> dict[str, Any]:
        """The answer of places:searchNearby."""
        circle = body["locationRestriction"]["circle"]
        assert 0.0 < circle["radius"] <= 50_000.0
        wanted = set(body.get("includedTypes", ()))
        found = [
            (metres(spot, circle["center"]), spot) for spot in self.spots if not wanted or wanted & set(spot.types)
        ]
        inside = sorted((each for each in found if each[0] <= circle["radius"]), key=lambda each: each[0])
        rows = [self._place(spot) for _, spot in inside[: body["maxResultCount"]]]
        return {"places": rows} if rows else {}

    def text(self, body: dict[str, Any]) -> dict[str, Any] | None:
        """The answer of places:searchText; None for a token that is not known."""
        low, high = (body["locationRestriction"]["rectangle"][end] for end in ("low", "high"))
        found = [
            spot
            for spot in self.spots
            if low["longitude"] <= spot.lon <= high["longitude"] and low["latitude"] <= spot.lat <= high["latitude"]
        ][:60]
        token = body.get("pageToken", "token0")
        if not token.startswith("token"):
            return None
        start = int(token.removeprefix("token"))
        answer: dict[str, Any] = {"places": [self._place(spot) for spot in found[start : start + 20]]}
        if start + 20 < len(found):
            answer["nextPageToken"] = f"token{start + 20}"
        return answer

    def _place(self, spot: Spot) -> dict[str, Any]:
        photos = [
            {
                "name": f"places/{spot.name}/photos/{spot.name}-{row}",
                "widthPx": 4000,
                "heightPx": 3000,
                "authorAttributions": [{"displayName": f"Bo {row}", "uri": "//maps.google.com/maps/contrib/1"}],
                "googleMapsUri": f"https://www.google.com/maps/place//data={spot.name}-{row}",
            }
            for row in range(spot.photos)
        ]
        place = {
            "id": spot.name,
            "displayName": {"text": f"The {spot.name}", "languageCode": "en"},
            "location": {"latitude": spot.lat, "longitude": spot.lon},
            "types": list(spot.types),
            "photos": photos,
        }
        return {**place, **spot.more}


def metres(spot: Spot, centre: dict[str, float]) -> float:
    """Distance by the haversine formula."""
    lat1, lat2 = math.radians(spot.lat), math.radians(centre["latitude"])
    lon = math.radians(spot.lon - centre["longitude"])
    h = math.sin((lat2 - lat1) / 2) ** 2 + math.cos(lat1) * math.cos(lat2) * math.sin(lon / 2) ** 2
    return 2 * 6371008.8 * math.asin(math.sqrt(h))


@contextmanager
def serve(served: Served) -> Iterator[Served]:
    """Serve `served` for a while; its address is set."""
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args: object) -> None:
            pass

        def do_GET(self) -> None:
            path = urlsplit(self.path).path
            if path.endswith("/media"):
                self._api("media", path.removeprefix("/v1/").removesuffix("/media"), self._media)
            else:
                self._answer("image", path.rsplit("/", 1)[-1], lambda: self._image(path))

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            path = urlsplit(self.path).path
            if path == "/services/rest":
                asked = {name: values[0] for name, values in parse_qs(body.decode()).items()}
                kind = "search" if asked["method"] == "flickr.photos.search" else "licences"
                self._api(kind, f"{asked.get('bbox')} {asked.get('page')}", lambda: self._flickr(asked))
            else:
                value = json.loads(body)
                self._api("search", json.dumps(value["locationRestriction"]), lambda: self._google(path, value))

        def _api(self, kind: str, detail: str, answer: Callable[[], tuple[int, bytes]]) -> None:
            calls = sum(one != "image" for one, _ in served.asked)
            if served.quota is not None and calls >= served.quota:
                served.asked.append((kind, detail))
                return self._end(429, b"{}", {"Retry-After": "3600"})
            return self._answer(kind, detail, answer)

        def _answer(self, kind: str, detail: str, answer: Callable[[], tuple[int, bytes]]) -> None:
            with lock:
                served.asked.append((kind, detail))
                served.paths.append(self.path)
                fault = next((one for one in served.faults if one.times > 0 and one.kind in ("", kind)), None)
                if fault is not None:
                    fault.times -= 1
                if kind == "search" and served.before is not None:
                    served.before(served.count("search"))
            if fault is None:
                return self._end(*answer())
            time.sleep(fault.wait)
            if fault.drop:
                self.close_connection = True
                return self.connection.close()
            if fault.status:
                return self._end(fault.status, b"no", {"Retry-After": fault.retry_after} if fault.retry_after else None)
            status, data = answer()
            return self._end(status, data if fault.body is None else fault.body, cut=fault.cut)

        def _flickr(self, asked: dict[str, str]) -> tuple[int, bytes]:
            if asked.get("api_key") != served.key:
                message = f"Invalid API Key (Key has invalid format: {asked.get('api_key')})"
                return 200, json.dumps({"stat": "fail", "code": 100, "message": message}).encode()
            if asked["method"] == "flickr.photos.licenses.getInfo":
                rows = [{"id": number, "name": name, "url": url} for number, name, url in LICENCES]
                return 200, json.dumps({"licenses": {"license": rows}, "stat": "ok"}).encode()
            return 200, json.dumps(served.search_flickr(asked)).encode()

        def _google(self, path: str, body: dict[str, Any]) -> tuple[int, bytes]:
            if self.headers.get("X-Goog-Api-Key") != served.key:
                return self._no_key()
            assert "places.photos" in self.headers["X-Goog-FieldMask"]
            answer = served.near(body) if path.endswith("searchNearby") else served.text(body)
            if answer is None:
                return 400, json.dumps({"error": {"code": 400, "message": "Invalid page token"}}).encode()
            return 200, json.dumps(answer).encode()

        def _media(self) -> tuple[int, bytes]:
            if self.headers.get("X-Goog-Api-Key") != served.key:
                return self._no_key()
            name = urlsplit(self.path).path.removeprefix("/v1/").removesuffix("/media")
            found = {photo["name"] for spot in served.spots for photo in served._place(spot)["photos"]}
            if name not in found:
                return 404, json.dumps({"error": {"code": 404, "message": "not found"}}).encode()
            assert parse_qs(urlsplit(self.path).query)["skipHttpRedirect"] == ["true"]
            return 200, json.dumps({"photoUri": f"{served.address}/lh3/{name.rsplit('/', 1)[-1]}"}).encode()

        def _no_key(self) -> tuple[int, bytes]:
            said = self.headers.get("X-Goog-Api-Key")
            error = {"code": 400, "message": f"API key not valid: {said}", "details": [{"reason": "API_KEY_INVALID"}]}
            return 400, json.dumps({"error": error}).encode()

        def _image(self, path: str) -> tuple[int, bytes]:
            name = path.rsplit("/", 1)[-1].split("_")[0]
            data = served.images.get(name)
            if data is None:
                data = jpeg(sum(ord(letter) * 7919**place for place, letter in enumerate(name)) % 2**31)
            return (200, data) if data else (404, b"")

        def _end(self, status: int, body: bytes, headers: dict[str, str] | None = None, cut: bool = False) -> None:
            try:
                self.send_response(status)
                for name, value in (headers or {}).items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.send_header("Connection", "close")  # nothing stays open when a test ends
                self.end_headers()
                self.wfile.write(body[: len(body) // 2] if cut else body)
                self.close_connection = True
            except (BrokenPipeError, ConnectionResetError):
                pass  # a crawl that was killed reads no answer

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *args: object) -> None:
            pass

    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    served.address = f"http://127.0.0.1:{server.server_port}"
    try:
        yield served
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
