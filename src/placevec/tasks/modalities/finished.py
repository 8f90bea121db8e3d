"""Parts of a long computation that are finished: kept in a folder, so that a run that was killed goes on."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from placevec.files import remove, whole
from placevec.provenance import digest_json

Part = dict[str, NDArray[Any]]
_ABOUT = "about"  # of a part: what it was made of, so that one of another input is never taken for it


class Finished:
    """The finished parts of one computation.

    What stands in the folder of another computation is removed: there is one run at a time beside an output.

    Args:
        folder: where they are kept, None to keep nothing; it is removed by the caller when all is done.
        about: all that the parts depend on, JSON.
    """

    def __init__(self, folder: Path | None, about: Any) -> None:
        self.digest = digest_json(about)
        self.folder = None if folder is None else folder / self.digest[:16]
        if folder is not None and self.folder is not None and folder.is_dir():
            for other in folder.iterdir():
                if other != self.folder:
                    remove(other)

    def get(self, number: int) -> Part | None:
        """A part, None if it is not finished or cannot be read."""
        if self.folder is None:
            return None
        try:
            with np.load(self._path(number), allow_pickle=False) as stored:
                part = {name: stored[name] for name in stored.files}
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return None
        return part if str(part.pop(_ABOUT, "")) == f"{self.digest} {number}" else None

    def put(self, number: int, part: Part) -> None:
        """Keep a part."""
        if self.folder is not None:
            stored: dict[str, Any] = {**part, _ABOUT: np.str_(f"{self.digest} {number}")}
            with whole(self._path(number)) as path, path.open("wb") as handle:
                np.savez(handle, **stored)

    def _path(self, number: int) -> Path:
        assert self.folder is not None
        return self.folder / f"{number:07d}.npz"


def text_of(value: Mapping[str, int]) -> NDArray[np.str_]:
    """Counts, as an array that a part can hold."""
    return np.array(json.dumps(dict(value)))


def counts_of(text: NDArray[np.str_]) -> dict[str, int]:
    """The counts of `text_of`."""
    return {str(name): int(count) for name, count in json.loads(str(text)).items()}


def state_of(names: Sequence[str]) -> list[list[Any]]:
    """What tells files apart that changed: the name, and of files on this machine their size and time of change."""
    found: list[list[Any]] = []
    for name in names:
        path = Path(name)
        stat = path.stat() if "://" not in name and path.is_file() else None
        found.append([name] if stat is None else [name, stat.st_size, stat.st_mtime_ns])
    return found
