"""Which addresses are those of map services."""

from __future__ import annotations


def is_service(name: str) -> bool:
    """Whether `name` is an address that `open_service` understands, rather than that of a file."""
    return name.startswith(("wms:", "wmts:")) or ("://" in name and any(part in name for part in ("{z}", "{q}")))
