"""An object of object storage, with the words of a Path."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from placevec import files
from placevec.errors import FormatError
from placevec.objects.client import client, obstore, told

PIECE_BYTES = 8 << 20  # of an object that is sent in pieces
MOST_PIECES = 9_000  # S3 takes 10,000


@dataclass(frozen=True, order=True)
class Remote:
    """An object, or all objects whose keys begin with its own and a slash, as in a folder.

    Attributes:
        bucket: the bucket.
        key: the key in it, without slashes at its ends.
    """

    bucket: str
    key: str

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.key}"

    def __truediv__(self, name: str | PurePosixPath) -> Remote:
        return Remote(self.bucket, f"{self.key}/{name}" if self.key else str(name))

    @property
    def name(self) -> str:
        """The last part of the key."""
        return PurePosixPath(self.key).name

    @property
    def stem(self) -> str:
        """The name without its suffix."""
        return PurePosixPath(self.key).stem

    @property
    def suffix(self) -> str:
        """The end of the name, from its last dot."""
        return PurePosixPath(self.key).suffix

    @property
    def parent(self) -> Remote:
        """What holds it."""
        above = str(PurePosixPath(self.key).parent)
        return Remote(self.bucket, "" if above == "." else above)

    def with_name(self, name: str) -> Remote:
        """Another one beside it."""
        return self.parent / name

    def relative_to(self, folder: Remote) -> PurePosixPath:
        """The part of its key below that of `folder`."""
        return PurePosixPath(self.key).relative_to(folder.key)

    def tag(self) -> str | None:
        """What changes whenever the object does: size and ETag; None where there is none."""
        with told(str(self)):
            try:
                found = obstore().head(client(self.bucket), self.key)
            except FileNotFoundError:
                return None
        return _tag(int(found["size"]), found["e_tag"])

    @property
    def size(self) -> int:
        """Its bytes; FileNotFoundError where there is none."""
        with told(str(self)):
            return int(obstore().head(client(self.bucket), self.key)["size"])

    def is_file(self) -> bool:
        """Whether there is an object of this key."""
        return self.tag() is not None

    def is_dir(self) -> bool:
        """Whether there is an object below this key."""
        return next(self.iterdir(), None) is not None

    def exists(self) -> bool:
        """Whether there is an object of this key or below it."""
        return self.is_file() or self.is_dir()

    def iterdir(self) -> Iterator[Remote]:
        """All objects below this key, at any depth."""
        with told(str(self)):
            for page in obstore().list(client(self.bucket), f"{self.key}/"):
                for entry in page:
                    yield Remote(self.bucket, entry["path"])

    def glob(self, pattern: str) -> Iterator[Remote]:
        """The objects below this key whose names relative to it begin with `pattern`, which ends with ``*``."""
        start = pattern.removesuffix("*")
        return (place for place in self.iterdir() if str(place.relative_to(self)).startswith(start))

    def read_bytes(self) -> bytes:
        """Its content; FileNotFoundError where there is none."""
        with told(str(self)):
            return bytes(obstore().get(client(self.bucket), self.key).bytes())

    def read_text(self) -> str:
        """Its content in UTF-8."""
        return self.read_bytes().decode()

    def read_range(self, start: int, length: int) -> bytes:
        """`length` bytes from `start`."""
        with told(str(self)):
            return (
                bytes(obstore().get_range(client(self.bucket), self.key, start=start, length=length)) if length else b""
            )

    def write_bytes(self, data: bytes, mode: Any = "overwrite") -> str:
        """Write it whole and give its tag.

        With the mode "create" only where there is none (FileExistsError else), with ``{"e_tag": ...}`` only over that
        one (PermissionError else).
        """
        exceptions = obstore().exceptions
        try:
            with told(str(self)):
                done = obstore().put(client(self.bucket), self.key, data, mode=mode, use_multipart=False)
        except exceptions.AlreadyExistsError:
            raise FileExistsError(str(self)) from None
        except exceptions.PreconditionError:
            raise PermissionError(str(self)) from None
        return _tag(len(data), done["e_tag"])

    def upload(self, path: Path) -> str:
        """Write it from a file, in pieces if it is large, and give its tag; until all have arrived nothing is seen."""
        size = path.stat().st_size
        piece = max(PIECE_BYTES, -(-size // MOST_PIECES))
        with told(str(self)):
            done = obstore().put(client(self.bucket), self.key, path, chunk_size=piece, use_multipart=size > piece)
        return _tag(size, done["e_tag"])

    def download(self, path: Path) -> None:
        """Copy it to a file, whole or not at all; FormatError where there is none."""
        with told(str(self)), files.whole(path) as part:
            try:
                answer = obstore().get(client(self.bucket), self.key)
            except FileNotFoundError:
                raise FormatError(f"{self}: no such object") from None
            with part.open("wb") as handle:
                for piece in answer.stream(PIECE_BYTES):
                    handle.write(piece)

    def copy_to(self, goal: Remote) -> None:
        """Have the server copy it to another key of its bucket."""
        with told(str(self)):
            obstore().copy(client(self.bucket), self.key, goal.key)

    def remove(self) -> None:
        """Remove the object and all below its key."""
        keys = [self.key, *(place.key for place in self.iterdir())]
        with told(str(self)):
            for start in range(0, len(keys), 1000):
                obstore().delete(client(self.bucket), keys[start : start + 1000])


class RemoteFile:
    """An object as a file that is read in part; each read is one request."""

    closed = False

    def __init__(self, place: Remote) -> None:
        self._place = place
        self._size = place.size
        self._at = 0

    def size(self) -> int:
        """Its bytes."""
        return self._size

    def close(self) -> None:
        """Nothing is held."""

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def tell(self) -> int:
        """Where the next read begins."""
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Begin the next read elsewhere; see `io.IOBase.seek`."""
        self._at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        return self._at

    def read(self, size: int | None = -1) -> bytes:
        """At most `size` bytes, or all that are left."""
        rest = max(0, self._size - self._at)
        data = self._place.read_range(self._at, rest if size is None or size < 0 else min(size, rest))
        self._at += len(data)
        return data


def _tag(size: int, e_tag: str | None) -> str:
    bare = (e_tag or "").strip('"')
    return f"{size}-{bare}" if bare else str(size)
