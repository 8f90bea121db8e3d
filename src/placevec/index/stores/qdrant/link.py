"""The connection to a server: what failed is tried again, and said in one line if it fails for good."""

from __future__ import annotations

import os
import threading
import time
import warnings
from collections.abc import Callable
from functools import cache
from typing import Any

from placevec.errors import DataError, UsageError
from placevec.index.stores.qdrant.api import client, exceptions
from placevec.index.stores.url import StoreUrl

KEY = "QDRANT_API_KEY"
MEMORY = ":memory:"
CLOUD = ".cloud.qdrant.io"
_PORT = 6333
# Seconds before the second, third … attempt.
PAUSES = (0.25, 1.0, 3.0)
_TIMEOUT_S = 120
_FULL = ("no space left", "disk is full", "wal buffer size exceeds", "out of disk", "insufficient storage")


class Link:
    """Calls of one server, from any thread.

    Args:
        address: of a collection on it.
        made: a client to use instead of one of the address.
        pauses: seconds before each further attempt.

    Raises:
        UsageError: an address with a password, or one that would send the key of the cloud unencrypted.
    """

    def __init__(self, address: StoreUrl, made: Any = None, *, pauses: tuple[float, ...] = PAUSES) -> None:
        self.address = address
        self.pauses = pauses
        self._made = made
        self._lock = threading.Lock()
        if address.password or address.user:
            raise UsageError(f"Qdrant has no users and passwords: leave it out of the address and set {KEY}")
        if address.scheme == "qdrant" and address.host.endswith(CLOUD):
            raise UsageError(f"{address.server} is reached by TLS only: write qdrants:// instead of qdrant://")
        if not address.host:
            raise UsageError(f"{address.shown} names no server: write it like qdrant://localhost:6333/places")

    @property
    def local(self) -> bool:
        """Whether it is the memory of this process, which knows no threads and no index of vectors."""
        return self.address.host == MEMORY

    def client(self) -> Any:
        """The client, made when it is first needed."""
        with self._lock:
            if self._made is None:
                self._made = in_memory() if self.local else self._connected()
            return self._made

    def close(self) -> None:
        """Give back the connections of a server."""
        with self._lock:
            if self._made is not None and not self.local:
                self._made.close()
                self._made = None

    def call(self, doing: str, method: str, **arguments: Any) -> Any:
        """What the client's `method` answers.

        Args:
            doing: what was attempted, as the beginning of an error: "loading".
            method: a method of the client.
            arguments: of that method.

        Raises:
            DataError: no answer after all attempts, or a refusal.
        """
        for attempt in range(len(self.pauses) + 1):
            try:
                return getattr(self.client(), method)(**arguments)
            except exceptions.ResponseHandlingException as error:
                # An answer that is not understood will not be the next time either.
                reason, last = _reason(error), not isinstance(error.source, OSError | _http_error())
            except exceptions.UnexpectedResponse as error:
                status = int(error.status_code or 0)
                self._refused(doing, status, _said(error))
                reason, last = f"answers {status}: {_said(error)}", not (status in (408, 429) or status >= 500)
            except client.common.client_exceptions.ResourceExhaustedResponse as error:
                reason, last = f"asks for fewer requests ({error})", False
            if last or attempt == len(self.pauses):
                break
            time.sleep(self.pauses[attempt])
        raise DataError(self._gone(doing, reason))

    def _refused(self, doing: str, status: int, said: str) -> None:
        """Raise for answers that another attempt would not change."""
        where = self.address.server
        if status in (401, 403):
            given = "the key in it is refused" if os.environ.get(KEY) else "it is not set"
            raise DataError(f"{doing}: {where} wants a key ({status}): set {KEY} in the environment ({given})")
        if status == 507 or any(word in said.lower() for word in _FULL):
            raise DataError(
                f"{doing}: the disk of {where} is full ({said}): make room and run it again; what was committed stays"
            )
        if status == 400 and "index required" in said.lower():
            raise DataError(f"{doing}: {said}; load it again with ?index=NAME in the address")

    def _gone(self, doing: str, reason: str) -> str:
        remedy = "start it, or mend the address" if doing.startswith("opening") else "run it again"
        stays = "; what was committed stays" if doing.startswith("loading") else ""
        return f"{doing}: the Qdrant server at {self.address.server} {reason}{stays}: {remedy}"

    def _connected(self) -> Any:
        tls = self.address.scheme == "qdrants"
        port = self.address.port or _PORT
        with warnings.catch_warnings():
            # A key without TLS is a matter of the network that it goes through, such as that of one machine.
            warnings.filterwarnings("ignore", "Api key is used with an insecure connection")
            return client.QdrantClient(
                host=self.address.host,
                port=port,
                https=tls,
                api_key=os.environ.get(KEY) or None,
                timeout=_TIMEOUT_S,
                check_compatibility=False,
            )


@cache
def in_memory() -> Any:
    """The one client of `qdrant://:memory:/name`, so that what one store loads another finds."""
    return client.QdrantClient(MEMORY)


def parallel(link: Link, workers: int) -> int:
    """How many threads may call at the same time."""
    return 1 if link.local else workers


def _http_error() -> type[Exception]:
    import httpx

    return httpx.TransportError


def _reason(error: Any) -> str:
    import httpx

    source = error.source
    if isinstance(source, httpx.ConnectError | httpx.ConnectTimeout):
        return f"cannot be reached ({source})"
    if isinstance(source, httpx.TimeoutException):
        return f"did not answer within {_TIMEOUT_S} s"
    if isinstance(source, httpx.TransportError | OSError):
        return f"went away ({str(source) or type(source).__name__})"
    return f"answered something else than Qdrant does ({str(source).splitlines()[0]:.120})"


def _said(error: Any) -> str:
    """The server's own words, in one line."""
    try:
        status = error.structured()["status"]
        said = status["error"] if isinstance(status, dict) else status
    except (ValueError, KeyError, TypeError):
        said = error.content.decode("utf-8", "replace") or error.reason_phrase
    return " ".join(str(said).split())[:200]


Call = Callable[..., Any]
