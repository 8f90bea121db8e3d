"""What roads say of a city: the street network, ways through it, and measures of cells."""

from __future__ import annotations

from placevec.features.roads.routing import RoutingGraph, walk_graph
from placevec.features.roads.speeds import MODES, Mode, check_mode, passage
from placevec.features.roads.street import StreetGraph, node_degrees, street_graph

__all__ = [
    "MODES",
    "Mode",
    "RoutingGraph",
    "StreetGraph",
    "check_mode",
    "node_degrees",
    "passage",
    "street_graph",
    "walk_graph",
]
