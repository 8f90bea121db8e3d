"""The generated country as OpenStreetMap has it: streets, highways and places with their tags, in one .osm.pbf."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from placevec.files import whole
from placevec.geo.sphere import LonLat
from placevec.registry import need
from placevec.sources.world.grid import Grid
from placevec.sources.world.osm_ways import Ways, Window, highway_ways, inside, street_ways
from placevec.sources.world.places import BUS, RAIL, Pois, Transit
from placevec.sources.world.streets import street_reach_m

if TYPE_CHECKING:
    from placevec.sources.world.country import World

TAGS: dict[str, tuple[str, str]] = {
    "food/restaurant": ("amenity", "restaurant"),
    "food/cafe": ("amenity", "cafe"),
    "food/bar": ("amenity", "bar"),
    "shop/supermarket": ("shop", "supermarket"),
    "shop/bakery": ("shop", "bakery"),
    "shop/clothes": ("shop", "clothes"),
    "education/school": ("amenity", "school"),
    "education/university": ("amenity", "university"),
    "health/pharmacy": ("amenity", "pharmacy"),
    "health/clinic": ("amenity", "clinic"),
    "health/hospital": ("amenity", "hospital"),
    "leisure/park": ("leisure", "park"),
    "leisure/sports": ("leisure", "sports_centre"),
    "leisure/theatre": ("amenity", "theatre"),
    "leisure/beach": ("leisure", "beach_resort"),
    "tourism/hotel": ("tourism", "hotel"),
    "tourism/museum": ("tourism", "museum"),
    "tourism/viewpoint": ("tourism", "viewpoint"),
    "tourism/campsite": ("tourism", "camp_site"),
    "transport/fuel": ("amenity", "fuel"),
    "transport/parking": ("amenity", "parking"),
    "transport/service": ("amenity", "fuel"),
    "office/company": ("office", "company"),
    "office/government": ("office", "government"),
}
"""The tag of each category of places."""
_STOPS = {RAIL: {"railway": "station"}, BUS: {"highway": "bus_stop"}}


@dataclass(frozen=True, eq=False)
class Extract:
    """What stands in a file of OpenStreetMap: ways over shared nodes, and points with tags.

    Attributes:
        where: of the nodes of ways; their numbers are 1, 2, ....
        ways: the rows of its nodes and its tags, of each way.
        points: of the nodes that stand for something; their numbers follow.
        tags: of each of them.
        box: (west, south, east, north) that the header names; None where that crosses the antimeridian.
    """

    where: LonLat
    ways: list[tuple[list[int], dict[str, str]]]
    points: LonLat
    tags: list[dict[str, str]]
    box: tuple[float, float, float, float] | None


def country_extract(
    world: World, window: Window | None = None, *, pois: Iterable[Pois] = (), transit: Transit | None = None
) -> Extract:
    """What OpenStreetMap would have of a country.

    Highways are those of `World.roads`, streets those of `World.streets`; in towns highways other than motorways pass
    through the crossings of streets next to them. A highway ends in the middle of a town, at a crossing.

    Args:
        world: the country.
        window: (left, top, right, bottom) in columns and rows: ways are cut at its border; by default everything.
        pois: points of interest beside those of the country.
        transit: whose stops there are; by default the country's.
    """
    ways = Ways()
    names = street_names(world)
    streets = {town: world.streets(town) for town in _towns(world, window)}
    for town, own in streets.items():
        street_ways(ways, own, town, names)
    highway_ways(ways, world.roads, streets, world.ground)
    col, row, found = ways.cut(window)
    spots, tags = _points(window, [world.pois, *pois], world.transit if transit is None else transit)
    box = _box(world.grid, window)
    return Extract(world.grid.lonlat(col, row), found, world.grid.lonlat(*spots), tags, box)


def _towns(world: World, window: Window | None) -> list[int]:
    """The towns whose streets may reach into a window."""
    towns = world.towns
    reach = street_reach_m(towns) / world.grid.metres
    left, top, right, bottom = window or (0.0, 0.0, float(world.grid.width), float(world.grid.height))
    across = np.maximum(np.maximum(left - towns.col, towns.col - right), 0.0)
    down = np.maximum(np.maximum(top - towns.row, towns.row - bottom), 0.0)
    return np.flatnonzero(np.hypot(across, down) <= reach).tolist()


def street_names(world: World) -> list[str]:
    """Names for streets; a country has few, and uses them in every town."""
    from placevec.sources.world.noise import stream
    from placevec.sources.world.settlement import make_names

    return make_names(stream(world.seed, "street names"), 600)


def write_osm(path: str | Path, extract: Extract) -> None:
    """Write an .osm.pbf: nodes, then ways, by ascending numbers, as readers expect them.

    Raises:
        MissingExtra: osmium is not installed.
    """
    osmium = need("osmium", extra="osm", purpose="writing OpenStreetMap")
    header = osmium.io.Header()
    header.set("generator", "placevec")
    if extract.box is not None:
        header.add_box(osmium.osm.Box(*extract.box))
    make = osmium.osm.mutable
    places = zip(extract.where.lon.tolist(), extract.where.lat.tolist(), strict=True)
    points = zip(extract.points.lon.tolist(), extract.points.lat.tolist(), extract.tags, strict=True)
    first = len(extract.where) + 1
    # The name of the part does not end in .osm.pbf.
    with whole(path) as part, osmium.SimpleWriter(osmium.io.File(str(part), "osm.pbf"), header=header) as writer:
        for number, at in enumerate(places, 1):
            writer.add_node(make.Node(id=number, location=at))
        for number, (lon, lat, tags) in enumerate(points, first):
            writer.add_node(make.Node(id=number, location=(lon, lat), tags=tags))
        for number, (nodes, tags) in enumerate(extract.ways, 1):
            writer.add_way(make.Way(id=number, nodes=[node + 1 for node in nodes], tags=tags))


def _points(
    window: Window | None, pois: list[Pois], transit: Transit
) -> tuple[tuple[NDArray[np.float64], NDArray[np.float64]], list[dict[str, str]]]:
    col, row, tags = [], [], []
    for each in pois:
        kept = inside(window, each.col, each.row)
        col.append(each.col[kept])
        row.append(each.row[kept])
        for category, name in zip(each.category[kept], each.name[kept], strict=True):
            key, value = TAGS[category]
            tags.append({key: value, "name": str(name)})
    # A stop of both kinds is a station.
    kind: dict[int, int] = {}
    for _, route, stops, _, _ in transit.lines:
        for stop in stops:
            kind[stop] = min(route, kind.get(stop, route))
    used = np.array(sorted(kind), dtype=np.int64)
    used = used[inside(window, transit.stop_col[used], transit.stop_row[used])]
    tags += [{**_STOPS[kind[stop]], "name": transit.stop_name[stop]} for stop in used.tolist()]
    col.append(transit.stop_col[used])
    row.append(transit.stop_row[used])
    return (np.concatenate(col), np.concatenate(row)), tags


def _box(grid: Grid, window: Window | None) -> tuple[float, float, float, float] | None:
    west, south, east, north = grid.bounds
    if window is not None:
        left, top, right, bottom = window
        (west, east), (north, south) = grid.lons([left, right]).tolist(), grid.lats([top, bottom]).tolist()
    return (west, south, east, north) if west >= -180.0 and east <= 180.0 else None
