"""`area geocells`: cells of regions from where training points lie, as a file to look at and as an asset of models."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from placevec.errors import UsageError
from placevec.files import write_bytes
from placevec.geo.geocells import GeoCellConfig, GeoCells, build_geocells
from placevec.geo.regions import Regions, spherical_areas_m2
from placevec.sources.places import read_places
from placevec.table import Places
from placevec.tasks.export_places import export_places
from placevec.tasks.photo_inputs import listed_places
from placevec.tasks.regions import open_regions

Progress = Callable[[int, int, Mapping[str, Any]], None]

EARTH = "earth"
"""The word for the whole Earth as one region."""


@dataclass(frozen=True)
class Made:
    """What was built.

    Attributes:
        cells: the cells.
        points: rows of the file of points.
        unlocated: rows of it that have no coordinates.
        seconds: how long it took.
    """

    cells: GeoCells
    points: int
    unlocated: int
    seconds: float

    @property
    def notes(self) -> list[str]:
        """What was left out, which regions have no cell, and which overlap."""
        found = []
        if self.unlocated:
            found.append(f"{self.unlocated:,} of {self.points:,} points left out: no coordinates")
        if self.cells.outside:
            found.append(f"{self.cells.outside:,} of {self.points:,} points left out: outside of all regions")
        empty = [record["region"] for record in self.cells.records() if record["cells"] == 0]
        if empty:
            found.append(f"no cell in {', '.join(empty)}: no point lies there")
        return [*found, *self.cells.regions.warnings()]


def make_geocells(
    points: str | Path,
    regions: str | Path | Regions,
    out: str | Path,
    *,
    column: str | None = None,
    rename: Mapping[str, str] | None = None,
    lon: str = "lon",
    lat: str = "lat",
    config: GeoCellConfig | None = None,
    geojson: str | Path | None = None,
    asset: str | Path | None = None,
    progress: Progress | None = None,
) -> Made:
    """Divide regions into geocells by the training points of a file, and write them.

    Args:
        points: a table of placevec, a photo list, a CSV or a GeoJSON; of the training fold alone, if a model is to be
            tested.
        regions: the regions, a GeoJSON of them, or "earth" for the whole Earth as one.
        out: where the outlines of the cells go with their facts; the ending says the form (.parquet, .csv, .geojson,
            .gpkg, .fgb).
        column: the property that names a region.
        rename: regions by another name than the file has for them.
        lon: the CSV's column of longitudes.
        lat: the CSV's column of latitudes.
        config: the settings.
        geojson: also write the outlines there.
        asset: also write the cells there as models keep them; `GeoCells.from_bytes` reads it.
        progress: told the stages done, how many there are, and the cells so far.

    Raises:
        UsageError: `geojson` has another ending.
        DataError: a file cannot be read, or no point lies in a region.
        MissingExtra: hdbscan is not installed.
    """
    if geojson is not None and Path(geojson).suffix not in (".geojson", ".json"):
        raise UsageError(f"{geojson}: the name of a GeoJSON ends in .geojson")
    began = time.monotonic()
    if not isinstance(regions, Regions):
        # The word stands for the Earth even where a file has its name; ./earth is the file.
        whole = str(regions) == EARTH
        regions = Regions.whole_earth() if whole else open_regions(regions, column=column, rename=rename)
    listed = listed_places(points)
    places = read_places(points, lon=lon, lat=lat) if listed is None else listed
    located = np.flatnonzero(places.located)
    cells = build_geocells(places.lonlat(located), regions, config, progress=progress)
    drawn = cell_places(cells)
    export_places(drawn, out)
    if geojson is not None:
        export_places(drawn, geojson, form="geojson")
    if asset is not None:
        write_bytes(asset, cells.to_bytes())
    return Made(cells, len(places), len(places) - len(located), time.monotonic() - began)


def cell_places(cells: GeoCells) -> Places:
    """The cells as places: outlines, with region, centre, points, radius, limit, area and coarser levels."""
    numbers = np.arange(1, len(cells) + 1, dtype=np.uint64)
    outlines = cells.polygons(numbers)
    names = np.array(cells.regions.names, dtype=object)
    return Places.create(
        [str(number) for number in numbers],
        geometry=outlines,
        attributes={
            "region": names[cells.region],
            "centre_lon": cells.centres.lon,
            "centre_lat": cells.centres.lat,
            "points": cells.count,
            "radius_m": cells.radius_m,
            "limit_m": cells.limit_m,
            "area_km2": spherical_areas_m2(outlines) / 1e6,
            **{f"level_{level}": group + 1 for level, group in enumerate(cells.levels, 1)},
        },
    )
