"""Requests that are paced, tried again where that may help, and never tell a key."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

import numpy as np
import urllib3

from placevec.errors import FormatError, UsageError
from placevec.sources.crawl.base import Gone
from placevec.sources.crawl.pace import Pace
from placevec.sources.remote.http import PASSING, Unreachable, cause_of, pool_of, shown

MOST_BYTES = 64 << 20
"""A longer answer is refused: no photo that is asked for is so large."""

_LONGEST_WAIT_S = 60.0  # between two tries, where the server does not say how long
_PART = 1 << 18
_TIMEOUT = urllib3.Timeout(connect=10.0, read=60.0)
_HERE = ("localhost", "127.0.0.1", "::1")

T = TypeVar("T")
Judge = Callable[[int, Any], None]


class Again(Exception):
    """A failure that may pass by itself.

    Args:
        reason: for people.
        after: seconds that the server asks to wait; None where it does not say.
    """

    def __init__(self, reason: str, after: float | None = None) -> None:
        super().__init__(reason)
        self.reason, self.after = reason, after


class Client:
    """Asks one service, from several threads.

    Args:
        key: the key of the service, which is kept out of every message.
        pace: of requests to the service itself.
        media: pace of downloads from elsewhere.
        tries: how often a request is made that fails in a way that may pass.
        backoff_s: the wait after the first failure; it doubles with each further one, and a random part of up to a
            half is left out, so that clients do not come back all at once.
        patience_s: where the server asks for a longer wait, the crawl ends with an error.
        seed: of the random part.
    """

    def __init__(
        self,
        key: str,
        pace: Pace,
        media: Pace,
        *,
        tries: int = 6,
        backoff_s: float = 1.0,
        patience_s: float = 300.0,
        seed: int | None = None,
    ) -> None:
        self._key = key
        self._pace, self._media = pace, media
        self._tries, self._backoff, self._patience = tries, backoff_s, patience_s
        self._random = np.random.default_rng(seed)
        self._lock = threading.Lock()
        self.requests = 0  # so many were made, tries and downloads included

    def stop(self) -> None:
        """Make no request any more; threads that wait are woken."""
        self._pace.stop()
        self._media.stop()

    def clean(self, text: str) -> str:
        """A text without the key, on one line."""
        for secret in {self._key, quote(self._key, safe="")} - {""}:
            text = text.replace(secret, "***")
        return " ".join(text.split())[:300]

    def ask(
        self,
        method: str,
        address: str,
        judge: Judge,
        *,
        fields: Mapping[str, str] | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """The JSON that the service answers.

        Args:
            method: GET or POST.
            address: without a key: addresses end up in logs.
            judge: called with the status and the JSON; raises an error, or `Again` to try once more.
            fields: of a form, for POST.
            body: JSON, for POST.
            headers: such as those that carry the key.

        Raises:
            Unreachable: the service cannot be reached, does not answer or sends no JSON after all tries.
        """
        sent: dict[str, Any] = {"headers": {"User-Agent": "placevec", "Accept": "application/json", **(headers or {})}}
        if fields is not None:
            sent |= {"fields": dict(fields), "encode_multipart": False}
        if body is not None:
            sent["body"] = json.dumps(body).encode()
            sent["headers"]["Content-Type"] = "application/json"

        def once() -> Any:
            # A redirect is not followed: it would take the key to another server.
            status, data, _ = self._exchange(method, address, redirects=False, **sent)
            try:
                value = _parsed(data)
            except (ValueError, RecursionError):
                value = None
            if value is None and status < 300:
                raise Again("the answer is no JSON")
            judge(status, value)
            return value

        return self._persist(shown(address), once, self._pace)

    def download(self, address: str) -> bytes:
        """The bytes at an address, which is not given the key.

        Raises:
            Gone: there is nothing, or nothing that may be had.
            Unreachable: the server does not answer after all tries.
        """
        if not _is_web(address):
            raise Gone("the address of the photo is none")

        def once() -> bytes:
            status, data, last = self._exchange(
                "GET", address, redirects=True, headers={"User-Agent": "placevec", "Accept": "image/*"}
            )
            if status != 200:
                raise Gone(f"the photo is not given (HTTP {status})")
            if "photo_unavailable" in last:  # where Flickr sends those who ask for a photo that was removed
                raise Gone("the photo was removed")
            return data

        return self._persist(shown(address), once, self._media)

    def _persist(self, name: str, once: Callable[[], T], pace: Pace) -> T:
        reason = ""
        for turn in range(self._tries):
            pace.wait()
            try:
                return once()
            except Again as again:
                reason = self.clean(again.reason)
                if again.after is not None and again.after > self._patience:
                    raise Unreachable(
                        f"the server of {name} asks to wait {again.after:,.0f} s ({reason}); run the same again then"
                    ) from None
                if again.after is not None:
                    pace.hold(again.after)
                elif turn + 1 < self._tries:
                    pace.pause(self._wait(turn))
        raise Unreachable(
            f"the server of {name} does not answer as it should after {self._tries} tries ({reason}); "
            "run the same again later: it goes on from there"
        )

    def _wait(self, turn: int) -> float:
        with self._lock:
            part = float(self._random.uniform(0.5, 1.0))
        return min(_LONGEST_WAIT_S, self._backoff * 2.0**turn) * part

    def _exchange(self, method: str, address: str, *, redirects: bool, **sent: Any) -> tuple[int, bytes, str]:
        """Status, content and last address of one exchange; Again where it may go better the next time."""
        with self._lock:
            self.requests += 1
        try:
            reply = pool_of(address).request(
                method,
                address,
                timeout=_TIMEOUT,
                retries=urllib3.Retry(
                    connect=0, read=0, other=0, status=0, redirect=5, respect_retry_after_header=False
                ),
                redirect=redirects,
                preload_content=False,
                **sent,
            )
            try:
                if reply.status in PASSING:
                    raise Again(f"HTTP {reply.status}", seconds_of(reply.headers.get("Retry-After", "")))
                data = _read(reply)
            except BaseException:
                reply.close()  # a connection whose answer was not read to its end cannot be used again
                raise
            reply.release_conn()
        except urllib3.exceptions.LocationParseError:
            raise Gone("the address of the photo is none") from None
        except urllib3.exceptions.HTTPError as error:
            raise Again(cause_of(error)) from None
        return reply.status, data, reply.geturl() or ""


def seconds_of(text: str, now: float | None = None) -> float | None:
    """The seconds that a Retry-After asks for, written as seconds or as a date (RFC 9110, 10.2.3); None if neither."""
    if re.fullmatch(r"\d{1,9}", text.strip()):
        return float(text)
    try:
        until = parsedate_to_datetime(text).timestamp()
    except (ValueError, TypeError):
        return None
    return max(0.0, until - (time.time() if now is None else now))


def endpoint_of(address: str) -> str:
    """The address of a service without a slash at its end.

    Raises:
        UsageError: it is none, or the key would travel in the clear to another machine.
    """
    if not _is_web(address):
        raise UsageError(f"{address!r} is no endpoint; give one such as https://api.flickr.com/services/rest")
    parts = urlsplit(address)
    if parts.scheme == "http" and parts.hostname not in _HERE:
        raise UsageError(f"{shown(address)} would send the key in the clear; give an https:// endpoint")
    return address.rstrip("/")


def key_from(environment: Mapping[str, str], variable: str, service: str) -> str:
    """A key from the environment; UsageError, which says where one is had, without it."""
    key = environment.get(variable, "").strip()
    if not key:
        raise UsageError(f"{service} needs a key: set the environment variable {variable}")
    if not key.isascii() or not key.isprintable() or " " in key:
        raise UsageError(f"the environment variable {variable} holds no key of {service}: it has odd characters")
    return key


def texts(values: Sequence[Any]) -> list[str]:
    """The texts among values that a server sent."""
    return [value for value in values if isinstance(value, str) and value]


def _is_web(address: str) -> bool:
    try:
        parts = urlsplit(address)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _parsed(data: bytes) -> Any:
    value = json.loads(data)
    if b"\\ud" in data.lower():
        # Half a pair of UTF-16 is no text, and could not be written.
        value = json.loads(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace"))
    return value


def _read(reply: urllib3.BaseHTTPResponse) -> bytes:
    told = reply.headers.get("Content-Length", "")
    if told.isdigit() and int(told) > MOST_BYTES:
        raise Gone(f"the file is larger than {MOST_BYTES >> 20} MiB")
    parts, size = [], 0
    while part := reply.read(_PART):
        parts.append(part)
        size += len(part)
        if size > MOST_BYTES:
            raise Gone(f"the file is larger than {MOST_BYTES >> 20} MiB")
    return b"".join(parts)


def refused(value: Any) -> FormatError:
    """The error for an answer that is JSON, but not what was asked for."""
    return FormatError(f"the service answers with {json.dumps(value)[:80]} instead of a list; check the endpoint")
