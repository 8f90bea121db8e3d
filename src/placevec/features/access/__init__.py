"""Accessibility: what can be reached from a cell within so many minutes, by foot and by public transport."""

from placevec.features.access.decay import DECAYS, Decay, decayed
from placevec.features.access.network import Network, transit_network, walk_network
from placevec.features.access.opportunities import Opportunities, read_opportunities
from placevec.features.access.potential import Potential, potential
from placevec.features.access.rides import Rides, rides, window

__all__ = [
    "DECAYS",
    "Decay",
    "Network",
    "Opportunities",
    "Potential",
    "Rides",
    "decayed",
    "potential",
    "read_opportunities",
    "rides",
    "transit_network",
    "walk_network",
    "window",
]
