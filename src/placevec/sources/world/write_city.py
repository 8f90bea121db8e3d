"""Writing a generated city to files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import shapely

from placevec.files import whole, write_bytes, write_text
from placevec.geo.cells import H3Cells
from placevec.registry import need
from placevec.sources.world.osm import country_extract, write_osm
from placevec.sources.world.places import BUS, RAIL
from placevec.sources.world.sheets import csv_text, texts
from placevec.sources.world.timetable import gtfs

if TYPE_CHECKING:
    from placevec.sources.world.city import City

_PIXEL_M = 40.0


def write_city(city: City, folder: Path) -> dict[str, Path]:
    """See `City.write`."""
    paths = {
        "osm": folder / "osm.pbf",
        "gtfs": folder / "buses.zip",
        "rail": folder / "rail.zip",
        "elevation": folder / "elevation.tif",
        "cells": folder / "cells.csv",
        "truth": folder / "truth.csv",
        "boundary": folder / "boundary.geojson",
    }
    write_osm(paths["osm"], country_extract(city.world, city.window, pois=[city.pois], transit=city.transit))
    for name, kind, agency in (("gtfs", BUS, f"{city.name} Buses"), ("rail", RAIL, f"{city.world.name} Rail")):
        lines = [line for line in city.transit.lines if line[1] == kind]
        write_bytes(paths[name], gtfs(replace(city.transit, lines=lines), city.world.grid, agency))
    _elevation(city, paths["elevation"])
    ids = [f"{cell:x}" for cell in city.cells.tolist()]
    where = H3Cells(9).centre(city.cells)
    columns = {"id": ids, "lon": where.lon.tolist(), "lat": where.lat.tolist()}
    numbers = {name: values.tolist() for name, values in city.targets.items()}
    write_text(paths["cells"], csv_text([*columns, *numbers], zip(*columns.values(), *numbers.values(), strict=True)))
    truth = {name: texts(values) for name, values in city.truth.items()}
    write_text(paths["truth"], csv_text(["id", *truth], zip(ids, *truth.values(), strict=True)))
    outline = shapely.to_geojson(city.boundary)
    feature = f'{{"type":"Feature","properties":{{"name":"{city.name}"}},"geometry":{outline}}}'
    write_text(paths["boundary"], f'{{"type":"FeatureCollection","features":[{feature}]}}\n')
    return paths


def _elevation(city: City, path: Path) -> None:
    """Heights in metres, in pixels of 40 m."""
    rasterio = need("rasterio", extra="raster", purpose="writing rasters")
    affine = need("affine", extra="raster", purpose="writing rasters")
    left, top, right, bottom = city.window
    grid = city.world.grid
    share = _PIXEL_M / grid.metres
    width, height = int(np.ceil((right - left) / share)), int(np.ceil((bottom - top) / share))
    col, row = left + (np.arange(width) + 0.5) * share, top + (np.arange(height) + 0.5) * share
    pixels = city.world.ground.elevation(*np.meshgrid(col, row)).astype(np.float32)
    step = grid.step[0] * share, grid.step[1] * share
    # A city on the antimeridian is written beyond 180 degrees, as rasters are.
    corner = float(grid.lons(left)), float(grid.lats(top))
    with (
        whole(path) as part,
        rasterio.open(
            part, "w", driver="GTiff", dtype="float32", count=1, height=height, width=width, crs="EPSG:4326",
            transform=affine.Affine(step[0], 0.0, corner[0], 0.0, -step[1], corner[1]), nodata=-9999.0,
            tiled=True, blockxsize=256, blockysize=256, compress="deflate", predictor=3,
        ) as out,
    ):  # fmt: skip
        out.write(pixels[None])
