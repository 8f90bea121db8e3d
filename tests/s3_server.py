"""A server of object storage in this process, with one empty bucket; and the environment that leads to it."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

BUCKET = "places"


class Server:
    """Moto's server, which can go away and come back: what it holds stays."""

    def __init__(self) -> None:
        from moto.server import ThreadedMotoServer

        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self._server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        self._server.start()
        self.port = self._server.get_host_and_port()[1]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def environment(self) -> dict[str, str]:
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_REGION": "us-east-1",
        }

    def stop(self) -> None:
        self._server.stop()

    def start(self) -> None:
        from moto.server import ThreadedMotoServer

        self._server = ThreadedMotoServer(ip_address="127.0.0.1", port=self.port, verbose=False)
        self._server.start()


@contextmanager
def running(patch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server with an empty bucket `BUCKET`; this process finds it, and no other."""
    pytest.importorskip("moto.server")
    pytest.importorskip("obstore")
    from placevec.objects.client import client, obstore

    for name in [name for name in os.environ if name.startswith("AWS_")]:
        patch.delenv(name)
    server = Server()
    for name, value in server.environment().items():
        patch.setenv(name, value)
    import urllib.request

    urllib.request.urlopen(urllib.request.Request(f"{server.url}/moto-api/reset", method="POST")).close()
    urllib.request.urlopen(urllib.request.Request(f"{server.url}/{BUCKET}", method="PUT")).close()
    assert not list(obstore().list(client(BUCKET)))
    try:
        yield server
    finally:
        server.stop()


def keys(prefix: str = "") -> list[str]:
    """The keys in the bucket."""
    from placevec.objects.client import client, obstore

    return sorted(entry["path"] for page in obstore().list(client(BUCKET), prefix or None) for entry in page)
