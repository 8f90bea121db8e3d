"""Slow and obvious readings of OpenStreetMap files: every object, one after the other, in plain Python."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from math import asin, cos, radians, sin, sqrt
from pathlib import Path

import osmium

from placevec.geo.sphere import EARTH_RADIUS_M
from placevec.sources.osm.categories import CATEGORIES, NOTHING
from placevec.sources.osm.road_rules import KEYS, RoadRule, road_rule


def slow_roads(path: Path) -> list[tuple[int, int, RoadRule, float]]:
    """The segments of all roads: two nodes, the rule, metres."""
    at: dict[int, tuple[float, float]] = {}
    found = []
    for each in osmium.FileProcessor(str(path)):
        if each.is_node():
            at[each.id] = (each.location.lon, each.location.lat)
        elif each.is_way() and "highway" in each.tags:
            rule = road_rule(tuple(each.tags.get(key) for key in KEYS))
            if isinstance(rule, str):
                continue
            nodes = [node.ref for node in each.nodes]
            for a, b in pairwise(nodes):
                if a in at and b in at and a != b:
                    found.append((a, b, rule, metres(at[a], at[b])))
    return found


def metres(a: tuple[float, float], b: tuple[float, float]) -> float:
    """The haversine formula."""
    x1, y1, x2, y2 = map(radians, (*a, *b))
    return 2 * EARTH_RADIUS_M * asin(sqrt(sin((y2 - y1) / 2) ** 2 + cos(y1) * cos(y2) * sin((x2 - x1) / 2) ** 2))


def slow_nodes_by_leaf(path: Path) -> Counter[str]:
    """How many nodes there are of each leaf, before what is mapped twice is left out."""
    found: Counter[str] = Counter()
    for each in osmium.FileProcessor(str(path)):
        if each.is_node():
            leaf = slow_leaf(dict(each.tags))
            if leaf is not None:
                found[leaf] += 1
    return found


def slow_leaf(tags: dict[str, str]) -> str | None:
    """The first leaf that fits tags."""
    values = {key: [part.strip() for part in value.split(";")] for key, value in tags.items()}
    if "highway" in tags and tags["highway"] != "bus_stop":
        return None
    for leaf in CATEGORIES.leaves:
        for conditions in leaf.tags:
            for key, wanted in conditions:
                have = values.get(key, [])
                if not (any(v not in NOTHING for v in have) if wanted == "*" else wanted in have):
                    break
            else:
                return leaf.name
    return None
