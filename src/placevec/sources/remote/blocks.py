"""Blocks of remote files on disk: kept by address and version, found again by any process, dropped when not used.

Each block is a file that is written aside and renamed, with a checksum: a reader sees all of a block or none. What one
process removes another fetches again.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
import zlib
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from placevec.errors import UsageError
from placevec.files import remove, write_text
from placevec.sources.remote.http import Version, shown

LIMIT_GB = 8.0
"""How much is kept unless PLACEVEC_CACHE_GB says otherwise."""

_HEAD = 8  # bytes: "PVB1" and the CRC-32 of the rest
_MAGIC = b"PVB1"
_LOG = logging.getLogger("placevec.remote")


class BlockStore:
    """Blocks below a folder, at most so many bytes of them.

    Args:
        folder: where; made when first written to.
        limit: bytes; the least recently used blocks go first.
    """

    def __init__(self, folder: Path, limit: int) -> None:
        self.folder = folder
        self.limit = limit
        # The first block of a process makes it look at what earlier ones have left.
        self._written = limit

    def known(self, address: str) -> Version | None:
        """The version of which blocks are kept, None if there are none."""
        try:
            kept = json.loads((self._entry(address) / "version.json").read_text(encoding="utf-8"))
            return Version(int(kept["size"]), str(kept["etag"]), str(kept["modified"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def remember(self, address: str, version: Version) -> None:
        """Keep blocks of this version from now on, and drop those of any other."""
        entry = self._entry(address)
        text = json.dumps({"address": shown(address), **asdict(version), "checked": round(time.time())})
        try:
            write_text(entry / "version.json", text)
        except (OSError, UsageError) as error:  # UsageError: a file stands where the folder should be
            self._cannot(error)
            return
        for other in entry.iterdir():
            if other.is_dir() and other.name != version.key:
                remove(other)

    def get(self, address: str, version: Version, index: int) -> bytes | None:
        """A block, None if it is not kept or was damaged."""
        path = self._block(address, version, index)
        try:
            data = path.read_bytes()
        except OSError:
            return None
        body = data[_HEAD:]
        if data[:_HEAD] != _MAGIC + zlib.crc32(body).to_bytes(4, "little"):
            with suppress(OSError):
                path.unlink()
            return None
        with suppress(OSError):
            os.utime(path)  # it was used now
        return body

    def put(self, address: str, version: Version, index: int, body: bytes) -> None:
        """Keep a block; where that is not possible the work goes on without."""
        path = self._block(address, version, index)
        part = path.with_name(f"{path.name}.{os.getpid()}-{time.monotonic_ns()}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            part.write_bytes(_MAGIC + zlib.crc32(body).to_bytes(4, "little") + body)
            part.replace(path)
        except OSError as error:
            with suppress(OSError):
                part.unlink()
            self._cannot(error)
            return
        self._written += len(body) + _HEAD
        # Looking at all blocks costs time: a twentieth of the limit may be written between two looks.
        if self._written >= self.limit // 20:
            self._written = 0
            self.trim()

    def trim(self) -> int:
        """Remove the least recently used blocks until what is kept is within the limit; the bytes that are left."""
        found: list[tuple[float, int, Path]] = []
        for path in self.folder.glob("*/*/*"):
            with suppress(OSError):
                status = path.stat()
                found.append((status.st_mtime, status.st_size, path))
        total = sum(size for _, size, _ in found)
        if total <= self.limit:
            return total
        for _, size, path in sorted(found):
            with suppress(OSError):
                path.unlink()
            total -= size
            if total <= self.limit * 0.9:
                break
        return total

    def forget(self, address: str) -> None:
        """Drop all that is kept of an address."""
        remove(self._entry(address))

    def forget_below(self, start: str) -> None:
        """Drop all that is kept of addresses that begin so."""
        for listing in self.folder.glob("*/version.json"):
            with suppress(OSError, ValueError, KeyError, TypeError):
                if str(json.loads(listing.read_text(encoding="utf-8"))["address"]).startswith(start):
                    remove(listing.parent)

    def _entry(self, address: str) -> Path:
        return self.folder / hashlib.sha256(address.encode()).hexdigest()[:32]

    def _block(self, address: str, version: Version, index: int) -> Path:
        return self._entry(address) / version.key / f"{index:08x}"

    def _cannot(self, error: OSError | UsageError) -> None:
        reason = getattr(error, "strerror", None) or error
        _LOG.warning("blocks cannot be kept in %s (%s): they will be fetched again", self.folder, reason)


def default_store() -> BlockStore:
    """The blocks in the user's cache folder; PLACEVEC_CACHE_GB says how much is kept.

    Raises:
        UsageError: PLACEVEC_CACHE_GB is no size.
    """
    from placevec.sources.catalog import cache_folder

    text = os.environ.get("PLACEVEC_CACHE_GB", "").strip()
    try:
        limit = float(text) if text else LIMIT_GB
        if not 0.0 <= limit < 1e6:
            raise ValueError
    except ValueError:
        raise UsageError(f"PLACEVEC_CACHE_GB is {text!r}; give a number of gigabytes, such as 8") from None
    return BlockStore(cache_folder() / "remote", int(limit * 1e9))
