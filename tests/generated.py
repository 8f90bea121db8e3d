"""The generated country, made once for all tests of a process: it is never changed, and takes seconds."""

from __future__ import annotations

from functools import lru_cache

from placevec.sources.world import World


@lru_cache(maxsize=1)
def arcadia() -> World:
    """The small country of seed 0."""
    return World(0)
