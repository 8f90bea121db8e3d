"""Pictures of a service: few requests at a time, tried again where that may help, kept on disk, and told apart."""

from __future__ import annotations

import hashlib
import io
import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import urllib3
from numpy.typing import NDArray

from placevec.errors import FormatError, UsageError
from placevec.files import write_bytes
from placevec.registry import need
from placevec.sources.remote import Unreachable
from placevec.sources.remote.http import PASSING, cause_of, pool_of, shown
from placevec.sources.services.xml import MAX_BYTES, all_text, read_xml

AT_ONCE = 4
"""Connections to a service at a time; its operators may serve many besides us."""

_TRIES = 5
_TIMEOUT = urllib3.Timeout(connect=10.0, read=60.0)
_PICTURES = (b"\x89PNG", b"\xff\xd8\xff", b"RIFF", b"GIF8", b"BM")
_NOTHING = (204, 404, 410)  # a service has no tile where its land ends
_LOG = logging.getLogger("placevec.services")


class Client:
    """Gets pictures of one service.

    Args:
        folder: where they are kept, so that what was stopped goes on without asking again; None keeps nothing.
        backoff: seconds before the second try, doubled with each one after it.
        user_agent: by which the service knows who asks.

    Attributes:
        asked: requests sent so far, tries not counted.
        kept: pictures taken from the folder so far.
    """

    def __init__(self, folder: Path | None, *, backoff: float = 0.5, user_agent: str = "placevec") -> None:
        self.folder = folder
        self.asked = self.kept = 0
        self._headers = {"User-Agent": user_agent, "Accept-Encoding": "identity"}
        self._retries = urllib3.Retry(
            total=_TRIES, redirect=5, backoff_factor=backoff, status_forcelist=PASSING, raise_on_status=False
        )

    def pictures(self, addresses: Sequence[str]) -> list[NDArray[np.uint8] | None]:
        """The pictures (4, h, w) of red, green, blue and opacity at addresses; None where the service has nothing.

        Raises:
            Unreachable: the service does not answer after some tries.
            FormatError: it refuses, or answers with something else than a picture.
        """
        if len(addresses) == 1:
            return [self.picture(addresses[0])]
        with ThreadPoolExecutor(AT_ONCE) as pool:
            return list(pool.map(self.picture, addresses))

    def picture(self, address: str) -> NDArray[np.uint8] | None:
        """One picture, see `pictures`."""
        path = self._path(address)
        data = _kept(path)
        if data is not None:
            try:
                found = decode(data, address) if data else None
            except FormatError as error:
                _LOG.warning("a tile that was kept is asked for again: %s", error)
            else:
                self.kept += 1
                return found
        data = self.fetch(address)
        found = decode(data, address) if data else None
        if path is not None:  # only what was understood is kept
            try:
                write_bytes(path, data)
            except (OSError, UsageError) as error:
                _LOG.warning("tiles cannot be kept in %s (%s): they will be asked for again", self.folder, error)
        return found

    def fetch(self, address: str) -> bytes:
        """What stands at an address; nothing (b"") where there is nothing."""
        name = shown(address)
        self.asked += 1
        try:
            reply = pool_of(address).request(
                "GET", address, headers=self._headers, timeout=_TIMEOUT, retries=self._retries, preload_content=False
            )
            data = reply.read(MAX_BYTES + 1)
            reply.release_conn()
        except urllib3.exceptions.HTTPError as error:
            raise Unreachable(f"{name} cannot be reached ({cause_of(error)}); check the address, the network") from None
        status = reply.status
        if status in _NOTHING:
            return b""
        if status in (401, 403):
            raise FormatError(f"{name} may not be read (HTTP {status}); check your key and the service's terms")
        if status in PASSING:
            raise Unreachable(
                f"the server of {name} does not answer now (HTTP {status}); run the same again later: what it has sent "
                "so far is kept"
            )
        if status != 200 and not _is_xml(data):
            raise FormatError(f"{name} answers with HTTP {status}; check the address")
        if len(data) > MAX_BYTES:
            raise FormatError(f"{name} sends more than {MAX_BYTES >> 20} MiB at once; check the address")
        return bytes(data)

    def _path(self, address: str) -> Path | None:
        if self.folder is None:
            return None
        digest = hashlib.sha256(address.encode()).hexdigest()
        return self.folder / digest[:2] / digest[2:34]


def decode(data: bytes, address: str) -> NDArray[np.uint8] | None:
    """A picture as (4, h, w): red, green, blue and opacity; None where the service says that there is none.

    Raises:
        FormatError: this is no picture: an exception of the service, a web page, or something else.
    """
    if not data.startswith(_PICTURES):
        _check_nothing(data, shown(address))
        return None
    image: Any = need("PIL.Image", extra="raster", purpose="reading pictures")
    try:
        with image.open(io.BytesIO(data)) as picture:
            if max(picture.size) > 4096:
                raise FormatError(f"{shown(address)}: a tile of {picture.size} pixels is not read")
            return np.ascontiguousarray(np.moveaxis(np.asarray(picture.convert("RGBA")), 2, 0))
    except (OSError, ValueError, SyntaxError) as error:
        raise FormatError(f"{shown(address)}: the picture is damaged ({str(error)[:100]}); run it again") from None


def _check_nothing(data: bytes, name: str) -> None:
    """FormatError that says what an answer is, unless it says that there is no such tile."""
    if _is_xml(data):
        root = read_xml(data, name)
        words = [found for key in ("ServiceException", "ExceptionText") for found in all_text(root, key) if found]
        codes = {node.get("exceptionCode", "") for node in root.iter()}
        if "TileOutOfRange" in codes:
            return
        said = " ".join(" ".join(words).split())[:200] or ", ".join(sorted(filter(None, codes))) or root.tag
        raise FormatError(f"{name} refuses: {said}; check layers, coordinate system and format")
    head = data[:200].lstrip().lower()
    if head.startswith((b"<!doctype html", b"<html")):
        raise FormatError(f"{name} answers with a web page, not a picture; does it want a key, or a login?")
    raise FormatError(f"{name} sends no picture (begins {data[:16]!r}); ask it for image/png or image/jpeg")


def _is_xml(data: bytes) -> bool:
    head = data[:400].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    return head.startswith((b"<?xml", b"<service", b"<ows:", b"<exception")) and b"<html" not in head


def _kept(path: Path | None) -> bytes | None:
    try:
        return None if path is None else path.read_bytes()
    except OSError:
        return None
