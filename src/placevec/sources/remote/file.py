"""A remote file as bytes by position: checked once when it is opened, each block fetched once."""

from __future__ import annotations

import logging
import threading
import uuid
from collections import OrderedDict
from dataclasses import replace
from typing import Any

from placevec.errors import FormatError
from placevec.sources.remote.blocks import BlockStore, default_store
from placevec.sources.remote.http import Absent, Unreachable, Version, fetch, shown

BLOCK = 64 << 10
"""Bytes of a block: some tiles of a COG, and one round trip."""

_RUN = 64  # blocks in one request
_HELD = 128  # blocks in memory
_LOG = logging.getLogger("placevec.remote")


class RemoteFile:
    """The bytes of an http://, https:// or s3:// address.

    When it is made the server is asked once whether what is kept on disk still holds, by ETag or Last-Modified; if
    not, it is dropped. If the server cannot be reached, what is kept is used, and that is said. Safe for several
    threads; in another process it goes on with the version that was found here.

    Args:
        address: where it is.
        refresh: fetch all again.
        store: where blocks are kept; by default in the user's cache folder.

    Attributes:
        address: as given.
        version: size, ETag and time of the content.
        offline: whether the server could not be reached when it was opened.
        requests: how many were made.

    Raises:
        Absent: there is nothing at the address.
        Unreachable: the server cannot be reached, and nothing is kept.
        FormatError: the server refuses, or does not send parts of files.
    """

    def __init__(self, address: str, *, refresh: bool = False, store: BlockStore | None = None) -> None:
        self.address = address
        self.offline = False
        self.requests = 0
        self._store = store or default_store()
        self._blocks: OrderedDict[int, bytes] = OrderedDict()
        self._lock = threading.Lock()
        if refresh:
            self._store.forget(address)
        self.version = self._check()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in ("_lock", "_blocks")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock = threading.Lock()
        self._blocks = OrderedDict()

    def __repr__(self) -> str:
        return f"RemoteFile({shown(self.address)!r}: {self.size:,} bytes)"

    @property
    def size(self) -> int:
        """Bytes."""
        return self.version.size

    def read(self, start: int, stop: int) -> bytes:
        """The bytes from `start` to `stop` (not included), fewer at the end of the file.

        Raises:
            Unreachable: they are not kept and the server cannot be reached.
            FormatError: the file was changed on the server since it was opened.
        """
        stop = min(stop, self.size)
        if start >= stop:
            return b""
        first, last = start // BLOCK, (stop - 1) // BLOCK
        blocks = self._find(first, last)
        whole = blocks[0] if first == last else b"".join(blocks)
        return whole[start - first * BLOCK : stop - first * BLOCK]

    def _check(self) -> Version:
        known = self._store.known(self.address)
        try:
            self.requests += 1
            answer = fetch(self.address, 0, BLOCK, known)
        except Unreachable as error:
            if known is None:
                raise
            self.offline = True
            _LOG.warning("%s: what is kept of it is used, unchecked", error)
            return known
        except Absent:
            self._store.forget(self.address)
            raise
        if answer.version is None:
            assert known is not None
            return known
        version = answer.version
        if not version.sure:
            # Nothing would tell another content: blocks serve this object alone.
            version = replace(version, etag=f"none-{uuid.uuid4().hex}")
        self._store.remember(self.address, version)
        self._keep(version, 0, answer.data)
        return version

    def _find(self, first: int, last: int) -> list[bytes]:
        """The blocks first to last: from memory, from disk, and what is missing in as few requests as possible."""
        found: dict[int, bytes] = {}
        for index in range(first, last + 1):
            block = self._held(index)
            if block is not None:
                found[index] = block
        missing = [index for index in range(first, last + 1) if index not in found]
        while missing:
            run = 1
            while run < min(len(missing), _RUN) and missing[run] == missing[0] + run:
                run += 1
            found |= self._fetch(missing[0], missing[0] + run)
            missing = missing[run:]
        return [found[index] for index in range(first, last + 1)]

    def _held(self, index: int) -> bytes | None:
        with self._lock:
            block = self._blocks.get(index)
            if block is not None:
                self._blocks.move_to_end(index)
                return block
        block = self._store.get(self.address, self.version, index)
        if block is not None and len(block) == min(BLOCK, self.size - index * BLOCK):
            self._hold(index, block)
            return block
        return None

    def _fetch(self, first: int, stop: int) -> dict[int, bytes]:
        self.requests += 1
        answer = fetch(self.address, first * BLOCK, stop * BLOCK)
        assert answer.version is not None
        own = self.version if not self.version.etag.startswith("none-") else replace(self.version, etag="")
        if answer.version != own:
            self._store.forget(self.address)
            raise FormatError(f"{shown(self.address)} was changed on the server while it was read; run the same again")
        found = {}
        for index in range(first, stop):
            found[index] = answer.data[(index - first) * BLOCK : (index - first + 1) * BLOCK]
            self._keep(self.version, index, found[index])
        return found

    def _keep(self, version: Version, index: int, block: bytes) -> None:
        self._store.put(self.address, version, index, block)
        self._hold(index, block)

    def _hold(self, index: int, block: bytes) -> None:
        with self._lock:
            self._blocks[index] = block
            self._blocks.move_to_end(index)
            while len(self._blocks) > _HELD:
                self._blocks.popitem(last=False)


def is_remote(address: str) -> bool:
    """Whether an address is read over the network by this package."""
    return address.startswith(("http://", "https://", "s3://"))


def forget(address: str) -> None:
    """Drop what is kept of an address, or of a public raster (dataset:NAME): who opens it next fetches it again."""
    from placevec.sources.remote.named import PREFIX, remote_raster

    if address.startswith(PREFIX):
        default_store().forget_below(remote_raster(address).address)
    else:
        default_store().forget(address)
