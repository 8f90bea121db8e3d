"""A server of this process that speaks as Qdrant does, remembers what it was sent, and fails when it is told to."""

from __future__ import annotations

import json
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from qdrant_client import QdrantClient, models


@dataclass(frozen=True)
class Sent:
    """A request."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: Any


@dataclass
class Fault:
    """What happens to the next `times` requests of a method and the end of a path, after the first `after` of them."""

    method: str
    ending: str
    times: int
    status: int = 0  # 0: the connection is closed without an answer
    error: str = ""
    after: int = 0

    def strikes(self, sent: Sent) -> bool:
        if self.method != sent.method or not sent.path.endswith(self.ending) or not self.times:
            return False
        if self.after:
            self.after -= 1
            return False
        self.times -= 1
        return True


@dataclass
class Server:
    """What a test sees of the server."""

    url: str = ""
    sent: list[Sent] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    key: str = ""
    keeps_metadata: bool = True
    threshold: int = 10_000
    statuses: list[str] = field(default_factory=list)  # of the collection, one for each time it is asked; then green
    client: Any = None
    lock: threading.Lock = field(default_factory=threading.Lock)

    def of(self, method: str, ending: str) -> list[Sent]:
        """The requests of a method whose path ends so."""
        return [one for one in self.sent if one.method == method and one.path.endswith(ending)]

    def answer(self, sent: Sent) -> Any:
        """What Qdrant would answer; by the memory of this process."""
        parts = sent.path.strip("/").split("/")
        name, rest = parts[1], "/".join(parts[2:])
        body = sent.body or {}
        done = {"operation_id": 0, "status": "completed"}
        exists = self.client.collection_exists(name)
        if (sent.method, rest) == ("GET", "exists"):
            return {"exists": exists}
        if (sent.method, rest) == ("PUT", ""):
            made = models.CreateCollection(**body)
            self.threshold = made.optimizers_config.indexing_threshold
            metadata = made.metadata if self.keeps_metadata else None
            return self.client.create_collection(name, vectors_config=made.vectors, metadata=metadata)
        if not exists:
            raise LookupError(f"Not found: Collection `{name}` doesn't exist!")
        if (sent.method, rest) == ("GET", ""):
            info = json.loads(self.client.get_collection(name).model_dump_json())
            info["config"]["optimizer_config"]["indexing_threshold"] = self.threshold
            info["status"] = self.statuses.pop(0) if self.statuses else "green"
            if info["status"] == "red":
                info["optimizer_status"] = {"error": "out of cheese"}
            return info
        if (sent.method, rest) == ("PATCH", ""):
            changed = models.UpdateCollection(**body)
            if changed.optimizers_config is not None:
                self.threshold = changed.optimizers_config.indexing_threshold
            return self.client.update_collection(name, metadata=changed.metadata)
        if (sent.method, rest) == ("DELETE", ""):
            return self.client.delete_collection(name)
        if (sent.method, rest) == ("PUT", "index"):
            return done
        if (sent.method, rest) == ("PUT", "points"):
            self.client.upsert(name, models.PointsBatch(**body).batch)
            return done
        if (sent.method, rest) == ("POST", "points/delete"):
            self.client.delete(name, models.PointIdsList(**body))
            return done
        if (sent.method, rest) == ("POST", "points/count"):
            asked = models.CountRequest(**body)
            return {"count": self.client.count(name, count_filter=asked.filter).count}
        if (sent.method, rest) == ("POST", "points/scroll"):
            page = models.ScrollRequest(**body)
            points, after = self.client.scroll(
                name, limit=page.limit, offset=page.offset, with_payload=page.with_payload, with_vectors=False
            )
            return {"points": [_plain(point) for point in points], "next_page_offset": after}
        if (sent.method, rest) == ("POST", "points"):
            wanted = models.PointRequest(**body)
            return [_plain(point) for point in self.client.retrieve(name, wanted.ids, with_vectors=True)]
        assert (sent.method, rest) == ("POST", "points/query/batch"), (sent.method, rest)
        requests = models.QueryRequestBatch(**body).searches
        for request in requests:
            request.params = None  # the memory compares all points whatever it is told
        return [_plain(found) for found in self.client.query_batch_points(name, requests)]


def _plain(value: Any) -> Any:
    return json.loads(value.model_dump_json())


def _handler(server: Server) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _any(self) -> None:
            parts = urlsplit(self.path)
            text = self.rfile.read(int(self.headers.get("content-length") or 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            body = json.loads(text) if text else None
            sent = Sent(self.command, parts.path, parse_qs(parts.query), headers, body)
            with server.lock:
                server.sent.append(sent)
                fault = next((one for one in server.faults if one.strikes(sent)), None)
            if fault is not None and not fault.status:
                self.close_connection = True
                return
            if fault is not None:
                self._say(fault.status, {"status": {"error": fault.error}, "time": 0.0})
            elif server.key and headers.get("api-key") != server.key:
                self._say(401, {"status": {"error": "Must provide an API key"}, "time": 0.0})
            else:
                self._answered(sent)

        def _answered(self, sent: Sent) -> None:
            try:
                with server.lock:
                    result = server.answer(sent)
            except LookupError as error:
                self._say(404, {"status": {"error": str(error)}, "time": 0.0})
            else:
                self._say(200, {"result": result, "status": "ok", "time": 0.0})

        def _say(self, status: int, value: Any) -> None:
            text = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_PUT = do_POST = do_PATCH = do_DELETE = _any  # noqa: N815 (the names of http.server)

        def log_message(self, *_: Any) -> None: ...

    return Handler


@contextmanager
def serving(**settings: Any) -> Iterator[Server]:
    """A server on a free port, stopped at the end."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        server = Server(client=QdrantClient(":memory:"), **settings)
    http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(server))
    http.daemon_threads = True
    server.url = f"qdrant://127.0.0.1:{http.server_port}"
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()
        thread.join()
