"""What services say of photos, checked before it is believed."""

from __future__ import annotations

from math import isfinite
from typing import Any


def place_of(lon: Any, lat: Any) -> tuple[float, float] | str:
    """Longitude and latitude in degrees as a service gives them; where they cannot be right, the reason."""
    if lon is None or lat is None:
        return "no coordinates"
    try:
        x, y = float(lon), float(lat)
    except (TypeError, ValueError):
        return "its coordinates are no numbers"
    if not (isfinite(x) and isfinite(y)):
        return "its coordinates are no numbers"
    if x == 0.0 and y == 0.0:
        return "its coordinates are 0, 0"
    if abs(x) > 180.0 or abs(y) > 90.0:
        return "its coordinates are out of range"
    return x, y
