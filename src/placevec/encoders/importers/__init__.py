"""Checkpoints of other projects, read into encoders of ours.

An importer is a function from a checkpoint's files to an `ImportedModel` (see `base`); a new one is one module and one
line in `IMPORTERS`. Importers need torch, this module does not: naming them costs nothing.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from placevec.errors import UsageError

IMPORTERS: dict[str, str] = {
    "satclip": "placevec.encoders.importers.satclip:read_satclip",
    "geoclip": "placevec.encoders.importers.geoclip:read_geoclip",
    "open-clip": "placevec.encoders.importers.open_clip:read_open_clip",
    "places365": "placevec.encoders.importers.places365:read_places365",
}
"""Every kind of checkpoint that can be read, and the function that reads it."""


def importer(kind: str) -> Callable[..., Any]:
    """The function that reads checkpoints of `kind`, imported now; UsageError, with those that exist, if none does."""
    if kind not in IMPORTERS:
        raise UsageError(f"no checkpoint of the kind {kind!r} can be read; known: {', '.join(sorted(IMPORTERS))}")
    module, _, name = IMPORTERS[kind].partition(":")
    found: Callable[..., Any] = getattr(importlib.import_module(module), name)
    return found
