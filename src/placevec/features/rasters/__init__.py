"""What rasters say about cells: their pixels by cell, statistics of them, and the shape of the ground."""

from __future__ import annotations

from placevec.features.rasters.classes import ClassCounts, count_classes
from placevec.features.rasters.terrain import TERRAIN, terrain_statistics
from placevec.features.rasters.zonal import Zonal, zonal_statistics
from placevec.features.rasters.zones import Zones

__all__ = [
    "TERRAIN",
    "ClassCounts",
    "Zonal",
    "Zones",
    "count_classes",
    "terrain_statistics",
    "zonal_statistics",
]
