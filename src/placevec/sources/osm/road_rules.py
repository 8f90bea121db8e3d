"""What the tags of a road say: its class, who may use it, in which direction, and how fast.

The values of `highway` and the default rights of way follow the OpenStreetMap wiki ("Key:highway", "OSM tags for
routing/Access restrictions", the row of the whole world).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import nan

ROAD_CLASSES = (
    "motorway",
    "trunk",
    "primary",
    "secondary",
    "tertiary",
    "unclassified",
    "residential",
    "living_street",
    "service",
    "pedestrian",
    "track",
    "footway",
    "cycleway",
    "path",
    "steps",
    "other",
)
"""Classes of roads: the values of `highway`, a link road counted to what it links to."""

KEYS = (
    "highway",
    "area",
    "oneway",
    "junction",
    "maxspeed",
    "motorroad",
    "access",
    "vehicle",
    "motor_vehicle",
    "motorcar",
    "bicycle",
    "foot",
)
"""The keys that are looked at."""

# Values of `highway` under which there is no road, or none yet, or none any more.
_NO_ROAD = frozenset(
    [
        "proposed",
        "planned",
        "construction",
        "abandoned",
        "disused",
        "razed",
        "demolished",
        "dismantled",
        "removed",
        "no",
        "none",
        "raceway",
        "platform",
        "rest_area",
        "services",
        "elevator",
        "traffic_island",
        "emergency_bay",
        "toll_gantry",
        "bus_stop",
    ]
)
# Further values of `highway`, by the class to which they are counted.
_ALSO = {"road": "unclassified", "minor": "unclassified", "byway": "track", "trail": "path"}

# Who may use a class where nothing else is said: on foot, by bike, by car.
_MAY = {
    "motorway": (False, False, True),
    "pedestrian": (True, False, False),
    "footway": (True, False, False),
    "cycleway": (True, True, False),
    "path": (True, True, False),
    "steps": (True, False, False),
    "other": (False, False, False),
}
_ALL = (True, True, True)
# Of what is counted as "other": corridors of buildings and bridleways can be walked.
_WALKED = frozenset({"corridor", "bridleway"})

_CLOSED = frozenset(
    [
        "no",
        "private",
        "military",
        "permit",
        "delivery",
        "restricted",
        "agricultural",
        "forestry",
        "agricultural;forestry",
        "emergency",
        "use_sidepath",
        "dismount",
    ]
)
_OPEN = frozenset(["yes", "permissive", "designated", "official", "public", "destination", "customers"])

_KMH = {"": 1.0, "km/h": 1.0, "kmh": 1.0, "kph": 1.0, "mph": 1.609344, "knots": 1.852}
_SPEED = re.compile(r"(\d+(?:\.\d+)?)\s*(km/h|kmh|kph|mph|knots|)")
_ZONE = re.compile(r"(?:[a-z]{2}:)?zone:?(\d+)")


@dataclass(frozen=True)
class RoadRule:
    """What the tags of one road say."""

    kind: int  # index into ROAD_CLASSES
    oneway: int  # 1: only in the direction in which it is drawn, -1: only against it, 0: both
    kmh: float  # the speed that is allowed; NaN where the tags do not say
    walk: bool  # may be used on foot
    bike: bool  # may be used by bike
    drive: bool  # may be used by car


def road_rule(tags: tuple[str | None, ...], *, every: bool = False) -> RoadRule | str:
    """The rule of a road, or why it is left out.

    Args:
        tags: the values of KEYS, None where a key is absent.
        every: leave out no way that has a `highway` at all. What would have been left out is of the class it names,
            else "other", and nobody may use it.

    Returns:
        A rule; a text where the way is no road, or the outline of a square (`area=yes`), whose length is none of
        the network's.
    """
    highway, area, oneway, junction, maxspeed, motorroad, *rights = tags
    reason = f"no road: {highway}" if highway is None or highway in _NO_ROAD else ""
    reason = reason or ("the outline of an area" if area == "yes" else "")
    if highway is None or (reason and not every):
        return reason
    name = highway.removesuffix("_link")
    name = _ALSO.get(name, name)
    name = name if name in ROAD_CLASSES else "other"
    walk, bike, drive = (False,) * 3 if reason else _may(name, highway, motorroad == "yes", rights)
    return RoadRule(ROAD_CLASSES.index(name), _oneway(name, oneway, junction), kmh_of(maxspeed), walk, bike, drive)


def _may(name: str, highway: str, motorroad: bool, rights: list[str | None]) -> tuple[bool, bool, bool]:
    """Who may use a road: the general keys only take away, the key of one's own vehicle gives and takes."""
    walk, bike, drive = _MAY.get(name, _ALL)
    walk = walk or highway in _WALKED
    if motorroad:
        walk = bike = False
    access, vehicle, motor_vehicle, motorcar, bicycle, foot = rights
    if access in _CLOSED:
        walk = bike = drive = False
    if vehicle in _CLOSED:
        bike = drive = False
    for value in (motor_vehicle, motorcar):
        drive = _told(value, drive)
    return _told(foot, walk), _told(bicycle, bike), drive


def _told(value: str | None, default: bool) -> bool:
    return False if value in _CLOSED else True if value in _OPEN else default


def _oneway(name: str, oneway: str | None, junction: str | None) -> int:
    if oneway in ("yes", "true", "1"):
        return 1
    if oneway in ("-1", "reverse"):
        return -1
    if oneway is not None:  # "no", and what changes over the day
        return 0
    return 1 if name == "motorway" or junction in ("roundabout", "circular") else 0


def kmh_of(maxspeed: str | None) -> float:
    """The km/h of a value of `maxspeed`; NaN for what is no number, such as "none" or "RO:urban", and out of 1 to 200.

    Of several values, as of lanes ("50;30"), the first counts.
    """
    if maxspeed is None:
        return nan
    first = maxspeed.split(";")[0].strip().lower()
    match, zone = _SPEED.fullmatch(first), _ZONE.fullmatch(first)
    if zone is not None:
        return float(zone[1])
    if match is None:
        return nan
    kmh = float(match[1]) * _KMH[match[2]]
    return kmh if 1.0 <= kmh <= 200.0 else nan
