"""Rasters read over the network, in parts, each part once: a cache of blocks on disk, checked when one is opened."""

from __future__ import annotations

from placevec.sources.remote.file import RemoteFile, forget, is_remote
from placevec.sources.remote.http import Absent, Unreachable

__all__ = ["Absent", "RemoteFile", "Unreachable", "forget", "is_remote"]
