"""The generated country: ``World(seed=0).write("arcadia")``. It needs no data, no network, and its truth is known."""

from placevec.sources.world.city import City
from placevec.sources.world.country import BANDS, CLASSES, RASTERS, World

__all__ = ["BANDS", "CLASSES", "RASTERS", "City", "World"]
