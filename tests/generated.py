"""The generated country, made once for all tests of a process: it is never changed, and takes seconds."""

from __future__ import annotations

import tempfile
from functools import lru_cache
from pathlib import Path

from placevec.sources.world import World


@lru_cache(maxsize=1)
def arcadia() -> World:
    """The small country of seed 0."""
    return World(0)


@lru_cache(maxsize=1)
def _folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="arcadia-")


@lru_cache(maxsize=1)
def written() -> tuple[Path, dict[str, Path]]:
    """Its files: the folder, which is only read, and what `World.write` answers."""
    folder = Path(_folder().name)
    return folder, arcadia().write(folder)
