"""Photos as files: fetched, decoded once to see that they are whole, and written under a name made of their id."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from placevec.errors import FormatError
from placevec.files import remove, whole
from placevec.sources.crawl.base import Found, Gone, Service
from placevec.sources.images.decode import HEAD, MAX_PIXELS, load
from placevec.sources.photos.exif import read_exif

FOLDER = "photos"
_SUFFIXES = ((b"\xff\xd8\xff", ".jpg"), (b"\x89PNG", ".png"), (b"RIFF", ".webp"), (b"BM", ".bmp"), (b"", ".tif"))
_PREVIEW = 64  # pixels: a JPEG is decoded small, which reads it to its end all the same
_CAMERA = ("focal_mm", "heading")  # what services do not tell, and some files do


@dataclass(frozen=True)
class Fetched:
    """A photo whose file stands."""

    photo: Found
    file: str  # below the folder of the crawl
    sha256: str  # of its content
    bytes: int  # 0 where the file stood there from before a kill
    facts: dict[str, Any]  # columns of the photo list


def fetch(service: Service, photo: Found, folder: Path) -> Fetched:
    """The file of a photo, from the service or as it stands since a kill.

    Raises:
        Gone: the service does not give it, or what it gives is no whole image.
        Unreachable: the service does not answer.
    """
    name = f"{FOLDER}/{hashlib.sha256(photo.id.encode()).hexdigest()[:2]}/{photo.id}"
    sent = 0
    # A file appears only when it is whole and checked.
    file = next((name + suffix for _, suffix in _SUFFIXES if (folder / (name + suffix)).exists()), "")
    if not file:
        data = service.image(photo)
        file, sent = name + _suffix(data), len(data)
        with whole(folder / file) as part:
            part.write_bytes(data)
            try:
                load(part, None, "auto", MAX_PIXELS, _PREVIEW)
            except FormatError as error:
                raise Gone(str(error)) from None
    path = folder / file
    camera = read_exif(path)
    own = {name: getattr(camera, name) for name in _CAMERA}
    if photo.attributes.get("taken") is None and camera.taken is not None:
        own |= {"taken": camera.taken, "hour": camera.hour, "month": camera.month}
    when = datetime.fromtimestamp(path.stat().st_mtime, UTC)
    facts = {**photo.attributes, **own, "retrieved": when.isoformat(timespec="seconds")}
    with path.open("rb") as handle:
        digest = hashlib.file_digest(handle, "sha256").hexdigest()
    return Fetched(photo, file, digest, sent, facts)


def drop(fetched: Fetched, folder: Path) -> None:
    """Remove the file of a photo."""
    remove(folder / fetched.file)


def _suffix(data: bytes) -> str:
    if not data:
        raise Gone("the file is empty")
    return next(suffix for head, suffix in _SUFFIXES if data[:HEAD].startswith(head))
