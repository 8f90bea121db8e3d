"""A map service on this machine, with XYZ, WMS and WMTS over one picture, and faults on demand."""

from __future__ import annotations

import io
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
from PIL import Image
from pyproj import Transformer

WORLD = 20037508.342789244
Colour = Callable[[Any, Any], Any]
"""From longitudes and latitudes (n,) to red, green, blue (n, 3), NaN where the picture has nothing."""


def smooth(lon: Any, lat: Any) -> Any:
    """Colours that change slowly with the place, everywhere."""
    parts = [np.sin(40 * lon), np.cos(55 * lat), np.sin(30 * (lon + lat))]
    return np.stack([127.0 + 100.0 * part for part in parts], axis=1)


@dataclass
class MapServer:
    """What is served and how it behaves.

    Attributes:
        colour: the picture.
        side: pixels along a side of a tile.
        fail_first: so many requests are answered with 503 first.
        answer: if set, what every request is answered with: (status, content type, body).
        asked: the path and query of each request.
        at_once: the most requests that were open at the same time.
        address: of the server.
    """

    colour: Colour = smooth
    side: int = 64
    fail_first: int = 0
    answer: tuple[int, str, bytes] | None = None
    asked: list[str] = field(default_factory=list)
    at_once: int = 0
    address: str = ""

    def picture(self, crs: str, box: tuple[float, float, float, float], side: int) -> bytes:
        """A PNG of (west, south, east, north) in `crs`; b"" where there is nothing at all."""
        west, south, east, north = box
        x = west + (np.arange(side) + 0.5) * (east - west) / side
        y = north - (np.arange(side) + 0.5) * (north - south) / side
        i, j = (part.ravel() for part in np.meshgrid(x, y))
        if crs == "EPSG:3857":  # by its own formula, which costs less than a transformer in each thread
            lon, lat = i / WORLD * 180.0, np.degrees(2.0 * np.arctan(np.exp(j / WORLD * np.pi)) - np.pi / 2.0)
        elif crs in ("EPSG:4326", "CRS:84"):
            lon, lat = i, j
        else:
            lon, lat = Transformer.from_crs(crs, "OGC:CRS84", always_xy=True).transform(i, j)
        rgb = np.asarray(self.colour(lon, lat), dtype=float)
        known = np.isfinite(rgb).all(axis=1)
        if not known.any():
            return b""
        pixels = np.zeros((side * side, 4), dtype=np.uint8)
        pixels[known, :3] = np.rint(rgb[known])
        pixels[known, 3] = 255
        out = io.BytesIO()
        Image.fromarray(pixels.reshape(side, side, 4)).save(out, "PNG")
        return out.getvalue()

    def tile(self, z: int, col: int, row: int) -> bytes:
        """A tile of the world in EPSG:3857."""
        step = 2 * WORLD / 2**z
        west, north = -WORLD + col * step, WORLD - row * step
        return self.picture("EPSG:3857", (west, north - step, west + step, north), self.side)

    def get(self, path: str) -> tuple[int, str, bytes]:
        """Status, content type and body of an answer."""
        parts = urlsplit(path)
        query = {name.lower(): values[0] for name, values in parse_qs(parts.query).items()}
        if parts.path.startswith(("/xyz/", "/tms/")):
            z, col, row = (int(number) for number in re.findall(r"\d+", parts.path)[:3])
            found = self.tile(z, col, 2**z - 1 - row if parts.path.startswith("/tms/") else row)
        elif parts.path.startswith("/quad/"):
            digits = parts.path.removeprefix("/quad/").removesuffix(".png")
            col = sum((int(digit) & 1) << (len(digits) - 1 - at) for at, digit in enumerate(digits))
            row = sum((int(digit) >> 1) << (len(digits) - 1 - at) for at, digit in enumerate(digits))
            found = self.tile(len(digits), col, row)
        elif query.get("request", "").lower() == "getcapabilities" or parts.path.endswith(".xml"):
            return 200, "text/xml", capabilities(self.address).encode()
        elif query.get("request", "").lower() == "gettile":
            found = self.tile(int(query["tilematrix"][-2:]), int(query["tilecol"]), int(query["tilerow"]))
        elif query.get("request") == "GetMap":
            return self.map(query)
        else:
            return 400, "text/plain", b"what?"
        return (200, "image/png", found) if found else (404, "text/plain", b"no tile")

    def map(self, query: dict[str, str]) -> tuple[int, str, bytes]:
        """The answer of a WMS: boxes of 1.3.0 are in the order of axes of the coordinate system."""
        if query["layers"] != "ortho":
            text = '<?xml version="1.0"?><ServiceExceptionReport><ServiceException code="LayerNotDefined">no layer '
            return 200, "text/xml", f"{text}{query['layers']}</ServiceException></ServiceExceptionReport>".encode()
        crs = query["crs" if query["version"] == "1.3.0" else "srs"]
        west, south, east, north = (float(part) for part in query["bbox"].split(","))
        box = (west, south, east, north)
        if query["version"] == "1.3.0" and crs == "EPSG:4326":
            box = (south, west, north, east)
        assert query["width"] == query["height"]
        found = self.picture(crs, box, int(query["width"]))
        return 200, "image/png", found or self.picture_of_nothing(int(query["width"]))

    def picture_of_nothing(self, side: int) -> bytes:
        """A see-through PNG."""
        out = io.BytesIO()
        Image.new("RGBA", (side, side)).save(out, "PNG")
        return out.getvalue()


@contextmanager
def serve_map(served: MapServer) -> Iterator[MapServer]:
    """Serve for a while; the address is set."""
    lock, open_now = threading.Lock(), [0]

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args: object) -> None:
            pass

        def do_GET(self) -> None:
            with lock:
                open_now[0] += 1
                served.at_once = max(served.at_once, open_now[0])
                served.asked.append(self.path)
                busy = served.fail_first > 0
                served.fail_first -= busy
            status, kind, body = (503, "text/plain", b"busy") if busy else served.answer or served.get(self.path)
            with lock:
                open_now[0] -= 1
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Connection", "close")  # nothing stays open when a test ends
            self.end_headers()
            self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    served.address = f"http://127.0.0.1:{server.server_port}"
    try:
        yield served
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def capabilities(address: str, rest: bool = True) -> str:
    """The capabilities of a WMTS of one layer in EPSG:3857, zoom 10 to 18, by REST or by queries."""
    matrices = "".join(
        f"<TileMatrix><ows:Identifier>m:{z:02d}</ows:Identifier><ScaleDenominator>{4 * 559082264.0287178 / 2**z!r}"
        f"</ScaleDenominator><TopLeftCorner>{-WORLD!r} {WORLD!r}</TopLeftCorner><TileWidth>64</TileWidth>"
        f"<TileHeight>64</TileHeight><MatrixWidth>{2**z}</MatrixWidth><MatrixHeight>{2**z}</MatrixHeight></TileMatrix>"
        for z in range(10, 19)
    )
    template = (
        f"{address}/wmts?request=GetTile&amp;tilematrix={{TileMatrix}}&amp;tilerow={{TileRow}}&amp;tilecol={{TileCol}}"
    )
    link = f'<ResourceURL format="image/png" resourceType="tile" template="{template}"/>' if rest else ""
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<Capabilities xmlns="http://www.opengis.net/wmts/1.0" xmlns:ows="http://www.opengis.net/ows/1.1" version="1.0.0">
<ows:ServiceIdentification><ows:AccessConstraints>CC-BY-4.0</ows:AccessConstraints></ows:ServiceIdentification>
<ows:ServiceProvider><ows:ProviderName>The Survey</ows:ProviderName></ows:ServiceProvider>
<Contents><Layer><ows:Identifier>ortho</ows:Identifier><Style isDefault="true"><ows:Identifier>plain</ows:Identifier>
</Style><Format>image/png</Format><TileMatrixSetLink><TileMatrixSet>web</TileMatrixSet></TileMatrixSetLink>{link}</Layer>
<TileMatrixSet><ows:Identifier>web</ows:Identifier><ows:SupportedCRS>urn:ogc:def:crs:EPSG::3857</ows:SupportedCRS>
{matrices}</TileMatrixSet></Contents></Capabilities>"""
