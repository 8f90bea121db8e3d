"""Ranges of bytes over https:// and s3://, tried again where that may help, with errors that say what to do."""

from __future__ import annotations

import hashlib
import os
import re
import urllib.request
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import quote, urlsplit

import urllib3

from placevec.errors import FormatError, MissingExtra
from placevec.registry import need

_TRIES = 4
_TIMEOUT = urllib3.Timeout(connect=10.0, read=60.0)
PASSING = (429, 500, 502, 503, 504)
"""What may pass by itself: too many requests, and what lies behind a gateway."""


class Absent(FormatError):
    """There is nothing at an address."""


class Unreachable(FormatError):
    """A server cannot be reached, or does not answer."""


@dataclass(frozen=True)
class Version:
    """What tells one content of an address from another.

    Attributes:
        size: bytes.
        etag: the server's ETag, "" if it sends none.
        modified: the server's Last-Modified, "" if it sends none.
    """

    size: int
    etag: str = ""
    modified: str = ""

    @property
    def key(self) -> str:
        """A name for a folder."""
        return hashlib.sha256(f"{self.size}\n{self.etag}\n{self.modified}".encode()).hexdigest()[:16]

    @property
    def sure(self) -> bool:
        """Whether a change of the content would show."""
        return bool(self.etag or self.modified)


class Answer(NamedTuple):
    """What a server sent.

    Attributes:
        data: the bytes; fewer than asked for at the end of the file.
        version: of what they are part; None if nothing has changed (and nothing was sent).
    """

    data: bytes
    version: Version | None


def shown(address: str) -> str:
    """An address as messages show it: without a query, which may hold a key, and without a password."""
    parts = urlsplit(address)
    return parts._replace(query="", fragment="", netloc=parts.netloc.rpartition("@")[2]).geturl()


def fetch(address: str, start: int, stop: int, unless: Version | None = None) -> Answer:
    """The bytes from `start` to `stop` (not included) of an address.

    Args:
        address: http://, https:// or s3://.
        start: the first byte.
        stop: one past the last.
        unless: nothing is sent if the content is still this.

    Raises:
        Absent: there is nothing (404, 410).
        Unreachable: no network, no such server, or it does not answer after some tries.
        FormatError: the server refuses (401, 403), does not send parts, or sends something else than was asked for.
    """
    name = shown(address)
    headers = {"Range": f"bytes={start}-{stop - 1}", "Accept-Encoding": "identity", "User-Agent": "placevec"}
    if unless is not None and unless.etag:
        headers["If-None-Match"] = unless.etag
    elif unless is not None and unless.modified:
        headers["If-Modified-Since"] = unless.modified
    url = _url(address)
    try:
        reply = pool_of(url).request("GET", url, headers=headers, timeout=_TIMEOUT, retries=_retries())
    except urllib3.exceptions.HTTPError as error:
        raise Unreachable(f"{name} cannot be reached ({cause_of(error)}); check the address and the network") from None
    status, data = reply.status, reply.data
    if status == 304 and unless is not None:
        return Answer(b"", None)
    if status in (404, 410):
        raise Absent(f"there is nothing at {name} (HTTP {status}); check the address")
    if status in (401, 403):
        raise FormatError(f"{name} may not be read (HTTP {status}); check the address and your permission")
    if status in PASSING:
        raise Unreachable(f"the server of {name} does not answer now (HTTP {status}); run the same again later")
    span = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", reply.headers.get("Content-Range", "").strip())
    if status == 416 or (status == 200 and not data):
        raise FormatError(f"{name} is empty or shorter than it was; check the address")
    if status != 206 or span is None:
        raise FormatError(f"the server of {name} does not send parts of files (HTTP {status}); download the file first")
    first, last, size = (int(number) for number in span.groups())
    if first != start or len(data) != last - first + 1 or last + 1 != min(stop, size):
        raise FormatError(f"the server of {name} sent other bytes than were asked for; run the same again")
    return Answer(data, Version(size, reply.headers.get("ETag", ""), reply.headers.get("Last-Modified", "")))


def _retries() -> urllib3.Retry:
    return urllib3.Retry(total=_TRIES, redirect=5, backoff_factor=0.5, status_forcelist=PASSING, raise_on_status=False)


def pool_of(url: str) -> urllib3.PoolManager:
    """The connections by which an address is reached: by a proxy where the environment names one for it."""
    return _pool(_proxy(url), os.getpid())


@lru_cache(maxsize=8)
def _pool(proxy: str, process: int) -> urllib3.PoolManager:
    # One pool for all threads of a process; connections are kept, so that a block costs one round trip.
    return urllib3.ProxyManager(proxy, maxsize=8) if proxy else urllib3.PoolManager(maxsize=8)


def _proxy(url: str) -> str:
    parts = urlsplit(url)
    if urllib.request.proxy_bypass(parts.hostname or ""):
        return ""
    return urllib.request.getproxies().get(parts.scheme, "")


def _url(address: str) -> str:
    """The http(s) URL of an address; that of an s3:// address is signed where there are keys and boto3."""
    if not address.startswith("s3://"):
        return address
    bucket, _, key = address.removeprefix("s3://").partition("/")
    if not bucket or not key:
        raise FormatError(f"{address} is no address of an object; write s3://BUCKET/KEY")
    if os.environ.get("AWS_NO_SIGN_REQUEST", "").upper() not in ("YES", "TRUE", "1"):
        signed = _signed(bucket, key)
        if signed:
            return signed
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    base = f"{endpoint.rstrip('/')}/{bucket}" if endpoint else f"https://{bucket}.s3.amazonaws.com"
    return f"{base}/{quote(key)}"


def _signed(bucket: str, key: str) -> str:
    try:
        boto3 = need("boto3", extra="s3", purpose="signing requests")
    except MissingExtra:  # public objects need no keys
        return ""
    session = boto3.Session()
    if session.get_credentials() is None:
        return ""
    return str(session.client("s3").generate_presigned_url("get_object", {"Bucket": bucket, "Key": key}))


def cause_of(error: Exception) -> str:
    """Why a request failed, in a few words: without addresses, which may hold keys."""
    reason = getattr(error, "reason", None) or error
    text = re.sub(r"<[^>]*>|HTTPS?Connection(Pool)?\([^)]*\):?", "", str(reason)).strip(" :")
    return (text or type(reason).__name__)[:160]
