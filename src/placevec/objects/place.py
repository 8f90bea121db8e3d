"""Places of files: a path of this machine or an address of object storage, and what is done with both."""

from __future__ import annotations

import hashlib
import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from placevec import files
from placevec.errors import FormatError, UsageError
from placevec.objects import client
from placevec.objects.remote import Remote

Place = Path | Remote
A = TypeVar("A")
B = TypeVar("B")

TOGETHER = 16  # requests under way at a time, where there are many


def is_remote(path: str | Path | Remote) -> bool:
    """Whether a path is of object storage."""
    # A command line reads names as Paths, which make one slash of two.
    return isinstance(path, Remote) or re.match(r"s3:/", str(path)) is not None


def located(path: str | Path | Remote) -> Place:
    """The Place that a path names.

    Raises:
        UsageError: an address of another kind, or one without bucket or key.
    """
    if isinstance(path, Remote):
        return path
    text = str(path)
    if not is_remote(text):
        if "://" in text:
            raise UsageError(f"{text}: give a path of this machine, or s3://BUCKET/NAME")
        return Path(path)
    bucket, _, key = re.sub(r"^s3:/+", "", text).partition("/")
    if not bucket or not key.strip("/"):
        raise UsageError(f"{text}: an address of object storage is s3://BUCKET/NAME")
    return Remote(bucket, key.strip("/"))


def remove(place: str | Path | Remote) -> None:
    """Remove a file, an object, or a folder with all that is in it; nothing happens where there is none."""
    if isinstance(place, Remote):
        place.remove()
    else:
        files.remove(place)


def write_text(place: Place, text: str) -> None:
    """Write `text` in UTF-8, whole or not at all."""
    if isinstance(place, Remote):
        place.write_bytes(text.encode())
    else:
        files.write_text(place, text)


@contextmanager
def whole(place: Place) -> Iterator[Path]:
    """Give a path of this machine; what was written there stands at `place` on success, nothing of it on error.

    A file is written beside its goal; an object is made ready in a temporary folder, then sent.
    """
    if isinstance(place, Remote):
        with tempfile.TemporaryDirectory(prefix="placevec-") as folder:
            part = Path(folder) / place.name
            yield part
            place.upload(part)
    else:
        with files.whole(place) as part:
            yield part


def ends(where: Place) -> tuple[int, bytes, bytes]:
    """The size, the first and the last four bytes of a file; FormatError where there is none, or nothing in it."""
    if isinstance(where, Remote):
        try:
            size = where.size
        except FileNotFoundError:
            raise FormatError(f"{where}: no such object") from None
    else:
        if not where.exists():
            raise FormatError(f"{where}: no such file")
        if where.is_dir():
            raise FormatError(f"{where}: this is a folder, a Parquet file is expected")
        size = where.stat().st_size
    if size == 0:
        raise FormatError(f"{where}: the file is empty")
    at = max(0, size - 4)
    if isinstance(where, Remote):
        return size, where.read_range(0, min(4, size)), where.read_range(at, size - at)
    with where.open("rb") as handle:
        head = handle.read(4)
        handle.seek(at)
        return size, head, handle.read(4)


@contextmanager
def local_copy(place: Place) -> Iterator[Path]:
    """The file itself, or a copy of the object for as long as it is needed."""
    if isinstance(place, Remote):
        with tempfile.TemporaryDirectory(prefix="placevec-") as folder:
            path = Path(folder) / place.name
            place.download(path)
            yield path
    else:
        yield place


def fetched(path: str | Path | Remote, folder: str | Path | None = None) -> Path:
    """A file of this machine: the one named, or a copy of an object, kept and made anew when the object changes.

    Args:
        path: a path or an address.
        folder: where copies are kept; by default the user's cache.

    Raises:
        FormatError: there is no such object.
    """
    place = located(path)
    if isinstance(place, Path):
        return place
    tag = place.tag()
    if tag is None:
        raise FormatError(f"{place}: no such object")
    if folder is None:
        import platformdirs

        folder = platformdirs.user_cache_path("placevec") / "objects"
    kept = Path(folder) / hashlib.sha256(str(place).encode()).hexdigest()[:16]
    goal = kept / hashlib.sha256(tag.encode()).hexdigest()[:16] / place.name
    if not goal.is_file():
        for older in kept.glob("*"):
            files.remove(older)
        place.download(goal)
    return goal


def together(function: Callable[[A], B], items: Sequence[A]) -> list[B]:
    """The answers of `function` for all items, asked side by side: requests take their time."""
    with ThreadPoolExecutor(TOGETHER) as pool:
        return list(pool.map(function, items))


@contextmanager
def told(place: Place) -> Iterator[None]:
    """Say in one line what object storage refuses; errors of a disk are left as they are."""
    if isinstance(place, Remote):
        with client.told(str(place)):
            yield
    else:
        yield


def lance_options(place: Place) -> dict[str, str] | None:
    """What Lance is told besides the environment to find a dataset."""
    return client.lance_options() if isinstance(place, Remote) else None
