"""A server of files with ranges, ETags and faults, on this machine, for tests of remote reading."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Served:
    """What a server has, how it behaves, and what it was asked.

    Attributes:
        files: content by path.
        etags: whether it sends ETags.
        modified: the Last-Modified that it sends, "" for none.
        ranges: whether it sends parts.
        status: if not 0, what it answers to all.
        fail_first: so many requests are answered with 503 first.
        cut: so many answers end half-way.
        asked: path and range of each request.
        sent: bytes sent.
        address: of the server.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    etags: bool = True
    modified: str = ""
    ranges: bool = True
    status: int = 0
    fail_first: int = 0
    cut: int = 0
    asked: list[tuple[str, str]] = field(default_factory=list)
    sent: int = 0
    address: str = ""


@contextmanager
def serve(served: Served) -> Iterator[Served]:
    """Serve `served` for a while; its address is set."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args: object) -> None:
            pass

        def do_GET(self) -> None:
            path = self.path.split("?")[0]
            served.asked.append((path, self.headers.get("Range", "")))
            if served.status or served.fail_first > 0:
                served.fail_first -= 1
                return self._end(served.status or 503)
            data = served.files.get(path)
            if data is None:
                return self._end(404)
            etag = f'"{hashlib.md5(data).hexdigest()}"'
            if served.etags and self.headers.get("If-None-Match") == etag:
                return self._end(304)
            if not served.etags and served.modified and self.headers.get("If-Modified-Since") == served.modified:
                return self._end(304)
            span = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
            headers = {"ETag": etag} if served.etags else {}
            if served.modified:
                headers["Last-Modified"] = served.modified
            if span is None or not served.ranges:
                return self._end(200, data, headers)
            first, last = int(span[1]), min(int(span[2]), len(data) - 1)
            if first > last:
                return self._end(416)
            headers["Content-Range"] = f"bytes {first}-{last}/{len(data)}"
            return self._end(206, data[first : last + 1], headers)

        def _end(self, status: int, body: bytes = b"", headers: dict[str, str] | None = None) -> None:
            self.send_response(status)
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Connection", "close")  # nothing stays open when a test ends
            self.end_headers()
            if served.cut > 0 and body:
                served.cut -= 1
                self.wfile.write(body[: len(body) // 2])
                self.close_connection = True
                return
            served.sent += len(body)
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
