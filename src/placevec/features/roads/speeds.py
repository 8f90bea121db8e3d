"""How fast people move on a road: by foot, by bicycle, by car."""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from placevec.errors import UsageError
from placevec.sources.osm.road_rules import ROAD_CLASSES
from placevec.sources.osm.roads import Roads

Mode = Literal["walk", "bike", "drive"]
"""How one moves."""

MODES: tuple[str, ...] = get_args(Mode)

WALK_KMH = 4.8
"""Of an adult on level ground; the usual value of transport models."""

BIKE_KMH = 15.0

SIGNED = 0.8
"""The share of a signed speed limit that a car reaches between its stops, on average."""

# km/h. Stairs are counted by their length on the map. What is not named: `WALK_KMH` and `BIKE_KMH`.
_WALK = {"steps": 2.4}
_BIKE = {"pedestrian": 8.0, "footway": 8.0, "path": 12.0, "track": 12.0, "living_street": 12.0, "steps": 2.4}

# km/h reached by a car, stops included, where no limit is signed.
_DRIVE = {
    "motorway": 90.0,
    "trunk": 70.0,
    "primary": 50.0,
    "secondary": 45.0,
    "tertiary": 40.0,
    "unclassified": 30.0,
    "residential": 25.0,
    "living_street": 10.0,
    "service": 15.0,
    "track": 15.0,
}
_DRIVE_ELSEWHERE = 10.0
_SLOWEST_KMH = 1.0  # a signed limit of 0 is a slip of the hand, and would make a way of no end


def check_mode(mode: str) -> None:
    """Raise UsageError unless `mode` is one of MODES."""
    if mode not in MODES:
        raise UsageError(f"one cannot move by {mode!r}: choose one of {', '.join(MODES)}")


class Passage(NamedTuple):
    """Who may pass the segments (s,) of roads, and how fast."""

    forward: NDArray[np.bool_]  # from a to b
    backward: NDArray[np.bool_]  # from b to a
    metres_per_second: NDArray[np.float64]


def passage(roads: Roads, mode: str) -> Passage:
    """Who may pass each segment in which direction, and how fast.

    Walking takes 4.8 km/h, on stairs 2.4. Cycling 15 km/h, less where one shares the way with people on foot. Driving
    0.8 of the signed limit; where none is signed, the speed of the class. One-way roads bind all but those on foot.

    Raises:
        UsageError: `mode` is none of walk, bike and drive.
    """
    check_mode(mode)
    if mode == "walk":
        kmh = _by_class(_WALK, WALK_KMH)[roads.kind]
        return Passage(roads.walk, roads.walk, kmh / 3.6)
    usable = roads.bike if mode == "bike" else roads.drive
    if mode == "bike":
        kmh = _by_class(_BIKE, BIKE_KMH)[roads.kind]
    else:
        signed = np.maximum(roads.kmh.astype(np.float64) * SIGNED, _SLOWEST_KMH)
        kmh = np.where(np.isfinite(signed), signed, _by_class(_DRIVE, _DRIVE_ELSEWHERE)[roads.kind])
    return Passage(usable & (roads.oneway >= 0), usable & (roads.oneway <= 0), kmh / 3.6)


def _by_class(speeds: dict[str, float], other: float) -> NDArray[np.float64]:
    return np.array([speeds.get(name, other) for name in ROAD_CLASSES])
