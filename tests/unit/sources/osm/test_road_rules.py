"""What the tags of a road say."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from placevec.sources.osm.road_rules import KEYS, ROAD_CLASSES, RoadRule, kmh_of, road_rule


def rule(**tags: str) -> RoadRule | str:
    return road_rule(tuple(tags.get(key) for key in KEYS))


def said(**tags: str) -> tuple[str, int, bool, bool, bool]:
    """Class, direction, and who may use it."""
    found = rule(**tags)
    assert isinstance(found, RoadRule)
    return ROAD_CLASSES[found.kind], found.oneway, found.walk, found.bike, found.drive


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ({"highway": "residential"}, ("residential", 0, True, True, True)),
        ({"highway": "motorway"}, ("motorway", 1, False, False, True)),
        ({"highway": "motorway_link", "oneway": "no"}, ("motorway", 0, False, False, True)),
        ({"highway": "trunk", "motorroad": "yes"}, ("trunk", 0, False, False, True)),
        ({"highway": "primary_link", "oneway": "-1"}, ("primary", -1, True, True, True)),
        ({"highway": "tertiary", "junction": "roundabout"}, ("tertiary", 1, True, True, True)),
        ({"highway": "service", "oneway": "reversible"}, ("service", 0, True, True, True)),
        ({"highway": "footway"}, ("footway", 0, True, False, False)),
        ({"highway": "footway", "bicycle": "yes"}, ("footway", 0, True, True, False)),
        ({"highway": "footway", "access": "yes"}, ("footway", 0, True, False, False)),  # opens nothing to cars
        ({"highway": "cycleway", "foot": "no"}, ("cycleway", 0, False, True, False)),
        ({"highway": "steps"}, ("steps", 0, True, False, False)),
        ({"highway": "pedestrian", "motor_vehicle": "destination"}, ("pedestrian", 0, True, False, True)),
        ({"highway": "service", "access": "private"}, ("service", 0, False, False, False)),
        ({"highway": "service", "access": "private", "foot": "yes"}, ("service", 0, True, False, False)),
        ({"highway": "residential", "vehicle": "no"}, ("residential", 0, True, False, False)),
        ({"highway": "residential", "motor_vehicle": "no"}, ("residential", 0, True, True, False)),
        ({"highway": "primary", "bicycle": "use_sidepath"}, ("primary", 0, True, False, True)),
        ({"highway": "bridleway"}, ("other", 0, True, False, False)),
        ({"highway": "busway"}, ("other", 0, False, False, False)),
        ({"highway": "road"}, ("unclassified", 0, True, True, True)),
    ],
)
def test_class_direction_and_rights(tags: dict[str, str], expected: tuple[str, int, bool, bool, bool]) -> None:
    assert said(**tags) == expected


@pytest.mark.parametrize("highway", ["proposed", "construction", "platform", "raceway", "razed", "no"])
def test_what_is_no_road(highway: str) -> None:
    assert rule(highway=highway) == f"no road: {highway}"


def test_a_square_is_left_out() -> None:
    assert rule(highway="pedestrian", area="yes") == "the outline of an area"


@pytest.mark.parametrize(
    ("text", "kmh"),
    [
        ("50", 50),
        ("50 km/h", 50),
        ("30 mph", 30 * 1.609344),
        ("30mph", 30 * 1.609344),
        ("6 knots", 11.112),
        ("50;30", 50),
        ("7.5", 7.5),
        ("DE:zone:30", 30),
        ("zone30", 30),
    ],
)
def test_speeds(text: str, kmh: float) -> None:
    assert kmh_of(text) == pytest.approx(kmh)


@pytest.mark.parametrize("text", [None, "", "none", "walk", "RO:urban", "signals", "0", "900", "-50", "50 furlongs"])
def test_what_is_no_speed(text: str | None) -> None:
    assert math.isnan(kmh_of(text))


@given(st.tuples(*[st.one_of(st.none(), st.text(max_size=8), st.sampled_from(["yes", "no", "1", ";"]))] * len(KEYS)))
def test_any_tags_say_something(tags: tuple[str | None, ...]) -> None:
    found = road_rule(tags)
    assert isinstance(found, str) or (found.oneway in (-1, 0, 1) and 0 <= found.kind < len(ROAD_CLASSES))


def test_every_way_has_a_rule_if_all_are_asked_for() -> None:
    """As others count: what is no road is of its class or none, and nobody may use it."""
    for tags, kind in (
        ({"highway": "platform", "foot": "yes"}, "other"),
        ({"highway": "pedestrian", "area": "yes"}, "pedestrian"),
        ({"highway": "proposed"}, "other"),
    ):
        words = tuple(tags.get(key) for key in KEYS)
        found = road_rule(words, every=True)
        assert isinstance(road_rule(words), str)
        assert isinstance(found, RoadRule)
        assert ROAD_CLASSES[found.kind] == kind
        assert (found.walk, found.bike, found.drive) == (False, False, False)
    assert rule(highway="footway") == road_rule(tuple({"highway": "footway"}.get(key) for key in KEYS), every=True)
