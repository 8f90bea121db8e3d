"""Digests of files, folders and tables, remembered as long as size and time of change stay what they were."""

from __future__ import annotations

from pathlib import Path, PurePath
from typing import Any

from placevec.errors import PlacevecError
from placevec.objects import Place, Remote, together
from placevec.provenance import digest_json, sha256_file
from placevec.table import open_table


class Digests:
    """The digest of what lies at a path.

    Args:
        known: digests of an earlier time, by absolute path, each with the state that it was made of. JSON.
    """

    def __init__(self, known: dict[str, Any] | None = None) -> None:
        self.known = known or {}

    def of(self, path: Place) -> str:
        """The digest of a file, folder or table; "" if there is nothing.

        In object storage it is that of the tags of all objects, which change whenever they do.

        For a table it is that of its fingerprint and provenance, so that the order of rows and the compression do
        not matter; for others that of the bytes.
        """
        if isinstance(path, Remote):
            return _remote(path)
        if not path.exists():
            return ""
        where = str(path.absolute())
        state = _state(path)
        stored = self.known.get(where)
        if isinstance(stored, list) and len(stored) == 2 and stored[0] == state:
            return str(stored[1])
        digest = _digest(path)
        self.known[where] = [state, digest]
        return digest


def _digest(path: Path) -> str:
    if path.suffix in (".parquet", ".geoparquet", ".gpq", ".lance"):
        try:
            table = open_table(path)
            return digest_json([table.fingerprint(), table.meta.to_footer()])
        except PlacevecError:
            pass  # not a table of ours: its bytes count
    if path.is_dir():
        return digest_json([[part.relative_to(path).as_posix(), sha256_file(part)] for part in _files(path)])
    return sha256_file(path)


def _remote(place: Remote) -> str:
    alone = place.tag()
    if alone is not None:
        return digest_json(alone)
    inside = [part for part in place.iterdir() if not _hidden(part.relative_to(place))]
    tags = together(Remote.tag, inside)
    found = sorted((part.relative_to(place).as_posix(), tag) for part, tag in zip(inside, tags, strict=True))
    return digest_json(found) if found else ""


def _state(path: Path) -> str:
    if not path.is_dir():
        return _stamp(path)
    return digest_json([[part.relative_to(path).as_posix(), _stamp(part)] for part in _files(path)])[:32]


def _stamp(path: Path) -> str:
    stat = path.stat()
    return f"{stat.st_size}-{stat.st_mtime_ns}"


def _files(folder: Path) -> list[Path]:
    return sorted(part for part in folder.rglob("*") if part.is_file() and not _hidden(part.relative_to(folder)))


def _hidden(part: PurePath) -> bool:
    """Whether it is a lock, an unfinished part or a leftover of the system, no content."""
    return any(name.startswith(".") for name in part.parts)
