"""Is a file of an index still what was written? A checksum at every opening, a hash when it is asked for.

The checksum is the CRC-32 that zlib computes at gigabytes a second. A file that C++ follows pointers through is read
whole for it. Of vectors, which may be larger than the memory, blocks spread over the file are read: damage there
gives a wrong score at worst.
"""

from __future__ import annotations

import zlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from placevec.errors import CheckpointError
from placevec.provenance import sha256_file

_BLOCK = 1 << 20
_SAMPLES = 64


@dataclass(frozen=True)
class FileDigest:
    """What is known of a file: its size, its checksum and its hash."""

    bytes: int  # size
    crc32: int  # of the whole file, or of the blocks read of it
    sampled: bool  # whether only blocks of it were read for the checksum
    sha256: str  # of the whole file, hexadecimal

    @classmethod
    def of(cls, path: Path, *, sampled: bool = False) -> FileDigest:
        """The digest of a file as it is now."""
        return cls(path.stat().st_size, _crc(path, sampled), sampled, sha256_file(path))

    def check(self, path: Path, remedy: str, *, fully: bool = False) -> None:
        """Raise CheckpointError unless the file is the one that was written.

        Args:
            path: where it should be.
            remedy: the next step, as the end of the message.
            fully: compare the hash of all its bytes too.
        """
        if not path.is_file():
            raise CheckpointError(f"{path} is missing: {remedy}")
        size = path.stat().st_size
        if size != self.bytes:
            raise CheckpointError(f"{path} has {size:,} bytes, {self.bytes:,} were written: {remedy}")
        if _crc(path, self.sampled) != self.crc32:
            raise CheckpointError(f"{path} is damaged (its checksum differs): {remedy}")
        if fully and sha256_file(path) != self.sha256:
            raise CheckpointError(f"{path} is damaged (its sha256 differs): {remedy}")

    def to_json(self) -> dict[str, Any]:
        """A JSON object; `FileDigest(**object)` reads it."""
        return asdict(self)


def _crc(path: Path, sampled: bool) -> int:
    size = path.stat().st_size
    blocks = -(-size // _BLOCK)
    step = max(1, blocks // _SAMPLES) if sampled else 1
    total = 0
    with path.open("rb") as handle:
        for block in sorted({*range(0, blocks, step), max(0, blocks - 1)}):
            handle.seek(block * _BLOCK)
            total = zlib.crc32(handle.read(_BLOCK), total)
    return total
