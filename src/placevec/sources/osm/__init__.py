"""OpenStreetMap: what stands in a file of it, as what an image can show, as roads, and as places to go to."""

from placevec.sources.osm.categories import CATEGORIES, Category, CategoryTree, read_tree
from placevec.sources.osm.covered import covers
from placevec.sources.osm.pois import Pois, read_pois
from placevec.sources.osm.read import Features, tagged
from placevec.sources.osm.road_rules import ROAD_CLASSES
from placevec.sources.osm.roads import Roads, read_roads
from placevec.sources.osm.words import VISIBLE, Word

__all__ = [
    "CATEGORIES",
    "ROAD_CLASSES",
    "VISIBLE",
    "Category",
    "CategoryTree",
    "Features",
    "Pois",
    "Roads",
    "Word",
    "covers",
    "read_pois",
    "read_roads",
    "read_tree",
    "tagged",
]
