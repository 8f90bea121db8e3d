"""OpenStreetMap: what stands in a file of it that an image from above can show."""

from placevec.sources.osm.read import Features, tagged
from placevec.sources.osm.words import VISIBLE, Word

__all__ = ["VISIBLE", "Features", "Word", "tagged"]
