"""What runs on a route: the route types of GTFS, the extended ones too, as a few modes."""

from __future__ import annotations

MODES = ("bus", "tram", "metro", "rail", "ferry", "lift", "other")
"""Modes of transport; a coach and a trolleybus are a bus, a monorail is a metro, a funicular is a lift."""

# https://gtfs.org/schedule/reference/#routestxt
_BASIC = {
    0: "tram",
    1: "metro",
    2: "rail",
    3: "bus",
    4: "ferry",
    5: "tram",
    6: "lift",
    7: "lift",
    11: "bus",
    12: "metro",
}
# https://developers.google.com/transit/gtfs/reference/extended-route-types: the hundreds are groups.
_GROUPS = {
    1: "rail",
    2: "bus",
    3: "rail",
    4: "metro",
    5: "metro",
    6: "metro",
    7: "bus",
    8: "bus",
    9: "tram",
    10: "ferry",
    11: "other",
    12: "ferry",
    13: "lift",
    14: "lift",
    15: "other",
    16: "other",
    17: "other",
}
_OTHER = MODES.index("other")


def mode_of(text: str) -> tuple[int, bool]:
    """The mode (an index into MODES) of a `route_type` as it is written, and whether the type is known."""
    try:
        number = int(text)
    except ValueError:
        return _OTHER, False
    name = _BASIC.get(number) if number < 100 else _GROUPS.get(number // 100)
    return (_OTHER, False) if name is None else (MODES.index(name), True)
