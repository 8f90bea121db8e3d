"""Reading the points of interest of an OpenStreetMap file: what has a category, once, as points."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import ArrayLike, NDArray

from placevec.geo.boxes import Box, box_polygon, check_box, in_box
from placevec.sources.osm.blocks import Block, read_blocks
from placevec.sources.osm.categories import CATEGORIES, CategoryTree
from placevec.sources.osm.covered import Covered, covered, covers, header_box
from placevec.sources.osm.leaves import Leaves
from placevec.sources.osm.multipolygons import Multipolygons
from placevec.sources.osm.roads import read_roads
from placevec.sources.osm.same import once
from placevec.sources.osm.sift import sifted
from placevec.sources.osm.storage import Told, existing, load_osmium


@dataclass(frozen=True, eq=False)
class Pois:
    """The points of interest of an extract, p of them: nodes, ways, relations, each in the order of the file."""

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
        on_disk: a folder for what is kept while the file is read: the positions of nodes, which else are in memory
            for files of up to 512 MiB and in the folder for temporary files for larger ones, and what `sift` writes.
        told: told of the progress, in objects.

    Raises:
        FormatError: the file does not exist, is no OpenStreetMap file, or ends early.
        MissingExtra: osmium is not installed.
    """
    where = existing(path)
    within = None if box is None else check_box(box)
    header = header_box(where)
    leaves = Leaves(tree)
    found = _Found(leaves, within)
    relations = Multipolygons(where, leaves)
    with sifted(where, tree.main_keys, nodes=True, on_disk=on_disk) as objects:
        for block in read_blocks(objects.file):
            found.add(block)
            if told is not None:
                told("reading points of interest", found.counts["objects"], 0)
        found.add_areas(relations.areas(objects.places, found.unsure))
    # The points themselves say too little of how far the file reaches: an empty quarter has none.
    area = covered(header, [], [], within) if header else read_roads(where, box=within, on_disk=on_disk).covered
    return found.pois(area)


class _Found:
    """Objects as they come, thousands at a time, made into points."""

    def __init__(self, leaves: Leaves, within: Box | None) -> None:
        self.leaves = leaves
        self.within = within
        self.around = None if within is None else box_polygon(within)
        shapely.prepare(self.around)
        self.counts: Counter[str] = Counter(objects=0)
        self.unsure: set[int] = set()  # numbers of the ways that osmium is to make areas of
        self.parts: list[tuple[NDArray[Any], ...]] = []  # point (c, 2), id, name, leaf, area as WKB or None

    def add(self, block: Block) -> None:
        leaf = self.leaves.of_block(block)
        some, leaf = block.take(leaf >= 0), leaf[leaf >= 0]
        some, leaf = some.take(some.size > 0), leaf[some.size > 0]
        rows, geometry = self._points(some) if block.form == "n" else self._ways(some)
        every = some.names("name")
        names = [every[row] for row in rows.tolist()]
        ids = [f"{block.form}{number}" for number in some.id[rows].tolist()]
        self._keep(geometry, ids, names, leaf[rows])

    def _points(self, block: Block) -> tuple[NDArray[np.int64], NDArray[Any]]:
        """Rows of nodes that have a place on the Earth, and their points."""
        self._left_out(int((~block.known).sum()))
        return np.flatnonzero(block.known), np.asarray(shapely.points(block.lonlat[block.known]))

    def _ways(self, block: Block) -> tuple[NDArray[np.int64], NDArray[Any]]:
        """Rows of ways, and their lines and areas; closed ways that are no simple polygon are put aside for osmium."""
        end = np.cumsum(block.size)
        first, last = end - block.size, end - 1
        line = np.repeat(np.arange(len(block)), block.size)
        whole = np.bincount(line[~block.known], minlength=len(block)) == 0
        closed = block.ref[first] == block.ref[last]
        ring = closed | ((block.x[first] == block.x[last]) & (block.y[first] == block.y[last]))

        open_ = ~closed & whole & (block.size > 1)
        lines = _of_nodes(shapely.linestrings, block, open_)
        long = shapely.length(lines) > 0
        self._left_out(int((~closed).sum() - long.sum()))

        simple = ring & whole & (block.size > 3) & (block.values(("area",))[:, 0] < 0)
        areas = np.asarray(shapely.polygons(_of_nodes(shapely.linearrings, block, simple)))
        valid = shapely.is_valid(areas)
        inner = np.flatnonzero(simple)
        self.unsure.update(block.id[ring & ~simple].tolist(), block.id[inner[~valid]].tolist())

        rows = np.concatenate([np.flatnonzero(open_)[long], inner[valid]])
        order = np.argsort(rows, kind="stable")
        return rows[order], np.concatenate([lines[long], areas[valid]])[order]

    def add_areas(self, areas: Iterable[Any]) -> None:
        """Areas that osmium has put together."""
        osmium = load_osmium()
        wkb, keys = osmium.geom.WKBFactory(), self.leaves.keys
        shapes, ids, names, leaves = [], [], [], []
        for each in areas:
            get = each.tags.get
            leaf = self.leaves.of(tuple([get(key) for key in keys]))
            try:
                shapes.append(wkb.create_multipolygon(each))
            except (osmium.InvalidLocationError, RuntimeError):
                self._left_out(1)
                continue
            ids.append(f"{'w' if each.from_way() else 'r'}{each.orig_id()}")
            names.append(get("name") or "")
            leaves.append(leaf)
        self._keep(shapely.from_wkb(np.array(shapes, dtype=object)), ids, names, np.array(leaves, dtype=np.int16))

    def _left_out(self, count: int) -> None:
        if count:
            self.counts["objects left out: nodes of them are missing in the file"] += count

    def _keep(self, geometry: NDArray[Any], ids: list[str], names: list[str], leaves: NDArray[np.int16]) -> None:
        """Turn shapes (c,) into points."""
        self.counts["objects"] += len(geometry)
        points = shapely.get_coordinates(shapely.point_on_surface(geometry))
        areas = np.full(len(geometry), None, dtype=object)
        polygonal = shapely.get_dimensions(geometry) == 2
        areas[polygonal] = shapely.to_wkb(geometry[polygonal])
        texts = (np.array(column, dtype=object) for column in (ids, names))
        part: tuple[NDArray[Any], ...] = (points, *texts, leaves, areas)
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
        return Pois(lon, lat, leaves[keep], names[keep], ids[keep], self.leaves.tree, area, counts)


def _of_nodes(make: Callable[..., NDArray[Any]], block: Block, ways: NDArray[np.bool_]) -> NDArray[Any]:
    """What `make` makes of the nodes of some ways of a block, one for each that a mask (n,) names."""
    size = block.size[ways]
    if not len(size):
        return np.zeros(0, dtype=object)
    return make(block.lonlat[np.repeat(ways, block.size)], indices=np.repeat(np.arange(len(size)), size))
