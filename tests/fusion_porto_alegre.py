"""Porto Alegre by plain code: the features of the reference, cell by cell, without any modality of placevec."""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import h3
import numpy as np
import pandas as pd

from placevec.geo.cells import H3Cells
from placevec.geo.sphere import LonLat
from placevec.measure.fusion import Block

CLASSES = (
    *("motorway", "trunk", "primary", "secondary", "tertiary", "residential", "living_street", "service"),
    *("footway", "path", "cycleway", "steps", "pedestrian", "unclassified", "other"),
)
DEGREE_M = 111_195.0


@dataclass(frozen=True)
class City:
    """The cells of Porto Alegre with their modalities and targets."""

    cells: np.ndarray  # (n,) H3 cells of resolution 9
    lonlat: LonLat  # (n,) as the file says
    blocks: dict[str, Block]
    targets: dict[str, np.ndarray]  # log1p


def porto_alegre(folder: Path) -> City:
    """Roads, transit, elevation and services, as `urban_reference.py` defines them."""
    here = folder / "porto_alegre"
    listed = pd.read_csv(here / "poa_hexgrid.csv").dropna()
    cells = np.array([h3.str_to_int(name) for name in listed["id"]], dtype=np.uint64)
    services = np.log1p(listed[["schools", "healthcare"]].to_numpy(float))
    return City(
        cells,
        LonLat(listed["lon"].to_numpy(), listed["lat"].to_numpy()),
        {
            "roads": Block(roads(here / "poa_osm.pbf", cells)),
            "transit": Block(transit([here / "poa_eptc.zip", here / "poa_trensurb.zip"], cells)),
            "terrain": Block(terrain(here / "poa_elevation.tif", cells)),
            "services": Block(services, names=("log1p(schools)", "log1p(healthcare)")),
        },
        {name: np.log1p(listed[name].to_numpy(float)) for name in ("population", "jobs")},
    )


def roads(path: Path, cells: np.ndarray) -> np.ndarray:
    """ln(1 + metres) by class of the segments whose middle lies in a cell, and counts of nodes by degree."""
    import osmium

    number = {name: place for place, name in enumerate(CLASSES)}
    rows = []
    reader = osmium.FileProcessor(str(path), osmium.osm.NODE | osmium.osm.WAY).with_locations()
    for way in reader.with_filter(osmium.filter.KeyFilter("highway")):
        if not way.is_way():
            continue
        kind = number.get(way.tags["highway"].replace("_link", ""), len(CLASSES) - 1)
        nodes = [(node.ref, node.lon, node.lat) for node in way.nodes if node.location.valid()]
        rows += [(*a, *b, kind) for a, b in pairwise(nodes)]
    ids = np.array([[row[0], row[3]] for row in rows]).ravel()
    ends = np.array([[row[1:3], row[4:6]] for row in rows])
    first, second = ends[:, 0], ends[:, 1]
    metres = DEGREE_M * np.hypot(
        first[:, 1] - second[:, 1], (first[:, 0] - second[:, 0]) * np.cos(np.radians(first[:, 1]))
    )
    middle = _cell((first + second) / 2)
    lengths = np.zeros((len(cells), len(CLASSES)))
    at = {int(cell): row for row, cell in enumerate(cells)}
    for cell, row, length in zip(middle.tolist(), rows, metres, strict=True):
        if cell in at:
            lengths[at[cell], row[6]] += length
    _, where, degree = np.unique(ids, return_index=True, return_counts=True)
    own = _cell(ends.reshape(-1, 2)[where])
    counts = [own[degree == 3], own[degree >= 4], own[degree == 1]]
    return np.log1p(np.column_stack([lengths, *(_count(one, at) for one in counts)]))


def transit(paths: list[Path], cells: np.ndarray) -> np.ndarray:
    """ln(1 + x) of stops, departures, departures from 7 to 9 h, and the most routes at one stop."""
    found = []
    for path in paths:
        with zipfile.ZipFile(path) as feed:
            tables = {
                name: pd.read_csv(io.BytesIO(feed.read(f"{name}.txt")), dtype=str)
                for name in ("stops", "stop_times", "trips")
            }
        times = tables["stop_times"].merge(tables["trips"][["trip_id", "route_id"]], on="trip_id")
        hour = pd.to_numeric(times["departure_time"].fillna(times["arrival_time"]).str[:2], errors="coerce")
        stops = tables["stops"].set_index("stop_id")
        by_stop = times.assign(peak=hour.between(7, 9)).groupby("stop_id")
        stops = stops.join(by_stop.agg(n=("trip_id", "size"), peak=("peak", "sum"), routes=("route_id", "nunique")))
        stops["cell"] = _cell(stops[["stop_lon", "stop_lat"]].to_numpy(float))
        found.append(stops[["cell", "n", "peak", "routes"]].fillna(0))
    by_cell = pd.concat(found).groupby("cell")
    table = by_cell.agg(stops=("n", "size"), n=("n", "sum"), peak=("peak", "sum"), routes=("routes", "max"))
    return np.log1p(table.reindex(cells).fillna(0).to_numpy(float))


def terrain(path: Path, cells: np.ndarray) -> np.ndarray:
    """Mean, deviation, least and greatest elevation of the pixels whose centres lie in a cell."""
    import rasterio

    with rasterio.open(path) as raster:
        height = raster.read(1).ravel()
        row, column = np.mgrid[0 : raster.height, 0 : raster.width]
        corner, north = raster.transform, raster.transform.f
        lon, lat = corner.c + corner.a * (column.ravel() + 0.5), north + corner.e * (row.ravel() + 0.5)
    pixels = pd.DataFrame({"cell": _cell(np.column_stack([lon, lat])), "z": height})
    table = pixels[pixels["z"] > -100].groupby("cell")["z"].agg(["mean", "std", "min", "max"]).reindex(cells)
    return table.fillna(table.mean()).to_numpy(float)


def _cell(lonlat: np.ndarray) -> np.ndarray:
    return H3Cells(9).assign(LonLat(lonlat[:, 0], lonlat[:, 1]))


def _count(found: np.ndarray, at: dict[int, int]) -> np.ndarray:
    out = np.zeros(len(at))
    for cell in found.tolist():
        if cell in at:
            out[at[cell]] += 1
    return out
