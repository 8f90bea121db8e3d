"""The land cover, heights and outline of the generated country as `World.write` names them, without all the rest."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import shapely
from rasterio.transform import Affine

import patch_fakes as fakes
from placevec.sources.world import World
from placevec.sources.world.cover import CLASSES

CLASS_TABLE: dict[str, Any] = {
    "name": "arcadia",
    "classes": [{"code": code, "name": name} for code, name in CLASSES.items()],
}


def write(folder: Path) -> World:
    """landcover_2015.tif, landcover_2025.tif, dem.tif, boundary.geojson and arcadia.json; the country."""
    folder.mkdir(parents=True, exist_ok=True)
    world = World(0, "small")
    west, south, east, north = world.grid.bounds
    where = Affine((east - west) / world.grid.width, 0, west, 0, (south - north) / world.grid.height, north)
    for name, nodata in (("landcover_2015", 0), ("landcover_2025", 0), ("dem", -9999.0)):
        fakes.write(folder / f"{name}.tif", world.array(name), where, "EPSG:4326", nodata=nodata)
    outline = {"type": "Feature", "properties": {}, "geometry": json.loads(shapely.to_geojson(world.boundary))}
    (folder / "boundary.geojson").write_text(json.dumps(outline))
    (folder / "arcadia.json").write_text(json.dumps(CLASS_TABLE))
    return world
