"""The client package, imported when a store in Qdrant is first opened."""

from __future__ import annotations

from typing import Any

from placevec.registry import need

_EXTRA = {"extra": "qdrant", "purpose": "a store in Qdrant"}

client: Any = need("qdrant_client", **_EXTRA)
models: Any = need("qdrant_client.models", **_EXTRA)
exceptions: Any = need("qdrant_client.http.exceptions", **_EXTRA)
