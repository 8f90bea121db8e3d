"""Reading the points of interest of an OpenStreetMap file: what has a category, once, as points."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import ArrayLike, NDArray

from placevec.geo.boxes import Box, box_polygon, check_box, in_box
from placevec.sources.osm.categories import CATEGORIES, CategoryTree
from placevec.sources.osm.covered import Covered, covered, covers, header_box
from placevec.sources.osm.roads import read_roads
from placevec.sources.osm.same import once
from placevec.sources.osm.storage import Told, existing, load_osmium, node_storage, stream

_CHUNK = 1 << 14  # objects whose geometry waits as text


@dataclass(frozen=True, eq=False)
class Pois:
    """The points of interest of an extract, p of them, in the order of the file."""

    lon: NDArray[np.float64]  # (p,) degrees; of ways and areas, of a point on them
    lat: NDArray[np.float64]  # (p,) degrees
    category: NDArray[np.int16]  # (p,) index into the leaves of `tree`
    name: NDArray[Any]  # (p,) str, "" without one
    id: NDArray[Any]  # (p,) str: "n" (node), "w" (way) or "r" (relation) and OpenStreetMap's number
    tree: CategoryTree  # the categories that were looked for
    covered: Covered  # what the file covers: points there that are not in it are none
    counts: dict[str, int]  # how many objects were read, and how many were left out for which reason

    def __len__(self) -> int:
        return len(self.lon)

    @property
    def notes(self) -> tuple[str, ...]:
        """What was left out, for people."""
        return tuple(f"{count:,} {what}" for what, count in self.counts.items() if what != "objects" and count)

    def take(self, mask: ArrayLike) -> Pois:
        """The points that a mask (p,) or rows name."""
        pick = np.asarray(mask)
        columns = [f.name for f in fields(self) if f.name not in ("tree", "covered", "counts")]
        return replace(self, **{name: getattr(self, name)[pick] for name in columns})

    def covers(self, cells: ArrayLike) -> NDArray[np.bool_]:
        """Of which H3 cells (n,) of one resolution the centre lies in what the file covers."""
        return covers(self.covered, cells)

    def by_leaf(self) -> dict[str, int]:
        """How many there are of each leaf of the tree, as the tree has them, without those of which there are none."""
        counts = np.bincount(self.category, minlength=len(self.tree))
        return {name: int(count) for name, count in zip(self.tree.names, counts, strict=True) if count}


def read_pois(
    path: str | Path,
    *,
    tree: CategoryTree = CATEGORIES,
    box: Box | None = None,
    on_disk: str | Path | None = None,
    told: Told | None = None,
) -> Pois:
    """The points of interest of an OpenStreetMap file, read as a stream.

    Nodes are points, open ways and areas (closed ways and multipolygons) have a point on them. What is mapped twice is
    counted once, see `same.once`. Objects of which nodes are missing in the file are left out and counted.

    Args:
        path: .osm.pbf, .osm, .osm.gz or .osm.bz2.
        tree: the categories; of an object that fits several leaves the first counts.
        box: (west, south, east, north) in degrees; points outside it are left out.
        on_disk: a folder for the positions of nodes while the file is read; absent, they are in memory for files of
            up to 512 MiB, and in the folder for temporary files for larger ones.
        told: told of the progress, in objects.

    Raises:
        FormatError: the file does not exist, is no OpenStreetMap file, or ends early.
        MissingExtra: osmium is not installed.
    """
    osmium = load_osmium()
    where = existing(path)
    within = None if box is None else check_box(box)
    header = header_box(where)
    found = _Found(tree, within, osmium)
    with node_storage(where, on_disk) as storage:
        only = osmium.filter.KeyFilter(*tree.main_keys)
        areas = osmium.filter.KeyFilter(*(key for key in tree.main_keys if key != "highway"))
        objects = osmium.FileProcessor(str(where)).with_locations(storage).with_areas(areas).with_filter(only)
        for each in stream(where, objects):
            if found.add(each) and len(found.waiting) >= _CHUNK:
                found.flush()
                if told is not None:
                    told("reading points of interest", found.counts["objects"], 0)
    found.flush()
    # The points themselves say too little of how far the file reaches: an empty quarter has none.
    area = covered(header, [], [], within) if header else read_roads(where, box=within, on_disk=on_disk).covered
    return found.pois(area)


class _Found:
    """Objects as they come; their points are made in chunks."""

    def __init__(self, tree: CategoryTree, within: Box | None, osmium: Any) -> None:
        self.tree = tree
        self.keys = tree.keys
        self.within = within
        self.around = None if within is None else box_polygon(within)
        shapely.prepare(self.around)
        self.wkb = osmium.geom.WKBFactory()
        self.no_shape = (osmium.InvalidLocationError, RuntimeError)
        self.known: dict[tuple[str | None, ...], int] = {}  # values of the keys -> leaf
        self.counts: Counter[str] = Counter(objects=0)
        self.waiting: list[tuple[str, str, str, int]] = []  # WKB, id, name, leaf
        self.parts: list[tuple[NDArray[Any], ...]] = []  # point (c, 2), id, name, leaf, area as WKB or None

    def add(self, each: Any) -> bool:
        form = each.type_str()
        if form == "r" or (form == "w" and each.is_closed()):  # their areas come as such
            return False
        get = each.tags.get
        highway = get("highway")
        if highway is not None and highway not in self.tree.highways:
            return False
        values = tuple([get(key) for key in self.keys])
        leaf = self.known.get(values, -2)
        if leaf == -2:
            leaf = self.known[values] = self.tree.leaf_of(values)
        if leaf < 0:
            return False
        number = each.id
        try:
            if form == "n":
                shape = self.wkb.create_point(each)
            elif form == "w":
                shape = self.wkb.create_linestring(each)
            else:
                shape = self.wkb.create_multipolygon(each)
                form, number = ("w" if each.from_way() else "r"), each.orig_id()
        except self.no_shape:
            self.counts["objects left out: nodes of them are missing in the file"] += 1
            return False
        self.waiting.append((shape, f"{form}{number}", get("name") or "", leaf))
        self.counts["objects"] += 1
        return True

    def flush(self) -> None:
        """Turn the shapes that wait into points."""
        if not self.waiting:
            return
        shapes, ids, names, leaves = (np.array(column, dtype=object) for column in zip(*self.waiting, strict=True))
        self.waiting = []
        geometry = shapely.from_wkb(shapes)
        points = shapely.get_coordinates(shapely.point_on_surface(geometry))
        areas = np.full(len(geometry), None, dtype=object)
        polygonal = shapely.get_dimensions(geometry) == 2
        areas[polygonal] = shapely.to_wkb(geometry[polygonal])
        part: tuple[NDArray[Any], ...] = (points, ids, names, leaves.astype(np.int16), areas)
        if self.around is not None:
            # An area that reaches into the box stays for now: a node in it may be the same thing.
            near = shapely.intersects(self.around, geometry)
            part = tuple(column[near] for column in part)
        self.parts.append(part)

    def pois(self, area: Covered) -> Pois:
        """All that was kept, each thing once."""
        nothing = (np.zeros((0, 2)), *(np.zeros(0, dtype=kind) for kind in (object, object, np.int16, object)))
        points, ids, names, leaves, areas = (
            np.concatenate([part[k] for part in [nothing, *self.parts]]) for k in range(5)
        )
        self.parts = []
        keep = once(points, names, leaves, areas)
        self.counts["objects left out: mapped twice"] = int((~keep).sum())
        if self.within is not None:
            keep &= in_box(points[:, 0], points[:, 1], self.within)
        lon, lat = np.ascontiguousarray(points[keep].T)
        counts = dict(self.counts)
        return Pois(lon, lat, leaves[keep], names[keep], ids[keep], self.tree, area, counts)
