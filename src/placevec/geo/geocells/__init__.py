"""Geocells: cells of regions that are learned from where training points lie, small where there are many."""

from placevec.geo.geocells.build import build_geocells
from placevec.geo.geocells.cells import GeoCells
from placevec.geo.geocells.config import GeoCellConfig
from placevec.geo.geocells.views import CoarseCells

__all__ = ["CoarseCells", "GeoCellConfig", "GeoCells", "build_geocells"]
